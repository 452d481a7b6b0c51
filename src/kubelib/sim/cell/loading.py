"""The jobs of a run: in which order they come, and to which scheduler."""

from typing import Any

import attrs
import numpy as np

from kubelib.sim.cell.base import Cell, Floats, Integers, Job
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.state import Amounts


@attrs.frozen(eq=False)
class Loaded:
    """The jobs of all workloads, one workload after the other, as columns."""

    submit: Floats
    tasks: Integers
    duration: Floats
    cpu: Floats
    memory: Floats
    priority: Integers
    workload: Integers
    """The number of the workload."""
    chosen: Integers
    """The number of the scheduler."""
    rows: dict[str, range]
    """Which jobs are of which workload."""
    order: Integers
    """The jobs by submission."""
    given: list[int]
    """How many jobs each scheduler gets."""


def asked_of(job: Job, cell: Cell) -> Amounts:
    """Return what a task asks for of further resources, in the order of the cell's; nothing if of none."""
    if not cell.more or not job.more:
        return ()
    amounts = tuple(job.more.get(name, 0.0) for name in cell.more)
    return amounts if any(amounts) else ()


def asked_of_more(setup: Setup) -> dict[int, Amounts]:
    """Return the same of all jobs that ask for any, by their number."""
    if not setup.cell.more:
        return {}
    jobs = (job for workload in setup.workloads for job in workload)
    asked = ((number, asked_of(job, setup.cell)) for number, job in enumerate(jobs))
    return {number: amounts for number, amounts in asked if amounts}


def load(setup: Setup) -> Loaded:
    """Give the jobs of a setup to its schedulers, in turn to those that serve their workload."""
    workloads, specs = setup.workloads, setup.architecture.schedulers
    rows: dict[str, range] = {}
    chosen = [np.zeros(0, dtype=np.int64)]
    for workload in workloads:
        first = sum(map(len, rows.values()))
        rows[workload.name] = range(first, first + len(workload))
        serving = np.array([number for number, spec in enumerate(specs) if workload.name in spec.decides])
        # one counter for all workloads, which is past a job when that is given away
        chosen.append(serving[np.arange(first + 1, first + 1 + len(workload)) % len(serving)])

    def column(name: str, kind: type) -> Any:
        parts = [getattr(workload, name) for workload in workloads]
        return np.concatenate([np.zeros(0, dtype=kind), *parts])

    submit = column("submit", np.float64)
    to_whom = np.concatenate(chosen)
    return Loaded(
        submit=submit,
        tasks=column("tasks", np.int64),
        duration=column("duration", np.float64),
        cpu=column("cpu", np.float64),
        memory=column("memory", np.float64),
        priority=column("priority", np.int64),
        workload=np.repeat(np.arange(len(workloads)), [len(workload) for workload in workloads]),
        chosen=to_whom,
        rows=rows,
        order=np.argsort(submit, kind="stable"),
        given=np.bincount(to_whom, minlength=len(specs)).tolist(),
    )
