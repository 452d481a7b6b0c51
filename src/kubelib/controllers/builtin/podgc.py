"""Pods that nobody else cleans up: those of nodes that are gone, and the oldest of too many that have ended."""

from collections.abc import Sequence
from datetime import datetime

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key
from kubelib.api.times import format_time
from kubelib.clock import Clock
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.pods import is_terminal
from kubelib.controllers.taints import condition_status
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch, Preconditions

NAME = "pod-garbage-collector"
PERIOD = 20.0
TERMINATED_THRESHOLD = 12_500
QUARANTINE = 40.0
"""Seconds that a node must be missing before its Pods are taken for orphans."""


OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@attrs.frozen
class Garbage:
    """A Pod to delete."""

    pod: Pod
    orphaned: bool = False
    """Whether its node is gone."""


def garbage(
    pods: Sequence[Pod],
    lost: frozenset[str],
    dead: frozenset[str] = frozenset(),
    threshold: int = TERMINATED_THRESHOLD,
) -> list[Garbage]:
    """Return the Pods to delete, each once.

    These are those that have ended, beyond a threshold; those of `lost` nodes; those that are being deleted and have never had
    a node, or are on one that is `dead` for certain.
    """
    found: dict[str, Garbage] = {}
    ended = [pod for pod in pods if is_terminal(pod)]
    if len(ended) > threshold > 0:
        ended.sort(key=_least_missed)
        found.update((pod.metadata.uid, Garbage(pod)) for pod in ended[: len(ended) - threshold])
    for pod in pods:
        node = pod.spec.node_name
        if node in lost:
            found.setdefault(pod.metadata.uid, Garbage(pod, orphaned=True))
        elif pod.metadata.deletion_timestamp is not None and (not node or node in dead):
            found.setdefault(pod.metadata.uid, Garbage(pod))
    return list(found.values())


def _least_missed(pod: Pod) -> tuple[bool, str, str]:
    evicted = pod.status.phase == "Failed" and pod.status.reason == "Evicted"
    return not evicted, str(pod.metadata.creation_timestamp), pod.metadata.name


def is_dead(node: Node) -> bool:
    """Return whether somebody has said that a node is out of service, and it is not ready either."""
    out = any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)
    return out and condition_status(node, "Ready") != "True"


def ending(found: Garbage, now: datetime) -> Patch:
    """Return the patch of a status that says that a Pod has ended: its node cannot say so any more, and somebody may count it."""
    status: dict[str, object] = {"phase": "Failed"}
    if found.orphaned:
        condition: dict[str, object] = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": format_time(now),
        }
        if found.pod.metadata.generation:
            condition["observedGeneration"] = found.pod.metadata.generation
        status["conditions"] = [condition]
    # With the uid in it, the patch cannot meet another Pod that has taken the name.
    return Patch("strategic", {"metadata": {"uid": found.pod.metadata.uid}, "status": status})


class PodGarbageCollector:
    """A component that looks now and then."""

    name = NAME

    def __init__(self, informers: SharedInformers, clock: Clock) -> None:
        self._client = informers.client
        self._pods = informers.of(Pod)
        self._nodes = informers.of(Node)
        self._clock = clock
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
        overdue = [name for name, since in self._missing.items() if now - since >= QUARANTINE]
        lost = frozenset([name for name in overdue if await self._is_gone(name)])
        out = (d.view(Node) for d in self._nodes.cache if OUT_OF_SERVICE.encode() in d.raw)
        dead = frozenset(node.metadata.name for node in out if is_dead(node))
        for found in garbage(pods, lost, dead):
            try:
                await self._collect(found)
            except (ApiError, OSError):
                continue  # gone meanwhile, or tried again the next time

    async def _is_gone(self, node: str) -> bool:
        """Ask the server: our cache may be behind."""
        try:
            await self._client.resource(Node).get(Key("", node))
        except NotFound:
            return True
        except (ApiError, OSError):
            return False  # asked again the next time
        return False

    async def _collect(self, found: Garbage) -> None:
        pod, registry = found.pod, self._client.resource(Pod)
        if not is_terminal(pod):
            await registry.patch(pod.key, ending(found, self._clock.now()), subresource="status")
        await registry.delete(pod.key, grace=0, preconditions=Preconditions(pod.metadata.uid))


def pod_garbage_collector(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> PodGarbageCollector:
    """Return the collector."""
    return PodGarbageCollector(informers, clock)
