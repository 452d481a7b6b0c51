"""Sweeps go on where they were, whatever ended them, and their tables say what was simulated."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kubelib.sim.sweep.base import Executor, Lost, PointFailed, Row, SweepError, Work
from kubelib.sim.sweep.executors import Inline, OnDask, Processes
from kubelib.sim.sweep.journal import Journal
from kubelib.sim.sweep.points import run_point
from kubelib.sim.sweep.reading import sweep_of
from kubelib.sim.sweep.run import journal_of, run_sweep, summary_of
from kubelib.sim.sweep.summary import confidence, student, summarize
from kubelib.sim.sweep.tables import read_parquet, write_table
from reference_cluster.cli.simulate import simulate
from tests.sim.sweep.conftest import Counting


def silent(done: int, total: int) -> None:
    assert done <= total


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_interrupted_sweep_keeps_what_is_finished_and_runs_only_the_rest(
    small: list[Work], tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(small, out, Counting(interrupted_after=5), silent)
    assert not out.exists()
    assert len(journal_of(out).read_bytes().splitlines()) == 5
    # as if killed in the middle of a line
    with journal_of(out).open("ab") as file:
        file.write(b'["0123", {"architecture": "sin')
    rest = Counting()
    told: list[int] = []
    run_sweep(small, out, rest, lambda done, total: told.append(done))
    assert len(rest.ran) == len(small) - 5
    assert told[0] == 5
    assert told[-1] == len(small)
    assert not journal_of(out).exists()
    whole = tmp_path / "whole.csv"
    run_sweep(small, whole, Inline(), silent)
    assert out.read_bytes() == whole.read_bytes()
    assert summary_of(out).read_bytes() == summary_of(whole).read_bytes()
    assert [row["architecture"] for row in read(out)] == [one.point.architecture for one in small]


def test_a_sweep_that_was_changed_keeps_the_points_that_it_still_has(
    small: list[Work], tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(small, out, Counting(interrupted_after=4), silent)
    fewer = small[2:6]
    kept = {one.key for one in Counting(None).ran}
    assert not kept
    again = Counting()
    run_sweep(fewer, out, again, silent)
    assert {one.key for one in again.ran} < {one.key for one in fewer}
    assert len(read(out)) == len(fewer)


def test_a_journal_that_is_none_is_left_alone(small: list[Work], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    journal_of(out).write_text("my diary\n")
    with pytest.raises(SweepError, match=r"Line 1 of .*out\.csv\.points is no finished point"):
        run_sweep(small, out, Inline(), silent)
    assert journal_of(out).read_text() == "my diary\n"


def test_two_processes_never_run_the_same_sweep(small: list[Work], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with (
        Journal(journal_of(out)),
        pytest.raises(SweepError, match="Another process runs this sweep"),
    ):
        run_sweep(small, out, Inline(), silent)
    run_sweep(small, out, Inline(), silent)


@pytest.mark.parametrize(
    ("name", "says"), [("out.txt", "must end in .csv or .parquet"), ("no/out.csv", "There is no directory")]
)
def test_tables_that_cannot_be_written_are_refused_before_anything_runs(
    small: list[Work], tmp_path: Path, name: str, says: str
) -> None:
    executor = Counting()
    with pytest.raises(SweepError, match=says):
        run_sweep(small, tmp_path / name, executor, silent)
    assert not executor.ran


def dask_in_process() -> Executor:
    return OnDask("threads")


@pytest.mark.parametrize("executor", [Processes(2), dask_in_process()])
def test_wherever_points_are_run_their_rows_are_the_same(small: list[Work], executor: Executor) -> None:
    here = {one.key: outcome.row for one, outcome in Inline().run(small)}
    there = {one.key: outcome.row for one, outcome in executor.run(small)}
    # waits of no jobs are NaN, which differs from itself
    assert {key: repr(row) for key, row in here.items()} == {key: repr(row) for key, row in there.items()}


def test_only_processes_of_the_sweep_end_with_it(small: list[Work]) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    try:
        assert len(list(Processes(2).run(small[:2]))) == 2
        # the pool's own thread may have waited for a worker and not yet crossed it off
        while [other] != multiprocessing.active_children():
            time.sleep(0.01)
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def test_dask_that_is_not_there_is_one_sentence(small: list[Work]) -> None:
    with pytest.raises(Lost, match=r"There is no Dask scheduler at nowhere"):
        list(OnDask("nowhere").run(small))


def test_a_point_that_cannot_be_simulated_ends_the_sweep_with_its_sentence(tmp_path: Path) -> None:
    tiny = {"machines": [{"count": 3, "cpu": 0.05, "memory": 16}]}
    work = sweep_of({"cell": tiny, "sweep": {"horizon": 60}})
    for executor in (Inline(), Processes(1)):
        with pytest.raises(PointFailed, match=r"Machines must have more than 0\.1 CPUs"):
            run_sweep(work, tmp_path / "out.csv", executor, silent)


def test_parquet_and_csv_say_the_same(small: list[Work], tmp_path: Path) -> None:
    rows = [run_point(one).row for one in small[:2]]
    write_table(tmp_path / "a.csv", rows)
    write_table(tmp_path / "a.parquet", rows)
    for plain, typed in zip(read(tmp_path / "a.csv"), read_parquet(tmp_path / "a.parquet"), strict=True):
        for name, value in typed.items():
            assert plain[name] == (str(value).lower() if isinstance(value, bool) else str(value))


def row(seed: int, value: float, saturated: bool) -> Row:
    return run_point(sweep_of({"sweep": {"horizon": 1.0}})[0]).row | {
        "seed": seed, "batch_busyness": value, "batch_saturated": saturated
    }  # fmt: skip


def test_means_come_with_their_confidence_and_flags_with_the_share_of_seeds() -> None:
    rows = [row(1, 1.0, True), row(2, 2.0, False), row(3, 3.0, False)]
    (summary,) = summarize(rows)
    assert summary["seeds"] == 3
    assert summary["batch_busyness"] == 2.0
    # 4.303 standard errors at two degrees of freedom
    assert summary["batch_busyness_ci95"] == pytest.approx(4.303 / 3**0.5)
    assert summary["batch_saturated"] == pytest.approx(1 / 3)
    assert "seed" not in summary


def test_figures_that_are_missing_do_not_count() -> None:
    assert confidence([1.0, float("nan"), 3.0])[0] == 2.0
    assert isnan(confidence([float("nan")])[0])
    assert confidence([float("inf"), float("inf")])[0] == float("inf")
    assert isnan(confidence([5.0])[1])
    # published values of the distribution
    assert student(1) == pytest.approx(12.706)
    assert student(60) == pytest.approx(2.000, abs=1e-3)
    assert student(120) == pytest.approx(1.980, abs=1e-3)


SWEEP = """
seeds = 2
[cell]
machines = [{{ count = 300, cpu = 4, memory = 16 }}]
[sweep]
architecture = ["multi-path", "shared-state"]
service_t_job = [0.1, 1, 2, 5]
horizon = {horizon}
load = 0.2
"""


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


COMMAND = [sys.executable, "-m", "reference_cluster", "simulate", "cell", "s.toml", "--processes", "2"]


def interrupted(directory: Path, number: signal.Signals) -> tuple[int, int, str]:
    """Send a signal to a sweep that has finished some points; return its group, its return code and its errors.

    A sweep that was finished before the signal came is begun again, with more to do.
    """
    for horizon in (5_000, 20_000, 80_000):
        (directory / "s.toml").write_text(SWEEP.format(horizon=horizon))
        with subprocess.Popen(
            COMMAND, cwd=directory, start_new_session=True, stderr=subprocess.PIPE, text=True
        ) as sweep:
            while lines(directory / "s.csv.points") < 2 and sweep.poll() is None:
                time.sleep(0.005)
            sweep.send_signal(number)
            _, error = sweep.communicate(timeout=300)
        if sweep.returncode != 0:
            return sweep.pid, sweep.returncode, error
        (directory / "s.csv").unlink()
    raise AssertionError("The sweep was finished each time before the signal came.")


def test_a_sweep_killed_half_way_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    group, code, _ = interrupted(tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    journal = tmp_path / "s.csv.points"
    assert 2 <= lines(journal) < 16
    deadline = time.monotonic() + 300
    while alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    assert "16 points are in s.csv." in done.stdout
    assert not journal.exists()
    assert len(read(tmp_path / "s.csv")) == 16
    assert len(read(tmp_path / "s.mean.csv")) == 8


def alive(group: int) -> bool:
    """Whether any process of a group is left that is no zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(number) == group and state != "Z":
            return True
    return False


def test_a_sweep_that_is_told_to_stop_says_how_to_go_on(tmp_path: Path) -> None:
    _, code, error = interrupted(tmp_path, signal.SIGTERM)
    assert code == 130
    assert "is kept in s.csv.points; give the command again to go on." in error
    assert "Traceback" not in error
    assert lines(tmp_path / "s.csv.points") >= 2


def run(*arguments: str) -> Any:
    return CliRunner().invoke(simulate, ["cell", *arguments])


def test_the_command_says_what_it_wrote_and_what_to_beware_of(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        "[cell]\nmachines = [{ count = 20, cpu = 4, memory = 16 }]\n"
        "[sweep]\narchitecture = 'single-path'\nservice_t_job = 100\nhorizon = 3600\nload = 1\n"
    )
    result = run(str(path), "--processes", "1", "--out", str(tmp_path / "o.csv"))
    assert result.exit_code == 0
    assert f"1 points are in {tmp_path}/o.csv." in result.output
    assert "1 of them are saturated" in result.output
    assert "ask for more than the whole cell" in result.output
    assert "events in" in result.output
    assert read(tmp_path / "o.csv")[0]["batch_saturated"] == "true"
    assert sorted(os.listdir(tmp_path)) == ["o.csv", "s.toml"]


def test_errors_of_the_command_are_one_line(tmp_path: Path) -> None:
    result = run(str(tmp_path / "missing.toml"))
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path}/missing.toml cannot be read: No such file or directory.\n"


def test_the_allocator_and_all_that_the_original_counts_are_in_the_table(tmp_path: Path) -> None:
    """What an allocator offers only where much is free is offered less often."""
    document = {
        "cell": {"machines": [{"count": 20, "cpu": 4, "memory": 16}]},
        "sweep": {
            "architecture": "two-level",
            "allocator_minimum": [1, 60],
            "prefill": 0.5,
            "load": 0.01,
            "horizon": 3600,
        },
    }
    out = tmp_path / "offers.csv"
    often, never = (one.row for one in run_sweep(sweep_of(document), out, Inline(), lambda *_: None))
    assert int(often["batch_offers"]) > 0 == never["batch_offers"]
    assert float(often["batch_task_attempts_p99"]) >= float(often["batch_task_attempts_p90"]) > 0
    assert int(often["batch_probes_without_room"]) > 0
    assert not often["batch_multi_path"]
    assert "allocator_minimum" in out.read_text().splitlines()[0]
