"""What the paper says of architectures, on sweeps over a quarter of the paper-like day."""

from itertools import pairwise

import pytest

from kubelib.sim.cell import Architecture, DecisionTime
from kubelib.sim.cell.results import Results
from tests.sim.cell.conftest import Runs

QUARTER = 21_600.0


def single_path(run: Runs, t_job: float) -> Results:
    return run(Architecture.monolithic(DecisionTime(t_job), DecisionTime(t_job)), horizon=QUARTER)


def wait(results: Results, workload: str = "batch") -> float:
    return results.workload(workload).wait_to_first_attempt.mean


def test_in_a_single_path_batch_and_service_jobs_wait_alike(run: Runs) -> None:
    """Figure 5a."""
    for t_job in (1.0, 2.0):
        results = single_path(run, t_job)
        assert wait(results, "service") == pytest.approx(wait(results), rel=0.25)


@pytest.mark.parametrize("t_job", [0.1, 1.0, 2.0])
def test_busyness_is_the_arrival_rate_times_the_mean_decision_until_saturation(
    run: Runs, t_job: float
) -> None:
    """Figure 6a."""
    day = run.day(horizon=QUARTER)
    jobs = len(day.batch) + len(day.service)
    tasks = day.batch.tasks.sum() + day.service.tasks.sum()
    expected = (t_job * jobs + 0.005 * tasks) / QUARTER
    results = single_path(run, t_job)
    assert results.scheduler("scheduler").busyness == pytest.approx(expected, rel=0.02)
    assert not results.saturated


def test_past_saturation_busyness_is_flat_and_jobs_are_left_and_the_wait_grows_with_the_horizon(
    run: Runs,
) -> None:
    decision = DecisionTime(10.0)
    short, long = (
        run(Architecture.monolithic(decision, decision), horizon=horizon)
        for horizon in (QUARTER / 2, QUARTER)
    )
    for results in (short, long):
        assert results.saturated
        assert results.scheduler("scheduler").busyness > 0.98
        assert sum(workload.unattempted for workload in results.workloads) > 100
    assert wait(long) > 1.7 * wait(short)


@pytest.mark.parametrize("t_job", [0.1, 0.5, 1.0])
def test_the_wait_below_saturation_is_that_of_pollaczek_and_khinchine(run: Runs, t_job: float) -> None:
    day = run.day()
    seconds = [t_job + 0.005 * job.tasks for workload in (day.batch, day.service) for job in workload]
    rate = len(seconds) / 86_400
    mean, square = sum(seconds) / len(seconds), sum(s * s for s in seconds) / len(seconds)
    expected = rate * square / (2 * (1 - rate * mean))
    decision = DecisionTime(t_job)
    results = run(Architecture.monolithic(decision, decision))
    assert wait(results) == pytest.approx(expected, rel=0.05)


def test_in_a_multi_path_batch_jobs_still_wait_behind_service_jobs_and_in_a_shared_state_they_do_not(
    run: Runs,
) -> None:
    """Figures 5b, 5c, 6b and 6c."""
    times = [DecisionTime(0.1), DecisionTime(10.0), DecisionTime(60.0)]
    multi = [run(Architecture.monolithic(service=time), horizon=QUARTER) for time in times]
    shared = [run(Architecture.shared_state(service=time), horizon=QUARTER) for time in times]
    assert all(wait(after) > 2 * wait(before) for before, after in pairwise(multi))
    assert wait(shared[2]) == pytest.approx(wait(shared[0]), rel=0.05)
    busy = [results.scheduler("batch-0").busyness for results in shared]
    assert busy[2] == pytest.approx(busy[0], rel=0.05)
    assert wait(shared[0]) == pytest.approx(wait(multi[0]), rel=0.05)
    assert shared[2].workload("batch").unattempted == 0
    assert (
        multi[1].scheduler("scheduler").busyness < single_path(run, 10.0).scheduler("scheduler").busyness / 3
    )


def test_load_raises_wait_and_busyness_of_batch_jobs_and_conflicts_of_service_jobs(run: Runs) -> None:
    """Figure 8."""
    horizon = QUARTER / 2
    loads = [
        run(Architecture.shared_state(service=DecisionTime(30.0)), load=load, horizon=horizon)
        for load in (1, 2, 4)
    ]
    assert all(wait(after) > wait(before) for before, after in pairwise(loads))
    busy = [results.scheduler("batch-0").busyness for results in loads]
    assert busy == sorted(busy)
    wasted = [results.scheduler("service").wasted for results in loads]
    assert wasted[0] < wasted[2]


def test_more_batch_schedulers_are_each_less_busy_and_wait_less_but_conflict_more_than_one(run: Runs) -> None:
    """Figures 9a and 9b."""
    horizon = QUARTER / 3
    runs = {
        count: run(Architecture.shared_state(batch_schedulers=count), load=4, horizon=horizon)
        for count in (1, 2, 4, 16)
    }
    busy = [results.scheduler("batch-0").busyness for results in runs.values()]
    assert busy == sorted(busy, reverse=True)
    waits = [wait(results) for results in runs.values()]
    assert waits == sorted(waits, reverse=True)
    fractions = [results.conflict_fraction("batch") for results in runs.values()]
    assert fractions[0] < min(fractions[1:]) / 3
