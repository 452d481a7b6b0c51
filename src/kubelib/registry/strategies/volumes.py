"""Storage: where claims are filled from is said twice, and volumes tell since when they are in their phase."""

from typing import TYPE_CHECKING

from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.registry.strategies.base import Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

_SINCE = "lastPhaseTransitionTime"
_PLAIN_SOURCES = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))
"""What the older of the two fields for a claim's source can name: API groups and kinds."""
_SOURCE_PARTS = ("apiGroup", "kind", "name")


class ClaimStrategy(Strategy):
    """What is special about claims."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Say in both fields what the claim is filled from."""
        super().prepare_for_create(registry, tree)
        if isinstance(tree.get("spec"), dict):
            _say_source_twice(tree["spec"])

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Say in both fields what the claim is filled from, whichever its writer knows."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        before = old.get("spec") or {}
        if not subresource and isinstance(tree.get("spec"), dict) and before.get("dataSource"):
            _say_source_twice(tree["spec"])
        return tree


def _say_source_twice(spec: Tree) -> None:
    plain, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if plain and (plain.get("apiGroup") or "", plain.get("kind")) not in _PLAIN_SOURCES:
        # Claims were once made with sources that nothing could fill them from: that is ignored.
        del spec["dataSource"]
        plain = None
    if reference:
        reference.pop("namespace", None)  # sources of other namespaces are not granted to anybody
    if plain and not reference:
        spec["dataSourceRef"] = dict(plain)
    elif reference and not plain:
        spec["dataSource"] = {part: reference[part] for part in _SOURCE_PARTS if part in reference}


class VolumeStrategy(Strategy):
    """What is special about persistent volumes."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Begin as Pending, now."""
        super().prepare_for_create(registry, tree)
        tree["status"] = {"phase": "Pending", _SINCE: format_time(registry.owner.clock.now())}

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Date a phase that is new, unless its writer has."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        status, before = tree.get("status"), old.get("status") or {}
        if subresource != "status" or not isinstance(status, dict):
            return tree
        since = before.get(_SINCE)
        if status.get("phase") == before.get("phase"):
            if since and not status.get(_SINCE):
                status[_SINCE] = since
        elif status.get(_SINCE) in (None, since):
            status[_SINCE] = format_time(registry.owner.clock.now())
        return tree
