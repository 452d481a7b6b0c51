"""The pages about kinds of one's own and about orchestrators made of the parts: their examples run as shown."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["custom-kinds.md", "library.md"])
def test_the_examples_run_as_shown(page: str) -> None:
    failed, attempted = doctest.testfile(str(DOCS / page), module_relative=False)
    assert attempted > 20
    assert failed == 0
