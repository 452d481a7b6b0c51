"""Taints that say how a node fares, and what they mean for the pods on it. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from kubelib.api.core.affinity import Toleration
from kubelib.api.core.node import Node, Taint
from kubelib.api.tolerations import tolerates

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"

_BY_CONDITION: Mapping[str, Mapping[str, str]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_OURS = {key for keys in _BY_CONDITION.values() for key in keys.values()} | {UNSCHEDULABLE}


def condition_status(node: Node, type: str) -> str:
    """Return the status of a node's condition, empty if it has none of that type."""
    return next((c.status for c in node.status.conditions if c.type == type), "")


def wanted_taints(node: Node, now: datetime, *, evict: bool) -> tuple[Taint, ...]:
    """Return the taints that a node should have: those of others, and ours as its conditions say.

    `evict` allows to begin driving pods away from a node that is not ready. A taint that stays keeps its date.
    """
    now = now.replace(microsecond=0)
    keys = [
        _BY_CONDITION[c.type].get(c.status, "") for c in node.status.conditions if c.type in _BY_CONDITION
    ]
    wanted = [(key, NO_SCHEDULE) for key in keys if key]
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, NO_SCHEDULE))
    there = {(taint.key, taint.effect): taint for taint in node.spec.taints}
    for key in (NOT_READY, UNREACHABLE):
        begun = any((k, NO_EXECUTE) in there for k in (NOT_READY, UNREACHABLE))
        if key in keys and (evict or begun):
            wanted.append((key, NO_EXECUTE))
    kept = [taint for taint in node.spec.taints if not _is_ours(taint) or (taint.key, taint.effect) in wanted]
    new = [
        Taint(key=key, effect=effect, time_added=now) for key, effect in wanted if (key, effect) not in there
    ]
    return (*kept, *new)


def drives_away(taint: Taint) -> bool:
    """Return whether a taint is one by which pods are driven away from a node that is not ready."""
    return taint.effect == NO_EXECUTE and taint.key in (NOT_READY, UNREACHABLE)


def _is_ours(taint: Taint) -> bool:
    if taint.effect == NO_EXECUTE:
        return drives_away(taint)
    return taint.effect == NO_SCHEDULE and taint.key in _OURS


def tolerated_for(tolerations: Sequence[Toleration], taints: Sequence[Taint]) -> float | None:
    """Return for how many seconds a pod bears the NoExecute taints of its node: 0 for not at all, None for ever.

    Of several tolerations for one taint the first counts.
    """
    seconds = []
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        matching = next((t for t in tolerations if tolerates(t, taint)), None)
        if matching is None:
            return 0.0
        if matching.toleration_seconds is not None:
            seconds.append(max(0.0, float(matching.toleration_seconds)))
    return min(seconds, default=None)
