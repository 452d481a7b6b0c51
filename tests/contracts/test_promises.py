"""The tables at the end of a run tell what the tests found, and the stand-ins that they name are there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.promised import PAGE, collected, page
from tests.promises import NOT_IN_THE_SUITE, RECORDED, TABLES, lines_of

TOP = Path(__file__).resolve().parents[2]

SUITE = """
import pytest

from kubelib.testing.store import StoreSuite
from tests.conftest import *

class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def open_store(self):
        from kubelib.store import open_store
        return lambda: open_store("memory://")

class TestSqliteStore(TestMemoryStore):
    def test_a_commit_is_all_or_nothing(self):
        raise AssertionError

    def test_of_its_own(self, record_property):
        record_property("figures", "writes lost: 0")
"""


@pytest.mark.parametrize("path", RECORDED.values())
def test_what_stands_for_what_cannot_run_exists(path: str) -> None:
    file, _, name = path.partition("::")
    assert f"def {name}(" in (TOP / file).read_text()


def test_a_run_ends_with_the_tables_and_the_figures_of_what_ran(tmp_path: Path) -> None:
    (tmp_path / "test_stores.py").write_text(SUITE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.promises", "-n", "1", "--rootdir", str(TOP)),
            *("-c", str(TOP / "pyproject.toml"), str(tmp_path), "-k", "all_or_nothing or of_its_own or twice"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=TOP,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["memory", "sqlite"] in lines
    assert [*["a", "commit", "is", "all", "or", "nothing"], "✓", "✗"] in lines
    assert [*["naming", "a", "key", "twice", "in", "one", "commit", "is", "an", "error"], "✓", "✓"] in lines
    assert "kept: memory 2/2, sqlite 1/2" in done.stdout
    assert "writes lost: 0" in done.stdout
    assert "promises by runtimes" not in done.stdout, "none of them ran"
    assert "of its own" not in done.stdout, "no promise of the suite"
    assert done.stdout.splitlines()[-1].startswith("1 failed, 4 passed")


def test_cells_tell_passed_failed_skipped_and_not_there() -> None:
    stores, _ = TABLES
    first, second = "test_a_commit_is_all_or_nothing", "test_a_watch_sees_only_its_prefix"
    outcomes = {
        (stores.title, "etcd", first): "failed",
        (stores.title, "memory", first): "passed",
        (stores.title, "memory", second): "skipped",
    }
    head, one, two, kept = (line.split() for line in lines_of(stores, outcomes))
    assert head == ["memory", "etcd"]
    assert one[-2:] == ["✓", "✗"]
    assert two[-2:] == ["s", NOT_IN_THE_SUITE]
    assert kept[:5] == ["kept:", "memory", "1/2,", "etcd", "0/1;"]
    assert list(lines_of(stores, {})) == []


def test_the_page_is_what_the_suites_say() -> None:
    assert PAGE.read_text() == page(collected()), "write it anew: python -m tests.promised"
