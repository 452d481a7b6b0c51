"""What Prometheus' clients tell of the process that they are in."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from kubelib.exposition import Sample, family


def process_figures() -> Iterator[list[str]]:
    """Return the figures of this process, from ``/proc``."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    booted = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    for name, kind, about, value in (
        ("cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
         (int(fields[11]) + int(fields[12])) / tick),
        ("max_fds", "gauge", "Maximum number of open file descriptors.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("open_fds", "gauge", "Number of open file descriptors.", len(os.listdir("/proc/self/fd"))),
        ("resident_memory_bytes", "gauge", "Resident memory size in bytes.",
         int(fields[21]) * os.sysconf("SC_PAGE_SIZE")),
        ("start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
         booted + int(fields[19]) / tick),
        ("virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", int(fields[20])),
    ):  # fmt: skip
        yield family(f"process_{name}", kind, about, [Sample(value)])
