"""The case study of MapReduce: how jobs speed up, what policies allow, and what the paper claims of them."""

from functools import cache

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.sim.cell import Cell
from kubelib.sim.mapreduce.model import SIZES, MapReduceJob, as_asked, generate
from kubelib.sim.mapreduce.policies import (
    POLICIES,
    AsAsked,
    GlobalCap,
    Idle,
    MaxParallelism,
    RelativeSize,
    choose,
)
from kubelib.sim.mapreduce.study import CELLS, Situation, Study, study

JOB = MapReduceJob(0.0, 10, 100, 40, 60.0, 30.0, 1.0, 1.0)
IDLE = Idle(room=10_000, used_cpu=0.0, total_cpu=40_000.0)


def test_time_falls_with_workers_until_all_activities_of_a_phase_run_at_once() -> None:
    # ten rounds of maps, four of reduces
    assert JOB.seconds(10) == 10 * 60 + 4 * 30
    assert JOB.seconds(20) == 5 * 60 + 2 * 30
    assert JOB.seconds(40) == 2.5 * 60 + 30
    assert JOB.seconds(100) == 60 + 30
    assert JOB.seconds(1000) == JOB.seconds(100)
    assert JOB.speedup(10) == 1.0
    assert JOB.speedup(100) == 8.0


def test_each_policy_goes_as_far_as_it_may() -> None:
    assert choose(JOB, AsAsked(), IDLE) == 10
    assert choose(JOB, MaxParallelism(), IDLE) == 100
    assert choose(JOB, RelativeSize(), IDLE) == 40
    assert choose(JOB, RelativeSize(2), IDLE) == 20
    assert choose(JOB, GlobalCap(), IDLE) == 100
    assert choose(JOB, MaxParallelism(), Idle(25, 0.0, 100.0)) == 25
    # thirty more CPUs below the threshold of 60
    assert choose(JOB, GlobalCap(), Idle(1000, 30.0, 100.0)) == 30
    # above it, nothing but what is asked for
    assert choose(JOB, GlobalCap(), Idle(1000, 61.0, 100.0)) == 10


jobs = st.builds(
    MapReduceJob,
    submit=st.just(0.0),
    workers=st.integers(1, 300),
    maps=st.integers(1, 2000),
    reduces=st.integers(0, 2000),
    map_seconds=st.floats(1.0, 100.0),
    reduce_seconds=st.floats(1.0, 100.0),
    cpu=st.floats(0.1, 4.0),
    memory=st.floats(0.1, 4.0),
)
idle = st.builds(Idle, st.integers(0, 5000), st.floats(0.0, 1000.0), st.just(1000.0))


@settings(max_examples=80, deadline=None)
@given(jobs, idle)
def test_no_choice_is_slower_than_what_was_asked_nor_larger_than_is_of_use(
    job: MapReduceJob, idle: Idle
) -> None:
    asked = job.seconds(job.workers)
    best = job.seconds(choose(job, MaxParallelism(), idle))
    for policy in (*POLICIES, AsAsked()):
        workers = choose(job, policy, idle)
        assert job.workers <= workers <= max(job.workers, job.most)
        assert best - 1e-9 <= job.seconds(workers) <= asked + 1e-9
        if workers > job.workers:
            assert workers <= idle.room
    assert choose(job, RelativeSize(), idle) <= 4 * job.workers


def test_generated_jobs_have_the_known_sizes() -> None:
    made = generate(7, 0.5, 20_000.0, Cell())
    assert made == generate(7, 0.5, 20_000.0, Cell())
    assert len(made) == pytest.approx(10_000, rel=0.05)
    for size, share in SIZES:
        assert sum(job.workers == size for job in made) / len(made) == pytest.approx(share, abs=0.02)
    assert as_asked(made).tasks.sum() == sum(job.workers for job in made)
    for arguments in ({"rate": 0.0}, {"rate": 1.0, "gaining": 1.5}, {"rate": 1.0, "surplus": 0.0}):
        with pytest.raises(ValueError, match="MapReduce jobs need a rate"):
            generate(1, horizon=10.0, cell=Cell(), **arguments)
    with pytest.raises(ValueError, match="needs a worker"):
        attrs.evolve(JOB, maps=0)


def cell_of(name: str) -> Situation:
    """One of the cells."""
    (found,) = (situation for situation in CELLS if situation.name.startswith(name))
    return found


@cache
def done(cell: str, policy: str) -> Study:
    (found,) = (one for one in (*POLICIES, AsAsked()) if one.name == policy)
    return study(cell_of(cell), found, horizon=43_200.0)


@pytest.mark.parametrize("cell", ["A", "C", "D"])
def test_max_parallelism_is_best_relative_size_nearly_so_and_bounded(cell: str) -> None:
    """Figure 15."""
    most, relative, capped = (done(cell, policy.name) for policy in POLICIES)
    assert len(most.speedups) == len(relative.speedups) > 50
    for share in (0.5, 0.8, 0.9):
        assert most.percentile(share) >= relative.percentile(share) - 0.05
        assert most.percentile(share) >= capped.percentile(share) - 0.05
    assert max(relative.speedups) <= 4.0 + 1e-9
    assert relative.percentile(0.8) > 0.8 * most.percentile(0.8)
    assert 0.5 <= most.gaining <= 0.7
    assert 3.0 <= most.percentile(0.8) <= 4.0


def test_a_global_cap_lets_jobs_grow_in_a_lightly_loaded_cell_and_hardly_in_busy_ones() -> None:
    assert done("D", "global cap").gaining > 0.85 * done("D", "max-parallelism").gaining
    for busy in ("A", "C"):
        assert done(busy, "global cap").gaining < 0.1


def test_utilization_becomes_more_variable() -> None:
    """Figure 16."""
    plain, most = done("C", "as asked"), done("C", "max-parallelism")
    assert set(plain.speedups) == {1.0}
    assert most.utilization()[1] > plain.utilization()[1]
    assert all(0.0 <= cpu <= 1.0 and 0.0 <= memory <= 1.0 for _, cpu, memory in most.used)
    assert [time for time, _, _ in most.used] == [300.0 * number for number in range(len(most.used))]
