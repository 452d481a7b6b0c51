"""What a container's processes use, from /proc."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.processstate import is_process
from kubelib.runtime.stats.cgroups import CgroupFigures


def usage_of(state: dict[str, Any]) -> ContainerStats:
    """Add up what a container's processes use: all below the shim, which adopts orphans, except the shim itself.

    What a process that has ended used is part of its parent's account once that has waited for it.
    """
    user, system, memory, rss, faults, major, count, threads, descriptors = 0, 0, 0, 0, 0, 0, 0, 0, 0
    if is_process(state["shim"], state["shim_ticks"]):
        with contextlib.suppress(OSError, IndexError):
            fields = _fields(state["shim"])
            user, system = int(fields[13]), int(fields[14])
    for pid in processes_of(state):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _fields(pid)
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
            faults += int(fields[7]) + int(fields[8])
            major += int(fields[9]) + int(fields[10])
            threads += int(fields[17])
            proportional, anonymous = _resident(pid)
            memory += proportional
            rss += anonymous
            count += 1
            with contextlib.suppress(OSError):
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    ticks = os.sysconf("SC_CLK_TCK")
    return ContainerStats(
        cpu_seconds=(user + system) / ticks,
        user_seconds=user / ticks,
        system_seconds=system / ticks,
        memory=memory,
        memory_usage=memory,
        rss=rss,
        page_faults=faults,
        major_page_faults=major,
        processes=count,
        threads=threads,
        descriptors=descriptors,
    )


def processes_of(state: dict[str, Any]) -> Iterator[int]:
    """Yield a container's processes, each before those that it has started."""
    adopting = is_process(state["shim"], state["shim_ticks"])
    todo = children_of(state["shim"]) if adopting else [state["pid"]]
    while todo:
        pid = todo.pop()
        yield pid
        todo += children_of(pid)


def limit_memory(state: dict[str, Any], limit: int) -> None:
    """Give every process of a container another limit of memory, those too that are started meanwhile. Raises OSError."""
    limited: set[int] = set()
    while new := [pid for pid in processes_of(state) if pid not in limited]:
        for pid in new:
            limited.add(pid)
            with contextlib.suppress(ProcessLookupError):
                _, highest = resource.prlimit(pid, resource.RLIMIT_AS)
                if highest != resource.RLIM_INFINITY:
                    highest = max(highest, limit)
                resource.prlimit(pid, resource.RLIMIT_AS, (limit, highest))


def accounted(found: ContainerStats, figures: CgroupFigures) -> ContainerStats:
    """Return what a container uses by the account of its control group, with what only /proc tells."""
    return attrs.evolve(
        found,
        cpu_seconds=figures.cpu_seconds,
        user_seconds=figures.user_seconds,
        system_seconds=figures.system_seconds,
        memory=figures.working_set,
        memory_usage=figures.memory,
        rss=figures.rss,
        page_faults=figures.page_faults,
        major_page_faults=figures.major_page_faults,
        processes=figures.processes or found.processes,
    )


def _fields(pid: int) -> list[bytes]:
    """Return what ``/proc/PID/stat`` says after the name; the first field is the state."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def children_of(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started, and has."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _resident(pid: int) -> tuple[int, int]:
    """Return the bytes that a process holds, pages that several share counted in parts, and those of no file."""
    try:
        sizes = {
            name: int(value[0]) * 1024
            for name, *value in (
                line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            )
            if name in ("Pss:", "Anonymous:")
        }
        return sizes["Pss:"], sizes.get("Anonymous:", 0)
    except (OSError, KeyError):  # of another user, or a kernel without it
        pass
    page = os.sysconf("SC_PAGE_SIZE")
    _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    return int(resident) * page, (int(resident) - int(shared)) * page
