"""Placing Pods: a table of nodes, policies over all of it at once, and the scheduler that commits what they choose."""
