"""``python -m reference_cluster`` is the command ``kubelib``."""

from reference_cluster.cli import main

main()
