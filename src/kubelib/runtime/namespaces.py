"""Doing something inside a namespace of another process of this machine."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Literal, TypeVar

CLONE_FS = 0x200
KINDS = {"mnt": 0x20000, "net": 0x40000000}
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def inside(pid: int, kind: Literal["mnt", "net"], do: Callable[[], T]) -> T:
    """Return what `do` returns in a namespace of a process, in a thread of its own: it is the thread that enters, and it ends with that.

    Raises OSError, also where this process may not enter.
    """
    made: list[T] = []
    failures: list[OSError] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/{kind}") as namespace:
                # Threads that share a root and a working directory cannot see different mounts.
                refused = kind == "mnt" and _libc.unshare(CLONE_FS) != 0
                if refused or _libc.setns(namespace.fileno(), KINDS[kind]) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            made.append(do())
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return made[0]
