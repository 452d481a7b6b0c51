"""Traces of what real cells were asked for: a schema of our own, readers for published ones, and a generator."""
