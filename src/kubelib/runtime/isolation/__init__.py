"""How containers without an engine are kept apart, as root: namespaces, control groups, root file systems of their own."""
