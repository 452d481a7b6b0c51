"""DaemonSets: one Pod on every node that fits."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from kubelib.api.apps_sets import ControllerRevision, DaemonSet
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, nothing, owner_of_kind
from kubelib.controllers.daemons import (
    bound_to,
    by_node,
    eligible,
    node_of,
    plan,
    plan_update,
    status_of,
    template_for_pods,
)
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.matching import owner_or_matching, selector_of
from kubelib.controllers.ownership import Claims
from kubelib.controllers.parallel import for_each, slow_start
from kubelib.controllers.podcontrol import PodControl, failures
from kubelib.controllers.pods import pod_from_template, seconds_until_available
from kubelib.controllers.revisions import POD_LABEL, Revisions
from kubelib.controllers.rollout import empty_selector
from kubelib.controllers.statuses import write_status
from kubelib.informers import Backoff, SharedInformers
from kubelib.registry.base import Patch

NAME = "daemonset-controller"
BURST = 250
"""How many Pods one look creates or deletes at most."""
SOON = 0.1
"""Seconds until what was written is seen."""
RECREATE = Backoff(1.0, 15 * 60.0)
"""How long a node waits for another Pod after one that has failed, longer with each."""


class DaemonSetReconciler:
    """Carries out the plan of `kubelib.controllers.daemons`."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, recorder: Recorder) -> None:
        client = informers.client
        self._owners = informers.of(DaemonSet)
        self._nodes = informers.of(Node)
        self._pods = informers.of(Pod)
        self._owner_registry = client.resource(DaemonSet)
        self._pod_registry = client.resource(Pod)
        self._revisions: Revisions[DaemonSet] = Revisions(informers, DaemonSet, hash_label=POD_LABEL)
        self._claims: Claims[DaemonSet, Pod] = Claims(client, DaemonSet, self._pods.cache)
        self._control = PodControl(client, self._pods.cache, recorder)
        self._expectations = self._control.expectations
        self._failures: dict[Key, _Failures] = {}
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Create and delete Pods for the set at `key`, then write its status."""
        owner = self._owners.cache.view(key)
        if owner is None:
            self._expectations.forget(key)
            self._failures.pop(key, None)
            return None
        if empty_selector(owner.spec.selector):
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._recorder.warning(owner, "SelectingAll", message)
            return None
        if owner.metadata.deletion_timestamp is not None:
            return None
        up_to_date = self._expectations.satisfied(key)
        known = await self._revisions.of(owner)
        current, collisions = await self._revisions.ensure(owner, known, owner.status.collision_count or 0)
        hash_ = current.metadata.labels.get(POD_LABEL, "")
        claimed = await self._claims.claim(owner, selector_of(owner))
        pods = [document.view(Pod) for document in claimed]
        if doubles := [
            r for r in known if r.data == current.data and r.metadata.name != current.metadata.name
        ]:
            await self._unite(pods, hash_, doubles)
            return After(SOON)
        found, now = by_node(pods), self._clock.now()
        nodes = {d.meta.name: eligible(owner.spec.template, d.view(Node)) for d in self._nodes.cache}
        errors: list[Exception] = []
        waits: list[float] = []
        if up_to_date:
            step = plan(owner, nodes, found, hash_, now)
            waits, due = self._due(key, owner, step.ended)
            create, doomed = step.create, (*step.delete, *due)
            if not create and not doomed:
                # Only on a set that is as it should be, so that what cannot be made does not cost what is there.
                step = plan_update(owner, nodes, found, hash_, now)
                create, doomed = step.create, step.delete
            errors = await self._create(key, owner, hash_, create)
            errors += await self._delete(key, owner, doomed)
        status = status_of(owner, nodes, found, hash_, collisions, now, acted=up_to_date)
        await write_status(self._owner_registry, owner, status)
        errors = failures(errors)
        if errors:
            raise errors[0]
        if up_to_date:
            hashes = {pod.metadata.labels.get(POD_LABEL) for pod in pods} | {hash_}
            live = frozenset(r.metadata.name for r in known if r.metadata.labels.get(POD_LABEL) in hashes)
            await self._revisions.trim(owner, known, live, counted=live - {current.metadata.name})
        seconds = owner.spec.min_ready_seconds
        if seconds and (wait := seconds_until_available(pods, seconds, now)) is not None:
            waits.append(wait)
        return After(min(waits)) if waits else None

    async def _unite(self, pods: Sequence[Pod], hash_: str, doubles: Sequence[ControllerRevision]) -> None:
        """Make one of several revisions of the same template: their Pods are up to date and need not be replaced."""
        earlier = {revision.metadata.labels.get(POD_LABEL) for revision in doubles}
        for pod in pods:
            if pod.metadata.labels.get(POD_LABEL) in earlier:
                labels = Patch("merge", {"metadata": {"labels": {POD_LABEL: hash_}}})
                with suppress(NotFound):
                    await self._pod_registry.patch(pod.key, labels)
        for revision in doubles:
            await self._revisions.delete(revision)

    def _due(self, key: Key, owner: DaemonSet, ended: Sequence[Pod]) -> tuple[list[float], list[Pod]]:
        """Return how long to wait for Pods that have failed, and those whose time has come."""
        failures = self._failures.setdefault(key, _Failures())
        now, waits, due = self._clock.now().timestamp(), [], []
        failures.forget(now)
        for pod in ended:
            node = node_of(pod)
            found = f"daemon pod {pod.key} on node {node}, will try to"
            if pod.status.phase == "Failed":
                where = (owner.metadata.generation, node)
                if (wait := failures.wait(where, now)) > 0:
                    waits.append(wait)
                    continue
                failures.note(where, now)
                self._recorder.warning(owner, "FailedDaemonPod", f"Found failed {found} kill it")
            else:
                self._recorder.normal(owner, "SucceededDaemonPod", f"Found succeeded {found} delete it")
            due.append(pod)
        return waits, due

    async def _create(self, key: Key, owner: DaemonSet, hash_: str, nodes: Sequence[str]) -> list[Exception]:
        pod = pod_from_template(template_for_pods(owner, hash_), owner)

        async def create(node: str) -> None:
            await self._control.create(key, owner, replace(pod, spec=bound_to(pod.spec, node)))

        return await slow_start(nodes[:BURST], create)

    async def _delete(self, key: Key, owner: DaemonSet, doomed: Sequence[Pod]) -> list[Exception]:
        return await for_each(doomed[:BURST], partial(self._control.delete, key, owner))


class _Failures:
    """How often Pods have failed, per generation of a set and node."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], tuple[int, float]] = {}

    def wait(self, where: tuple[int, str], now: float) -> float:
        count, at = self._seen.get(where, (0, 0.0))
        return at + RECREATE.delay(count - 1) - now if count else 0.0

    def note(self, where: tuple[int, str], now: float) -> None:
        count, _ = self._seen.get(where, (0, 0.0))
        self._seen[where] = (count + 1, now)

    def forget(self, now: float) -> None:
        """Forget what was longer ago than two of the longest waits."""
        longest = 2 * RECREATE.maximum
        self._seen = {where: seen for where, seen in self._seen.items() if now - seen[1] <= longest}


def _concerns(document: Document) -> tuple[Mapping[str, str], object]:
    """Return what of a node decides who runs there: not its heartbeat."""
    node = document.view(Node)
    return node.metadata.labels, node.spec.taints


def daemon_set_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 2
) -> Controller:
    """Return the controller of DaemonSets."""
    own = recorder.source(NAME)
    owners = informers.of(DaemonSet)
    pods = owner_or_matching(owners, owner_of_kind(DaemonSet), selector_of)
    # A revision that has an owner is looked at when the owner is: those that somebody writes stay until then.
    orphans = owner_or_matching(owners, nothing, selector_of)
    controller = Controller(
        NAME,
        DaemonSetReconciler(informers, clock=clock, recorder=own),
        [
            (owners, itself),
            (informers.of(Pod), pods),
            (informers.of(ControllerRevision), orphans),
            (informers.of(Node), nothing),
        ],
        workers=workers,
        recorder=own,
    )

    def node_changed(old: Document | None, new: Document | None) -> None:
        if old is None or new is None or _concerns(old) != _concerns(new):
            for document in owners.cache:
                controller.queue.add(document.key)

    informers.of(Node).subscribe(node_changed)
    return controller
