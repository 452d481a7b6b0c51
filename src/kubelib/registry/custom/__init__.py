"""Kinds that come and go while the server runs: CustomResourceDefinitions, and the registries of their objects."""

from kubelib.registry.custom.kinds import CustomKinds

__all__ = ["CustomKinds"]
