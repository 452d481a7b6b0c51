"""Cells whose machines have more than CPUs and memory: what is asked for of all resources is there, in every architecture."""

from typing import Any

import attrs
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
    paper_like,
    simulate,
)
from kubelib.sim.cell.engine import prepare
from kubelib.sim.cell.state import Ledger
from kubelib.sim.sweep.points import run_point
from kubelib.sim.sweep.reading import sweep_of
from kubelib.sim.traces.synthetic import Demand, demanding

CELL = Cell(
    (Machines(40, 4.0, 16.0, more={"gpu": 2, "disk": 100}), Machines(60, 4.0, 16.0, more={"disk": 20}))
)
DEMANDS = (Demand("gpu", 0.4, 1.0), Demand("disk", 0.7, 10.0))
SERVICE = DecisionTime(5.0)
ARCHITECTURES = {
    "monolithic": Architecture.monolithic(service=SERVICE),
    "partitioned": Architecture.partitioned(CELL, 0.6, service=SERVICE),
    "two-level": Architecture.two_level(service=SERVICE, batch_schedulers=2),
    "shared-state": Architecture.shared_state(service=SERVICE, batch_schedulers=3),
    "coarse gangs": Architecture.shared_state(
        service=SERVICE, batch_schedulers=3, detection="coarse", commit="all-or-nothing"
    ),
    "commit point": Architecture.shared_state(
        service=SERVICE, batch_schedulers=3, commit_policies=("fair-shares",), commit_time=0.2
    ),
}


def setup(architecture: Architecture, **more: Any) -> Setup:
    day = paper_like(cell=CELL, load=0.3, horizon=3_600.0, prefill=0.2)
    day = demanding(day, CELL, DEMANDS, 1)
    return Setup(CELL, (day.batch, day.service), architecture, day.prefill, horizon=3_600.0, **more)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Compare what is taken with what there is after each change of a ledger; count the changes."""
    changes = [0]

    def watch(name: str) -> None:
        original = getattr(Ledger, name)

        def changed(self: Ledger, *arguments: Any, **options: Any) -> Any:
            result = original(self, *arguments, **options)
            changes[0] += 1
            for taken, there in zip(self.used, self.total, strict=True):
                assert (taken <= there + 1e-9).all()
                assert (taken >= -1e-9).all()
            return result

        monkeypatch.setattr(Ledger, name, changed)

    watch("claim")
    watch("release")
    return changes


@pytest.mark.parametrize("disturbed", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_resource_is_overcommitted_and_all_is_given_back(
    name: str, disturbed: bool, watched: list[int]
) -> None:
    architecture = ARCHITECTURES[name]
    more: dict[str, Any] = {}
    if disturbed:
        more = {"failures": Failures(40_000.0, 600.0), "preemption": architecture.sharing != "two-level"}
    run = prepare(setup(architecture, **more))
    results = run.results()
    assert watched[0] > 300
    assert results.workload("batch").placed > 100
    expected = [np.zeros(CELL.size) for _ in run.ledger.total]
    for allocation in run.running():
        need = (allocation.cpu, allocation.memory, *allocation.more)
        for column, amount in zip(expected, need, strict=False):
            np.add.at(column, np.asarray(allocation.machines, dtype=np.int64), amount)
    up = run.ledger.up()
    for column, taken in zip(expected, run.ledger.used, strict=True):
        assert np.allclose(column[up], taken[up], atol=1e-6)
    assert 0.05 < results.cell.more["gpu"] <= 1
    assert 0.05 < results.cell.more["disk"] <= 1


def test_what_few_machines_have_is_waited_for_while_other_jobs_pass() -> None:
    cell = Cell((Machines(1, 4.0, 16.0, more={"gpu": 2}), Machines(9, 4.0, 16.0)))
    jobs = [Job(1.0, 2, 100.0, 0.5, 1.0, more={"gpu": 1}), Job(2.0, 1, 50.0, 0.5, 1.0, more={"gpu": 0.5}), Job(3.0, 5, 50.0, 0.5, 1.0)]  # fmt: skip
    workloads = (Workload.of("batch", jobs), Workload.of("service", []))
    run = prepare(Setup(cell, workloads, Architecture.shared_state(), horizon=60.0))
    results = run.results()
    assert results.workload("batch").placed == 2
    assert results.cell.more == {"gpu": pytest.approx(2 * (60 - 1.11) / 60 / 2)}
    run = prepare(Setup(cell, workloads, Architecture.shared_state(), horizon=150.0))
    results = run.results()
    assert results.workload("batch").placed == 3
    assert [allocation.machines[0] for allocation in run.running()] == [0]  # the one with GPUs


@pytest.mark.parametrize("sharing", ["monolithic", "two-level", "shared-state"])
def test_what_nobody_asks_for_changes_nothing(sharing: str) -> None:
    plain = Cell((Machines(100, 4.0, 16.0),))
    day = paper_like(cell=plain, load=0.1, horizon=3_600.0)
    runs = [
        simulate(Setup(cell, (day.batch, day.service), ARCHITECTURES[sharing], day.prefill, horizon=3_600.0))
        for cell in (plain, Cell((Machines(100, 4.0, 16.0, more={"gpu": 1, "fpga": 0}),)))
    ]
    assert runs[1].cell.more == {"gpu": 0.0, "fpga": 0.0}
    assert attrs.evolve(runs[1], cell=attrs.evolve(runs[1].cell, more={})) == runs[0]


def test_what_no_machine_has_and_what_is_not_replayed_are_refused() -> None:
    large = Workload.of("batch", [Job(0.0, 1, 1.0, 1.0, 1.0, more={"gpu": 3})])
    empty = Workload.of("service", [])
    with pytest.raises(
        ValueError, match=r"asks for 1 CPUs and 1 GB and 3 of gpu, which no machine of the cell has\."
    ):
        Setup(CELL, (large, empty), Architecture.monolithic())
    with pytest.raises(ValueError, match=r"An exact run replays a simulator without further resources\."):
        setup(Architecture.monolithic(), exact=True)
    assert not setup(Architecture.monolithic()).can_be_compiled
    with pytest.raises(ValueError, match=r"Job 0 of workload batch has -1\.0 for gpu"):
        Workload("batch", [0.0], [1], [1.0], [1.0], [1.0], more={"gpu": [-1.0]})
    with pytest.raises(ValueError, match=r"Workload batch has 1 jobs but 2 of gpu\."):
        Workload("batch", [0.0], [1], [1.0], [1.0], [1.0], more={"gpu": [1.0, 1.0]})


def test_a_sweep_says_what_is_asked_for_and_shows_what_was_in_use() -> None:
    document = {
        "cell": {"machines": [{"count": 50, "cpu": 4, "memory": 16, "resources": {"gpu": 2}}]},
        "demand": {"gpu": {"share": 0.5, "mean": 1}},
        "sweep": {"load": 0.1, "horizon": 1_800, "prefill": 0.1, "batch_schedulers": [1, 32]},
    }
    rows = [run_point(work).row for work in sweep_of(document)]
    for row in rows:
        assert 0.1 < float(row["gpu_utilization"]) <= 1
    less = {**document, "demand": {"gpu": {"share": 0.1, "mean": 1}}}
    assert float(run_point(sweep_of(less)[0]).row["gpu_utilization"]) < float(rows[0]["gpu_utilization"])
    assert sweep_of(less)[0].key != sweep_of(document)[0].key


def test_only_jobs_of_higher_priority_take_the_place_of_others() -> None:
    document = {
        "cell": {"machines": [{"count": 50, "cpu": 4, "memory": 16}]},
        "sweep": {
            "load": 0.6,
            "horizon": 1_800,
            "prefill": 0.3,
            "preemption": True,
            "service_priority": [5, 3, 0],
            "batch_priority": 3,
        },
    }
    higher, equal, lower = (run_point(work).row for work in sweep_of(document))
    assert int(higher["batch_preempted_tasks"]) > 0 == higher["service_preempted_tasks"]
    assert equal["batch_preempted_tasks"] == equal["service_preempted_tasks"] == 0
    assert lower["batch_preempted_tasks"] == 0
