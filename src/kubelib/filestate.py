"""Whether files have changed, for those who take in new certificates and the like while they run."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

FileStates: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def states_of(files: Iterable[Path]) -> FileStates:
    """Return what is another value once one of the files has been written, replaced, made or removed; links are followed."""
    return tuple(map(_state_of, files))


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
