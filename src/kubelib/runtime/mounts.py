"""Mounting and unmounting, as the kernel offers it: what needs the rights to is refused with the kernel's error."""

import ctypes
import os
from pathlib import Path

READ_ONLY, NO_SUID, NO_DEV, NO_EXEC = 1, 2, 4, 8
DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, *, flags: int = 0, data: str = "") -> None:
    """Mount a file system. Raises OSError."""
    done = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def unmount(target: Path) -> None:
    """Take a file system out of sight at once; it goes when nobody uses it any more. Raises OSError."""
    if _libc.umount2(os.fsencode(target), DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
