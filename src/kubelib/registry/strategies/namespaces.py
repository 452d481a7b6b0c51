"""Namespaces: they go once their content has gone."""

from typing import TYPE_CHECKING

from kubelib.api.scheme import Tree
from kubelib.registry.strategies.base import Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

FINALIZER = "kubernetes"


class NamespaceStrategy(Strategy):
    """What is special about namespaces."""

    goes_in_steps = True

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Begin as Active."""
        tree["status"] = {"phase": "Active"}

    def complete(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Hold the namespace by the finalizer that stands for its content."""
        spec = tree.setdefault("spec", {})
        finalizers = spec.setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        tree["status"] = tree.pop("status")  # where documents have it: behind the spec

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Let only ``finalize`` change the finalizers of the spec."""
        if subresource == "finalize":
            return {**old, "spec": tree.get("spec") or {}}
        tree = super().prepare_for_update(registry, tree, old, subresource)
        tree["spec"] = old.get("spec") or {}
        return tree

    def holds(self, tree: Tree) -> bool:
        """Stay while there is content."""
        return bool((tree.get("spec") or {}).get("finalizers"))

    def mark_deleted(self, tree: Tree) -> None:
        """Show that the namespace is going."""
        tree.setdefault("status", {})["phase"] = "Terminating"
