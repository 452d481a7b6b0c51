"""Reading container logs: files of lines ``time stream F|P text``."""

import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import anyio

from kubelib.api.times import later, parse_time

POLL = 0.1


def _text(record: bytes, *, timestamps: bool) -> bytes:
    """Return what a record says, with the line feed of a whole line."""
    parts = record.split(b" ", 3)
    if len(parts) < 4:
        return b""
    when, _, tag, text = parts
    end = b"\n" if tag == b"F" else b""
    return (_in_utc(when) + b" " + text if timestamps else text) + end


def _in_utc(when: bytes) -> bytes:
    """Return a record's time as Kubernetes shows it: some write it with the offset of where they are.

    >>> _in_utc(b"2026-01-02T03:04:05.123456789+01:00"), _in_utc(b"2026-01-02T03:04:05.123456789Z")
    (b'2026-01-02T02:04:05.123456789Z', b'2026-01-02T03:04:05.123456789Z')
    """
    if when.endswith(b"Z"):
        return when
    whole, fraction, offset = when[:19], when[19:-6], when[-6:]
    there = datetime.fromisoformat((whole + offset).decode())
    return there.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").encode() + fraction + b"Z"


def _after(record: bytes, since: datetime | None) -> bool:
    if since is None:
        return True
    try:
        return parse_time(_in_utc(record.partition(b" ")[0]).decode()) >= since
    except ValueError:
        return True


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the one at a path: a log that has grown is moved away."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return True  # being moved, or gone: there is no other
    return os.path.samestat(os.fstat(file.fileno()), there)


def _earlier(path: Path, current: BinaryIO | None) -> bytes:
    """Return what was written before the log was last moved away."""
    moved = path.with_name(path.name + ".1")
    if current is not None and moved.exists() and _is_at(current, moved):
        return b""  # moved since it was opened
    try:
        return moved.read_bytes()
    except FileNotFoundError:
        return b""


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
    """Yield a log's text. With `follow`, until `ended` and nothing is left; each line once, also when the log is moved away."""
    left = limit

    def text(records: list[bytes]) -> bytes:
        nonlocal left
        data = b"".join(_text(record, timestamps=timestamps) for record in records)
        if left is not None:
            data = data[:left]
            left -= len(data)
        return data

    file = _open(path)
    try:
        *lines, rest = (_earlier(path, file) + (file.read() if file is not None else b"")).split(b"\n")
        records = [record for record in lines if _after(record, since)]
        if tail is not None:
            records = records[-tail:] if tail else []
        for start in range(0, len(records), 500):
            if data := text(records[start : start + 500]):
                yield data
            if left == 0:
                return
        while follow:
            # Asked before looking: what was written until then is read.
            over = ended()
            chunk = file.read(1 << 20) if file is not None else b""
            if not chunk and (file is None or not _is_at(file, path)):
                # Written between the last look and the move.
                chunk = file.read() if file is not None else b""
                if file is not None:
                    file.close()
                file = _open(path)
                if file is not None:
                    chunk += file.read(1 << 20)
            if chunk:
                *lines, rest = (rest + chunk).split(b"\n")
                if data := text(lines):
                    yield data
                if left == 0:
                    return
            elif over:
                return
            else:
                await anyio.sleep(POLL)
    finally:
        if file is not None:
            file.close()


def last_text(path: Path, *, lines: int, size: int) -> bytes:
    """Return the end of a log: at most so many lines, and of them at most so many bytes."""
    file = _open(path)
    if file is None:
        return b""
    with file:
        end = file.seek(0, os.SEEK_END)
        # Each record has a time and a stream of some 40 bytes beside its text.
        begin = max(0, end - size - lines * 64)
        file.seek(begin)
        records = file.read().splitlines()[1 if begin else 0 :]
    return b"".join(_text(record, timestamps=False) for record in records[-lines:])[-size:]


def since_of(now: datetime, seconds: float | None, time: str) -> datetime | None:
    """Return from when on a log is wanted."""
    if seconds is not None:
        return later(now, -seconds)
    return parse_time(time) if time else None
