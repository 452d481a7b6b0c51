"""The reference cluster: kubelib composed into daemons and a command line."""
