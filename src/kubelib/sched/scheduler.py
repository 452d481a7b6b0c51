"""The scheduler: a component that binds Pods to nodes, by one policy, many in one transaction."""

import logging
from random import Random
from typing import Protocol, runtime_checkable

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, Conflict, NotFound
from kubelib.api.meta import Object, ObjectMeta
from kubelib.api.times import format_time
from kubelib.client.base import Client
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch
from kubelib.registry.binding import Binder, Claim
from kubelib.sched.base import Policy
from kubelib.sched.cycle import Cycle, Verdict
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.queue import SchedulingQueue

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
        self._limit = anyio.CapacityLimiter(32)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once nodes and Pods are known."""
        async with anyio.create_task_group() as group:
            await group.start(self._informers.run)
            self._nodes.subscribe(self._on_node)
            self._pods.subscribe(self._on_pod)
            task_status.started()
            while True:
                await self._schedule(await self.queue.take(BATCH))

    # What happens

    def _on_node(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            assert old is not None
            self.table.remove_node(old.meta.name)
        elif self.table.put_node(new.view(Node)):
            self.queue.wake()

    def _on_pod(self, old: Document | None, new: Document | None) -> None:
        if new is None:
            assert old is not None
            self.queue.remove(old.key)
            if self.table.remove_pod(old.meta.uid):
                self.queue.wake()
            return
        pod = new.view(Pod)
        if pod.status.phase in ("Succeeded", "Failed"):
            self.queue.remove(new.key)
            if self.table.remove_pod(new.meta.uid):
                self.queue.wake()
        elif pod.spec.node_name:
            self.queue.remove(new.key)
            self.table.put_pod(PodInfo.of(pod))
        elif new.meta.deletion_timestamp or pod.spec.scheduling_gates:
            self.queue.remove(new.key)
        elif pod.spec.scheduler_name == self.name and not self.table.has_pod(new.meta.uid):
            self.queue.add(PodInfo.of(pod))

    # Deciding and binding

    async def _schedule(self, pods: list[PodInfo]) -> None:
        placed: list[tuple[PodInfo, str]] = []
        refused: list[tuple[PodInfo, Verdict]] = []
        for pod in pods:
            verdict = self._cycle.decide(pod)
            if verdict.node:
                # Count it at once: the next decision must not see the room that this one takes.
                self.table.put_pod(attrs.evolve(pod, node=verdict.node))
                placed.append((pod, verdict.node))
            else:
                refused.append((pod, verdict))
                self.queue.failed(pod)
        if placed:
            await self._bind(placed)
        for pod, verdict in refused:
            await self._refuse(pod, verdict)

    async def _bind(self, placed: list[tuple[PodInfo, str]]) -> None:
        if isinstance(self._client, BindsMany):
            claims = [Claim(pod.key, pod.uid, node) for pod, node in placed]
            try:
                outcomes = await self._client.binder.commit(claims)
            except ApiError as error:
                for pod, _ in placed:
                    self._lost(pod, error)
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
            except ApiError as error:
                self._lost(pod, error)
                return
        self._bound(pod, node)

    def _bound(self, pod: PodInfo, node: str) -> None:
        self.queue.remove(pod.key)
        if self._recorder is not None:
            message = f"Successfully assigned {pod.key} to {node}"
            self._recorder.normal(_reference(pod), "Scheduled", message)

    def _lost(self, pod: PodInfo, error: ApiError) -> None:
        """Take back a placement that did not land."""
        document = self._pods.cache.get(pod.key)
        if document is None or not document.view(Pod).spec.node_name:
            self.table.remove_pod(pod.uid)
        if isinstance(error, NotFound):
            self.queue.remove(pod.key)
        else:
            log.info("binding %s: %s", pod.key, error)
            self.queue.retry(pod)

    async def _refuse(self, pod: PodInfo, verdict: Verdict) -> None:
        document = self._pods.cache.get(pod.key)
        if document is None:
            return
        view = document.view(Pod)
        message = verdict.message
        known = next((c for c in view.status.conditions if c.type == "PodScheduled"), None)
        if known is not None and known.status == "False" and known.message == message:
            return
        if self._recorder is not None:
            self._recorder.warning(_reference(pod), "FailedScheduling", message)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": format_time(self._clock.now()),
        }
        try:
            await self._client.resource(Pod).patch(
                pod.key, Patch("strategic", {"status": {"conditions": [condition]}}), subresource="status"
            )
        except (NotFound, Conflict):
            return


def _reference(pod: PodInfo) -> Pod:
    """Return a Pod of which only the identity matters."""
    return Pod(metadata=ObjectMeta(name=pod.key.name, namespace=pod.key.namespace, uid=pod.uid))
