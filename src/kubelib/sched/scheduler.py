"""The scheduler: a component that binds Pods to nodes, by one policy, many in one transaction."""

import logging
from random import Random
from typing import Protocol, runtime_checkable

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.times import format_time
from kubelib.client.base import Client
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch
from kubelib.registry.binding import Binder, Claim
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.queue import SchedulingQueue
from kubelib.store import StoreError

log = logging.getLogger("kubelib.sched")

BATCH = 256


@runtime_checkable
class BindsMany(Protocol):
    """A client that can commit many bindings in one transaction: one near the store."""

    binder: Binder


class Recorder(Protocol):
    """Where Events go."""

    def normal(self, about: Object, reason: str, message: str) -> None:
        """Report something ordinary."""
        ...

    def warning(self, about: Object, reason: str, message: str) -> None:
        """Report something wrong."""
        ...


class Scheduler:
    """Binds the Pods that name it, until it is cancelled."""

    def __init__(
        self,
        client: Client,
        *,
        random: Random,
        policy: Policy | None = None,
        name: str = "default-scheduler",
        clock: Clock = SYSTEM_CLOCK,
        recorder: Recorder | None = None,
    ) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self.table = NodeTable()
        self.queue = SchedulingQueue()
        self._cycle = Cycle(self.table, policy or default_policy(), random)
        self._informers = SharedInformers(client, random=random)
        self._pods = self._informers.of(Pod)
        self._nodes = self._informers.of(Node)
        self._namespaces = self._informers.of(Namespace)
        self._limit = anyio.CapacityLimiter(32)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once nodes and Pods are known."""
        async with anyio.create_task_group() as group:
            await group.start(self._informers.run)
            self._namespaces.subscribe(self._on_namespace)
            self._nodes.subscribe(self._on_node)
            self._pods.subscribe(self._on_pod)
            task_status.started()
            while True:
                await self._schedule(await self.queue.take(BATCH))

    # What happens

    def _on_namespace(self, old: Document | None, new: Document | None) -> None:
        about = new or old
        assert about is not None
        self.table.put_namespace(about.meta.name, new.meta.labels if new is not None else None)

    def _on_node(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            assert old is not None
            self.table.remove_node(old.meta.name)
        else:
            try:
                changed = self.table.put_node(new.view(Node))
            except ValueError as error:
                log.warning("node %s is not understood: %s", new.meta.name, error)
                return
            if changed:
                self.queue.wake("node")

    def _on_pod(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            assert old is not None
            self._gone(old)
            return
        pod = new.view(Pod)
        if pod.status.phase in ("Succeeded", "Failed"):
            self._gone(new)
        elif pod.spec.node_name:
            self.queue.remove(new.key, new.meta.uid)
            if self._is_counted(old, new, pod.spec.node_name):
                return
            info = _info(pod)
            if info is not None and self.table.put_pod(info):
                self.queue.wake("pod placed")
        elif new.meta.deletion_timestamp or pod.spec.scheduling_gates:
            self.queue.remove(new.key, new.meta.uid)
        elif pod.spec.scheduler_name == self.name and not self.table.has_pod(new.meta.uid):
            info = _info(pod)
            if info is not None:
                self.queue.add(info)

    def _gone(self, document: Document) -> None:
        self.queue.remove(document.key, document.meta.uid)
        if self.table.remove_pod(document.meta.uid):
            self.queue.wake("pod gone")

    def _is_counted(self, old: Document | None, new: Document, node: str) -> bool:
        """Return whether only what does not matter here has changed: most changes of Pods are to their status."""
        return (
            self.table.node_of(new.meta.uid) == node
            and old is not None
            and old.meta.generation == new.meta.generation
            and old.meta.labels == new.meta.labels
        )

    # Deciding and binding

    async def _schedule(self, pods: list[PodInfo]) -> None:
        placed: list[tuple[PodInfo, str]] = []
        refused: list[tuple[PodInfo, str, str]] = []
        for pod in pods:
            if pod.key not in self.queue:
                continue  # deleted since it was taken
            try:
                verdict = self._cycle.decide(pod)
            except Exception as error:
                # A plug-in's mistake is this Pod's trouble, not that of those behind it.
                log.exception("judging pod %s", pod.key)
                self.queue.retry(pod)
                refused.append((pod, "SchedulerError", f"{type(error).__name__}: {error}"))
                continue
            if verdict.node:
                # Count it at once: the next decision must not see the room that this one takes.
                self.table.put_pod(pod, verdict.node)
                self.queue.wake("pod placed")
                placed.append((pod, verdict.node))
            else:
                self.queue.failed(pod, verdict.retry_on)
                refused.append((pod, "Unschedulable", verdict.message))
        if placed:
            await self._bind(placed)
        async with anyio.create_task_group() as group:
            for pod, reason, message in refused:
                group.start_soon(self._refuse, pod, reason, message)

    async def _bind(self, placed: list[tuple[PodInfo, str]]) -> None:
        if isinstance(self._client, BindsMany):
            claims = [Claim(pod.key, pod.uid, node) for pod, node in placed]
            try:
                outcomes = await self._client.binder.commit(claims)
            except (ApiError, StoreError, OSError) as error:
                for pod, node in placed:
                    await self._unsure(pod, node, error)
                return
            for (pod, node), outcome in zip(placed, outcomes, strict=True):
                if outcome.error is None:
                    self._bound(pod, node)
                else:
                    self._lost(pod, outcome.error)
            return
        async with anyio.create_task_group() as group:
            for pod, node in placed:
                group.start_soon(self._bind_one, pod, node)

    async def _bind_one(self, pod: PodInfo, node: str) -> None:
        binding = Binding(
            metadata=ObjectMeta(name=pod.key.name, namespace=pod.key.namespace, uid=pod.uid),
            target=ObjectReference(api_version="v1", kind="Node", name=node),
        )
        async with self._limit:
            try:
                await self._client.resource(Binding).create(binding)
            except (ApiError, OSError) as error:
                await self._unsure(pod, node, error)
                return
        self._bound(pod, node)

    async def _unsure(self, pod: PodInfo, node: str, error: Exception) -> None:
        """Find out whether a binding that failed for us has landed all the same: answers get lost."""
        if not isinstance(error, NotFound):
            try:
                live = await self._client.resource(Pod).get(pod.key)
            except NotFound as gone:
                error = gone
            except (ApiError, OSError):
                log.debug("cannot ask after pod %s", pod.key)
            else:
                if live.metadata.uid != pod.uid:
                    error = NotFound(f"pod {pod.key} was replaced")
                elif live.spec.node_name == node:
                    self._bound(pod, node)
                    return
                elif live.spec.node_name:
                    # Another scheduler was quicker. The informer may know that already, or will soon.
                    self.table.put_pod(pod, live.spec.node_name)
                    self.queue.remove(pod.key, pod.uid)
                    return
        self._lost(pod, error)

    def _bound(self, pod: PodInfo, node: str) -> None:
        self.queue.remove(pod.key, pod.uid)
        if self._recorder is not None:
            message = f"Successfully assigned {pod.key} to {node}"
            self._recorder.normal(_reference(pod), "Scheduled", message)

    def _lost(self, pod: PodInfo, error: Exception) -> None:
        """Take back a placement that did not land."""
        document = self._pods.cache.get(pod.key)
        if document is None or document.meta.uid != pod.uid:
            self.table.remove_pod(pod.uid)
            self.queue.remove(pod.key, pod.uid)
            return
        node = document.view(Pod).spec.node_name
        if node:
            self.table.put_pod(pod, node)
            self.queue.remove(pod.key, pod.uid)
            return
        if self.table.remove_pod(pod.uid):
            self.queue.wake("pod gone")
        if isinstance(error, NotFound):
            self.queue.remove(pod.key, pod.uid)
            return
        log.info("binding %s: %s", pod.key, error)
        self.queue.retry(pod)
        # What the informer told us meanwhile was not taken in, because the Pod counted as placed.
        self._on_pod(None, document)

    async def _refuse(self, pod: PodInfo, reason: str, message: str) -> None:
        document = self._pods.cache.get(pod.key)
        if document is None or document.meta.uid != pod.uid:
            return
        known = next((c for c in document.view(Pod).status.conditions if c.type == "PodScheduled"), None)
        if known is not None and (known.status, known.reason, known.message) == ("False", reason, message):
            return
        if self._recorder is not None:
            self._recorder.warning(_reference(pod), "FailedScheduling", message)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": format_time(self._clock.now()),
        }
        if known is not None and known.status == "False" and known.last_transition_time is not None:
            condition["lastTransitionTime"] = format_time(known.last_transition_time)
        patch = Patch("strategic", {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}})
        try:
            async with self._limit:
                await self._client.resource(Pod).patch(pod.key, patch, subresource="status")
        except (ApiError, OSError) as error:
            log.debug("reporting on pod %s: %s", pod.key, error)


def _info(pod: Pod) -> PodInfo | None:
    try:
        return PodInfo.of(pod)
    except ValueError as error:
        log.warning("pod %s is not understood: %s", pod.key, error)
        return None


def _reference(pod: PodInfo) -> Pod:
    """Return a Pod of which only the identity matters."""
    return Pod(metadata=ObjectMeta(name=pod.key.name, namespace=pod.key.namespace, uid=pod.uid))
