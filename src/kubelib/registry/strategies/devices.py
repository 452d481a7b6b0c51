"""Taints of devices: since when they are, the server notes."""

from typing import TYPE_CHECKING

from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.registry.strategies.base import Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry


class TaintRuleStrategy(Strategy):
    """What is special about rules that taint devices."""

    unconditional_update = False

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Date the taint, unless its maker did."""
        super().prepare_for_create(registry, tree)
        taint = _taint_of(tree)  # what is not there is for validation to say
        if taint and not taint.get("timeAdded"):
            taint["timeAdded"] = format_time(registry.owner.clock.now())

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Date the taint anew if its effect is another one and its date is not."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        now, before = _taint_of(tree), _taint_of(old)
        if not now:
            return tree
        if now.get("effect") == before.get("effect"):
            now.setdefault("timeAdded", before.get("timeAdded"))
        elif now.get("timeAdded") in (None, before.get("timeAdded")):
            now["timeAdded"] = format_time(registry.owner.clock.now())
        return tree


def _taint_of(tree: Tree) -> Tree:
    taint: Tree = (tree.get("spec") or {}).get("taint") or {}
    return taint
