"""Constraints, priorities and machine failures in the cell."""

from typing import Any

import numpy as np
import pytest

from kubelib.sim.cell import (
    Architecture,
    Cell,
    DecisionTime,
    Failures,
    Job,
    Machines,
    Setup,
    Workload,
    simulate,
)
from kubelib.sim.cell.engine import prepare

MIXED = Cell(
    (
        Machines(30, 4.0, 16.0, {"zone": "a", "cores": "4"}),
        Machines(20, 8.0, 32.0, {"zone": "b", "cores": "8"}),
        Machines(10, 16.0, 64.0, {"zone": "b", "cores": "16", "ssd": ""}),
    )
)
WAYS = [
    Architecture.monolithic(),
    Architecture.shared_state(),
    Architecture.shared_state(detection="coarse", commit="all-or-nothing"),
    Architecture.two_level(),
]


def setup(architecture: Architecture, *jobs: Job, cell: Cell = MIXED, **more: Any) -> Setup:
    service = [job for job in jobs if job.priority > 0]
    batch = [job for job in jobs if job.priority <= 0]
    workloads = (Workload.of("batch", batch), Workload.of("service", service))
    return Setup(cell, workloads, architecture, **{"horizon": 1_000.0, **more})


@pytest.mark.parametrize("architecture", WAYS)
@pytest.mark.parametrize(
    ("constraint", "machines"),
    [
        ("zone=b", (30, 60)),
        ("cores>4", (30, 60)),
        ("cores<16,zone!=b", (0, 30)),
        ("ssd", (50, 60)),
        ("!ssd", (0, 50)),
    ],
)
def test_tasks_run_only_where_the_constraint_allows(
    architecture: Architecture, constraint: str, machines: tuple[int, int]
) -> None:
    jobs = [Job(float(at), 7, 5_000.0, 0.5, 0.5, constraint=constraint) for at in range(5)]
    free = Job(0.0, 40, 5_000.0, 0.1, 0.1)
    run = prepare(setup(architecture, *jobs, free))
    run.results()
    used = np.array([m for a in run.running() for m in a.machines if a.cpu == 0.5])
    assert len(used) == 35
    assert used.min() >= machines[0]
    assert used.max() < machines[1]
    assert sum(len(allocation.machines) for allocation in run.running()) == 75


def test_jobs_of_a_constraint_wait_though_the_rest_of_the_cell_is_empty() -> None:
    job = Job(0.0, 11, 5_000.0, 16.0, 1.0, constraint="ssd")
    results = simulate(setup(Architecture.monolithic(), job))
    assert results.scheduler("scheduler").claims_landed == 10
    assert results.workload("batch").placed == 0


@pytest.mark.parametrize("architecture", WAYS[:3])
def test_tasks_of_higher_priority_take_the_place_of_lower_ones(architecture: Architecture) -> None:
    cell = Cell((Machines(10, 4.0, 16.0),))
    low = Job(0.0, 40, 500.0, 1.0, 1.0)
    high = Job(100.0, 8, 5_000.0, 2.0, 1.0, priority=9)
    without = simulate(setup(architecture, low, high, cell=cell))
    assert without.workload("service").abandoned == 1
    results = simulate(setup(architecture, low, high, cell=cell, preemption=True))
    assert results.workload("service").attempts.mean == 1
    assert results.workload("service").placed == 1
    assert results.workload("service").preempted_tasks == 0
    # sixteen CPUs were needed, and tasks of one CPU go machine by machine
    assert 16 <= results.workload("batch").preempted_tasks <= 40
    assert results.workload("batch").placed == 1


def test_equal_priorities_never_evict_each_other() -> None:
    cell = Cell((Machines(10, 4.0, 16.0),))
    first, second = Job(0.0, 40, 5_000.0, 1.0, 1.0, priority=5), Job(1.0, 1, 10.0, 1.0, 1.0, priority=5)
    results = simulate(setup(Architecture.monolithic(), first, second, cell=cell, preemption=True))
    assert results.workload("service").preempted_tasks == 0
    assert results.workload("service").placed == 1


def test_the_lowest_priority_is_evicted_first() -> None:
    cell = Cell((Machines(1, 4.0, 16.0),))
    jobs = [Job(float(level), 1, 5_000.0, 1.0, 1.0, priority=level) for level in (3, 1, 2, 4)]
    high = Job(50.0, 1, 5_000.0, 2.0, 1.0, priority=9)
    run = prepare(setup(Architecture.monolithic(), *jobs, high, cell=cell, preemption=True, horizon=60.0))
    run.results()
    priorities = sorted(run._priority[a.job] for a in run.running() if a.machines)
    assert priorities == [3, 4, 9]


@pytest.mark.parametrize("architecture", WAYS)
def test_tasks_of_a_machine_that_fails_run_again_elsewhere(architecture: Architecture) -> None:
    job = Job(0.0, 60, 20_000.0, 0.5, 0.5)
    more: dict[str, Any] = {"failures": Failures(between=5_000.0, repair=300.0), "horizon": 10_000.0}
    run = prepare(setup(architecture, job, **more))
    results = run.results()
    batch = results.workload("batch")
    assert results.cell.breakdowns == pytest.approx(120, rel=0.4)
    assert batch.killed_tasks > 50
    assert results.cell.broken == pytest.approx(300 / 5_300, rel=0.5)
    running = sum(len(allocation.machines) for allocation in run.running())
    assert running + run.jobs.left[0] == 60
    assert running > 50
    # the wait is that until the job was first placed
    assert batch.wait_until_placed.mean < 2.0 or not batch.placed


IMPOSSIBLE: list[tuple[Any, str]] = [
    (
        lambda: setup(WAYS[0], Job(0.0, 1, 1.0, 16.0, 1.0, constraint="zone=a")),
        "where zone=a, which no machine",
    ),
    (lambda: setup(WAYS[0], Job(0.0, 1, 1.0, 1.0, 1.0, constraint="zone in (")), "is no label selector"),
    (
        lambda: setup(WAYS[0], Job(0.0, 1, 1.0, 1.0, 1.0, constraint="gpu")),
        "which no machine of the cell has",
    ),
    (lambda: setup(WAYS[3], preemption=True), "cannot preempt"),
    (lambda: setup(WAYS[3], exact=True), "without two-level sharing"),
    (
        lambda: setup(WAYS[0], exact=True, preemption=True, failures=Failures(1.0, 1.0)),
        "preemption and failures",
    ),
    (lambda: Failures(0.0, 1.0), "between of Failures is 0.0"),
    (lambda: Architecture("two-level", Architecture.monolithic().schedulers), "have an allocator"),
    (lambda: Architecture.shared_state(batch_schedulers=0), "0 batch schedulers are none"),
    (lambda: Architecture.two_level(service=DecisionTime(float("inf"))), "t_job of DecisionTime is inf"),
]


@pytest.mark.parametrize(("make", "says"), IMPOSSIBLE)
def test_what_cannot_be_is_refused_in_one_sentence(make: Any, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the sentence is looked at below
        make()
    message = str(caught.value)
    assert says in message
    assert message.count(". ") == 0
    assert message.endswith(".")


def test_jobs_larger_than_the_cell_are_counted() -> None:
    cell = Cell((Machines(2, 4.0, 16.0),))
    results = simulate(setup(WAYS[0], Job(0.0, 9, 10.0, 1.0, 1.0), Job(0.0, 8, 10.0, 1.0, 1.0), cell=cell))
    assert results.workload("batch").larger_than_the_cell == 1
