"""What calls to a container engine have in common, whichever it is."""

import os

import anyio.to_thread

from kubelib.runtime.abilities import Space

THREADS, PULLS = 8, 3
"""How many calls, and how many pulls, are under way at once."""
TIMEOUT, PULL_TIMEOUT = 60, 600
"""Seconds without an answer, or without news of a pull, after which an engine counts as gone."""


def cause_of(error: BaseException) -> str:
    """Return what lies at the bottom of a library's error, without the chain of those who passed it on."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def numbers_of(version: str) -> tuple[int, ...]:
    """Return a version's numbers, to compare it with others.

    >>> numbers_of("4.10.1-dev") > numbers_of("4.9")
    True
    """
    return tuple(int(part) for part in version.partition("-")[0].split("."))


async def space_of(directory: str) -> Space | None:
    """Return what there is of the disk with a directory of an engine's; None if this process does not see it."""
    try:
        disk = await anyio.to_thread.run_sync(os.statvfs, directory)
    except OSError:  # the engine lives in a file system of its own
        return None
    return Space(capacity=disk.f_blocks * disk.f_frsize, available=disk.f_bavail * disk.f_frsize)
