"""Metrics that only adapters tell: of Pods and other objects (``custom.metrics.k8s.io``), and from outside of the cluster."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from kubelib.api.autoscaling_v2 import (
    CrossVersionObjectReference,
    ExternalMetricStatus,
    MetricIdentifier,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
    ObjectMetricStatus,
    PodsMetricStatus,
)
from kubelib.api.codec import encode_json, parse_json
from kubelib.api.columns.cells import go_selector_text
from kubelib.api.core.pod import Pod
from kubelib.api.quantity import from_milli, parse_quantity
from kubelib.controllers.autoscaling.metrics import (
    CannotCompute,
    Computed,
    MetricsUnavailable,
    Tolerance,
    alive,
    replicas_for,
)
from kubelib.controllers.pods import is_ready
from kubelib.labels import Selector, selector_from_label_selector

NO_CUSTOM = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
NO_EXTERNAL = (
    "unable to fetch metrics from external metrics API: the server could not find the requested resource"
    " (get {}.external.metrics.k8s.io)"
)


@runtime_checkable
class SupportsAdapters(Protocol):
    """Knows metrics that adapters tell, in thousandths. Each raises `MetricsUnavailable`."""

    async def of_pods(
        self, namespace: str, metric: str, pods: Selector, selector: Selector | None
    ) -> Mapping[str, int]:
        """Return a metric of Pods by their name."""
        ...

    async def of_object(
        self, namespace: str, metric: str, resource: str, name: str, selector: Selector | None
    ) -> int:
        """Return a metric of one object. `resource` is as in ``deployments.apps``, empty for the namespace itself."""
        ...

    async def external(self, namespace: str, metric: str, selector: Selector | None) -> Sequence[int]:
        """Return all values of a metric from outside of the cluster."""
        ...


def adapters_of(metrics: object) -> SupportsAdapters | None:
    """Return what knows metrics as far as it knows those of adapters; None if it does not."""
    return metrics if isinstance(metrics, SupportsAdapters) else None


class NotTold(CannotCompute):
    """A metric that nobody tells: the message of conditions, and `told` where several metrics are spoken of."""

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told or message


@attrs.frozen(kw_only=True)
class Situation:
    """What an autoscaler is about."""

    namespace: str
    pods: Sequence[Pod]
    selector: Selector
    wanted: int
    """How many replicas there are to be."""
    counted: int
    """How many there are."""
    tolerance: Tolerance
    resource_of: Callable[[CrossVersionObjectReference], str | None]
    """Returns the resource of an object as in ``deployments.apps``; None for kinds that there are not."""


async def adapted(metric: MetricSpec, situation: Situation, adapters: SupportsAdapters | None) -> Computed:
    """Return the replicas that a metric calls for which is not what containers use. Raises `CannotCompute`."""
    if metric.pods is not None:
        return await _of_pods(metric.pods.metric, metric.pods.target, situation, adapters)
    if metric.object is not None:
        of = metric.object
        return await _of_object(of.described_object, of.metric, of.target, situation, adapters)
    assert metric.external is not None
    return await _external(metric.external.metric, metric.external.target, situation, adapters)


def _selector(metric: MetricIdentifier) -> Selector | None:
    return selector_from_label_selector(metric.selector) if metric.selector is not None else None


def _labels(metric: MetricIdentifier) -> str:
    return (
        go_selector_text(parse_json(encode_json(metric.selector))) if metric.selector is not None else "nil"
    )


def _milli(amount: str) -> int:
    return max(1, parse_quantity(amount).milli())


async def _of_pods(
    metric: MetricIdentifier, target: MetricTarget, situation: Situation, adapters: SupportsAdapters | None
) -> Computed:
    name = metric.name
    try:
        if adapters is None:
            raise MetricsUnavailable(NO_CUSTOM)
        values = await adapters.of_pods(situation.namespace, name, situation.selector, _selector(metric))
    except MetricsUnavailable as error:
        raise NotTold(f"unable to get metric {name}: {error}") from None
    pods = alive(situation.pods)
    starting = [pod for pod in pods if pod.status.phase in ("", "Pending")]
    others = [pod for pod in pods if pod not in starting]
    measured = {p.metadata.uid: values[p.metadata.name] for p in others if p.metadata.name in values}
    missing = [pod for pod in others if pod.metadata.name not in values]
    if not measured:
        raise CannotCompute("did not receive metrics for targeted pods (pods might be unready)")
    wanted = _milli(target.average_value)

    def ratio(used: Mapping[str, int]) -> float:
        return (sum(used.values()) // len(used)) / wanted

    replicas = replicas_for(
        ratio, measured, missing, starting, lambda pod: wanted, situation.wanted, situation.tolerance
    )
    current = MetricValueStatus(average_value=str(from_milli(sum(measured.values()) // len(measured))))
    status = MetricStatus(type="Pods", pods=PodsMetricStatus(metric=metric, current=current))
    return Computed(replicas, f"pods metric {name}", status)


async def _of_object(
    of: CrossVersionObjectReference,
    metric: MetricIdentifier,
    target: MetricTarget,
    situation: Situation,
    adapters: SupportsAdapters | None,
) -> Computed:
    averaged = target.type == "AverageValue"
    try:
        value = await _value_of(of, metric, situation, adapters)
    except MetricsUnavailable as error:
        # Kubernetes has the parts of this sentence in this order.
        what = f"unable to get metric {metric.name}: {of.kind} on {situation.namespace} {of.name}/{error}"
        raise NotTold(
            what, f"failed to get {metric.name} object metric: {what}" if averaged else ""
        ) from None
    if averaged:
        replicas, current = _by_average(value, target, situation)
        name = f"external metric {metric.name}({_labels(metric)})"  # as Kubernetes calls it
    else:
        replicas, current = _by_value(value, target, situation)
        name = f"{of.kind} metric {metric.name}"
    found = ObjectMetricStatus(described_object=of, metric=metric, current=current)
    return Computed(replicas, name, MetricStatus(type="Object", object=found))


async def _value_of(
    of: CrossVersionObjectReference,
    metric: MetricIdentifier,
    situation: Situation,
    adapters: SupportsAdapters | None,
) -> int:
    if adapters is None:
        raise MetricsUnavailable(NO_CUSTOM)
    group = of.api_version.rpartition("/")[0]
    if (group, of.kind) == ("", "Namespace"):
        # Whatever its name: nobody is to look out of his own.
        return await adapters.of_object(situation.namespace, metric.name, "", "", _selector(metric))
    resource = situation.resource_of(of)
    if resource is None:
        kind = f"{of.kind}.{group}" if group else of.kind
        raise MetricsUnavailable(
            f"unable to fetch metrics from custom metrics API: unable to map kind {kind} to resource: no matches for"
            f' kind "{of.kind}" in group "{group}"'
        )
    return await adapters.of_object(situation.namespace, metric.name, resource, of.name, _selector(metric))


async def _external(
    metric: MetricIdentifier, target: MetricTarget, situation: Situation, adapters: SupportsAdapters | None
) -> Computed:
    averaged, labels = bool(target.average_value), _labels(metric)
    try:
        if adapters is None:
            raise MetricsUnavailable(NO_EXTERNAL.format(metric.name))
        value = sum(await adapters.external(situation.namespace, metric.name, _selector(metric)))
    except MetricsUnavailable as error:
        what = f"unable to get external metric {situation.namespace}/{metric.name}/{labels}: {error}"
        which = f"{metric.name} external metric" if averaged else f"external metric {metric.name}"
        raise NotTold(what, f"failed to get {which}: {what}") from None
    replicas, current = (_by_average if averaged else _by_value)(value, target, situation)
    found = ExternalMetricStatus(metric=metric, current=current)
    name = f"external metric {metric.name}({labels})"
    return Computed(replicas, name, MetricStatus(type="External", external=found))


def _by_value(value: int, target: MetricTarget, situation: Situation) -> tuple[int, MetricValueStatus]:
    """Return the replicas that a value calls for which is to be as the target says, however many they are."""
    current, ratio = situation.wanted, value / _milli(target.value)
    if current == 0:
        replicas = math.ceil(ratio)  # nobody is there who could be ready
    elif situation.tolerance.holds(ratio):
        replicas = current
    elif not situation.pods:
        raise CannotCompute(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    else:
        ready = sum(pod.status.phase == "Running" and is_ready(pod) for pod in situation.pods)
        replicas = math.ceil(ratio * ready)
    return replicas, MetricValueStatus(value=str(from_milli(value)))


def _by_average(value: int, target: MetricTarget, situation: Situation) -> tuple[int, MetricValueStatus]:
    """Return the replicas that a value calls for which they share."""
    wanted, counted = _milli(target.average_value), situation.counted
    within = counted > 0 and situation.tolerance.holds(value / (wanted * counted))
    replicas = counted if within else math.ceil(value / wanted)
    share = math.ceil(value / counted) if counted else 0
    return replicas, MetricValueStatus(average_value=str(from_milli(share)))
