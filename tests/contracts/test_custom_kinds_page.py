"""The page about custom kinds: its examples run as shown."""

import doctest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "custom-kinds.md"


def test_the_examples_run_as_shown() -> None:
    failed, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 20
    assert failed == 0
