"""Reading logs: what is there, what is added, and what is moved away meanwhile."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.runtime.logs import read_log, since_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(text: str, *, second: int = 0, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-01-01T12:00:{second:02}.000000000Z {stream} {tag} {text}\n"


async def read(path: Path, **options: Any) -> str:
    return b"".join([chunk async for chunk in read_log(path, **options)]).decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "0.log"


async def test_both_streams_are_read_in_the_order_of_writing(log: Path) -> None:
    log.write_text(record("a") + record("b", stream="stderr") + record("") + record("c d  e"))
    assert await read(log) == "a\nb\n\nc d  e\n"


async def test_a_line_in_parts_is_one_line(log: Path) -> None:
    log.write_text(record("a" * 10, tag="P") + record("b" * 10, tag="P") + record("c"))
    assert await read(log) == "a" * 10 + "b" * 10 + "c\n"


async def test_a_log_that_is_not_there_is_empty(log: Path) -> None:
    assert await read(log) == ""


async def test_what_was_moved_away_comes_first(log: Path) -> None:
    log.with_name("0.log.1").write_text(record("old"))
    log.write_text(record("new"))
    assert await read(log) == "old\nnew\n"
    assert await read(log, tail=1) == "new\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tail": 2}, "3\n4\n"),
        ({"tail": 0}, ""),
        ({"tail": 99}, "0\n1\n2\n3\n4\n"),
        ({"since": NOW.replace(second=3)}, "3\n4\n"),
        ({"limit": 5}, "0\n1\n2"),
        ({"limit": 5, "tail": 2}, "3\n4\n"),
        ({"tail": 1, "timestamps": True}, "2026-01-01T12:00:04.000000000Z 4\n"),
    ],
)
async def test_a_part_of_a_log(log: Path, options: dict[str, Any], expected: str) -> None:
    log.write_text("".join(record(str(n), second=n) for n in range(5)))
    assert await read(log, **options) == expected


async def test_a_log_larger_than_what_is_sent_at_once_is_whole(log: Path) -> None:
    log.write_text("".join(record(str(n)) for n in range(5000)))
    assert await read(log) == "".join(f"{n}\n" for n in range(5000))


class Writer:
    """Writes to a log, moving it away as a runtime does, and says when it is done."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.over = False
        self.read: list[str] = []

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def move(self) -> None:
        self.log.replace(self.log.with_name(self.log.name + ".1"))

    async def follow(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.read.append(chunk.decode())

    @property
    def text(self) -> str:
        return "".join(self.read)


async def test_following_reads_on_until_the_end_and_each_line_once(log: Path) -> None:
    writer = Writer(log)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.follow, read_log(log, follow=True, ended=lambda: writer.over))
        await anyio.sleep(1)
        expected = ""
        for number in range(30):
            writer.write(record(str(number)))
            expected += f"{number}\n"
            if number % 7 == 3:
                writer.move()
            await anyio.sleep((0.01, 0.2, 1)[number % 3])
        writer.write(record("last words"))
        writer.over = True
    assert writer.text == expected + "last words\n"


async def test_following_waits_for_the_rest_of_a_record(log: Path) -> None:
    writer = Writer(log)
    whole = record("whole")
    writer.write(whole[:-3])
    async with anyio.create_task_group() as group:
        group.start_soon(writer.follow, read_log(log, follow=True, ended=lambda: writer.over))
        await anyio.sleep(1)
        assert writer.text == ""
        writer.write(whole[-3:])
        await anyio.sleep(1)
        assert writer.text == "whole\n"
        writer.over = True


async def test_what_is_written_just_before_a_move_is_not_lost(log: Path) -> None:
    writer = Writer(log)
    writer.write(record("a"))
    async with anyio.create_task_group() as group:
        group.start_soon(writer.follow, read_log(log, follow=True, ended=lambda: writer.over))
        await anyio.sleep(1)
        writer.write(record("b"))
        writer.move()
        writer.write(record("c"))
        await anyio.sleep(1)
        writer.over = True
    assert writer.text == "a\nb\nc\n"


async def test_following_ends_at_the_limit(log: Path) -> None:
    writer = Writer(log)
    writer.write(record("abc"))
    async with anyio.create_task_group() as group:
        group.start_soon(writer.follow, read_log(log, follow=True, limit=6, ended=lambda: writer.over))
        await anyio.sleep(1)
        writer.write(record("defghi"))
    assert writer.text == "abc\nde"


def test_from_when_on_a_log_is_wanted() -> None:
    assert since_of(NOW, 60, "") == NOW.replace(hour=11, minute=59)
    assert since_of(NOW, None, "2026-01-01T11:00:00Z") == NOW.replace(hour=11)
    assert since_of(NOW, None, "") is None
