"""Pods that nobody else cleans up: those of nodes that are gone, and the oldest of too many that have ended."""

from collections.abc import Sequence

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError
from kubelib.clock import Clock
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Preconditions

NAME = "pod-garbage-collector"
PERIOD = 20.0
TERMINATED_THRESHOLD = 12_500
QUARANTINE = 40.0
"""Seconds that a node must be missing before its Pods are taken for orphans."""


def to_delete(pods: Sequence[Pod], lost: frozenset[str], threshold: int = TERMINATED_THRESHOLD) -> list[Pod]:
    """Return the Pods to delete: of lost nodes, ended beyond the threshold, being deleted without ever having had a node."""
    found = [pod for pod in pods if pod.spec.node_name in lost]
    ended = [
        pod for pod in pods if pod.status.phase in ("Succeeded", "Failed") and pod.spec.node_name not in lost
    ]
    if len(ended) > threshold > 0:
        ended.sort(key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name))
        found += ended[: len(ended) - threshold]
    found += [p for p in pods if p.metadata.deletion_timestamp is not None and not p.spec.node_name]
    return found


class PodGarbageCollector:
    """A component that looks now and then."""

    name = NAME

    def __init__(self, informers: SharedInformers) -> None:
        self._client = informers.client
        self._pods = informers.of(Pod)
        self._nodes = informers.of(Node)
        self._missing: dict[str, float] = {}

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        await self._pods.wait_until_synced()
        await self._nodes.wait_until_synced()
        task_status.started()
        while True:
            await anyio.sleep(PERIOD)
            await self.collect()

    async def collect(self) -> None:
        """Look once."""
        pods = [document.view(Pod) for document in self._pods.cache]
        known = {document.meta.name for document in self._nodes.cache}
        now = anyio.current_time()
        named = {pod.spec.node_name for pod in pods if pod.spec.node_name} - known
        self._missing = {name: self._missing.get(name, now) for name in sorted(named)}
        lost = frozenset(name for name, since in self._missing.items() if now - since >= QUARANTINE)
        for pod in to_delete(pods, lost):
            try:
                await self._client.resource(Pod).delete(
                    pod.key, grace=0, preconditions=Preconditions(pod.metadata.uid)
                )
            except ApiError:
                continue  # gone meanwhile, or tried again the next time


def pod_garbage_collector(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> PodGarbageCollector:
    """Return the collector."""
    return PodGarbageCollector(informers)
