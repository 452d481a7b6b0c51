"""The figures of one node and its Pods, gathered when somebody asks: nothing is measured while nobody does."""

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import attrs

from kubelib.api.core.pod import Pod
from kubelib.runtime.abilities import ContainerStats, SupportsProbes, SupportsStats
from kubelib.runtime.base import Container, RuntimeFailure
from kubelib.runtime.lifecycle import latest
from kubelib.runtime.stats.machine import (
    FileSystem,
    Interface,
    Machine,
    file_system,
    network_of,
    read_machine,
    tree_usage,
)

if TYPE_CHECKING:
    from kubelib.runtime.agent import NodeAgent

log = logging.getLogger("kubelib.runtime")

DISK_REMEMBERED = 60.0
"""Seconds for which the size of a directory is not counted again."""
SHORTEST_WINDOW = 0.2
"""Seconds that must lie between two readings for a rate to mean something."""
OLDEST = 600.0
"""Seconds after which an earlier reading says nothing about now."""


@attrs.frozen(kw_only=True)
class Disk:
    """What a directory holds."""

    used: int
    inodes: int


NOTHING = Disk(used=0, inodes=0)


@attrs.frozen(kw_only=True)
class ContainerFigures:
    """What one container uses."""

    container: Container
    stats: ContainerStats
    cores: float | None
    """Cores kept busy since the last reading; None if there was none."""
    logs: Disk = NOTHING
    root: Disk = NOTHING


@attrs.frozen(kw_only=True)
class PodFigures:
    """What one Pod uses."""

    pod: Pod
    containers: tuple[ContainerFigures, ...]
    volumes: Mapping[str, Disk] = attrs.field(factory=dict)
    """By name, those that take the node's own disk."""
    interfaces: tuple[Interface, ...] = ()
    """Of its own network, where it has one and it can be looked into."""
    default_interface: str = ""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all containers that run."""
        return sum(one.stats.cpu_seconds for one in self.containers)

    @property
    def cores(self) -> float | None:
        """Cores that all containers keep busy; None while none has been read twice."""
        known = [one.cores for one in self.containers if one.cores is not None]
        return sum(known) if known else None

    @property
    def memory(self) -> int:
        """Working set of all containers."""
        return sum(one.stats.memory for one in self.containers)

    @property
    def disk(self) -> Disk:
        """Ephemeral storage: logs, writable files, and volumes of the node."""
        in_memory = {
            v.name
            for v in self.pod.spec.volumes
            if v.empty_dir is not None and v.empty_dir.medium == "Memory"
        }
        parts = [d for one in self.containers for d in (one.logs, one.root)]
        parts += [held for name, held in self.volumes.items() if name not in in_memory]
        return Disk(used=sum(d.used for d in parts), inodes=sum(d.inodes for d in parts))


@attrs.frozen(kw_only=True)
class Figures:
    """A node and its Pods at one moment."""

    when: datetime
    machine: Machine
    cores: float | None
    pods: tuple[PodFigures, ...]
    file_system: FileSystem
    own: ContainerStats
    """What the node agent's own process uses."""


class NodeStats:
    """Reads the figures of a node. What changes per second needs two readings, and is not known before."""

    def __init__(self, agent: "NodeAgent", *, fresh: bool = False) -> None:
        """Make a reader; with `fresh`, directories are counted anew each time."""
        self._agent = agent
        self._fresh = fresh
        self._seen: dict[str, tuple[float, float]] = {}
        """By container, when it was read, by the loop's time, and what it had used of the processor."""
        self._disks: dict[Path, tuple[float, Disk]] = {}

    def _rate(self, name: str, cpu_seconds: float) -> float | None:
        now = anyio.current_time()
        before = self._seen.get(name)
        if before is not None and now - before[0] < SHORTEST_WINDOW:
            return None
        self._seen[name] = (now, cpu_seconds)
        if before is None or now - before[0] > OLDEST:
            return None
        return max(0.0, (cpu_seconds - before[1]) / (now - before[0]))

    async def read(self, *, disks: bool = False) -> Figures:
        """Read everything; with `disks`, also what directories hold, which takes longer."""
        agent = self._agent
        machine = read_machine()
        pods = [
            await self._pod(worker.pod, worker.containers, disks=disks)
            for worker in list(agent.workers.values())
            if worker.pod is not None
        ]
        self._forget()
        return Figures(
            when=agent.clock.now(),
            machine=machine,
            cores=self._rate("", machine.cpu_seconds),
            pods=tuple(pods),
            file_system=file_system(existing(agent.root)),
            own=own_usage(),
        )

    async def _pod(self, pod: Pod, containers: tuple[Container, ...], *, disks: bool) -> PodFigures:
        runtime = self._agent.runtime
        found: list[ContainerFigures] = []
        for container in latest(containers).values():
            if container.state != "running" or not isinstance(runtime, SupportsStats):
                continue
            try:
                stats = await runtime.stats(container.id)
            except (RuntimeFailure, OSError):
                continue  # it has ended meanwhile
            log_file = self._agent.log_path(pod, container.name, container.attempt)
            found.append(
                ContainerFigures(
                    container=container,
                    stats=stats,
                    cores=self._rate(container.id, stats.cpu_seconds),
                    logs=await self._disk(log_file.parent) if disks else NOTHING,
                    root=await self._disk(Path(container.id) / "root")
                    if disks and container.id.startswith("/")
                    else NOTHING,
                )
            )
        volumes = {}
        if disks:
            for volume in pod.spec.volumes:
                directory = self._agent.volumes.directory(pod, volume.name)
                if directory.exists():
                    volumes[volume.name] = await self._disk(directory.resolve())
        pid = next((one.container.pid for one in found if one.container.pid), 0)
        interfaces, default = network_of(pid) if pid and not pod.spec.host_network else ((), "")
        return PodFigures(
            pod=pod,
            containers=tuple(found),
            volumes=volumes,
            interfaces=interfaces,
            default_interface=default,
        )

    async def _disk(self, path: Path) -> Disk:
        now = anyio.current_time()
        known = self._disks.get(path)
        if known is not None and now - known[0] < DISK_REMEMBERED and not self._fresh:
            return known[1]
        if isinstance(self._agent.runtime, SupportsProbes):
            # Where containers are only said to run, so may time be, which does not see threads.
            used, inodes = tree_usage(path)
        else:
            used, inodes = await anyio.to_thread.run_sync(tree_usage, path)
        disk = Disk(used=used, inodes=inodes)
        self._disks[path] = (now, disk)
        return disk

    def _forget(self) -> None:
        oldest = anyio.current_time() - OLDEST
        self._seen = {name: seen for name, seen in self._seen.items() if seen[0] > oldest}
        self._disks = {path: seen for path, seen in self._disks.items() if seen[0] > oldest}


def existing(path: Path) -> Path:
    """Return the nearest place above a path that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def own_usage() -> ContainerStats:
    """Return what this process uses."""
    import os
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:
        resident, shared, descriptors = "0", "0", 0
    return ContainerStats(
        cpu_seconds=used.ru_utime + used.ru_stime,
        user_seconds=used.ru_utime,
        system_seconds=used.ru_stime,
        memory=int(resident) * page,
        memory_usage=int(resident) * page,
        rss=(int(resident) - int(shared)) * page,
        page_faults=used.ru_minflt,
        major_page_faults=used.ru_majflt,
        processes=1,
        descriptors=descriptors,
    )
