"""So many copies of a Pod: what ReplicationControllers and ReplicaSets do alike.

`plan` decides from the pods that there are, purely; `Replication` finds the pods, carries the plan out and writes down
what it sees.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from kubelib.api.apps import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from kubelib.api.core.pod import Pod, PodTemplateSpec
from kubelib.api.core.replication import (
    ReplicationController,
    ReplicationControllerCondition,
    ReplicationControllerStatus,
)
from kubelib.api.document import Document
from kubelib.api.errors import Conflict, NotFound
from kubelib.api.meta import Key, controller_of
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.events import Recorder
from kubelib.controllers.ownership import Claims
from kubelib.controllers.parallel import for_each, slow_start
from kubelib.controllers.podcontrol import PodControl, failures
from kubelib.controllers.pods import (
    choose_to_delete,
    is_active,
    is_available,
    is_ready,
    pod_from_template,
    seconds_until_available,
)
from kubelib.informers import BY_CONTROLLER, Informer, SharedInformers
from kubelib.labels import Selector
from kubelib.registry.base import Registry

BURST = 500
"""How many pods one look creates or deletes at most."""

W = TypeVar("W", ReplicationController, ReplicaSet)
"""What asks for copies."""


@attrs.frozen
class Create:
    """Make so many pods."""

    count: int


@attrs.frozen
class Remove:
    """Delete so many pods."""

    count: int


def plan(wanted: int, active: int, *, burst: int = BURST) -> Create | Remove | None:
    """Return what brings the number of active pods closer to the wanted one.

    >>> plan(3, 1), plan(1, 3), plan(2, 2), plan(1000, 0)
    (Create(count=2), Remove(count=2), None, Create(count=500))
    """
    if active < wanted:
        return Create(min(wanted - active, burst))
    if active > wanted:
        return Remove(min(active - wanted, burst))
    return None


@attrs.frozen(kw_only=True)
class Observed:
    """What the status says, whichever kind it is written for."""

    replicas: int
    fully_labeled: int
    ready: int
    available: int
    terminating: int


def observe(
    pods: Sequence[Pod], template: PodTemplateSpec, min_ready_seconds: int, now: Any, terminating: int = 0
) -> Observed:
    """Count active pods by how far they have come."""
    wanted = template.metadata.labels.items()
    ready = [pod for pod in pods if is_ready(pod)]
    return Observed(
        replicas=len(pods),
        fully_labeled=sum(wanted <= pod.metadata.labels.items() for pod in pods),
        ready=len(ready),
        available=sum(is_available(pod, min_ready_seconds, now) for pod in ready),
        terminating=terminating,
    )


class Replication(Generic[W]):
    """A `Reconciler` that keeps the wanted number of pods for each object of one kind."""

    def __init__(
        self,
        kind: type[W],
        selector: Callable[[W], Selector],
        informers: SharedInformers,
        *,
        clock: Clock,
        recorder: Recorder,
        burst: int = BURST,
    ) -> None:
        client = informers.client
        self._owners: Informer[W] = informers.of(kind)
        self._pods: Informer[Pod] = informers.of(Pod)
        self._selector: Callable[[W], Selector] = selector
        self._owner_registry: Registry[W] = client.resource(kind)
        self._claims: Claims[W, Pod] = Claims(client, kind, self._pods.cache)
        self._control = PodControl(client, self._pods.cache, recorder)
        self._expectations = self._control.expectations
        self._clock = clock
        self._burst = burst

    async def reconcile(self, key: Key) -> After | None:
        """Create or delete pods for the object at `key`, then write its status."""
        owner = self._owners.cache.view(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        up_to_date = self._expectations.satisfied(key)
        claimed = await self._claims.claim(owner, self._selector(owner), among=_not_ended)
        pods = [document.view(Pod) for document in claimed]
        active = [pod for pod in pods if is_active(pod)]
        failure: tuple[str, Exception] | None = None
        if up_to_date and owner.metadata.deletion_timestamp is None:
            failure = await self._act(key, owner, active)
        after = await self._write_status(owner, active, len(pods) - len(active), failure)
        if failure is not None:
            raise failure[1]
        return after

    async def _act(self, key: Key, owner: W, active: Sequence[Pod]) -> tuple[str, Exception] | None:
        """Carry out the plan; return the reason and the error of what failed."""
        action = plan(_wanted(owner), len(active), burst=self._burst)
        if isinstance(action, Create):
            errors = failures(await self._create(key, owner, action.count))
            return ("FailedCreate", errors[0]) if errors else None
        if isinstance(action, Remove):
            related = self._related(owner)
            doomed = choose_to_delete(active, action.count, self._clock.now(), related)
            errors = await self._delete(key, owner, doomed)
            return ("FailedDelete", errors[0]) if errors else None
        return None

    async def _create(self, key: Key, owner: W, count: int) -> list[Exception]:
        pod = pod_from_template(_template(owner), owner)

        async def create(_: int) -> None:
            await self._control.create(key, owner, pod)

        return await slow_start(range(count), create)

    async def _delete(self, key: Key, owner: W, doomed: Sequence[Pod]) -> list[Exception]:
        return await for_each(doomed, partial(self._control.delete, key, owner))

    def _related(self, owner: W) -> Sequence[Pod]:
        """Return the pods of all sets that have the owner's own owner: neighbours during a rolling update.

        Without one there are none: who copies pods by itself does not care how crowded nodes are.
        """
        above = controller_of(owner)
        if above is None:
            return []
        return [
            document.view(Pod)
            for sibling in self._owners.cache.by_index(BY_CONTROLLER, above.uid)
            for document in self._pods.cache.by_index(BY_CONTROLLER, sibling.meta.uid)
        ]

    async def _write_status(
        self, owner: W, active: Sequence[Pod], terminating: int, failure: tuple[str, Exception] | None
    ) -> After | None:
        now, spec = self._clock.now(), owner.spec
        observed = observe(active, _template(owner), spec.min_ready_seconds, now, terminating)
        for attempt in (1, 2):
            status = status_of(owner, observed, failure, now)
            if status != owner.status:
                try:
                    await self._owner_registry.update(replace(owner, status=status), subresource="status")
                except Conflict:
                    # Only the status moved on, or the spec did: then the next look sees it.
                    if attempt == 2:
                        raise
                    owner = await self._owner_registry.get(owner.key)
                    continue
                except NotFound:
                    return None
            break
        wait = (
            seconds_until_available(active, spec.min_ready_seconds, now) if spec.min_ready_seconds else None
        )
        return After(wait) if wait is not None else None


def status_of(owner: W, observed: Observed, failure: tuple[str, Exception] | None, now: Any) -> Any:
    """Return the status of an owner, its condition ReplicaFailure set or cleared."""
    if isinstance(owner, ReplicaSet):
        return ReplicaSetStatus(
            replicas=observed.replicas,
            fully_labeled_replicas=observed.fully_labeled,
            ready_replicas=observed.ready,
            available_replicas=observed.available,
            terminating_replicas=observed.terminating,
            observed_generation=owner.metadata.generation,
            conditions=_conditions(owner.status.conditions, ReplicaSetCondition, failure, now),
        )
    return ReplicationControllerStatus(
        replicas=observed.replicas,
        fully_labeled_replicas=observed.fully_labeled,
        ready_replicas=observed.ready,
        available_replicas=observed.available,
        observed_generation=owner.metadata.generation,
        conditions=_conditions(owner.status.conditions, ReplicationControllerCondition, failure, now),
    )


def _conditions(
    current: Sequence[Any], cls: type[Any], failure: tuple[str, Exception] | None, now: Any
) -> tuple[Any, ...]:
    others = tuple(condition for condition in current if condition.type != "ReplicaFailure")
    if failure is None:
        return others
    if len(others) < len(current):
        return tuple(current)  # what failed first stays until nothing does
    reason, error = failure
    condition = cls(
        type="ReplicaFailure",
        status="True",
        reason=reason,
        message=f"unable to delete pods: {error}" if reason == "FailedDelete" else str(error),
        last_transition_time=now.replace(microsecond=0),
    )
    return (*others, condition)


def _wanted(owner: W) -> int:
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def _template(owner: W) -> PodTemplateSpec:
    template: PodTemplateSpec | None = owner.spec.template
    return template if template is not None else PodTemplateSpec()


def _not_ended(document: Document) -> bool:
    return document.view(Pod).status.phase not in ("Succeeded", "Failed")
