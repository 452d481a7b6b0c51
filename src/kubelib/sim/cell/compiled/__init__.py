"""Runs compiled to machine code by numba: the rules of the plain runs in loops over arrays, with equal results to the last bit."""
