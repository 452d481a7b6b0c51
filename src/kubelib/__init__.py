"""Kubernetes' control plane as a library: labels, stores, registries, schedulers, reconcilers and runtimes.

Each room is usable alone and imported by name (``from kubelib.store import open_store``); importing
``kubelib`` itself loads nothing else.
"""

__version__ = "0.1.0"
