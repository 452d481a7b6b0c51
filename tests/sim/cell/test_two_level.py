"""Two-level scheduling: offers, who gets them, and the published figures of Mesos within 2 %."""

import attrs
import pytest

from kubelib.sim.cell import (
    Allocator,
    Architecture,
    Cell,
    DecisionTime,
    Job,
    Machines,
    Setup,
    Workload,
    simulate,
)
from kubelib.sim.cell.results import Results
from kubelib.sim.cell.workloads import BATCH, SERVICE, generate, generate_prefill
from tests.sim.cell.conftest import Runs

QUARTER = 21_600.0
CELL = Cell((Machines(10, 4.0, 16.0),))


def mesos(run: Runs, t_job: float) -> Results:
    return run(Architecture.two_level(service=DecisionTime(t_job)), horizon=QUARTER, prefill_horizon=86_400.0)


@pytest.mark.parametrize(
    ("t_job", "batch", "service", "busy", "attempts"),
    [
        (0.1, 0.870, 0.887, 0.0010, 5_370),
        (1.0, 0.882, 0.894, 0.0086, 5_369),
        (10.0, 1.530, 1.245, 0.0844, 5_394),
    ],
)
def test_waits_and_attempts_are_those_of_the_original_within_two_percent(
    run: Runs, t_job: float, batch: float, service: float, busy: float, attempts: int
) -> None:
    results = mesos(run, t_job)
    assert results.workload("batch").jobs == 5_336
    assert results.workload("batch").wait_to_first_attempt.mean == pytest.approx(batch, rel=0.02)
    assert results.workload("service").wait_to_first_attempt.mean == pytest.approx(service, rel=0.02)
    assert results.workload("batch").total_attempts == pytest.approx(attempts, rel=0.02)
    assert results.scheduler("service").busyness == pytest.approx(busy, rel=0.02, abs=1e-4)


def test_long_decisions_of_the_service_scheduler_make_batch_jobs_wait_and_try_again(run: Runs) -> None:
    """Figure 7: offers are locked while a framework thinks, and what is left is too little for large jobs."""
    short, long = mesos(run, 0.1), mesos(run, 100.0)
    assert (
        long.workload("batch").wait_to_first_attempt.mean
        > 10 * short.workload("batch").wait_to_first_attempt.mean
    )
    assert short.workload("batch").attempts.mean == pytest.approx(1.0, rel=0.02)
    assert long.workload("batch").attempts.mean > 1.8
    assert long.scheduler("batch-0").busyness > 1.1 * short.scheduler("batch-0").busyness
    assert long.cell.locked_cpu > 5 * short.cell.locked_cpu


def one(job: Job, name: str = "batch") -> Workload:
    return Workload.of(name, [job])


def test_a_job_waits_for_the_round_and_for_the_decision_of_the_allocator() -> None:
    allocator = Allocator(batch=2.0, decision=0.5, minimum=1.0)
    batch = one(Job(1.0, 1, 10.0, 1.0, 1.0))
    results = simulate(Setup(CELL, (batch,), Architecture.two_level(allocator=allocator), horizon=100.0))
    assert results.workload("batch").wait_to_first_attempt.mean == 2.5
    # locked from the offer to the answer: all 40 CPUs for 0.5 + 0.1 + 0.005 seconds
    assert results.cell.locked_cpu == pytest.approx(0.605 / 100.0)
    assert results.scheduler("batch-0").offers == 1


def test_what_is_offered_to_one_is_not_offered_to_another() -> None:
    service = one(Job(0.0, 1, 1_000.0, 1.0, 1.0), "service")
    batch = one(Job(5.0, 1, 10.0, 1.0, 1.0))
    architecture = Architecture.two_level(service=DecisionTime(50.0), allocator=Allocator(minimum=0.0))
    results = simulate(Setup(CELL, (batch, service), architecture, horizon=200.0))
    # all is locked from second 1.001 to 51.006, and the next round takes another second
    assert results.workload("batch").wait_to_first_attempt.mean == pytest.approx(51.006 + 1.001 - 5.0)


def test_the_framework_with_the_smallest_dominant_share_comes_first() -> None:
    batch = Workload.of("batch", [Job(0.0, 8, 1_000.0, 1.0, 1.0), Job(20.0, 1, 10.0, 1.0, 1.0)])
    service = Workload.of("service", [Job(3.0, 2, 1_000.0, 1.0, 1.0), Job(20.0, 1, 10.0, 1.0, 1.0)])
    architecture = Architecture.two_level(service=DecisionTime(5.0), allocator=Allocator(minimum=0.0))
    results = simulate(Setup(CELL, (batch, service), architecture, horizon=100.0))
    # both ask at second 20; service holds less and gets the offer, batch waits for the round after its answer
    waits = {workload.name: 2 * workload.wait_to_first_attempt.mean - 1.001 for workload in results.workloads}
    assert waits["service"] == pytest.approx(1.001)
    assert waits["batch"] == pytest.approx(1.001 + 5.005 + 1.001)


def test_offers_of_less_than_the_minimum_are_not_made() -> None:
    batch = one(Job(0.0, 1, 10.0, 1.0, 1.0))
    architecture = Architecture.two_level(allocator=Allocator(minimum=41.0))
    results = simulate(Setup(CELL, (batch,), architecture, horizon=100.0))
    assert results.workload("batch").attempted == 0
    assert results.scheduler("batch-0").offers == 0


def test_jobs_are_abandoned_that_all_find_room_with_shared_state() -> None:
    """Figure 7c: while the service framework thinks it holds all that large tasks could use; what tasks leave is too small for them."""
    cell = Cell((Machines(1_000, 4.0, 16.0),))
    hours = 10_800.0
    batch = generate("batch", attrs.evolve(BATCH, gap=20.0, cpu=1.0, most=200), 11, cell, hours)
    service = generate("service", attrs.evolve(SERVICE, gap=300.0), 12, cell, hours)
    prefill = generate_prefill(SERVICE, 13, cell, hours, 0.5)
    slow = DecisionTime(200.0)

    def abandoned(architecture: Architecture) -> int:
        results = simulate(Setup(cell, (batch, service), architecture, prefill, horizon=hours))
        assert not results.scheduler("service").saturated
        assert results.cell.cpu < 0.7
        return results.workload("batch").abandoned

    assert abandoned(Architecture.two_level(allocator=Allocator(minimum=0.5))) == 0
    assert abandoned(Architecture.two_level(service=slow, allocator=Allocator(minimum=0.5))) >= 3
    assert abandoned(Architecture.shared_state(service=slow)) == 0
