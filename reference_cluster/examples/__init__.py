"""Examples that ship with the reference cluster."""
