"""Mounting and unmounting, as the kernel offers it: what needs the rights to is refused with the kernel's error."""

import ctypes
import os
from pathlib import Path

from kubelib.runtime.namespaces import inside

READ_ONLY, NO_SUID, NO_DEV, NO_EXEC = 1, 2, 4, 8
DETACH = 2
OPEN_TREE, MOVE_MOUNT = 428, 429
"""The numbers of system calls that C libraries have no functions for; the same on every processor."""
AT_FDCWD = -100
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, target: Path) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
    return result


def mount(source: str, target: Path, kind: str, *, flags: int = 0, data: str = "") -> None:
    """Mount a file system. Raises OSError."""
    done = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _checked(done, target)


def unmount(target: Path) -> None:
    """Take a file system out of sight at once; it goes when nobody uses it any more. Raises OSError."""
    _checked(_libc.umount2(os.fsencode(target), DETACH), target)


def show_mount(place: Path, pid: int) -> None:
    """Let a process, and all that see the same mounts, see what is mounted at `place`, if it is something and they see the directory alone.

    It is one file system, then, in two places. With the directory, its place there goes as well: the kernel takes away what is mounted on a
    directory that is removed. Raises OSError.
    """
    if not os.path.ismount(place):
        return
    try:
        there, here = os.stat(f"/proc/{pid}/root{place.absolute()}"), os.stat(place)
    except FileNotFoundError:
        return  # the process has ended, or its files are other ones
    if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
        return
    path = os.fsencode(place.absolute())
    tree = _checked(_libc.syscall(OPEN_TREE, AT_FDCWD, path, OPEN_TREE_CLONE | os.O_CLOEXEC), place)

    def attach() -> None:
        _checked(_libc.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH), place)

    try:
        inside(pid, ["mnt"], attach)
    finally:
        os.close(tree)
