"""The logs of containers: followed from the engine, each line with the time that the engine gave it, into the file of the agent.

The file is what `kubelib.runtime.logs` reads. It goes on where it ended when its container is found again.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import anyio.lowlevel

from kubelib.runtime.containers import Frames, Stream
from kubelib.runtime.docker.engine import Engine

PIECE = 16 * 1024
"""The engine breaks a longer line into pieces of so many bytes, all of the same time."""
LARGEST = 10 * 1024 * 1024
"""A file that is larger is moved away, in place of the one before."""
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ")
_LAST = 256 * 1024


def records(stream: Stream, messages: list[bytes]) -> Iterator[bytes]:
    """Yield what the file has for messages, each a time, a blank and the text; one without a line feed is a part of its line."""
    for message in messages:
        when, _, text = message.partition(b" ")
        tag = b"F" if text.endswith(b"\n") else b"P"
        yield b" ".join((when, stream.encode(), tag, text.removesuffix(b"\n"))) + b"\n"


class Lines:
    """Takes apart what comes from a container with a terminal: no frames, only times before the lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [piece for line in whole for piece in _pieces(line + b"\n")]

    def end(self) -> list[bytes]:
        """Return what is left: a last line without its end."""
        rest, self._rest = self._rest, b""
        return list(_pieces(rest)) if rest else []


def _pieces(line: bytes) -> Iterator[bytes]:
    """Yield the pieces of a long line, each with the time that the engine has put before it."""
    head = _TIME.match(line)
    while head is not None and len(line) > (end := head.end() + PIECE) and line.startswith(head[0], end):
        yield line[:end]
        line = line[end:]
    yield line


class LogFile:
    """A log of the agent, written by this module alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last, self._seen = self._where_it_ended()
        self._file = path.open("ab", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def _where_it_ended(self) -> tuple[bytes, int]:
        """Return the time of the last record that is there whole, and how many have it; what is half written is cut off."""
        try:
            with self.path.open("rb+") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - _LAST))
                tail = file.read()
                whole = tail.rpartition(b"\n")[0] + b"\n" if b"\n" in tail else b""
                file.truncate(end - len(tail) + len(whole))
        except FileNotFoundError:
            return b"", 0
        times = [line.partition(b" ")[0] for line in whole.splitlines()]
        return (times[-1], times.count(times[-1])) if times else (b"", 0)

    @property
    def since(self) -> str:
        """The time of the last record as the engine takes it: seconds and nanoseconds since 1970."""
        if not self._last:
            return "0"
        whole, _, fraction = self._last.decode().removesuffix("Z").partition(".")
        seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
        return f"{seconds}.{fraction:0<9}"

    def write(self, lines: list[bytes]) -> None:
        """Add records, those excepted that are here already."""
        if self._seen:
            fresh = []
            for line in lines:
                if self._seen and line.startswith(self._last + b" "):
                    self._seen -= 1
                else:
                    fresh.append(line)
            lines = fresh
        data = b"".join(lines)
        if self._size and self._size + len(data) > LARGEST:
            self._file.close()
            os.replace(self.path, f"{self.path}.1")
            self._file, self._size = self.path.open("ab", buffering=0), 0
        self._file.write(data)
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


async def follow(engine: Engine, container: str, path: Path, *, tty: bool) -> None:
    """Write a container's log until it has ended and all is written. Raises as `Engine.stream` does, and OSError."""
    file = LogFile(path)
    try:
        query = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 1, "since": file.since}
        async with engine.stream("GET", f"/containers/{container}/logs", query) as answer:
            frames, lines = Frames(), Lines()
            async for chunk in answer:
                if tty:
                    file.write(list(records("stdout", lines.feed(chunk))))
                else:
                    file.write([r for stream, text in frames.feed(chunk) for r in records(stream, [text])])
                await anyio.lowlevel.checkpoint()  # output without end is not all that there is to do
            file.write(list(records("stdout", lines.end())))
    finally:
        file.close()
