"""HorizontalPodAutoscalers: as many replicas as what their Pods use calls for."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

import anyio
import attrs

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.apps_sets import StatefulSet
from kubelib.api.autoscaling_v2 import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerCondition,
    MetricSpec,
)
from kubelib.api.core.pod import Pod
from kubelib.api.core.replication import ReplicationController
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.quantity import parse_quantity
from kubelib.clock import Clock
from kubelib.controllers.autoscaling import (
    CannotCompute,
    MetricsUnavailable,
    PodMetrics,
    Recommendations,
    Usage,
    limited,
)
from kubelib.controllers.autoscaling.metrics import NO_METRICS, TOLERANCE, Computed, compute
from kubelib.controllers.autoscaling.rates import rules_of
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.statuses import write_status
from kubelib.informers import BY_NAMESPACE, SharedInformers
from kubelib.labels import Selector, selector_from_label_selector, selector_from_match_labels
from kubelib.registry.base import Patch

NAME = "horizontal-pod-autoscaler"
PERIOD = 15.0
SCALABLE: tuple[type[Object], ...] = (Deployment, ReplicaSet, StatefulSet, ReplicationController)


@attrs.frozen
class _Target:
    obj: Object
    wanted: int
    replicas: int
    selector: Selector


@attrs.frozen
class _Verdict:
    """What a look has come to."""

    desired: int
    reason: str = ""
    computed: tuple[Computed, ...] = ()


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
        self, informers: SharedInformers, metrics: PodMetrics | None, *, clock: Clock, recorder: Recorder
    ) -> None:
        self._client = informers.client
        self._autoscalers = informers.of(HorizontalPodAutoscaler)
        self._pods = informers.of(Pod)
        self._targets = {(kind.api_version, kind.kind): informers.of(kind) for kind in SCALABLE}
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
        target = self._target(autoscaler)
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
        verdict = await self._verdict(autoscaler, target, conditions, memory)
        if verdict is None:
            status = replace(status, current_replicas=target.replicas)
            await write_status(self._registry, autoscaler, replace(status, conditions=tuple(conditions.all)))
            return
        if verdict.desired != target.wanted:
            if await self._scale(autoscaler, target, verdict, conditions):
                memory.changes.append((anyio.current_time(), verdict.desired - target.wanted))
                status = replace(status, last_scale_time=self._clock.now().replace(microsecond=0))
            else:
                verdict = attrs.evolve(verdict, desired=target.wanted)
        await write_status(
            self._registry,
            autoscaler,
            replace(
                status,
                current_replicas=target.replicas,
                desired_replicas=verdict.desired,
                current_metrics=tuple(c.status for c in verdict.computed),
                conditions=tuple(conditions.all),
            ),
        )

    def _target(self, autoscaler: HorizontalPodAutoscaler) -> _Target | str:
        ref = autoscaler.spec.scale_target_ref
        informer = self._targets.get((ref.api_version, ref.kind))
        if informer is None:
            return f'no matches for kind "{ref.kind}" in group "{ref.api_version.rpartition("/")[0]}"'
        obj = informer.cache.view(Key(autoscaler.metadata.namespace, ref.name))
        if obj is None:
            group = ref.api_version.rpartition("/")[0]
            plural = f"{ref.kind.lower()}s"
            return f'{plural}{"." + group if group else ""} "{ref.name}" not found'
        spec = obj.spec  # type: ignore[attr-defined]
        selector = (
            selector_from_match_labels(spec.selector)
            if isinstance(obj, ReplicationController)
            else selector_from_label_selector(spec.selector)
        )
        wanted = 1 if spec.replicas is None else spec.replicas
        return _Target(obj, wanted, obj.status.replicas, selector)  # type: ignore[attr-defined]

    async def _verdict(
        self,
        autoscaler: HorizontalPodAutoscaler,
        target: _Target,
        conditions: _Conditions,
        memory: Recommendations,
    ) -> _Verdict | None:
        """Return how many replicas there are to be now; None if that cannot be told."""
        spec, current = autoscaler.spec, target.wanted
        least = 1 if spec.min_replicas is None else spec.min_replicas
        if current == 0 and least != 0:
            message = "scaling is disabled since the replica count of the target is zero"
            conditions.set("ScalingActive", "False", "ScalingDisabled", message)
            return _Verdict(0)
        if current > spec.max_replicas:
            return _Verdict(spec.max_replicas, "Current number of replicas above Spec.MaxReplicas")
        if current < least:
            return _Verdict(least, "Current number of replicas below Spec.MinReplicas")
        found = await self._compute(autoscaler, target, conditions)
        if not found:
            return None
        best = max(found, key=lambda c: c.replicas)
        outcome = limited(autoscaler, memory, current, best.replicas, anyio.current_time())
        if outcome.stabilized is not None:
            conditions.set("AbleToScale", "True", *outcome.stabilized)
        else:
            conditions.set("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
        conditions.set(
            "ScalingLimited", "True" if outcome.is_limited else "False", outcome.reason, outcome.message
        )
        reason = f"{best.name} above target" if outcome.replicas > current else "All metrics below target"
        return _Verdict(outcome.replicas, reason, tuple(found))

    async def _compute(
        self, autoscaler: HorizontalPodAutoscaler, target: _Target, conditions: _Conditions
    ) -> list[Computed]:
        """Return what the metrics call for; nothing if they must not be acted upon."""
        namespace = autoscaler.metadata.namespace
        selected = self._pods.cache.select(target.selector, namespace)
        rivals = self._rivals(autoscaler, {frozenset(d.meta.labels.items()) for d in selected})
        if rivals:
            keys = sorted([autoscaler.key, *rivals])
            named = " ".join(f"{{{key.name} {key.namespace}}}" for key in keys)
            message = f"pods by selector {target.selector} are controlled by multiple HPAs: [{named}]"
            self._recorder.warning(autoscaler, "AmbiguousSelector", message)
            self._recorder.warning(autoscaler, "FailedComputeMetricsReplicas", message)
            conditions.set("ScalingActive", "False", "AmbiguousSelector", message)
            return []
        pods = [d.view(Pod) for d in selected]
        found: list[Computed] = []
        problems: list[tuple[str, str]] = []
        for metric in autoscaler.spec.metrics:
            try:
                found.append(await self._one(autoscaler, metric, pods, target))
            except (CannotCompute, MetricsUnavailable) as error:
                reason = f"FailedGet{metric.type}Metric"
                problems.append((reason, f"failed to get {_name(metric)}: {error}"))
        # With part of the metrics missing, less is never right; more can be.
        if problems and (not found or max(c.replicas for c in found) < target.wanted):
            reason, message = problems[0]
            self._recorder.warning(autoscaler, reason, message)
            total = f"invalid metrics ({len(problems)} invalid out of {len(autoscaler.spec.metrics)}), first error is: {message}"
            self._recorder.warning(autoscaler, "FailedComputeMetricsReplicas", total)
            conditions.set(
                "ScalingActive",
                "False",
                reason,
                f"the HPA was unable to compute the replica count: {message}",
            )
            return []
        best = max(found, key=lambda c: c.replicas)
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        conditions.set("ScalingActive", "True", "ValidMetricFound", message)
        return found

    def _rivals(
        self, autoscaler: HorizontalPodAutoscaler, labels: AbstractSet[frozenset[tuple[str, str]]]
    ) -> list[Key]:
        """Return the other autoscalers whose Pods some of those with these labels are: each would undo what the other does."""
        found = []
        for document in self._autoscalers.cache.by_index(BY_NAMESPACE, autoscaler.metadata.namespace):
            if document.meta.name == autoscaler.metadata.name:
                continue
            other = self._target(document.view(HorizontalPodAutoscaler))
            if isinstance(other, _Target) and any(other.selector.matches(dict(one)) for one in labels):
                found.append(document.key)
        return found

    async def _one(
        self, autoscaler: HorizontalPodAutoscaler, metric: MetricSpec, pods: Sequence[Pod], target: _Target
    ) -> Computed:
        usage: Mapping[str, Usage] = {}
        if (source := metric.resource or metric.container_resource) is not None:
            try:
                if self._metrics is None:
                    raise MetricsUnavailable(
                        f"unable to fetch metrics from resource metrics API: {NO_METRICS}"
                    )
                usage = await self._metrics.usage(autoscaler.metadata.namespace, target.selector)
            except MetricsUnavailable as error:
                raise MetricsUnavailable(
                    f"unable to get metrics for resource {source.name}: {error}"
                ) from None
        up, down = (
            float(parse_quantity(rules.tolerance).amount) if rules.tolerance else TOLERANCE
            for rules in rules_of(autoscaler)
        )
        return compute(metric, pods, usage, target.wanted, self._clock.now(), up=up, down=down)

    async def _scale(
        self,
        autoscaler: HorizontalPodAutoscaler,
        target: _Target,
        verdict: _Verdict,
        conditions: _Conditions,
    ) -> bool:
        meta = target.obj.metadata
        body = {"metadata": {"resourceVersion": meta.resource_version}, "spec": {"replicas": verdict.desired}}
        try:
            await self._client.resource(type(target.obj)).patch(
                target.obj.key, Patch("merge", body), subresource="scale"
            )
        except ApiError as error:
            message = f"New size: {verdict.desired}; reason: {verdict.reason}; error: {error}"
            self._recorder.warning(autoscaler, "FailedRescale", message)
            conditions.set(
                "AbleToScale",
                "False",
                "FailedUpdateScale",
                f"the HPA controller was unable to update the target scale: {error}",
            )
            return False
        self._recorder.normal(
            autoscaler, "SuccessfulRescale", f"New size: {verdict.desired}; reason: {verdict.reason}"
        )
        conditions.set(
            "AbleToScale",
            "True",
            "SucceededRescale",
            f"the HPA controller was able to update the target scale to {verdict.desired}",
        )
        return True


def _name(metric: MetricSpec) -> str:
    source = metric.resource or metric.container_resource
    if source is None:
        return f"{metric.type} metric"
    return f"{source.name} {'utilization' if source.target.type == 'Utilization' else 'usage'}"


def horizontal_pod_autoscaler_controller(
    informers: SharedInformers,
    *,
    clock: Clock,
    recorder: EventRecorder,
    metrics: PodMetrics | None = None,
) -> Controller:
    """Return the controller; without `metrics` autoscalers keep to their bounds and say what is missing."""
    own = recorder.source(NAME)
    return Controller(
        NAME,
        AutoscalerReconciler(informers, metrics, clock=clock, recorder=own),
        [
            (informers.of(HorizontalPodAutoscaler), itself),
            (informers.of(Pod), nothing),
            *((informers.of(kind), nothing) for kind in SCALABLE),
        ],
        recorder=own,
    )
