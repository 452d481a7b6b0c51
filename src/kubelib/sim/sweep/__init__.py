"""Sweeps: many simulations of a cell, whose parameters vary, on as many processors as there are."""
