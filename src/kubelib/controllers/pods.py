"""What controllers ask of Pods: are they alive, ready, available, and which one goes first."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cmp_to_key

from kubelib.api.core.pod import Pod, PodCondition, PodTemplateSpec
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.times import later
from kubelib.controllers.ownership import controller_reference

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


def is_active(pod: Pod) -> bool:
    """Return whether a pod counts: it has neither ended nor is it being deleted."""
    return pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletion_timestamp is None


def is_terminal(pod: Pod) -> bool:
    """Return whether a pod has ended for good."""
    return pod.status.phase in ("Succeeded", "Failed")


def condition_of(pod: Pod, type: str) -> PodCondition | None:
    """Return a condition of a pod, or None."""
    for condition in pod.status.conditions:
        if condition.type == type:
            return condition
    return None


def is_ready(pod: Pod) -> bool:
    """Return whether a pod is ready to serve."""
    for condition in pod.status.conditions:
        if condition.type == "Ready":
            return condition.status == "True"
    return False


def ready_since(pod: Pod) -> datetime | None:
    """Return since when a pod is ready; None if it is not, or nobody says."""
    condition = condition_of(pod, "Ready")
    return condition.last_transition_time if condition is not None and condition.status == "True" else None


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Return whether a pod has been ready for long enough."""
    if not is_ready(pod):
        return False
    if min_ready_seconds == 0:
        return True
    since = ready_since(pod)
    return since is not None and later(since, min_ready_seconds) <= now


def seconds_until_available(pods: Sequence[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """Return when the next ready pod will have been so for long enough; None if none is waiting."""
    waits = [
        (later(since, min_ready_seconds) - now).total_seconds()
        for pod in pods
        if (since := ready_since(pod)) is not None and not is_available(pod, min_ready_seconds, now)
    ]
    return min(waits, default=None)


def pod_from_template(
    template: PodTemplateSpec,
    owner: Object,
    *,
    name: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Pod:
    """Return a pod as a template wants it, controlled by `owner`, named after it unless `name` is given."""
    meta = template.metadata
    return Pod(
        metadata=ObjectMeta(
            name=name,
            # Names are cut where they would leave no room for the five random characters.
            generate_name="" if name else f"{owner.metadata.name}-",
            namespace=owner.metadata.namespace,
            labels={**meta.labels, **(labels or {})},
            annotations={**meta.annotations, **(annotations or {})},
            finalizers=meta.finalizers,
            owner_references=(controller_reference(owner),),
        ),
        spec=template.spec,
    )


def choose_to_delete(
    pods: Sequence[Pod], count: int, now: datetime, related: Sequence[Pod] = ()
) -> list[Pod]:
    """Return the `count` pods whose loss is least: first those not running yet, then the young and crowded ones.

    `related` are the pods that make a node crowded: those of the same application.
    """
    if count >= len(pods):
        return list(pods)
    crowd: dict[str, int] = {}
    for pod in related:
        if is_active(pod) and pod.spec.node_name:
            crowd[pod.spec.node_name] = crowd.get(pod.spec.node_name, 0) + 1
    plain = {pod.metadata.uid: _plain_key(pod, crowd) for pod in pods}

    def compare(a: Pod, b: Pod) -> int:
        first, second = plain[a.metadata.uid], plain[b.metadata.uid]
        if first != second:
            return -1 if first < second else 1
        if is_ready(a) and (ready := _by_age(ready_since(a), ready_since(b), a, b, now)):
            return ready
        more, less = _restarts(b), _restarts(a)
        if more != less:
            return 1 if more > less else -1
        age = _by_age(a.metadata.creation_timestamp, b.metadata.creation_timestamp, a, b, now)
        return age or (-1 if a.metadata.uid < b.metadata.uid else 1)

    return sorted(pods, key=cmp_to_key(compare))[:count]


def _plain_key(pod: Pod, crowd: Mapping[str, int]) -> tuple[bool, int, bool, int, int]:
    return (
        bool(pod.spec.node_name),
        _PHASES.get(pod.status.phase, 0),
        is_ready(pod),
        _cost(pod),
        -crowd.get(pod.spec.node_name, 0),
    )


def _cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _restarts(pod: Pod) -> tuple[int, int]:
    """Return how often the container of a Pod that restarts most has done so, and the sidecar."""
    sidecars = {c.name for c in pod.spec.init_containers if c.restart_policy == "Always"}
    statuses = pod.status
    return (
        max((status.restart_count for status in statuses.container_statuses), default=0),
        max((s.restart_count for s in statuses.init_container_statuses if s.name in sidecars), default=0),
    )


def _by_age(t1: datetime | None, t2: datetime | None, a: Pod, b: Pod, now: datetime) -> int:
    """Compare ages: unknown before young before old. Ages of one magnitude count as equal, then the uid decides."""
    if t1 == t2:
        return 0
    if t1 is None or t2 is None:
        return -1 if t1 is None else 1
    magnitude = _magnitude(now - t1) - _magnitude(now - t2)
    if magnitude:
        return magnitude
    return -1 if a.metadata.uid < b.metadata.uid else 1


def _magnitude(age: timedelta) -> int:
    seconds = age.total_seconds()
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1
