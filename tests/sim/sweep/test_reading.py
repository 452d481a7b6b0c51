"""What a sweep's file asks for, and what is said of files that ask for the impossible."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kubelib.sim.cell import Cell, Machines
from kubelib.sim.sweep.base import Point, SweepError
from kubelib.sim.sweep.reading import read_sweep, sweep_of
from tests.sim.sweep.conftest import SMALL


def test_lists_are_swept_over_and_each_point_has_each_seed() -> None:
    work = sweep_of(SMALL)
    assert len(work) == 3 * 2 * 2
    assert work[0].cell == Cell((Machines(60, 4.0, 16.0),))
    first = Point("single-path", service_t_job=0.1, horizon=600.0, load=0.1)
    assert [one.point for one in work[:2]] == [first, Point("single-path", service_t_job=0.1, horizon=600.0, load=0.1, seed=2)]  # fmt: skip
    assert len({one.key for one in work}) == len(work)


def test_several_tables_are_swept_one_after_the_other_and_equal_points_run_once() -> None:
    document = {"sweep": [{"architecture": "multi-path"}, {"architecture": ["multi-path", "two-level"]}]}
    assert [one.point.architecture for one in sweep_of(document)] == ["multi-path", "two-level"]


def test_seeds_may_be_named() -> None:
    assert [one.point.seed for one in sweep_of({"seeds": [7, 3], "sweep": {"load": 1}})] == [7, 3]


def test_a_key_changes_with_the_cell_the_trace_and_every_parameter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    (tmp_path / "b.csv").write_text("b")
    documents: list[dict[str, Any]] = [
        {"sweep": {"horizon": 10}},
        {"sweep": {"horizon": 11}},
        {"sweep": {"horizon": 10}, "cell": {"machines": [{"count": 60, "cpu": 4, "memory": 16}]}},
        {"sweep": {"horizon": 10}, "trace": "a.csv"},
        {"sweep": {"horizon": 10}, "trace": "b.csv"},
    ]
    assert len({sweep_of(document, tmp_path)[0].key for document in documents}) == 5


def broken(**changes: Any) -> dict[str, Any]:
    document = deepcopy(SMALL)
    for path, value in changes.items():
        table: Any = document
        *above, last = path.split("__")
        for name in above:
            table = table[name]
        table[last] = value
    return document


ONE = {"count": 2, "cpu": 1, "memory": 1}
WITH_GPUS = [{**ONE, "resources": {"gpu": 1}}]
IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing to simulate"),
    ({"sweep": {}}, "nothing to simulate"),
    ({"sweep": []}, "nothing to simulate"),
    ({"sweep": 3}, "nothing to simulate"),
    ({"swep": {}}, "did you mean 'sweep'?"),
    (broken(sweep__lode=2), "A point has no 'lode': did you mean 'load'?"),
    (broken(sweep__seed=2), "A point has no 'seed'"),
    (broken(sweep__load=[]), "load is an empty list"),
    (broken(sweep__load="much"), "load is 'much': give a number."),
    (broken(sweep__load=True), "load is True: give a number."),
    (broken(sweep__load=float("nan")), "load is not a number"),
    (broken(sweep__load=0), "load is 0.0: give a number above 0."),
    (
        broken(sweep__horizon=float("inf")),
        "horizon is inf: give a number above 0, and at most 1,000,000,000.",
    ),
    (broken(sweep__horizon=-5), "horizon is -5.0"),
    (broken(sweep__prefill=1.0), "prefill is 1.0: give a share"),
    (broken(sweep__blacklist=-0.1), "blacklist is -0.1"),
    (broken(sweep__batch_schedulers=0), "batch_schedulers is 0: give a number from 1 to 1,000."),
    (broken(sweep__batch_schedulers=1.5), "batch_schedulers is 1.5: give a whole number"),
    (broken(sweep__batch_schedulers=10**9), "batch_schedulers is 1000000000"),
    (broken(sweep__batch_t_job=-1), "batch_t_job is -1.0: give 0 or a number above it."),
    (broken(sweep__service_t_task=float("inf")), "service_t_task is inf"),
    (broken(sweep__service_priority=10**12), "service_priority is 1000000000000"),
    (broken(sweep__batch_priority=0.5), "batch_priority is 0.5: give a whole number"),
    (broken(sweep__architecture="omega"), "architecture is 'omega': give one of single-path"),
    (broken(sweep__detection="none"), "detection is 'none': give one of fine, coarse"),
    (broken(sweep__exact=1), "exact is 1: give true or false"),
    (broken(sweep__exact=True, sweep__architecture="two-level"), "without two-level sharing"),
    (broken(sweep__preemption=True, sweep__architecture="two-level"), "cannot preempt"),
    (
        broken(sweep__architecture="partitioned", sweep__batch_share=1.0),
        "batch_share is 1.0: give a share between 0 and 1.",
    ),
    (broken(sweep__failures_between=100.0, sweep__failures_repair=0.0), "failures_repair is 0.0"),
    (broken(sweep__failures_between=-1), "failures_between is -1.0"),
    (broken(sweep__commit_policy="ageing", sweep__architecture="two-level"), "are of shared-state cells"),
    (broken(sweep__allocator_minimum=5, sweep__architecture="shared-state"), "are of two-level cells"),
    (broken(sweep__allocator_batch=0, sweep__architecture="two-level"), "allocator_batch is 0.0"),
    (
        broken(sweep__commit_policy="agein", sweep__architecture="shared-state"),
        "commit_policy has 'agein', which cannot be",
    ),
    (broken(sweep__commit_policy=3), "commit_policy is 3: give text"),
    (
        broken(sweep__commit_time=-2, sweep__architecture="shared-state"),
        "commit_time is -2.0",
    ),
    (broken(seeds=0), "seeds is 0"),
    (broken(seeds=[]), "seeds is []"),
    (broken(seeds=True), "seeds is True"),
    (broken(seeds=10**9), "seeds is 1000000000: give at most 1,000,000."),
    (broken(seeds=300_000), "The sweep has 1,800,000 points"),
    (broken(seeds="x"), "seeds is 'x'"),
    (broken(seeds=[-1]), "seeds is [-1]"),
    (broken(cell=4), "gives its machines as a list"),
    (broken(cell__machines=[]), "A cell needs machines"),
    (broken(cell__machines=[{"count": 0, "cpu": 1, "memory": 1}]), "count of a group of machines is 0"),
    (
        broken(cell__machines=[{"count": 2.5, "cpu": 1, "memory": 1}]),
        "count of a group of machines must be a whole number",
    ),
    (broken(cell__machines=[{"count": 2, "cpu": 1}]), "memory of a group of machines must be a number"),
    (broken(cell__machines=[{"count": 2, "cpu": 1, "memory": 1, "gpu": 1}]), "has no 'gpu'"),
    (broken(cell__machines=[3]), "A group of machines is 3: give a table"),
    (
        broken(cell__machines=[{"count": 2, "cpu": float("nan"), "memory": 1}]),
        "cpu of a group of machines is nan",
    ),
    (broken(cell__machines=[{**ONE, "labels": 4}]), "labels of a group of machines is 4: give a table."),
    (broken(cell__machines=[{**ONE, "resources": ["gpu"]}]), "resources of a group of machines is ['gpu']"),
    (broken(cell__machines=[{**ONE, "resources": {"gpu": "x"}}]), "gpu among the resources of a group"),
    (broken(cell__machines=[{**ONE, "resources": {"gpu": -1}}]), "gpu of Machines is -1.0"),
    (broken(cell__machines=[{**ONE, "resources": {"cpu": 1}}]), "has 'cpu', which is no name of a further"),
    (broken(demand=1), "demand must be a table"),
    (broken(demand={"gpu": 1}), "demand.gpu is 1: give a table"),
    (broken(demand={"gpu": {"share": 1, "mean": 1}}), "No machine has any gpu"),
    (broken(demand={"gpu": {"share": 1}}, cell__machines=WITH_GPUS), "mean of demand.gpu must be a number"),
    (broken(demand={"gpu": {"share": 2, "mean": 1}}, cell__machines=WITH_GPUS), "share of demand.gpu is 2.0"),
    (broken(demand={"gpu": {"share": 1, "mean": 0}}, cell__machines=WITH_GPUS), "mean of demand.gpu is 0.0"),
    (broken(cell={"mixed": 2.5}), "mixed is 2.5"),
    (broken(cell={"mixed": 5}), "A mixed cell of 5 machines"),
    (broken(cell={"file": "nowhere.csv"}), "nowhere.csv cannot be read: No such file"),
    (broken(trace="nowhere.csv"), "nowhere.csv cannot be read: No such file"),
    (broken(trace=5), "trace must be the name of a file"),
]


@pytest.mark.parametrize(("document", "says"), IMPOSSIBLE)
def test_the_impossible_is_refused_in_one_sentence(document: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the sentence is looked at below
        sweep_of(document)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert message.count(". ") == 0


def test_a_trace_excludes_what_changes_synthetic_jobs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    with_gpus = {"cell": {"machines": WITH_GPUS}, "demand": {"gpu": {"share": 1, "mean": 1}}}
    for more in (
        {"sweep": {"load": 2}},
        {"sweep": {"batch_priority": 2}},
        {"sweep": {"horizon": 9}, **with_gpus},
    ):
        with pytest.raises(ValueError, match="A trace says itself"):
            sweep_of({"trace": "a.csv", **more}, tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"", "There is nothing to simulate"),
        (b"[sweep", "is not TOML: "),
        (b"\xff\xfe", "is not text in UTF-8."),
        (b"[sweep]\nload = nan\n", "load is not a number."),
        (b"[sweep]\nlode = 1\n", "did you mean 'load'?"),
    ],
)
def test_files_that_are_no_sweeps_are_refused_by_name(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "sweep.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SweepError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
