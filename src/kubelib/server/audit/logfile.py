"""The audit log as a file of JSON lines, which is put aside when it grows too large or the old ones too many."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from kubelib.clock import SYSTEM_CLOCK, Clock

MEGABYTE = 1024 * 1024
DEFAULT_SIZE = 100
_STAMP = "%Y-%m-%dT%H-%M-%S"


class LogFile:
    """A `kubelib.server.audit.base.Sink`; ``-`` is the standard output.

    A file that would become larger than `max_size` megabytes is renamed, with the date in its name. Of those, at most
    `max_backups` are kept, and none that is older than `max_age` days; 0 means: no bound.
    """

    def __init__(
        self,
        path: str,
        *,
        max_age: int = 0,
        max_backups: int = 0,
        max_size: int = DEFAULT_SIZE,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._path = None if path == "-" else Path(path)
        self._max_age, self._max_backups = max_age, max_backups
        self._most = max_size * MEGABYTE
        self._clock = clock
        self._file = -1
        self._size = 0
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._open()

    def _open(self) -> None:
        assert self._path is not None
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines."""
        whole = b"".join((b"\n".join(lines), b"\n"))
        if self._path is None:
            sys.stdout.buffer.write(whole)
            sys.stdout.buffer.flush()
            return
        size = self._size
        if not self._most or size + len(whole) <= self._most:
            self._append(whole)
            return
        pending: list[bytes] = []
        for line in lines:
            if self._most and size and size + len(line) >= self._most:
                self._append(b"".join(pending))
                pending = []
                self._put_aside()
                size = self._size
            pending.append(line + b"\n")
            size += len(line) + 1
        self._append(b"".join(pending))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            self._size += written
            view = view[written:]

    def _put_aside(self) -> None:
        assert self._path is not None
        os.close(self._file)
        now = self._clock.now()
        stem = f"{self._path.stem}-{now.strftime(_STAMP)}.{now.microsecond // 1000:03d}"
        target = self._path.with_name(stem + self._path.suffix)
        number = 1
        while target.exists():
            target = self._path.with_name(f"{stem}-{number}{self._path.suffix}")
            number += 1
        self._path.rename(target)
        self._open()
        self._remove_old(now)

    def _remove_old(self, now: datetime) -> None:
        assert self._path is not None
        pattern = f"{self._path.stem}-????-??-??T??-??-??.*{self._path.suffix}"
        old = sorted(self._path.parent.glob(pattern), reverse=True)
        doomed = old[self._max_backups :] if self._max_backups else []
        if self._max_age:
            oldest = now - timedelta(days=self._max_age)
            begin = len(self._path.stem) + 1
            for path in old:
                stamp = path.name[begin : begin + 19]
                try:
                    date = datetime.strptime(stamp, _STAMP).replace(tzinfo=now.tzinfo)
                except ValueError:
                    continue
                if date < oldest and path not in doomed:
                    doomed.append(path)
        for path in doomed:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
