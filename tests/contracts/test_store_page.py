"""The page about stores: the store that it shows passes the suite as the page says."""

import re
from pathlib import Path
from typing import Any

import pytest

from kubelib.store import ABSENT, Put, StoreCorrupt, open_store, urls
from kubelib.testing.store import Open, StoreSuite

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins" / "store.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
NAMES: dict[str, object] = {"__name__": "journal"}
for block in BLOCKS:
    exec(compile(block, str(PAGE), "exec"), NAMES)  # noqa: S102 - our own page


SUITE: Any = NAMES["TestJournal"]
TestThePage = type("TestThePage", (SUITE,), {})


def test_the_store_of_the_page_is_about_eighty_lines() -> None:
    assert issubclass(SUITE, StoreSuite)
    assert sum(bool(line.strip()) for line in BLOCKS[0].splitlines()) <= 85


class Point:
    """An installed entry point."""

    name = "journal"

    def load(self) -> object:
        return NAMES["open_journal"]


async def test_an_entry_point_makes_it_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[Point]:
        return [Point()] if group == urls.ENTRY_POINTS else []

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    async with open_store(f"journal://{tmp_path}/journal") as store:
        assert await store.commit(Put("/a", b"1", ABSENT)) == 1
    with pytest.raises(ValueError, match="one of memory://, sqlite://, etcd://, zookeeper://, journal://"):
        open_store("jornal:///x")


async def test_a_damaged_line_is_named_and_an_unfinished_one_is_none(tmp_path: Path) -> None:
    opened: Open = lambda: NAMES["open_journal"](f"journal://{tmp_path}/journal")  # type: ignore[operator] # noqa: E731
    async with opened() as store:
        await store.commit(Put("/a", b"1", ABSENT))
    file = tmp_path / "journal"
    file.write_bytes(file.read_bytes() + b'{"revision": 2, "wri')
    async with opened() as store:
        assert await store.revision() == 1
        assert await store.commit(Put("/b", b"1", ABSENT)) == 2
    file.write_bytes(b"nonsense\n" + file.read_bytes())
    with pytest.raises(StoreCorrupt, match="line 1"):
        async with opened():
            pass
