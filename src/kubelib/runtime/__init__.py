"""The node agent and what runs containers."""
