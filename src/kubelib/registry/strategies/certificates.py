"""Requests for certificates: who asks is noted by the server, decisions and certificates have doors of their own.

The rules are those of ``pkg/registry/certificates`` in Kubernetes.
"""

from typing import TYPE_CHECKING

from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.registry.base import User
from kubelib.registry.strategies.base import Strategy

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

DECISIONS = ("Approved", "Denied")
_WHO = ("username", "uid", "groups", "extra")


class SigningRequestStrategy(Strategy):
    """What is special about certificate signing requests."""

    def note_requester(self, tree: Tree, user: User) -> None:
        """Write down who asks, whatever the request itself says."""
        spec = tree.get("spec")
        if not isinstance(spec, dict):
            return
        for part in _WHO:
            spec.pop(part, None)
        spec["username"] = user.name
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups"] = list(user.groups)
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra}

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Let those who approve decide, those who sign give a certificate or say why not, and nobody change the request.

        A certificate that comes with a decision stays away; a decision that comes with a certificate is for validation to refuse.
        """
        if not subresource:
            kept = {"spec": old["spec"], **({"status": old["status"]} if "status" in old else {})}
            tree.pop("status", None)
            return {**tree, **kept}
        before = (old.get("status") or {}).get("conditions") or []
        status = dict(tree.get("status") or {})
        conditions = list(status.get("conditions") or [])
        if subresource == "approval":
            status = dict(old.get("status") or {})
        else:
            conditions = _with_decisions_of(before, conditions)
        now = format_time(registry.owner.clock.now())
        noted = [_dated(condition, before, now) for condition in conditions]
        status.pop("conditions", None)
        if noted:
            status["conditions"] = noted
        return super().prepare_for_update(registry, {**tree, "status": status}, old, "status")


def _with_decisions_of(before: list[Tree], conditions: list[Tree]) -> list[Tree]:
    """Return conditions with the decisions as they were; validation finds those that were added or removed."""
    result = list(conditions)
    for kind in DECISIONS:
        old = [condition for condition in before if condition.get("type") == kind]
        where = [number for number, condition in enumerate(result) if condition.get("type") == kind]
        if len(old) == len(where):
            for number, condition in zip(where, old, strict=True):
                result[number] = condition
    return result


class PodRequestStrategy(Strategy):
    """What is special about requests for certificates of Pods."""

    unconditional_update = False

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Date the conditions that have no date."""
        tree = super().prepare_for_update(registry, tree, old, subresource)
        conditions = (tree.get("status") or {}).get("conditions")
        if subresource == "status" and conditions:
            before = (old.get("status") or {}).get("conditions") or []
            now = format_time(registry.owner.clock.now())
            dated = [_dated(condition, before, now) for condition in conditions]
            for condition in dated:
                condition.pop("lastUpdateTime")
            tree["status"] = {**tree["status"], "conditions": dated}
        return tree


def _dated(condition: Tree, before: list[Tree], now: str) -> Tree:
    """Return a condition with the dates that it lacks."""
    same = next((c for c in before if c.get("type") == condition.get("type")), None)
    dated = dict(condition)
    dated["lastUpdateTime"] = condition.get("lastUpdateTime") or now
    if not condition.get("lastTransitionTime"):
        unchanged = same is not None and same.get("status") == condition.get("status")
        dated["lastTransitionTime"] = (same or {}).get("lastTransitionTime") if unchanged else now
        dated["lastTransitionTime"] = dated["lastTransitionTime"] or now
    return dated
