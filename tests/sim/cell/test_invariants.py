"""What holds in every run, and that the fast runs say the same as the exact ones."""

from statistics import mean, stdev
from typing import Any

import attrs
import numpy as np
import pytest

from kubelib.sim.cell import (
    Allocator,
    Architecture,
    Cell,
    DecisionTime,
    Failures,
    Job,
    Machines,
    SchedulerSpec,
    Setup,
    Workload,
    simulate,
)
from kubelib.sim.cell.architecture import Commit, Detection
from kubelib.sim.cell.books import Scheduler
from kubelib.sim.cell.engine import prepare
from kubelib.sim.cell.placement import Drawn, Replayed
from kubelib.sim.cell.run import Run
from kubelib.sim.cell.state import Ledger
from kubelib.sim.cell.workloads import BATCH, SERVICE, generate, generate_prefill
from tests.sim.cell.conftest import Runs

SMALL = Cell((Machines(200, 4.0, 16.0), Machines(50, 8.0, 32.0)))
MODES: list[tuple[Detection, Commit]] = [
    ("fine", "incremental"),
    ("fine", "all-or-nothing"),
    ("coarse", "incremental"),
    ("coarse", "all-or-nothing"),
]
HOUR = 3600.0


def crowded(architecture: Architecture, seed: int = 1, **more: Any) -> Setup:
    """A small cell that is nearly full, where schedulers get in each other's way."""
    batch = generate("batch", BATCH, 10 * seed + 1, SMALL, HOUR)
    service = generate("service", SERVICE, 10 * seed + 2, SMALL, HOUR, 9)
    prefill = generate_prefill(SERVICE, 10 * seed + 3, SMALL, HOUR, 0.6, 9)
    return Setup(SMALL, (batch, service), architecture, prefill, horizon=HOUR, seed=seed, **more)


def omega(t_job: float = 5.0, schedulers: int = 4, **modes: Any) -> Architecture:
    decision = DecisionTime(t_job)
    return Architecture.shared_state(decision, decision, batch_schedulers=schedulers, **modes)


ARCHITECTURES = [
    *(omega(detection=detection, commit=commit) for detection, commit in MODES),
    Architecture.monolithic(),
    Architecture.partitioned(SMALL, 0.5),
    omega(commit_policies=("ageing=2:20", "fair-shares"), commit_time=0.5, commit="all-or-nothing"),
    Architecture.two_level(
        DecisionTime(2.0), DecisionTime(5.0), batch_schedulers=2, allocator=Allocator(minimum=1.0)
    ),
]
DISRUPTIONS: list[tuple[Architecture, dict[str, Any]]] = [
    *((architecture, {}) for architecture in ARCHITECTURES),
    *(
        (architecture, {"failures": Failures(between=20 * HOUR, repair=600.0)})
        for architecture in (ARCHITECTURES[0], ARCHITECTURES[3], ARCHITECTURES[-1])
    ),
    (ARCHITECTURES[0], {"preemption": True}),
    (ARCHITECTURES[2], {"preemption": True, "failures": Failures(between=20 * HOUR, repair=600.0)}),
    (Architecture.monolithic(), {"preemption": True}),
]


def held(run: Run) -> tuple[Any, Any, int]:
    """Return what the tasks that still run hold on each machine, and how many they are."""
    cpus, memories, count = np.zeros(SMALL.size), np.zeros(SMALL.size), 0
    for allocation in run.running():
        machines = np.asarray(allocation.machines, dtype=np.int64)
        np.add.at(cpus, machines, allocation.cpu)
        np.add.at(memories, machines, allocation.memory)
        count += len(machines)
    return cpus, memories, count


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("architecture", "more"), DISRUPTIONS)
def test_no_machine_is_overcommitted_and_every_claim_is_released_or_runs(
    architecture: Architecture, more: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare(crowded(architecture, seed, **more))
    ledger = run.ledger
    landing = Ledger.claimed

    def looked_at(self: Ledger, *claim: Any) -> None:
        landing(self, *claim)
        assert (self.cpus <= self.cpu_total + 1e-9).all()
        assert (self.memories <= self.memory_total + 1e-9).all()

    monkeypatch.setattr(Ledger, "claimed", looked_at)
    results = run.results()
    cpus, memories, count = held(run)
    up = ledger.up()
    assert ledger.claims == ledger.releases + count
    landed = sum(scheduler.claims_landed for scheduler in results.schedulers)
    assert ledger.claims == landed + results.prefilled_tasks
    killed = sum(workload.killed_tasks + workload.preempted_tasks for workload in results.workloads)
    assert landed == sum(run.jobs.tasks) - sum(run.jobs.left) + killed
    np.testing.assert_allclose(ledger.cpus[up], cpus[up], atol=1e-9)
    np.testing.assert_allclose(ledger.memories[up], memories[up], atol=1e-9)
    assert not cpus[~up].any()
    assert (killed > 0) == bool(more)
    assert (results.cell.breakdowns > 0) == ("failures" in more)
    assert results.cell.cpu == pytest.approx(results.cell.cpu_integral, rel=2e-3)
    assert results.cell.memory == pytest.approx(results.cell.memory_integral, rel=2e-3)


def test_the_crowded_cell_is_crowded() -> None:
    results = simulate(crowded(omega()))
    assert results.cell.cpu > 0.8
    assert results.conflict_fraction("batch") > 0.01
    assert sum(scheduler.no_room for scheduler in results.schedulers) > 0


@pytest.mark.parametrize(("architecture", "more"), DISRUPTIONS[5:])
def test_equal_setups_have_equal_results(architecture: Architecture, more: dict[str, Any]) -> None:
    setup = crowded(architecture, **more)
    assert simulate(setup) == simulate(setup)


@pytest.mark.parametrize(("detection", "commit"), MODES)
@pytest.mark.parametrize("exact", [False, True])
def test_one_scheduler_has_no_conflicts(detection: Detection, commit: Commit, exact: bool) -> None:
    decides = {"batch": DecisionTime(2.0), "service": DecisionTime(2.0)}
    alone = Architecture("shared-state", (SchedulerSpec("omega", decides),), detection, commit)
    results = simulate(crowded(alone, exact=exact))
    assert results.scheduler("omega").failed == 0
    assert results.scheduler("omega").succeeded > 500


@pytest.mark.parametrize("detection", ["fine", "coarse"])
def test_a_gang_lands_whole_or_not_at_all(detection: Detection, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare(crowded(omega(detection=detection, commit="all-or-nothing")))
    outcomes = []
    account = Scheduler.account

    def noted(
        self: Scheduler, workload: str, now: float, think: float, placed: int, *rest: Any, **more: Any
    ) -> bool:
        outcomes.append((placed, rest[0]))
        return account(self, workload, now, think, placed, *rest, **more)

    monkeypatch.setattr(Scheduler, "account", noted)
    run.results()
    assert {landed in (0, placed) for placed, landed in outcomes} == {True}
    assert sum(placed > 1 and not landed for placed, landed in outcomes) > 5


def test_conflicts_rise_from_fine_to_gang_to_coarse_to_both() -> None:
    """Over twenty seeds, in a cell that is four fifths full, at long decisions of the service scheduler on jobs of several tasks."""
    cell = Cell((Machines(500, 4.0, 16.0),))
    small = attrs.evolve(BATCH, most=50, duration=300.0)
    lively = attrs.evolve(SERVICE, gap=30.0, tail=0.8, most=20, duration=300.0)
    failed, succeeded, full = dict.fromkeys(MODES, 0), dict.fromkeys(MODES, 0), []
    for seed in range(1, 21):
        batch = generate("batch", small, 10 * seed + 1, cell, HOUR)
        service = generate("service", lively, 10 * seed + 2, cell, HOUR)
        prefill = generate_prefill(SERVICE, 10 * seed + 3, cell, HOUR, 0.7)
        for mode in MODES:
            architecture = Architecture.shared_state(
                service=DecisionTime(20.0), detection=mode[0], commit=mode[1]
            )
            setup = Setup(
                cell, (batch, service), architecture, prefill, horizon=HOUR, seed=seed, engine="numba"
            )
            results = simulate(setup)
            failed[mode] += results.scheduler("service").failed
            succeeded[mode] += results.scheduler("service").succeeded
            full.append(results.cell.cpu)
    assert mean(full) > 0.8
    fractions = [failed[mode] / succeeded[mode] for mode in MODES]
    assert fractions == sorted(fractions)
    assert fractions[3] > 2 * fractions[0]


@pytest.mark.parametrize(
    "architecture", [omega(10.0, 2), Architecture.monolithic(DecisionTime(1.0), DecisionTime(1.0))]
)
def test_fast_runs_agree_with_exact_ones_within_three_standard_errors(architecture: Architecture) -> None:
    def figures(exact: bool) -> list[list[float]]:
        rows = []
        for seed in range(1, 13):
            results = simulate(crowded(architecture, seed, exact=exact))
            batch = results.workload("batch")
            rows.append(
                [
                    mean(scheduler.busyness for scheduler in results.schedulers),
                    batch.wait_to_first_attempt.mean,
                    batch.attempts.mean,
                    results.conflict_fraction(),
                    results.cell.cpu,
                    float(sum(workload.abandoned for workload in results.workloads)),
                ]
            )
        return [list(column) for column in zip(*rows, strict=True)]

    for fast, exact in zip(figures(False), figures(True), strict=True):
        # the same seeds mean the same jobs on both sides: what differs is compared
        differences = [a - b for a, b in zip(fast, exact, strict=True)]
        error = stdev(differences) / len(differences) ** 0.5
        assert abs(mean(differences)) <= 3 * error + 1e-9


@pytest.mark.parametrize("tasks", [1, 60])
@pytest.mark.parametrize("fitting", [4, 100])
def test_tasks_go_to_all_machines_that_fit_alike(tasks: int, fitting: int) -> None:
    """By the chi-square statistic; small jobs and large ones, many machines that fit and few."""
    cell = Cell((Machines(400, 4.0, 16.0),))
    ledger = Ledger(cell, numbered=False)
    placement = Drawn(ledger, range(400), 0.0, (7,))
    counts = np.zeros(400)
    rounds = 6000 // tasks
    ledger.cpus[fitting:] = 4.0
    for _ in range(rounds):
        placed = placement.place(ledger, tasks, 0.001, 0.001)
        assert len(placed) == tasks
        np.add.at(counts, np.asarray(placed), 1)
        ledger.cpus[:fitting] = 0.0
    assert counts[fitting:].sum() == 0
    expected = rounds * tasks / fitting
    statistic = ((counts[:fitting] - expected) ** 2 / expected).sum()
    freedom = fitting - 1
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("tasks", [3, 24, 25, 1000])
def test_both_ways_to_place_fill_a_cell_to_the_same_last_task(tasks: int) -> None:
    def filled(kind: Any) -> int:
        ledger = Ledger(Cell((Machines(20, 4.0, 16.0), Machines(3, 1.5, 16.0))), numbered=False)
        placement = kind(ledger)
        total = 0
        while placed := len(placement.place(ledger, tasks, 0.5, 1.0)):
            total += placed
        return total

    expected = 20 * 8 + 3 * 3
    assert filled(lambda ledger: Drawn(ledger, range(23), 0.0, (1,))) == expected
    assert filled(lambda ledger: Replayed(ledger, range(23), 0.0, 1)) == expected


def test_no_task_goes_to_a_machine_outside_its_partition() -> None:
    run = prepare(crowded(Architecture.partitioned(SMALL, 0.5)))
    where: dict[int, set[int]] = {}
    run.results()
    for allocation in run.running():
        where.setdefault(allocation.job, set()).update(int(machine) for machine in allocation.machines)
    batch_jobs = len(generate("batch", BATCH, 11, SMALL, HOUR))
    batch = set().union(*(machines for job, machines in where.items() if 0 <= job < batch_jobs))
    service = set().union(*(machines for job, machines in where.items() if job >= batch_jobs))
    assert batch
    assert service
    assert max(batch) < 125 <= min(service)


def test_a_job_larger_than_the_cell_is_abandoned_after_a_thousand_attempts() -> None:
    cell = Cell((Machines(2, 4.0, 16.0),))
    batch = Workload.of("batch", [Job(0.0, 100, 1e9, 1.0, 1.0)])
    service = Workload.of("service", [Job(5.0, 1, 1.0, 4.0, 1.0)])
    results = simulate(Setup(cell, (batch, service), Architecture.monolithic()))
    assert results.workload("batch").abandoned == 1
    assert results.workload("batch").total_attempts == 1001
    # nothing of the service job was ever placed: it is given up sooner
    assert results.workload("service").abandoned == 1
    assert results.workload("service").total_attempts == 101


def test_a_cell_without_jobs_is_idle(run: Runs) -> None:
    results = simulate(Setup(SMALL, (Workload.of("batch", []),), Architecture.monolithic(), horizon=10.0))
    assert results.events == 0
    assert results.scheduler("scheduler").busyness == 0
    assert results.cell.cpu == 0
    assert results.end == 10.0


@pytest.mark.parametrize("sharing", ["live", "snapshot"])
def test_nothing_fits_where_a_stuck_job_does_not_look(sharing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = Architecture.monolithic() if sharing == "live" else omega(5.0, 3)
    run = prepare(crowded(architecture))
    place = Drawn.place
    checked = 0

    def looked(
        self: Drawn, view: Any, tasks: int, cpu: float, memory: float, eligible: Any = None, more: Any = ()
    ) -> Any:
        nonlocal checked
        placed = place(self, view, tasks, cpu, memory, eligible, more)
        if eligible is not None and len(placed) < tasks:
            checked += 1
            ledger = run.ledger
            room = (view.cpus + cpu <= ledger.cpu_total) & (view.memories + memory <= ledger.memory_total)
            assert not room.any()
        return placed

    monkeypatch.setattr(Drawn, "place", looked)
    run.results()
    assert checked > 100
