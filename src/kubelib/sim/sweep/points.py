"""Running one point: its jobs, its simulation, its row."""

from functools import lru_cache, partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import process_time

import attrs

from kubelib.sim.cell.base import Cell
from kubelib.sim.cell.engine import simulate
from kubelib.sim.cell.results import Results, SchedulerResult
from kubelib.sim.cell.setup import Engine
from kubelib.sim.cell.workloads import Day, paper_like
from kubelib.sim.sweep.base import Outcome, Point, PointFailed, Row, Work
from kubelib.sim.traces.schema import read_day
from kubelib.sim.traces.synthetic import Demand, constrained_day, demanding

_WORKLOADS = ("batch", "service")


@lru_cache(maxsize=2)
def _synthetic(
    seed: int,
    load: float,
    cell: Cell,
    horizon: float,
    prefill: float,
    priorities: tuple[int, int],
    constrained: float,
    demands: tuple[Demand, ...],
) -> Day:
    day = partial(
        paper_like, seed=seed, load=load, cell=cell, horizon=horizon, prefill=prefill, priorities=priorities
    )
    if constrained:
        day = partial(
            constrained_day,
            cell,
            seed=seed,
            load=load,
            horizon=horizon,
            prefill=prefill,
            share=constrained,
            priorities=priorities,
        )
    return demanding(day(), cell, demands, seed)


@lru_cache(maxsize=2)
def _traced(path: Path, digest: str) -> Day:
    return read_day(path)


def jobs_of(work: Work) -> Day:
    """Return the jobs of a point; those of the last two are remembered."""
    point = work.point
    if work.trace:
        return _traced(work.trace, work.trace_digest)
    priorities = (point.batch_priority, point.service_priority)
    return _synthetic(
        point.seed,
        point.load,
        work.cell,
        point.horizon,
        point.prefill,
        priorities,
        point.constrained,
        work.demands,
    )


def likeness(work: Work) -> tuple[object, ...]:
    """Return an order in which points of the same jobs are neighbours."""
    point = work.point
    return (
        str(work.trace),
        point.seed,
        point.load,
        point.horizon,
        point.prefill,
        point.constrained,
        point.batch_priority,
        point.service_priority,
    )


def run_point(work: Work, engine: Engine = "python") -> Outcome:
    """Simulate a point. Raises `PointFailed` if that is impossible."""
    start = process_time()
    try:
        day = jobs_of(work)
        setup = work.point.setup(work.cell, (day.batch, day.service), day.prefill)
        results = simulate(attrs.evolve(setup, engine=engine))
    except ValueError as error:
        raise PointFailed(str(error)) from None
    except MemoryError:
        raise PointFailed(f"There is too little memory for a point of load {work.point.load:g}.") from None
    # Linux counts in KiB
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    return Outcome(row_of(work.point, results), process_time() - start, peak)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _serving(results: Results, workload: str) -> list[SchedulerResult]:
    return [scheduler for scheduler in results.schedulers if workload in scheduler.seconds_by_workload]


def row_of(point: Point, results: Results) -> Row:
    """Return the parameters and figures of a simulation as a row.

    Figures of a workload begin with its name; those of its schedulers are means over the schedulers that serve it, and sums
    for counts. `*_conflict_fraction` is failed per successful transactions.
    """
    row: Row = attrs.asdict(point)
    for name in _WORKLOADS:
        workload = results.workload(name)
        row |= {
            f"{name}_jobs": workload.jobs,
            f"{name}_unattempted": workload.unattempted,
            f"{name}_not_placed": workload.jobs - workload.placed,
            f"{name}_abandoned": workload.abandoned,
            f"{name}_wait_first_mean": workload.wait_to_first_attempt.mean,
            f"{name}_wait_first_p90": workload.wait_to_first_attempt.p90,
            f"{name}_wait_placed_mean": workload.wait_until_placed.mean,
            f"{name}_wait_placed_p90": workload.wait_until_placed.p90,
            f"{name}_wait_commit_mean": workload.wait_at_commit.mean,
            f"{name}_time_placed_mean": workload.time_until_placed.mean,
            f"{name}_time_placed_p90": workload.time_until_placed.p90,
            f"{name}_time_placed_p99": workload.time_until_placed.p99,
            f"{name}_attempts_mean": workload.attempts.mean,
            f"{name}_attempts_p90": workload.attempts.p90,
            f"{name}_attempts_p99": workload.attempts.p99,
            f"{name}_task_attempts_mean": workload.task_attempts.mean,
            f"{name}_task_attempts_p90": workload.task_attempts.p90,
            f"{name}_task_attempts_p99": workload.task_attempts.p99,
            f"{name}_useful_p90": workload.useful_seconds.p90,
            f"{name}_killed_tasks": workload.killed_tasks,
            f"{name}_preempted_tasks": workload.preempted_tasks,
            f"{name}_larger_than_the_cell": workload.larger_than_the_cell,
        }
        serving = _serving(results, name)
        succeeded = sum(scheduler.succeeded for scheduler in serving)
        failed = sum(scheduler.failed for scheduler in serving)
        row |= {
            f"{name}_busyness": _mean([scheduler.busyness for scheduler in serving]),
            f"{name}_busyness_daily_median": _mean([scheduler.daily_busyness for scheduler in serving]),
            f"{name}_busyness_with_fruitless": _mean([s.busyness_with_fruitless for s in serving]),
            f"{name}_useful_share": _mean([scheduler.useful / scheduler.end for scheduler in serving]),
            f"{name}_wasted_share": _mean([scheduler.wasted / scheduler.end for scheduler in serving]),
            f"{name}_transactions_succeeded": succeeded,
            f"{name}_transactions_failed": failed,
            f"{name}_transactions_retried": sum(scheduler.retried for scheduler in serving),
            f"{name}_conflict_fraction": failed / succeeded if succeeded else float("inf" if failed else 0),
            f"{name}_conflict_fraction_daily_median": _mean([s.daily_conflict_fraction for s in serving]),
            f"{name}_claims_landed": sum(scheduler.claims_landed for scheduler in serving),
            f"{name}_claims_refused": sum(scheduler.claims_refused for scheduler in serving),
            f"{name}_attempts_without_room": sum(scheduler.no_room for scheduler in serving),
            f"{name}_transactions_denied": sum(scheduler.denied for scheduler in serving),
            f"{name}_offers": sum(scheduler.offers for scheduler in serving),
            f"{name}_probes_without_room": sum(scheduler.misses for scheduler in serving),
            f"{name}_multi_path": any(scheduler.multi_path for scheduler in serving),
            f"{name}_queue_left": sum(scheduler.queue_left for scheduler in serving),
            f"{name}_saturated": any(scheduler.saturated for scheduler in serving),
        }
    cell = results.cell
    return row | {
        "cpu_utilization": cell.cpu_integral,
        "memory_utilization": cell.memory_integral,
        **{f"{name}_utilization": share for name, share in cell.more.items()},
        "cpu_locked": cell.locked_cpu,
        "memory_locked": cell.locked_memory,
        "machines_broken": cell.broken,
        "breakdowns": cell.breakdowns,
        "prefilled_tasks": results.prefilled_tasks,
        "events": results.events,
        "simulated_seconds": results.end,
    }
