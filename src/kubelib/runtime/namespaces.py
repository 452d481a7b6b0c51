"""Doing something inside namespaces of another process of this machine."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Literal, TypeVar

CLONE_FS = 0x200
KINDS = {"mnt": 0x20000, "uts": 0x4000000, "net": 0x40000000}
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def inside(pid: int, kinds: Iterable[Literal["mnt", "uts", "net"]], do: Callable[[], T]) -> T:
    """Return what `do` returns in namespaces of a process, in a thread of its own: it is the thread that enters, and it ends with that.

    What `do` raises is raised here. Raises OSError where this process may not enter.
    """
    made: list[T] = []
    failures: list[Exception] = []

    def enter() -> None:
        try:
            _join(pid, kinds)
            made.append(do())
        except Exception as error:  # whatever it is, it is the caller's
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return made[0]


def _join(pid: int, kinds: Iterable[str]) -> None:
    with ExitStack() as stack:
        # All are opened first: with other mounts, /proc may be another one.
        opened = {kind: stack.enter_context(open(f"/proc/{pid}/ns/{kind}")) for kind in kinds}
        for kind, namespace in opened.items():
            # Threads that share a root and a working directory cannot see different mounts.
            refused = kind == "mnt" and _libc.unshare(CLONE_FS) != 0
            if refused or _libc.setns(namespace.fileno(), KINDS[kind]) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
