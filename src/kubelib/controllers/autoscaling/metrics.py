"""From what Pods use to how many of them there should be. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import attrs

from kubelib.api.autoscaling_v2 import (
    ContainerResourceMetricStatus,
    MetricSpec,
    MetricStatus,
    MetricValueStatus,
    ResourceMetricStatus,
)
from kubelib.api.core.pod import Pod
from kubelib.api.quantity import from_milli, parse_quantity
from kubelib.controllers.pods import condition_of
from kubelib.labels import Selector

TOLERANCE = 0.1
"""How far usage may be from its target before anything is done."""
STARTING = timedelta(minutes=5)
"""How long what a Pod uses of the processor says nothing about its load, while it is not ready."""
FIRST_READY = timedelta(seconds=30)
"""How long after its start a Pod's condition Ready may have changed last, if the Pod has never been ready."""

NO_METRICS = "the server could not find the requested resource (get pods.metrics.k8s.io)"
"""What clients of Kubernetes say where nobody serves the group."""


@attrs.frozen
class Usage:
    """What a Pod uses."""

    containers: Mapping[str, Mapping[str, int]]
    """By container, what it uses of each resource, in thousandths."""
    since: datetime | None = None
    """When the time began over which this was measured; None if that is not known."""


@attrs.frozen
class Tolerance:
    """How far a metric may be above and below its target before anything is done."""

    up: float = TOLERANCE
    down: float = TOLERANCE

    def holds(self, ratio: float) -> bool:
        """Return whether a metric, over its target, is near enough to it."""
        return 1 - self.down <= ratio <= 1 + self.up


class MetricsUnavailable(Exception):
    """Nobody measures what Pods use, or not now; the message says why."""


class CannotCompute(Exception):
    """There is no number of replicas that the metrics call for; the message says why."""


class PodMetrics(Protocol):
    """Knows what Pods use."""

    async def usage(self, namespace: str, selector: Selector) -> Mapping[str, Usage]:
        """Return what the Pods of a namespace use, by their name; those of which nothing is known are left out.

        Raises `MetricsUnavailable`.
        """
        ...


@attrs.frozen
class Computed:
    """The replicas that one metric calls for, and what it is now."""

    replicas: int
    name: str
    status: MetricStatus


def _requests(pod: Pod, resource: str, container: str) -> int:
    whole = pod.spec.resources
    if not container and whole is not None and resource in whole.requests:
        return parse_quantity(whole.requests[resource]).milli()
    total = 0
    sidecars = (c for c in pod.spec.init_containers if c.restart_policy == "Always")
    for definition in (*pod.spec.containers, *sidecars):
        if container and definition.name != container:
            continue
        if resource not in definition.resources.requests:
            raise CannotCompute(
                f"missing request for {resource} in container {definition.name} of Pod {pod.metadata.name}"
            )
        total += parse_quantity(definition.resources.requests[resource]).milli()
    return total


def _is_starting(pod: Pod, measured: datetime | None, now: datetime) -> bool:
    """Return whether what a Pod uses of the processor, `measured` since then, says nothing yet."""
    ready, began = condition_of(pod, "Ready"), pod.status.start_time
    if ready is None or began is None:
        return True
    changed = ready.last_transition_time
    if now < began + STARTING:
        # What was measured while it got ready is what it takes to start.
        unready_too = measured is not None and changed is not None and measured < changed
        return ready.status == "False" or unready_too
    return ready.status == "False" and (changed is None or changed < began + FIRST_READY)


def _used(usage: Usage | None, resource: str, container: str) -> int | None:
    """Return what a Pod, or one of its containers, uses; None if that is not known."""
    if usage is None or not usage.containers:
        return None
    if container:
        return usage.containers.get(container, {}).get(resource)
    known = [values.get(resource) for values in usage.containers.values()]
    return None if None in known else sum(filter(None, known))


def compute(
    spec: MetricSpec,
    pods: Sequence[Pod],
    usage: Mapping[str, Usage],
    current: int,
    now: datetime,
    tolerance: Tolerance = Tolerance(),
) -> Computed:
    """Return how many replicas a metric of resources calls for. Raises `CannotCompute`.

    Pods that are not measured count as on target when there is to be less of them, and as idle when there is to be more, so
    that what is not known never makes a change larger; those that only start count as idle.
    """
    source, container = spec.resource, ""
    if spec.container_resource is not None:
        source, container = spec.container_resource, spec.container_resource.container  # type: ignore[assignment]
    if source is None:
        raise CannotCompute(f"metrics of type {spec.type} need an adapter, which this cluster does not have")
    resource, target = source.name, source.target
    candidates = alive(pods)
    measured: dict[str, int] = {}
    missing, starting = [], []
    for pod in candidates:
        measurement = usage.get(pod.metadata.name)
        used = _used(measurement, resource, container)
        if pod.status.phase in ("", "Pending"):
            starting.append(pod)
        elif measurement is None or used is None:
            missing.append(pod)
        elif resource == "cpu" and _is_starting(pod, measurement.since, now):
            starting.append(pod)
        else:
            measured[pod.metadata.uid] = used
    by_use = target.type == "Utilization"
    if not measured and by_use and usage.keys() - {pod.metadata.name for pod in pods}:
        raise CannotCompute("no metrics returned matched known pods")
    if not measured:
        raise CannotCompute("did not receive metrics for targeted pods (pods might be unready)")
    wanted = (
        target.average_utilization or 1 if by_use else max(1, parse_quantity(target.average_value).milli())
    )
    requests = (
        {p.metadata.uid: _requests(p, resource, container) for p in candidates}
        if by_use
        else {p.metadata.uid: 1 for p in candidates}
    )

    def ratio(values: Mapping[str, int]) -> float:
        asked = sum(requests[uid] for uid in values)
        if not asked:
            raise CannotCompute("no metrics returned matched known pods")
        return (sum(values.values()) * (100 if by_use else 1) // asked) / wanted

    average = sum(measured.values()) // len(measured)
    utilization = sum(measured.values()) * 100 // max(1, sum(requests[uid] for uid in measured))
    value = MetricValueStatus(
        average_value=str(from_milli(average)), average_utilization=utilization if by_use else None
    )
    status = (
        MetricStatus(
            type=spec.type,
            container_resource=ContainerResourceMetricStatus(
                name=resource, container=container, current=value
            ),
        )
        if spec.container_resource is not None
        else MetricStatus(type=spec.type, resource=ResourceMetricStatus(name=resource, current=value))
    )
    name = f"{resource} {'container ' if container else ''}resource"
    name += " utilization (percentage of request)" if by_use else ""

    def on_target(pod: Pod) -> int:
        return requests[pod.metadata.uid] * max(100, wanted) // 100 if by_use else wanted

    replicas = replicas_for(ratio, measured, missing, starting, on_target, current, tolerance)
    return Computed(replicas, name, status)


def alive(pods: Sequence[Pod]) -> list[Pod]:
    """Return the Pods that count at all. Raises `CannotCompute` if there are none."""
    found = [p for p in pods if p.metadata.deletion_timestamp is None and p.status.phase != "Failed"]
    if not found:
        raise CannotCompute("no pods returned by selector while calculating replica count")
    return found


def replicas_for(
    ratio: Callable[[Mapping[str, int]], float],
    measured: Mapping[str, int],
    missing: Sequence[Pod],
    starting: Sequence[Pod],
    on_target: Callable[[Pod], int],
    current: int,
    tolerance: Tolerance,
) -> int:
    """Return the replicas that measurements, by uid, call for; `ratio` is usage over target.

    `on_target` says what a Pod uses that is as it should be.
    """
    first = ratio(measured)
    idle = list(starting) if first > 1 else []
    if not idle and not missing:
        return current if tolerance.holds(first) else math.ceil(first * len(measured))
    values = dict(measured)
    if first != 1:
        values |= {pod.metadata.uid: on_target(pod) if first < 1 else 0 for pod in missing}
    for pod in idle:
        values[pod.metadata.uid] = 0
    second = ratio(values)
    if tolerance.holds(second) or (first < 1 < second) or (second < 1 < first):
        return current
    replicas = math.ceil(second * len(values))
    if (second < 1 and replicas > current) or (second > 1 and replicas < current):
        return current
    return replicas
