"""Devices: since when they are tainted the server notes, and who may use those of others for their administration it looks at.

The rules of the latter are those of ``AuthorizedForAdmin`` in ``pkg/registry/resource`` of Kubernetes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubelib.api.core.namespace import Namespace
from kubelib.api.errors import invalid
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.api.validation.problems import forbidden
from kubelib.registry.strategies.base import Operations, Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

FOR_ADMINISTRATION = "resource.kubernetes.io/admin-access"
"""The label of namespaces whose claims may be for devices that others use."""


class DeviceClaimStrategy(Strategy):
    """What is special about claims to devices and their templates."""

    async def reserve(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> Operations:
        """Refuse access for administration, unless the namespace is meant for that. Raises Invalid."""
        path = _first_for_administration(tree, old)
        if path:
            namespace = registry.owner.cache_of(Namespace).get(Key("", tree["metadata"]["namespace"]))
            if namespace is None or namespace.meta.labels.get(FOR_ADMINISTRATION) != "true":
                why = f"admin access to devices requires the `{FOR_ADMINISTRATION}: true` label on the containing namespace"
                resource = registry.resource
                name = tree["metadata"].get("name") or ""
                raise invalid(resource.kind, resource.group, name, [forbidden(path, why)])
        return await super().reserve(registry, tree, old)


def _first_for_administration(tree: Tree, old: Tree | None) -> str:
    """Return where access for administration is asked for, or given where it was not before; empty if nowhere."""
    if old is not None:  # what is asked for does not change
        if any(result.get("adminAccess") for result in _results(old)):
            return ""
        given = (n for n, result in enumerate(_results(tree)) if result.get("adminAccess"))
        return next((f"status.allocation.devices.results[{n}].adminAccess" for n in given), "")
    spec = tree.get("spec") or {}
    devices = (spec.get("spec") or spec).get("devices") or {}
    for number, request in enumerate(devices.get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess"):
            return f"spec.devices.requests[{number}].adminAccess"
    return ""


def _results(claim: Tree) -> Sequence[Tree]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or ()


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
