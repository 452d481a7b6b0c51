"""Reading container logs: files of lines ``time stream F|P text``."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import anyio

from kubelib.api.times import parse_time

POLL = 0.1


def _text(record: bytes, *, timestamps: bool) -> bytes:
    """Return what a record says, with the line feed of a whole line."""
    parts = record.split(b" ", 3)
    if len(parts) < 4:
        return b""
    when, _, tag, text = parts
    end = b"\n" if tag == b"F" else b""
    return (when + b" " + text if timestamps else text) + end


def _after(record: bytes, since: datetime | None) -> bool:
    if since is None:
        return True
    try:
        return parse_time(record[:26].decode() + "Z") >= since
    except ValueError:
        return True


def _records(path: Path) -> Iterator[bytes]:
    for part in (path.with_name(path.name + ".1"), path):
        try:
            with part.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield line[:-1]
        except FileNotFoundError:
            continue


async def read_log(
    path: Path,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: datetime | None = None,
    timestamps: bool = False,
    limit: int | None = None,
    ended: Callable[[], bool] = lambda: True,
) -> AsyncIterator[bytes]:
    """Yield a log's text. With `follow`, until `ended` and nothing is left."""
    left = limit

    def cut(data: bytes) -> bytes:
        nonlocal left
        if left is not None:
            data = data[:left]
            left -= len(data)
        return data

    position = path.stat().st_size if path.exists() else 0
    # Only whole lines are read now; what follows them is read by `follow`.
    records = [record for record in _records(path) if _after(record, since)]
    if path.exists():
        with path.open("rb") as file:
            whole = file.read(position)
        position = whole.rfind(b"\n") + 1
    if tail is not None:
        records = records[-tail:] if tail else []
    for start in range(0, len(records), 500):
        data = cut(b"".join(_text(record, timestamps=timestamps) for record in records[start : start + 500]))
        if data:
            yield data
        if left is not None and left <= 0:
            return
    rest = b""
    while follow:
        over = ended()
        if path.exists():
            if path.stat().st_size < position:
                position = 0  # rotated
            with path.open("rb") as file:
                file.seek(position)
                chunk = file.read(1 << 20)
            position += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            data = cut(b"".join(_text(line, timestamps=timestamps) for line in lines))
            if data:
                yield data
            if left is not None and left <= 0:
                return
            if chunk:
                continue
        if over:
            return
        await anyio.sleep(POLL)


def since_of(now: datetime, seconds: float | None, time: str) -> datetime | None:
    """Return from when on a log is wanted."""
    if seconds is not None:
        return now - timedelta(seconds=seconds)
    return parse_time(time) if time else None
