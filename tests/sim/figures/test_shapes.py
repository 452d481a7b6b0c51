"""What the paper says of cells of mixed machines, and of schemes over both parts of the decision time, on small sweeps."""

from dataclasses import dataclass
from typing import Any

import pytest

from kubelib.sim.cell import Cell, Machines
from kubelib.sim.figures.base import unscheduled
from kubelib.sim.sweep.base import Point, Row, Work
from kubelib.sim.sweep.points import run_point
from kubelib.sim.traces.synthetic import mixed_cell

HOUR = 3600.0


@dataclass(frozen=True)
class Runs:
    """Runs points of a cell, with something in common."""

    cell: Cell
    common: dict[str, Any]

    def __call__(self, **parameters: Any) -> Row:
        return run_point(Work(Point(**{**self.common, **parameters}), self.cell)).row


def test_three_batch_schedulers_bear_decisions_that_saturate_one() -> None:
    """Figure 13."""
    run = Runs(mixed_cell(4_000), {"horizon": 2 * HOUR, "load": 1.0, "constrained": 0.3, "prefill": 0.4})
    assert not run(batch_t_job=2.0)["batch_saturated"]
    one, three = (run(batch_t_job=8.0, batch_schedulers=count) for count in (1, 3))
    assert one["batch_saturated"]
    assert not three["batch_saturated"]
    assert float(three["batch_conflict_fraction"]) < 0.2
    assert float(three["batch_wait_first_mean"]) < float(one["batch_wait_first_mean"]) / 10


def test_in_a_busy_cell_conflicts_make_service_jobs_wait_long_before_their_scheduler_is_saturated() -> None:
    """Figure 12: waits pass 30 s, and decisions take 40 % more than they would without conflicts, and above."""
    run = Runs(
        mixed_cell(4_000),
        {"horizon": 2 * HOUR, "load": 1.0, "constrained": 0.3, "prefill": 0.7, "detection": "coarse", "commit": "all-or-nothing"},
    )  # fmt: skip
    quick, slower, slow = (run(service_t_job=t_job) for t_job in (0.1, 3.0, 30.0))
    fractions = [float(row["service_conflict_fraction"]) for row in (quick, slower, slow)]
    assert fractions == sorted(fractions)
    assert fractions[2] > 0.5
    assert float(slow["service_wait_first_mean"]) > 30
    assert not slow["service_saturated"]
    assert float(slow["service_busyness"]) > 1.4 * float(slow["service_useful_share"])


def test_gangs_and_coarse_detection_conflict_more_but_busyness_rises_less() -> None:
    """Figure 14: sums over two seeds, in a mixed cell with constraints."""
    common = {"horizon": 2 * HOUR, "load": 1.0, "constrained": 0.3, "prefill": 0.7, "service_t_job": 30.0}
    run = Runs(mixed_cell(4_000), common)
    fractions, busy = [], []
    for detection in ("fine", "coarse"):
        for commit in ("incremental", "all-or-nothing"):
            rows = [run(detection=detection, commit=commit, seed=seed) for seed in (1, 2)]
            failed, succeeded = (
                sum(int(row[f"service_transactions_{what}"]) for row in rows)
                for what in ("failed", "succeeded")
            )
            fractions.append(failed / succeeded)
            busy.append(sum(float(row["service_busyness"]) for row in rows) / 2)
    fine, gang, coarse, both = fractions
    assert fine < min(gang, coarse)
    assert both > max(gang, coarse)
    assert busy[0] == min(busy)
    assert gang / fine > busy[1] / busy[0]


def test_a_single_path_leaves_most_and_shared_state_least() -> None:
    """Figure 10, on a cell that is nearly full."""
    cell = Cell((Machines(1_000, 4.0, 16.0),))
    run = Runs(cell, {"horizon": 3 * HOUR, "load": 0.2, "prefill": 0.7, "service_t_job": 100.0})
    left = {
        scheme: unscheduled(run(architecture=scheme)) for scheme in ("single-path", "multi-path", "two-level", "shared-state")
    }  # fmt: skip
    assert left["single-path"] > 0.5
    assert left["single-path"] > left["multi-path"]
    assert left["single-path"] > left["two-level"] > left["shared-state"]


def test_a_service_scheduler_is_hardly_busy_over_most_decision_times() -> None:
    """Figure 11."""
    run = Runs(mixed_cell(1_000), {"horizon": 2 * HOUR, "load": 0.1, "constrained": 0.3})
    for t_job in (0.1, 10.0):
        for t_task in (0.001, 1.0):
            assert float(run(service_t_job=t_job, service_t_task=t_task)["service_busyness"]) < 0.3


@pytest.mark.parametrize("seed", [1, 2])
def test_choosy_jobs_wait_longer_for_a_place_than_others(seed: int) -> None:
    run = Runs(mixed_cell(1_000), {"horizon": 3 * HOUR, "load": 0.25, "prefill": 0.7, "seed": seed})
    free, choosy = run(constrained=0.0), run(constrained=0.9)
    assert float(choosy["batch_attempts_mean"]) > float(free["batch_attempts_mean"])
    assert choosy["batch_jobs"] == free["batch_jobs"]
