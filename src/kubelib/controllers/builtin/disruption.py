"""Disruption budgets: how many of their Pods are healthy, and how many may therefore be evicted.

The numbers are those of ``pkg/controller/disruption``; the eviction subresource charges them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from kubelib.api.apps import ReplicaSet
from kubelib.api.autoscaling import Scale
from kubelib.api.codec import encode_json, parse_json
from kubelib.api.columns.cells import go_selector_text
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.disruption import with_condition
from kubelib.api.errors import NotFound
from kubelib.api.intorstring import scaled
from kubelib.api.meta import Key, OwnerReference, controller_of
from kubelib.api.model import replace
from kubelib.api.policy import PodDisruptionBudget, PodDisruptionBudgetStatus
from kubelib.api.scheme import Scheme, UnknownKind
from kubelib.client.update import update_with
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.manager import Manager
from kubelib.controllers.matching import Selecting
from kubelib.controllers.pods import condition_of, is_ready, is_terminal
from kubelib.controllers.scales import SCALABLE, Scales
from kubelib.controllers.statuses import write_status
from kubelib.informers import Component, SharedInformers
from kubelib.labels import NOTHING, Selector, selector_from_label_selector

NAME = "disruption-controller"
PATIENCE = timedelta(minutes=2)
"""How long an eviction that was allowed has until its Pod is being deleted."""


class CannotCount(Exception):
    """It cannot be said how many Pods there should be."""


@attrs.frozen
class Plan:
    """What a budget should say, and what is strange."""

    status: PodDisruptionBudgetStatus
    again: datetime | None = None
    """When an eviction that was allowed has to have happened."""
    unmanaged: tuple[str, ...] = ()
    """Pods that nothing controls, though the budget counts in shares of what controllers want."""
    not_deleted: tuple[str, ...] = ()
    """Pods that were to be evicted and stayed."""


def counts_scales(budget: PodDisruptionBudget) -> bool:
    """Return whether a budget needs to know how many Pods their controllers want."""
    spec = budget.spec
    return spec.max_unavailable is not None or isinstance(spec.min_available, str)


def plan(budget: PodDisruptionBudget, pods: Sequence[Pod], scales: Mapping[str, int], now: datetime) -> Plan:
    """Return the status of a budget by its Pods. `scales` has what each controller wants, by its uid.

    Raises ValueError for a share that is none.
    """
    spec = budget.spec
    unmanaged: tuple[str, ...] = ()
    if counts_scales(budget):
        expected = sum(scales.values())
        unmanaged = tuple(pod.metadata.name for pod in pods if controller_of(pod) is None)
    else:
        expected = len(pods)
    if spec.max_unavailable is not None:
        desired = max(0, expected - scaled(spec.max_unavailable, expected, round_up=True))
    elif spec.min_available is not None:
        desired = scaled(spec.min_available, expected, round_up=True)
    else:
        expected = desired = 0
    disrupted: dict[str, datetime] = {}
    not_deleted = []
    healthy = 0
    for pod in pods:
        name = pod.metadata.name
        if pod.metadata.deletion_timestamp is not None:
            continue
        since = budget.status.disrupted_pods.get(name)
        if since is not None:
            if since + PATIENCE >= now:
                disrupted[name] = since
                continue
            not_deleted.append(name)
        healthy += is_ready(pod)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    status = replace(
        budget.status,
        observed_generation=budget.metadata.generation,
        disrupted_pods=disrupted,
        disruptions_allowed=allowed,
        current_healthy=healthy,
        desired_healthy=desired,
        expected_pods=expected,
    )
    return Plan(
        with_condition(status, now),
        min(disrupted.values(), default=now) + PATIENCE if disrupted else None,
        unmanaged,
        tuple(not_deleted),
    )


def selector_of(budget: PodDisruptionBudget) -> Selector:
    """Return which Pods a budget is about: without a selector none, with an empty one all."""
    selector = budget.spec.selector
    return NOTHING if selector is None else selector_from_label_selector(selector)


class Budgets:
    """A `Reconciler` of disruption budgets."""

    def __init__(
        self, informers: SharedInformers, *, clock: Clock, recorder: Recorder, scheme: Scheme
    ) -> None:
        self._client = informers.client
        self._budgets = informers.of(PodDisruptionBudget).cache
        self._pods = informers.of(Pod).cache
        self._all_scales = Scales(informers, scheme)
        self._clock = clock
        self._recorder = recorder
        self._scheme = scheme

    async def reconcile(self, key: Key) -> After | None:
        """Look at one budget."""
        budget = self._budgets.view(key)
        if budget is None:
            return None
        now = self._clock.now()
        pods = [document.view(Pod) for document in self._pods.select(selector_of(budget), key.namespace)]
        if not pods:
            self._recorder.normal(budget, "NoPods", "No matching pods found")
        try:
            scales = await self._scales(pods, key.namespace) if counts_scales(budget) else {}
            found = plan(budget, pods, scales, now)
        except (CannotCount, ValueError) as error:
            self._recorder.warning(
                budget,
                "CalculateExpectedPodCountFailed",
                f"Failed to calculate the number of expected pods: {error}",
            )
            status = replace(budget.status, disruptions_allowed=0)
            await write_status(
                self._client.resource(PodDisruptionBudget),
                budget,
                with_condition(status, now, failure=str(error)),
            )
            return None
        if found.unmanaged:
            self._recorder.warning(
                budget,
                "UnmanagedPods",
                "Pods selected by this PodDisruptionBudget (selector:"
                f" {go_selector_text(parse_json(encode_json(budget.spec.selector)))}) were found to be unmanaged. As a result, the status of the PDB cannot be"
                " calculated correctly, which may result in undefined behavior. To account for these pods please set"
                ' ".spec.minAvailable" field of the PDB to an integer value.',
            )
        for pod in pods:
            if pod.metadata.name in found.not_deleted:
                self._recorder.warning(
                    pod,
                    "NotDeleted",
                    f"Pod was expected by PDB {key.namespace}/{key.name} to be deleted but it wasn't",
                )
        await write_status(self._client.resource(PodDisruptionBudget), budget, found.status)
        return After((found.again - now).total_seconds() + 1) if found.again is not None else None

    async def _scales(self, pods: Sequence[Pod], namespace: str) -> dict[str, int]:
        """Return how many Pods each controller wants. Raises CannotCount."""
        scales: dict[str, int] = {}
        seen: set[str] = set()
        for pod in pods:
            reference = controller_of(pod)
            if reference is None or reference.uid in seen:
                continue
            seen.add(reference.uid)
            scale = await self._scale(reference, namespace)
            if scale is None:
                raise CannotCount(f'found no controllers for pod "{pod.metadata.name}"')
            scales[scale.metadata.uid] = scale.spec.replicas
        return scales

    async def _scale(self, reference: OwnerReference, namespace: str) -> Scale | None:
        """Return how many Pods a controller wants, for a ReplicaSet its Deployment; None if there is no such controller."""
        try:
            resource = self._scheme.kind(reference.api_version, reference.kind)
        except UnknownKind as error:
            raise CannotCount(str(error)) from None
        key = Key(namespace, reference.name)
        if "scale" not in resource.subresources:
            raise CannotCount(f"{resource.group_resource} does not implement the scale subresource")
        try:
            scale = await self._all_scales.get(resource, key)
        except NotFound:
            return None
        if scale.metadata.uid != reference.uid:
            return None
        above = controller_of(scale) if resource.cls is ReplicaSet else None
        if above is not None and above.kind == "Deployment":
            return await self._scale(above, namespace)
        return scale


class StaleDisruptions:
    """A `Reconciler` of Pods: one that was to go and stayed says so no longer."""

    def __init__(self, informers: SharedInformers, *, clock: Clock) -> None:
        self._client = informers.client
        self._pods = informers.of(Pod).cache
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Look at one Pod."""
        pod = self._pods.view(key)
        since = stale_since(pod) if pod is not None else None
        if since is None:
            return None
        wait = (since + PATIENCE - self._clock.now()).total_seconds()
        if wait > 0:
            return After(wait)
        now = self._clock.now().replace(microsecond=0)

        def reset(current: Pod) -> Pod:
            if stale_since(current) is None:
                return current
            conditions = tuple(
                PodCondition(type=c.type, status="False", last_transition_time=now)
                if c.type == "DisruptionTarget"
                else c
                for c in current.status.conditions
            )
            return replace(current, status=replace(current.status, conditions=conditions))

        try:
            await update_with(self._client, Pod, key, reset, subresource="status")
        except NotFound:
            return None
        return None


def stale_since(pod: Pod) -> datetime | None:
    """Return since when a Pod is said to be going, if it is not, and not by its kubelet."""
    told = condition_of(pod, "DisruptionTarget")
    if told is None or told.status != "True" or told.reason == "TerminationByKubelet":
        return None
    if pod.metadata.deletion_timestamp is not None or is_terminal(pod):
        return None
    return told.last_transition_time


def disruption_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, scheme: Scheme
) -> Component:
    """Return the controller of disruption budgets."""
    own = recorder.source(NAME)
    budgets, pods = informers.of(PodDisruptionBudget), informers.of(Pod)
    matching = Selecting(budgets, selector_of)
    return Manager(
        [
            Controller(
                "disruption budgets",
                Budgets(informers, clock=clock, recorder=own, scheme=scheme),
                [
                    (budgets, itself),
                    (pods, matching.keys),
                    *((informers.of(kind), nothing) for kind in SCALABLE),
                ],
                recorder=own,
            ),
            Controller(
                "stale disruptions",
                StaleDisruptions(informers, clock=clock),
                [(pods, lambda document: (document.key,) if b"DisruptionTarget" in document.raw else ())],
            ),
        ],
        name=NAME,
    )
