"""The Kubernetes REST API: an ASGI application over registries, and what it listens with."""

from kubelib.server.app import ApiServer

__all__ = ["ApiServer"]
