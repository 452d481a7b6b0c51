"""Compiled runs have the results of plain ones, to the last bit."""

import subprocess
import sys
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
import pytest

from kubelib.sim.cell import (
    Allocator,
    Architecture,
    Cell,
    DecisionTime,
    Job,
    Machines,
    Results,
    Setup,
    Workload,
    simulate,
)
from kubelib.sim.cell.compiled import run as compiled_run
from kubelib.sim.cell.compiled.run import CompiledRun
from kubelib.sim.cell.workloads import paper_like
from tests.sim.cell.conftest import Runs
from tests.sim.cell.test_invariants import ARCHITECTURES, SMALL, crowded, omega

COMPILED = [a for a in ARCHITECTURES if not a.has_commit_point]


def both(setup: Setup) -> tuple[Results, Results]:
    """Return what the plain and what the compiled run of a setup says."""
    assert setup.can_be_compiled
    return simulate(setup), simulate(attrs.evolve(setup, engine="numba"))


@pytest.mark.parametrize(
    ("architecture", "exact"),
    [(a, exact) for a in COMPILED for exact in (False, True) if not (exact and a.sharing == "two-level")],
)
def test_results_are_equal_to_the_last_bit(architecture: Architecture, exact: bool) -> None:
    """In a crowded cell, where claims conflict, tasks find no room, and jobs are tried again and given up."""
    for seed in (1, 2):
        plain, compiled = both(crowded(architecture, seed, exact=exact))
        assert plain == compiled
        assert sum(scheduler.no_room for scheduler in plain.schedulers) > 0


@pytest.mark.parametrize("exact", [False, True])
def test_they_are_with_machines_that_no_scheduler_looks_at_and_a_queue_that_is_left(exact: bool) -> None:
    plain, compiled = both(crowded(omega(60.0, 2), 3, exact=exact, blacklist=0.3))
    assert plain == compiled
    assert plain.saturated
    assert sum(scheduler.queue_left for scheduler in plain.schedulers) > 10


def test_they_are_over_days_of_jobs_of_a_thousand_tasks() -> None:
    """Large jobs are placed in another way than small ones; days are booked one by one."""
    cell = Cell((Machines(1_000, 4.0, 16.0),))
    day = paper_like(load=0.1, cell=cell, horizon=200_000.0)
    architecture = Architecture.shared_state(service=DecisionTime(10.0), batch_schedulers=2)
    plain, compiled = both(
        Setup(cell, (day.batch, day.service), architecture, day.prefill, horizon=200_000.0)
    )
    assert plain == compiled
    assert len(plain.scheduler("service").useful_by_day) == 3
    assert plain.conflict_fraction() > 0


def test_they_are_when_what_is_kept_outgrows_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_run, "EVENTS", 8)
    monkeypatch.setattr(compiled_run, "ENTRIES", 1)
    setup = crowded(omega(20.0))
    run = CompiledRun(attrs.evolve(setup, engine="numba"))
    assert run.results() == simulate(setup)
    assert len(run.state.agenda) > 500
    assert len(run.state.diary) > 10_000


def test_they_are_for_many_offers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow framework gets what becomes free while it thinks about earlier offers."""
    monkeypatch.setattr(compiled_run, "OFFERS", 1)
    monkeypatch.setattr(compiled_run, "EVENTS", 8)
    slow = DecisionTime(20.0, 0.1)
    architecture = Architecture.two_level(
        slow, slow, batch_schedulers=3, allocator=Allocator(batch=0.5, minimum=0.5)
    )
    setup = crowded(architecture, 2)
    run = CompiledRun(attrs.evolve(setup, engine="numba"))
    assert run.results() == simulate(setup)
    assert len(run.state.offers) >= 8


@pytest.mark.parametrize("count", [1, 7, 8, 100, 128, 129, 1_000, 10_007])
def test_sums_are_those_of_numpy(count: int) -> None:
    from numba import njit

    from kubelib.sim.cell.compiled.offers import total
    from kubelib.sim.cell.compiled.state import HALF, HALVES

    adding: Any = njit(lambda values, halves: total(values, halves))
    values = np.random.Generator(np.random.PCG64(count)).random(count) * 4
    assert adding(values, np.zeros(HALVES, dtype=HALF)) == values.sum()


def test_they_are_without_jobs_and_for_jobs_that_never_fit() -> None:
    idle = Setup(SMALL, (Workload.of("batch", []),), Architecture.monolithic(), horizon=10.0)
    plain, compiled = both(idle)
    assert repr(plain) == repr(compiled)  # waits of no jobs are NaN, which differs from itself
    cell = Cell((Machines(2, 4.0, 16.0),))
    jobs = (
        Workload.of("batch", [Job(0.0, 100, 1e9, 1.0, 1.0)]),
        Workload.of("service", [Job(5.0, 1, 1.0, 4.0, 1.0)]),
    )
    plain, compiled = both(Setup(cell, jobs, Architecture.monolithic()))
    assert repr(plain) == repr(compiled)
    assert plain.workload("batch").abandoned == 1


@pytest.mark.parametrize("bound", [1, 2, 3, 10_000, 8_193, 2**31 + 11])
def test_streams_are_those_of_numpy(bound: int) -> None:
    from numba import njit

    from kubelib.sim.cell.compiled.state import DESK, STREAM
    from kubelib.sim.cell.compiled.streams import below, words_of

    def drawing(desks: Any, bound: int, count: int) -> Any:
        drawn = np.zeros(count, dtype=np.int64)
        for index in range(count):
            drawn[index] = below(desks[0], bound)
        return drawn

    draw: Any = njit(drawing)

    generator = np.random.Generator(np.random.PCG64([7, 1]))
    desks = np.zeros(1, dtype=DESK)
    for name, word in zip(STREAM, words_of(generator), strict=True):
        desks[name] = word
    drawn = (generator.random(1_001) * bound).astype(np.int64)
    assert draw(desks, bound, 1_001).tolist() == drawn.tolist()
    assert drawn.max() < bound


def test_what_is_not_compiled_runs_as_always() -> None:
    for setup in (crowded(ARCHITECTURES[-2]), crowded(omega(), preemption=True)):
        assert not setup.can_be_compiled
        assert simulate(attrs.evolve(setup, engine="numba")) == simulate(setup)


def test_numba_is_loaded_only_when_it_is_asked_for_and_its_absence_is_one_sentence() -> None:
    script = """
import sys
from kubelib.sim.cell import Architecture, Cell, Setup, Workload, simulate
setup = Setup(Cell(), (Workload.of("batch", []),), Architecture.monolithic(), horizon=10.0)
simulate(setup)
assert "numba" not in sys.modules
sys.modules["numba"] = None
import attrs
try:
    simulate(attrs.evolve(setup, engine="numba"))
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("numba cannot be used (")
    assert done.stdout.endswith("install kubelib-cluster[numba], or leave the engine at python.\n")


@pytest.mark.parametrize(
    ("load", "schedulers", "fraction", "busy", "wait", "cpu"),
    [
        (4, 1, ".0003", ".367", "2.69", 0.832),
        (4, 4, ".0282", ".109", ".384", 0.832),
        (4, 32, ".0352", ".014", ".030", 0.832),
        (6, 1, ".0006", ".764", "135", 0.923),
    ],
)
def test_exact_runs_under_load_give_the_published_numbers(
    run: Runs, load: float, schedulers: int, fraction: str, busy: str, wait: str, cpu: float
) -> None:
    results = run(
        Architecture.shared_state(batch_schedulers=schedulers), exact=True, load=load, engine="numba"
    )

    def printed(value: float, like: str) -> str:
        return f"{value:.{len(like.partition('.')[2])}f}".lstrip("0")

    assert printed(results.conflict_fraction("batch"), fraction) == fraction
    busyness = sum(s.busyness for s in results.schedulers if s.name.startswith("batch")) / schedulers
    assert printed(busyness, busy) == busy
    assert printed(results.workload("batch").wait_to_first_attempt.mean, wait) == wait
    # one figure is published for any number of schedulers
    assert results.cell.cpu == pytest.approx(cpu, abs=6e-4)


def test_enough_load_saturates_a_batch_scheduler_of_a_shared_state(run: Runs) -> None:
    """Figure 8: near six times the load of this day."""
    saturated = {
        load: run(Architecture.shared_state(), load=load, horizon=21_600.0, engine="numba").saturated
        for load in (4, 8)
    }
    assert saturated == {4: False, 8: True}


def test_under_load_conflicts_rise_and_busyness_and_waits_fall_with_every_batch_scheduler_more(
    run: Runs,
) -> None:
    """Figures 9a and 9b, at six times the load: the conflict fraction levels off from 16 schedulers on."""
    counts = (1, 2, 4, 8, 16, 32)
    runs = [
        run(Architecture.shared_state(batch_schedulers=count), load=6, horizon=21_600.0, engine="numba")
        for count in counts
    ]
    fractions = [results.conflict_fraction("batch") for results in runs]
    assert all(after > before for before, after in pairwise(fractions[:-1]))
    assert fractions[-1] > 0.9 * fractions[-2]
    busy = [
        sum(s.busyness for s in results.schedulers if s.name.startswith("batch")) / count
        for count, results in zip(counts, runs, strict=True)
    ]
    waits = [results.workload("batch").wait_to_first_attempt.mean for results in runs]
    for falling in (busy, waits):
        assert all(after < before for before, after in pairwise(falling))
    # conflicts are work: 32 have more than a 32nd of it each
    assert busy[-1] > 2 * busy[0] / 32
