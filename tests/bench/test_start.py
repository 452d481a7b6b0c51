"""How long things take to be ready, and what a whole cluster needs when nothing happens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.bench.budgets import best_within, within

UP = [
    sys.executable,
    "-m",
    "reference_cluster",
    "up",
    "--listen",
    "127.0.0.1:0",
    "--nodes",
    "2",
    "--data-dir",
]


@pytest.fixture(scope="module", autouse=True)
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Installed modules have bytecode beside them; where nobody may write it, each start would compile them all."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        environment.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        stop(start(tmp_path_factory.mktemp("first") / "cluster"))
        yield


def start(directory: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([*UP, str(directory)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"ready" in process.stdout.readline()
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_up_in_a_fresh_directory(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Budget: 1.0 s."""
    started: list[subprocess.Popen[bytes]] = []
    benchmark.pedantic(lambda: started.append(start(tmp_path / str(len(started)))), rounds=5)  # type: ignore[no-untyped-call]
    best_within(benchmark, 1.0)
    for process in started:
        stop(process)


def test_up_resumed(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Budget: 0.7 s."""
    stop(start(tmp_path))
    started: list[subprocess.Popen[bytes]] = []

    def again() -> None:
        started.append(start(tmp_path))

    def stopped() -> None:
        for process in started:
            if process.poll() is None:
                stop(process)

    benchmark.pedantic(again, setup=stopped, rounds=5)  # type: ignore[no-untyped-call]
    best_within(benchmark, 0.7)
    stop(started[-1])


def test_memory_when_idle(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Budget: 100 MB resident, five seconds after the start; in the extra information."""
    process = start(tmp_path)

    def wait() -> None:
        time.sleep(5)
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        within(benchmark, "megabytes", pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 100)

    benchmark.pedantic(wait, rounds=1)  # type: ignore[no-untyped-call]
    stop(process)


def test_the_fixture(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Budget: 0.3 s until the API answers."""
    opened: list[Cluster] = []

    def open_one() -> None:
        directory = tmp_path / str(len(opened))
        directory.mkdir()
        cluster = Cluster(directory, ClusterOptions())
        cluster.__enter__()
        opened.append(cluster)

    benchmark.pedantic(open_one, rounds=5)  # type: ignore[no-untyped-call]
    best_within(benchmark, 0.3)
    for cluster in opened:
        cluster.__exit__(None, None, None)


def test_import(benchmark: BenchmarkFixture) -> None:
    """Budget: 0.15 s for a Python that imports kubelib, less what a Python that imports nothing takes."""

    def run(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begun

    nothing = min(run("pass") for _ in range(5))
    benchmark.extra_info["python_alone"] = round(nothing, 3)
    benchmark.pedantic(run, args=("import kubelib",), rounds=5)  # type: ignore[no-untyped-call]
    best_within(benchmark, 0.15 + nothing)
