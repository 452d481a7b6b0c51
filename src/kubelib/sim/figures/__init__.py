"""The figures of the Omega paper, drawn anew from simulations, each with what the paper says of it and whether that holds."""
