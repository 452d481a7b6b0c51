"""A test that passed only when it was tried again leaves the reason in what the run prints."""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_why_a_first_try_failed_is_printed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        """
import pathlib

import pytest


@pytest.mark.flaky(reruns=1)
def test_it():
    print("said by the test")
    mark = pathlib.Path(__file__).with_suffix(".tried")
    tried = mark.exists()
    mark.touch()
    assert tried, "not yet"
"""
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.firsttries", "--rootdir", str(tmp_path)),
            *("-p", "no:cacheprovider", str(tmp_path)),
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, found, rest = done.stdout.partition("first tries that failed")
    assert found, done.stdout
    assert "AssertionError: not yet" in rest
    assert "said by the test" in rest
