"""The page about the published behaviours: every test that it names exists, and every behaviour has one or says why not."""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "conformance.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| behaviour "))
]


@functools.cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_no_behaviour_is_told_twice() -> None:
    names = [name for name, _ in ROWS]
    assert len(set(names)) == len(names) > 150


@pytest.mark.parametrize(("behaviour", "held"), ROWS, ids=[row[0] for row in ROWS])
def test_a_behaviour_is_held_by_tests_that_exist(behaviour: str, held: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", held)
    assert named or held.startswith("cannot be held here: "), behaviour
    for path, name in named:
        assert name in functions(TESTS / path), f"{path} has no {name}"
