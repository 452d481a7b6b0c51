"""HorizontalPodAutoscalers: as many replicas as what their Pods use calls for."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

import anyio
import attrs

from kubelib.api.autoscaling import Scale
from kubelib.api.autoscaling_v2 import (
    CrossVersionObjectReference,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerCondition,
    MetricSpec,
    MetricStatus,
)
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.quantity import parse_quantity
from kubelib.api.scheme import Scheme
from kubelib.clock import Clock
from kubelib.controllers.autoscaling import (
    CannotCompute,
    MetricsUnavailable,
    PodMetrics,
    Recommendations,
    Usage,
    limited,
)
from kubelib.controllers.autoscaling.adapters import NotTold, Situation, adapted, adapters_of
from kubelib.controllers.autoscaling.metrics import NO_METRICS, TOLERANCE, Computed, Tolerance, compute
from kubelib.controllers.autoscaling.rates import least_of, rules_of
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.scales import SCALABLE, Scales
from kubelib.controllers.statuses import write_status
from kubelib.informers import BY_NAMESPACE, SharedInformers
from kubelib.labels import Selector, SelectorError, parse_selector
from kubelib.registry.base import Patch

NAME = "horizontal-pod-autoscaler"
PERIOD = 15.0


@attrs.frozen
class _Target:
    kind: type[Object]
    scale: Scale

    @property
    def wanted(self) -> int:
        return self.scale.spec.replicas


@attrs.frozen
class _Verdict:
    """What a look has come to."""

    desired: int | None
    """How many replicas there are to be; None if that cannot be told."""
    reason: str = ""
    metrics: tuple[MetricStatus, ...] = ()


class _Conditions:
    """The conditions of a status while it is being made."""

    def __init__(self, autoscaler: HorizontalPodAutoscaler, now: datetime) -> None:
        self._now = now.replace(microsecond=0)
        self.all = list(autoscaler.status.conditions)

    def set(self, type: str, status: str, reason: str, message: str) -> None:
        for number, old in enumerate(self.all):
            if old.type == type:
                moved = self._now if old.status != status else old.last_transition_time
                self.all[number] = replace(
                    old, status=status, reason=reason, message=message, last_transition_time=moved
                )
                return
        self.all.append(
            HorizontalPodAutoscalerCondition(
                type=type, status=status, reason=reason, message=message, last_transition_time=self._now
            )
        )


class AutoscalerReconciler:
    """Looks at one autoscaler every 15 seconds."""

    def __init__(
        self,
        informers: SharedInformers,
        metrics: PodMetrics | None,
        *,
        clock: Clock,
        recorder: Recorder,
        scheme: Scheme,
    ) -> None:
        self._client = informers.client
        self._autoscalers = informers.of(HorizontalPodAutoscaler)
        self._pods = informers.of(Pod)
        self._scales = Scales(informers, scheme)
        self._selectors: dict[Key, Selector] = {}
        self._registry = informers.client.resource(HorizontalPodAutoscaler)
        self._metrics = metrics
        self._memories: dict[Key, tuple[str, Recommendations]] = {}
        self._looked: dict[Key, tuple[int, float]] = {}
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Look at the autoscaler at `key`, scale, and say what was seen."""
        autoscaler = self._autoscalers.cache.view(key)
        if autoscaler is None:
            self._memories.pop(key, None)
            self._selectors.pop(key, None)
            self._looked.pop(key, None)
            return None
        now = anyio.current_time()
        generation, at = self._looked.get(key, (-1, 0.0))
        if generation == autoscaler.metadata.generation and now - at < PERIOD - 0.5:
            return After(PERIOD - (now - at))  # our own status has brought us here
        uid, memory = self._memories.get(key, ("", Recommendations()))
        if uid != autoscaler.metadata.uid:
            memory = Recommendations()
        self._memories[key] = (autoscaler.metadata.uid, memory)
        await self._look(autoscaler, memory)
        self._looked[key] = (autoscaler.metadata.generation, now)
        return After(PERIOD)

    async def _look(self, autoscaler: HorizontalPodAutoscaler, memory: Recommendations) -> None:
        conditions = _Conditions(autoscaler, self._clock.now())
        status = replace(autoscaler.status, observed_generation=autoscaler.metadata.generation)
        target = await self._target(autoscaler)
        if isinstance(target, str):
            message = f"the HPA controller was unable to get the target's current scale: {target}"
            self._recorder.warning(autoscaler, "FailedGetScale", target)
            conditions.set("AbleToScale", "False", "FailedGetScale", message)
            await write_status(self._registry, autoscaler, replace(status, conditions=tuple(conditions.all)))
            return
        conditions.set(
            "AbleToScale",
            "True",
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )
        memory.begin(target.wanted, anyio.current_time())
        verdict = await self._verdict(autoscaler, target, conditions, memory)
        status = replace(status, current_replicas=target.wanted, current_metrics=verdict.metrics)
        if verdict.desired == target.wanted:
            status = replace(status, desired_replicas=verdict.desired)
        elif verdict.desired is not None and await self._scale(
            autoscaler, target, verdict.desired, verdict.reason, conditions
        ):
            memory.changes.append((anyio.current_time(), verdict.desired - target.wanted))
            scaled_at = self._clock.now().replace(microsecond=0)
            status = replace(status, desired_replicas=verdict.desired, last_scale_time=scaled_at)
        await write_status(self._registry, autoscaler, replace(status, conditions=tuple(conditions.all)))

    async def _target(self, autoscaler: HorizontalPodAutoscaler) -> _Target | str:
        """Return what is scaled, or why its scale cannot be had."""
        ref = autoscaler.spec.scale_target_ref
        resource = self._scales.resource(ref.api_version, ref.kind)
        if resource is None:
            return f'no matches for kind "{ref.kind}" in group "{ref.api_version.rpartition("/")[0]}"'
        try:
            scale = await self._scales.get(resource, Key(autoscaler.metadata.namespace, ref.name))
        except ApiError as error:
            return str(error)
        return _Target(resource.cls, scale)

    async def _verdict(
        self,
        autoscaler: HorizontalPodAutoscaler,
        target: _Target,
        conditions: _Conditions,
        memory: Recommendations,
    ) -> _Verdict:
        """Return how many replicas there are to be now."""
        spec, current = autoscaler.spec, target.wanted
        least = least_of(autoscaler)
        if current == 0 and least != 0:
            message = "scaling is disabled since the replica count of the target is zero"
            conditions.set("ScalingActive", "False", "ScalingDisabled", message)
            return _Verdict(0)
        if current > spec.max_replicas:
            return _Verdict(spec.max_replicas, "Current number of replicas above Spec.MaxReplicas")
        if current < least:
            return _Verdict(least, "Current number of replicas below Spec.MinReplicas")
        pods = self._selected(autoscaler, target, conditions)
        if isinstance(pods, str):
            self._recorder.warning(autoscaler, "FailedComputeMetricsReplicas", pods)
            return _Verdict(None)
        best, statuses = await self._compute(autoscaler, target, pods, conditions)
        if best is None:
            return _Verdict(None, metrics=statuses)
        outcome = limited(autoscaler, memory, current, best.replicas, anyio.current_time())
        if outcome.stabilized is not None:
            conditions.set("AbleToScale", "True", *outcome.stabilized)
        else:
            conditions.set("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
        conditions.set(
            "ScalingLimited", "True" if outcome.is_limited else "False", outcome.reason, outcome.message
        )
        reason = f"{best.name} above target" if best.replicas > current else "All metrics below target"
        return _Verdict(outcome.replicas, reason, statuses)

    def _selected(
        self, autoscaler: HorizontalPodAutoscaler, target: _Target, conditions: _Conditions
    ) -> list[Pod] | str:
        """Return the Pods of the target, or why they are not to be acted upon."""

        def refused(event: str, reason: str, told: str, shown: str = "") -> str:
            self._recorder.warning(autoscaler, event, told)
            conditions.set("ScalingActive", "False", reason, shown or told)
            return told

        text = target.scale.status.selector
        if not text:
            shown = "the HPA target's scale is missing a selector"
            return refused("SelectorRequired", "InvalidSelector", "selector is required", shown)
        try:
            selector = parse_selector(text)
        except SelectorError as error:
            told = f"couldn't convert selector into a corresponding internal selector object: {error}"
            return refused("InvalidSelector", "InvalidSelector", told)
        self._selectors[autoscaler.key] = selector
        selected = self._pods.cache.select(selector, autoscaler.metadata.namespace)
        rivals = self._rivals(autoscaler, {frozenset(d.meta.labels.items()) for d in selected})
        if rivals:
            keys = sorted([autoscaler.key, *rivals])
            named = " ".join(f"{{{key.name} {key.namespace}}}" for key in keys)
            told = f"pods by selector {selector} are controlled by multiple HPAs: [{named}]"
            return refused("AmbiguousSelector", "AmbiguousSelector", told)
        return [document.view(Pod) for document in selected]

    async def _compute(
        self,
        autoscaler: HorizontalPodAutoscaler,
        target: _Target,
        pods: Sequence[Pod],
        conditions: _Conditions,
    ) -> tuple[Computed | None, tuple[MetricStatus, ...]]:
        """Return what calls for most replicas, None if nothing must be acted upon, and all that was measured."""
        metrics = autoscaler.spec.metrics
        found: list[Computed] = []
        statuses: list[MetricStatus] = []
        problems: list[tuple[str, str, str]] = []
        for metric in metrics:
            try:
                found.append(await self._one(autoscaler, metric, pods, target))
                statuses.append(found[-1].status)
            except (CannotCompute, MetricsUnavailable) as error:
                reason, (message, told) = f"FailedGet{metric.type}Metric", _told(metric, error)
                self._recorder.warning(autoscaler, reason, message)
                problems.append((reason, message, f"failed to get {_value_of(metric)}: {told}"))
                statuses.append(MetricStatus())
        if problems:
            first = f"invalid metrics ({len(problems)} invalid out of {len(metrics)}), first error is: {problems[0][2]}"
            # With part of the metrics missing, less is never right; more can be.
            if not found or max(c.replicas for c in found) < target.wanted:
                self._recorder.warning(autoscaler, "FailedComputeMetricsReplicas", first)
                message = f"the HPA was unable to compute the replica count: {problems[0][1]}"
                conditions.set("ScalingActive", "False", problems[0][0], message)
                return None, tuple(statuses)
        best = max(found, key=lambda c: c.replicas)
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        conditions.set("ScalingActive", "True", "ValidMetricFound", message)
        return best, tuple(statuses)

    def _rivals(
        self, autoscaler: HorizontalPodAutoscaler, labels: AbstractSet[frozenset[tuple[str, str]]]
    ) -> list[Key]:
        """Return the other autoscalers whose Pods some of those with these labels are: each would undo what the other does."""
        found = []
        for document in self._autoscalers.cache.by_index(BY_NAMESPACE, autoscaler.metadata.namespace):
            if document.meta.name == autoscaler.metadata.name:
                continue
            selector = self._selector_of(document.view(HorizontalPodAutoscaler))
            if selector is not None and any(selector.matches(dict(one)) for one in labels):
                found.append(document.key)
        return found

    def _selector_of(self, autoscaler: HorizontalPodAutoscaler) -> Selector | None:
        """Return which Pods an autoscaler is about, as far as that is known without asking."""
        ref = autoscaler.spec.scale_target_ref
        resource = self._scales.resource(ref.api_version, ref.kind)
        if resource is None:
            return None
        scale = self._scales.known(resource, Key(autoscaler.metadata.namespace, ref.name))
        return (
            parse_selector(scale.status.selector)
            if scale is not None
            else self._selectors.get(autoscaler.key)
        )

    async def _one(
        self, autoscaler: HorizontalPodAutoscaler, metric: MetricSpec, pods: Sequence[Pod], target: _Target
    ) -> Computed:
        tolerance = Tolerance(
            *(
                float(parse_quantity(rules.tolerance).amount) if rules.tolerance else TOLERANCE
                for rules in rules_of(autoscaler)
            )
        )
        namespace, selector = autoscaler.metadata.namespace, parse_selector(target.scale.status.selector)
        source = metric.resource or metric.container_resource
        if source is None and metric.type in ("Pods", "Object", "External"):
            situation = Situation(
                namespace=namespace,
                pods=pods,
                selector=selector,
                wanted=target.wanted,
                counted=target.scale.status.replicas,
                tolerance=tolerance,
                resource_of=self._resource_of,
            )
            return await adapted(metric, situation, adapters_of(self._metrics))
        usage: Mapping[str, Usage] = {}
        if source is not None:
            try:
                if self._metrics is None:
                    raise MetricsUnavailable(
                        f"unable to fetch metrics from resource metrics API: {NO_METRICS}"
                    )
                usage = await self._metrics.usage(namespace, selector)
            except MetricsUnavailable as error:
                raise MetricsUnavailable(
                    f"unable to get metrics for resource {source.name}: {error}"
                ) from None
        return compute(metric, pods, usage, target.wanted, self._clock.now(), tolerance)

    def _resource_of(self, of: CrossVersionObjectReference) -> str | None:
        resource = self._scales.resource(of.api_version, of.kind)
        return resource.group_resource if resource is not None else None

    async def _scale(
        self,
        autoscaler: HorizontalPodAutoscaler,
        target: _Target,
        desired: int,
        reason: str,
        conditions: _Conditions,
    ) -> bool:
        meta = target.scale.metadata
        body = {"metadata": {"resourceVersion": meta.resource_version}, "spec": {"replicas": desired}}
        try:
            await self._client.resource(target.kind).patch(
                target.scale.key, Patch("merge", body), subresource="scale"
            )
        except ApiError as error:
            message = f"New size: {desired}; reason: {reason}; error: {error}"
            self._recorder.warning(autoscaler, "FailedRescale", message)
            conditions.set(
                "AbleToScale",
                "False",
                "FailedUpdateScale",
                f"the HPA controller was unable to update the target scale: {error}",
            )
            return False
        self._recorder.normal(autoscaler, "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        conditions.set(
            "AbleToScale",
            "True",
            "SucceededRescale",
            f"the HPA controller was able to update the target scale to {desired}",
        )
        return True


def _told(metric: MetricSpec, error: Exception) -> tuple[str, str]:
    """Return what is said of a metric that cannot be had, of it alone and where several are spoken of."""
    source = metric.resource or metric.container_resource
    if source is None:
        return str(error), error.told if isinstance(error, NotTold) else str(error)
    what = "utilization" if source.target.type == "Utilization" else "usage"
    message = f"failed to get {source.name} {what}: {error}"
    return message, message


def _value_of(metric: MetricSpec) -> str:
    if metric.container_resource is not None:
        return f"{metric.container_resource.container} container metric value"
    if metric.resource is not None:
        return f"{metric.resource.name} resource metric value"
    return f"{metric.type.lower()} metric value"


def horizontal_pod_autoscaler_controller(
    informers: SharedInformers,
    *,
    clock: Clock,
    recorder: EventRecorder,
    scheme: Scheme,
    metrics: PodMetrics | None = None,
) -> Controller:
    """Return the controller; without `metrics` autoscalers keep to their bounds and say what is missing."""
    own = recorder.source(NAME)
    return Controller(
        NAME,
        AutoscalerReconciler(informers, metrics, clock=clock, recorder=own, scheme=scheme),
        [
            (informers.of(HorizontalPodAutoscaler), itself),
            (informers.of(Pod), nothing),
            *((informers.of(kind), nothing) for kind in SCALABLE),
        ],
        recorder=own,
    )
