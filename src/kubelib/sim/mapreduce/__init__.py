"""The case study of the Omega paper: a MapReduce scheduler that uses idle resources, on shared state."""
