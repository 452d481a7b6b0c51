"""The page about runtimes: the runtime that it shows passes the suite as the page says, and runs a node's Pods."""

import re
from pathlib import Path
from typing import Any

import pytest

from kubelib.testing.runtime import RuntimeSuite
from reference_cluster import runtimes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins" / "runtime.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
NAMES: dict[str, Any] = {"__name__": "child"}
for block in BLOCKS:
    exec(compile(block, str(PAGE), "exec"), NAMES)  # noqa: S102 - our own page

SUITE: Any = NAMES["TestChildRuntime"]
TestTheRuntimeOfThePage = type("TestTheRuntimeOfThePage", (SUITE,), {})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_runtime_of_the_page_can_be_read_at_once() -> None:
    assert issubclass(SUITE, RuntimeSuite)
    assert sum(bool(line.strip()) for line in BLOCKS[0].splitlines()) <= 125


class Point:
    """An installed entry point."""

    name = "child"

    def load(self) -> object:
        return NAMES["ChildRuntime"]


def test_an_entry_point_makes_it_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[Point]:
        return [Point()] if group == runtimes.ENTRY_POINTS else []

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    assert isinstance(runtimes.open_runtime("child", tmp_path), NAMES["ChildRuntime"])
    with pytest.raises(ValueError, match="choose one of docker, fake, podman, process, child"):
        runtimes.open_runtime("chield", tmp_path)
