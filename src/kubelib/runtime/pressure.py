"""The eviction manager: looks at what is left of memory, disk and processes, says so of the node, and ends Pods when it must."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import anyio

from kubelib.api.core.node import Node
from kubelib.api.errors import ApiError
from kubelib.api.meta import ObjectMeta
from kubelib.runtime import eviction
from kubelib.runtime.eviction import Eviction, Observation, Signal
from kubelib.runtime.stats.machine import file_system, read_machine
from kubelib.runtime.stats.node import NodeStats, PodFigures, existing

if TYPE_CHECKING:
    from kubelib.runtime.agent import NodeAgent

log = logging.getLogger("kubelib.runtime")

PERIOD = 10.0
"""Seconds between looks."""
TRANSITION = 300.0
"""Seconds for which a node goes on saying that it is under pressure after it has been."""
_STATUS = {
    "MemoryPressure": ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    "DiskPressure": ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
    "PIDPressure": ("NodeHasSufficientPID", "NodeHasInsufficientPID"),
}


class EvictionManager:
    """Ends Pods for the sake of their node: one at a time, so that each has its effect before the next."""

    def __init__(self, agent: "NodeAgent", hard: Mapping[Signal, str]) -> None:
        self._agent = agent
        self.thresholds = eviction.parse_thresholds(hard)
        self.observe: Callable[[], Mapping[Signal, Observation]] = self._observe
        self._stats = NodeStats(agent, fresh=True)
        self._last_met: dict[str, float] = {}
        """By condition, when it was last true, by the loop's time."""

    def _observe(self) -> Mapping[Signal, Observation]:
        return eviction.observe(read_machine(), file_system(existing(self._agent.root)))

    @property
    def pressures(self) -> tuple[str, ...]:
        """The conditions that the node is in."""
        now = anyio.current_time()
        return tuple(sorted(kind for kind, when in self._last_met.items() if now - when < TRANSITION))

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            try:
                await self.look()
            except (ApiError, OSError) as error:
                log.warning("node %s: eviction: %s", self._agent.settings.name, error)
            await anyio.sleep(PERIOD)

    async def look(self) -> None:
        """Look once, and do what has to be done."""
        if self.thresholds:
            observations = self.observe()
            met = eviction.met(self.thresholds, observations)
            for threshold in met:
                self._last_met[eviction.CONDITIONS[threshold.signal]] = anyio.current_time()
            await self._say(self.pressures)
            if met and await self._reclaim(met, observations):
                return
        await self._enforce_limits()

    async def _say(self, now: tuple[str, ...]) -> None:
        """Tell the API server of a change."""
        agent = self._agent
        before = agent.node.pressures
        if before == now:
            return
        agent.node.pressures = now
        for kind, (good, bad) in _STATUS.items():
            if (kind in before) != (kind in now):
                reason = bad if kind in now else good
                agent.recorder.normal(
                    self._node(), reason, f"Node {agent.settings.name} status is now: {reason}"
                )
        await agent.node.write_status()

    def _node(self) -> Node:
        name = self._agent.settings.name
        return Node(metadata=ObjectMeta(name=name, uid=name))

    async def _reclaim(
        self, met: tuple[eviction.Threshold, ...], observations: Mapping[Signal, Observation]
    ) -> bool:
        agent = self._agent
        figures = await self._figures(disks=any(t.signal != "memory.available" for t in met))
        for threshold in met:
            resource = eviction.RESOURCES[threshold.signal]
            agent.recorder.warning(self._node(), "EvictionThresholdMet", f"Attempting to reclaim {resource}")
            chosen = eviction.choose(figures, threshold, observations)
            if chosen is not None:
                self._evict(chosen)
                return True
            log.warning("node %s is low on %s, and there is no Pod to evict", agent.settings.name, resource)
        return False

    async def _enforce_limits(self) -> None:
        if not any(
            worker.pod is not None and eviction.limits_disk(worker.pod)
            for worker in self._agent.workers.values()
        ):
            return
        for figures in await self._figures(disks=True):
            over = eviction.over_local_limits(figures)
            if over is not None:
                self._evict(over)

    async def _figures(self, *, disks: bool) -> list[PodFigures]:
        found = (await self._stats.read(disks=disks)).pods
        return [
            figures
            for figures in found
            if (worker := self._agent.workers.get(figures.pod.metadata.uid)) is not None and not worker.over
        ]

    def _evict(self, chosen: Eviction) -> None:
        agent, pod = self._agent, chosen.pod
        log.warning("pod %s is evicted: %s", pod.key, chosen.message)
        agent.recorder.warning(pod, "Evicted", chosen.message)
        agent.counts.evictions[chosen.signal] += 1
        worker = agent.workers.get(pod.metadata.uid)
        if worker is not None:
            worker.evict(chosen.message)
