"""The published formats by name."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from kubelib.sim.cell.base import Cell, Workload
from kubelib.sim.cell.workloads import Day
from kubelib.sim.traces import google2011, google2019, openb, swf
from kubelib.sim.traces.google import Trace

FORMATS: dict[str, Callable[[Sequence[Path]], Trace]] = {
    "google-2011": google2011.read,
    "google-2019": google2019.read,
    "openb": openb.read,
    "swf": swf.read,
}


def possible(trace: Trace) -> Trace:
    """Return a trace without the jobs that no machine of its cell could take, which are counted as left out.

    Published traces have such jobs: their machines came later, or the constraint was never met.
    """
    if trace.cell is None:
        return trace
    left_out = Counter(trace.left_out)
    kept = [
        _fitting(workload, trace.cell) for workload in (trace.day.batch, trace.day.service, trace.day.prefill)
    ]
    missing = sum(map(len, (trace.day.batch, trace.day.service, trace.day.prefill))) - sum(map(len, kept))
    if missing:
        left_out["jobs that no machine could take"] += missing
    return Trace(Day(*kept), trace.cell, left_out)


def _fitting(workload: Workload, cell: Cell) -> Workload:
    eligible = {text: cell.eligible(text) for text in set(workload.constraint)}
    jobs = [
        job
        for job in workload
        if any(
            matches and group.fits(job)
            for matches, group in zip(eligible[job.constraint], cell.machines, strict=True)
        )
    ]
    return Workload.of(workload.name, jobs)
