"""The Standard Workload Format of parallel machines: a line of 18 numbers per job, and comments that begin with ``;``.

Of processors one is a task of one CPU; memory is given in KB per processor, -1 where it is not known. The header may say how many
nodes and processors the machine has. Jobs that ran for no time, or on no processor, are left out, as are the lines for each of the parts in which a job was run that was
stopped meanwhile: a line of its own has all of it. All jobs are batch jobs.
"""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from kubelib.sim.cell.base import Cell, Job, Machines, Workload
from kubelib.sim.cell.workloads import Day
from kubelib.sim.traces.google import Trace
from kubelib.sim.traces.schema import TraceError

_FIELDS = 18
_PARTS = (2.0, 3.0, 4.0)
"""The status of a part that will be continued, and of the last one of a job that ended well or not."""
_UNKNOWN = 1.0
"""GB for each task of a job that does not say what it asks for."""


def read(paths: Sequence[Path]) -> Trace:
    """Return the jobs of one or several logs. Raises `TraceError`."""
    jobs: list[Job] = []
    left_out: Counter[str] = Counter()
    header: dict[str, int] = {}
    for path in paths:
        for number, line in _lines(path):
            if line.startswith(";"):
                found = re.match(r";\s*(MaxNodes|MaxProcs):\s*(\d+)", line)
                if found:
                    header[found[1]] = int(found[2])
            else:
                _read_job(path, number, line.split(), jobs, left_out)
    if not jobs:
        raise TraceError("No job of the log ran.")
    first = min(job.submit for job in jobs)
    batch = Workload.of(
        "batch", [Job(job.submit - first, job.tasks, job.duration, job.cpu, job.memory) for job in jobs]
    )
    empty = Workload.of("service", []), Workload.of("prefill", [])
    return Trace(Day(batch, *empty), _cell(header, jobs), left_out)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (EOFError, zlib.error):
        raise TraceError(f"{path} is broken: it ends early.") from None


def _read_job(path: Path, line: int, fields: list[str], jobs: list[Job], left_out: Counter[str]) -> None:
    if len(fields) != _FIELDS:
        raise TraceError(f"Line {line} of {path} has {len(fields)} fields, not {_FIELDS}.")
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise TraceError(f"Line {line} of {path} has something else than numbers.") from None
    if any(value != value or abs(value) == float("inf") for value in values):
        raise TraceError(f"Line {line} of {path} has something else than finite numbers.")
    if values[10] in _PARTS:
        left_out["lines for parts of jobs"] += 1
        return
    submit, run, used, memory_used, asked, memory_asked = (values[place] for place in (1, 3, 4, 6, 7, 9))
    processors = asked if asked > 0 else used
    if run <= 0 or processors <= 0:
        left_out["jobs that never ran"] += 1
        return
    memory = next((value / 1024**2 for value in (memory_asked, memory_used) if value > 0), _UNKNOWN)
    jobs.append(Job(max(0.0, submit), int(processors), run, 1.0, memory))


def _cell(header: dict[str, int], jobs: list[Job]) -> Cell | None:
    """Return the machine of the header; what memory its nodes have it does not say: enough for all jobs."""
    nodes, processors = header.get("MaxNodes", 0), header.get("MaxProcs", 0)
    if not nodes or not processors:
        return None
    each = max(1, processors // nodes)
    return Cell((Machines(nodes, float(each), each * max(job.memory for job in jobs)),))
