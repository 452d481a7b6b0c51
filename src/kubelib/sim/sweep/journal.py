"""Finished points of a sweep that is not finished: a line each, on disk before the next is shown as done."""

import fcntl
import os
from json import dumps, loads
from pathlib import Path
from typing import IO

from kubelib.sim.sweep.base import Outcome, SweepError, Work


class Journal:
    """A context manager over the file of finished points; those that it has already are in `finished`, by key.

    Raises `SweepError` if the file is none of a sweep, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished: dict[str, Outcome] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Journal":
        try:
            self._file = self.path.open("a+b")
            self._lock(self._file)
            self._read(self._file)
        except OSError as error:
            self.__exit__()
            raise SweepError(f"{self.path} cannot be written: {error.strerror}.") from None
        except SweepError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def _lock(self, file: IO[bytes]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(
                f"Another process runs this sweep: it keeps its points in {self.path}."
            ) from None

    def _read(self, file: IO[bytes]) -> None:
        file.seek(0)
        content = file.read()
        # what follows the last end of a line was being written when the sweep was killed
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                key, row, seconds, megabytes = loads(line)
                self.finished[key] = Outcome(dict(row), float(seconds), float(megabytes))
            except (ValueError, TypeError):
                raise SweepError(
                    f"Line {number} of {self.path} is no finished point: remove the file to start afresh."
                ) from None
        file.truncate(whole)

    def add(self, work: Work, outcome: Outcome) -> None:
        """Keep an outcome for good."""
        assert self._file
        line = dumps([work.key, outcome.row, outcome.seconds, outcome.megabytes]).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise SweepError(f"{self.path} cannot be written: {error.strerror}.") from None
        self.finished[work.key] = outcome

    def remove(self) -> None:
        """Forget the finished points: what they say is elsewhere."""
        self.path.unlink(missing_ok=True)
