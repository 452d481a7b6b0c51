"""What the kernel accounts to a control group, in the files of version 1 and of version 2.

Version 1 has a hierarchy per controller (``/sys/fs/cgroup/memory/…``), version 2 has one for all. A file that is not there is a
figure that is not known.
"""

from pathlib import Path

import attrs

ROOT = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Version 1 writes a number beyond this where there is no limit."""


@attrs.frozen(kw_only=True)
class CgroupFigures:
    """The account of one control group, with all below it."""

    cpu_seconds: float = 0.0
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    periods: int = 0
    """How many periods of a quota there were."""
    throttled_periods: int = 0
    throttled_seconds: float = 0.0
    memory: int = 0
    """Bytes, with the page cache."""
    working_set: int = 0
    """Bytes that cannot be dropped at once: without the pages of files that nobody has used for long."""
    rss: int = 0
    cache: int = 0
    swap: int = 0
    memory_limit: int | None = None
    page_faults: int = 0
    major_page_faults: int = 0
    oom_kills: int = 0
    processes: int = 0


def is_unified(root: Path = ROOT) -> bool:
    """Return whether the controllers are those of version 2."""
    try:
        return "memory" in (root / "cgroup.controllers").read_text().split()
    except OSError:
        return False


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.lstrip("-").isdigit() else None


def _table(path: Path) -> dict[str, int]:
    """Return a file of lines ``name number``."""
    found: dict[str, int] = {}
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if value.lstrip("-").isdigit():
                found[name] = int(value)
    except OSError:
        pass
    return found


def read_v1(path: str, root: Path = ROOT, *, ticks: int = 100) -> CgroupFigures:
    """Return the account of a group of version 1 that has the same path in every hierarchy."""
    below = path.strip("/")
    memory = root / "memory" / below
    stat = _table(memory / "memory.stat")
    cpu_stat = _table(root / "cpu" / below / "cpu.stat")
    times = _table(root / "cpuacct" / below / "cpuacct.stat")
    usage = _number(memory / "memory.usage_in_bytes") or 0
    limit = _number(memory / "memory.limit_in_bytes")
    with_swap = _number(memory / "memory.memsw.usage_in_bytes")
    return CgroupFigures(
        cpu_seconds=(_number(root / "cpuacct" / below / "cpuacct.usage") or 0) / 1e9,
        user_seconds=times.get("user", 0) / ticks,
        system_seconds=times.get("system", 0) / ticks,
        periods=cpu_stat.get("nr_periods", 0),
        throttled_periods=cpu_stat.get("nr_throttled", 0),
        throttled_seconds=cpu_stat.get("throttled_time", 0) / 1e9,
        memory=usage,
        working_set=max(0, usage - stat.get("total_inactive_file", 0)),
        rss=stat.get("total_rss", 0),
        cache=stat.get("total_cache", 0),
        swap=stat.get("total_swap", max(0, with_swap - usage) if with_swap is not None else 0),
        memory_limit=limit if limit is not None and limit < UNLIMITED else None,
        page_faults=stat.get("total_pgfault", 0),
        major_page_faults=stat.get("total_pgmajfault", 0),
        oom_kills=_table(memory / "memory.oom_control").get("oom_kill", 0),
        processes=_number(root / "pids" / below / "pids.current") or 0,
    )


def read_v2(path: str, root: Path = ROOT) -> CgroupFigures:
    """Return the account of a group of version 2."""
    group = root / path.strip("/")
    cpu, stat = _table(group / "cpu.stat"), _table(group / "memory.stat")
    usage = _number(group / "memory.current") or 0
    return CgroupFigures(
        cpu_seconds=cpu.get("usage_usec", 0) / 1e6,
        user_seconds=cpu.get("user_usec", 0) / 1e6,
        system_seconds=cpu.get("system_usec", 0) / 1e6,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_seconds=cpu.get("throttled_usec", 0) / 1e6,
        memory=usage,
        working_set=max(0, usage - stat.get("inactive_file", 0)),
        rss=stat.get("anon", 0),
        cache=stat.get("file", 0),
        swap=_number(group / "memory.swap.current") or 0,
        memory_limit=_number(group / "memory.max"),
        page_faults=stat.get("pgfault", 0),
        major_page_faults=stat.get("pgmajfault", 0),
        oom_kills=_table(group / "memory.events").get("oom_kill", 0),
        processes=_number(group / "pids.current") or 0,
    )


def read(path: str, root: Path = ROOT) -> CgroupFigures:
    """Return the account of a group, whichever version the machine has."""
    return read_v2(path, root) if is_unified(root) else read_v1(path, root)
