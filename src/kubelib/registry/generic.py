"""The generic registry: every resource's verbs over a store, a watch cache, a strategy and the rules of admission."""

from kubelib.registry.changing import ChangingRegistry, is_about_managed_fields
from kubelib.registry.deleting import DeletingRegistry
from kubelib.registry.writing import RETRIES

__all__ = ["RETRIES", "GenericRegistry", "is_about_managed_fields"]


class GenericRegistry(ChangingRegistry, DeletingRegistry):
    """One resource's verbs on documents; see `kubelib.registry.base.DocumentRegistry`."""
