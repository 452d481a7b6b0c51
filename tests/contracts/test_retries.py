"""What a second try finds."""

import subprocess
import sys
from pathlib import Path

SHARED = """
import itertools, pytest

numbers = itertools.count(1)
left = {}

@pytest.fixture(scope="session")
def engine():
    number = next(numbers)
    left[number] = []
    yield number
    assert left.pop(number) == [], "something is left"

@pytest.fixture(scope="module")
def cluster(engine):
    yield left[engine]

def test_before(cluster):
    pass

@pytest.mark.flaky(reruns=1)
def test_that_leaves_something_and_passes_where_nothing_is_left(cluster, engine):
    cluster.append("a container")
    assert engine == 2 and cluster == ["a container"]
    cluster.clear()

def test_after(cluster, engine):
    assert (engine, cluster, list(left)) == (2, [], [2])
"""


def test_another_try_begins_with_everything_anew_and_those_after_it_share_that(tmp_path: Path) -> None:
    (tmp_path / "test_shared.py").write_text(SHARED)
    command = [sys.executable, "-m", "pytest", "-q", "-rR", "-p", "tests.retries", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 1 rerun" in done.stdout
