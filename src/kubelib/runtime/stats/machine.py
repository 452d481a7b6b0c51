"""What the whole machine uses: processors, memory, network, file systems, processes."""

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from kubelib.runtime.stats import cgroups

PROC = Path("/proc")


@attrs.frozen
class Interface:
    """What went through a network interface since it is there."""

    name: str
    received: int
    receive_errors: int
    sent: int
    send_errors: int


@attrs.frozen
class FileSystem:
    """How full a file system is, in bytes and in inodes."""

    available: int
    capacity: int
    used: int
    inodes_free: int
    inodes: int

    @property
    def inodes_used(self) -> int:
        """How many inodes are taken."""
        return self.inodes - self.inodes_free


@attrs.frozen(kw_only=True)
class Machine:
    """The machine at one moment."""

    cpu_seconds: float
    memory_capacity: int
    memory_usage: int
    """Bytes in use, with the page cache."""
    working_set: int
    """Bytes that cannot be dropped at once."""
    rss: int
    page_faults: int
    major_page_faults: int
    swap_total: int
    swap_free: int
    interfaces: tuple[Interface, ...]
    default_interface: str
    processes: int
    max_processes: int
    boot: float
    """When it was started, in seconds since 1970."""

    @property
    def memory_available(self) -> int:
        """Bytes that could be had without swapping: what eviction looks at."""
        return max(0, self.memory_capacity - self.working_set)


def _pairs(path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        for line in path.read_text().splitlines():
            name, *values = line.replace(":", " ").split()
            if values and values[0].isdigit():
                found[name] = int(values[0])
    except OSError:
        pass
    return found


def _cpu_seconds(proc: Path, cgroup_root: Path, ticks: int) -> float:
    root = cgroups.read("", cgroup_root).cpu_seconds
    if root:
        return root
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("cpu "):
            user, nice, system, _, _, irq, softirq, steal, *_ = [*map(int, line.split()[1:]), 0, 0, 0, 0]
            return (user + nice + system + irq + softirq + steal) / ticks
    return 0.0


def interfaces_of(path: Path) -> tuple[Interface, ...]:
    """Read a table like ``/proc/net/dev``; the loopback interface is left out."""
    found = []
    try:
        for line in path.read_text().splitlines()[2:]:
            name, _, rest = line.partition(":")
            numbers = [int(part) for part in rest.split()]
            if name.strip() != "lo":
                found.append(Interface(name.strip(), numbers[0], numbers[2], numbers[8], numbers[10]))
    except (OSError, ValueError, IndexError):
        pass
    return tuple(found)


def _default_interface(proc: Path) -> str:
    """Return the interface of the default route, empty if there is none."""
    try:
        for line in (proc / "net" / "route").read_text().splitlines()[1:]:
            name, destination, *_ = line.split()
            if destination == "00000000":
                return name
    except (OSError, ValueError):
        pass
    return ""


def network_of(pid: int, proc: Path = PROC) -> tuple[tuple[Interface, ...], str]:
    """Return what went through the network that a process is in, and its default interface; nothing if it is this process's own."""
    place = proc / str(pid)
    try:
        if os.readlink(place / "ns" / "net") == os.readlink(proc / "self" / "ns" / "net"):
            return (), ""
    except OSError:  # it has ended, or is somebody else's
        return (), ""
    return interfaces_of(place / "net" / "dev"), _default_interface(place)


def _processes(proc: Path) -> int:
    """Return how many processes and threads there are: the second part of what loadavg says."""
    try:
        return int((proc / "loadavg").read_text().split()[3].split("/")[1])
    except (OSError, ValueError, IndexError):
        return 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def read_machine(proc: Path = PROC, cgroup_root: Path = cgroups.ROOT, *, ticks: int = 0) -> Machine:
    """Read the machine's figures."""
    memory = {name: value * 1024 for name, value in _pairs(proc / "meminfo").items()}
    faults = _pairs(proc / "vmstat")
    usage = memory.get("MemTotal", 0) - memory.get("MemFree", 0)
    limits = [
        n for n in (_number(proc / "sys/kernel/pid_max"), _number(proc / "sys/kernel/threads-max")) if n
    ]
    return Machine(
        cpu_seconds=_cpu_seconds(proc, cgroup_root, ticks or os.sysconf("SC_CLK_TCK")),
        memory_capacity=memory.get("MemTotal", 0),
        memory_usage=usage,
        working_set=max(0, usage - memory.get("Inactive(file)", 0)),
        rss=memory.get("AnonPages", 0),
        page_faults=faults.get("pgfault", 0),
        major_page_faults=faults.get("pgmajfault", 0),
        swap_total=memory.get("SwapTotal", 0),
        swap_free=memory.get("SwapFree", 0),
        interfaces=interfaces_of(proc / "net" / "dev"),
        default_interface=_default_interface(proc),
        processes=_processes(proc),
        max_processes=min(limits, default=0),
        boot=float(_pairs(proc / "stat").get("btime", 0)),
    )


def file_system(path: Path) -> FileSystem:
    """Return how full the file system of a path is. Raises OSError."""
    found = os.statvfs(path)
    size = found.f_frsize
    return FileSystem(
        available=found.f_bavail * size,
        capacity=found.f_blocks * size,
        used=(found.f_blocks - found.f_bfree) * size,
        inodes_free=found.f_ffree,
        inodes=found.f_files,
    )


def tree_usage(path: Path, skip: Callable[[Path], bool] = lambda path: False) -> tuple[int, int]:
    """Return the bytes and inodes below a path; links are not followed, a file with several names counts once."""
    size, seen = 0, set()
    todo = [str(path)]
    while todo:
        place = todo.pop()
        try:
            status = os.lstat(place)
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
            size += status.st_blocks * 512
            if os.path.isdir(place) and not os.path.islink(place) and not skip(Path(place)):
                todo += [os.path.join(place, name) for name in os.listdir(place)]
        except OSError:
            continue  # it has gone meanwhile
    return size, len(seen)
