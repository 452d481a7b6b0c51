"""Which containers the kernel has killed for want of memory: Podman 4 does not say, the kernel's log does."""

import contextlib
import os
from pathlib import Path

KMSG = Path("/dev/kmsg")
LONGEST = 8192
"""Bytes of one record at most, as the kernel has it."""
MARK, LIMIT = b"oom-kill:", b",oom_memcg="


def killed_in(container: str, log: Path = KMSG) -> bool:
    """Return whether a process of a container was killed for a limit, its own or its Pod's, as far as the kernel's log goes back.

    False too where this process may not read it.
    """
    wanted = container.encode()
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        while True:
            try:
                record = os.read(descriptor, LONGEST)
            except BrokenPipeError:  # overwritten before it was read: go on with the next
                continue
            except OSError:  # EAGAIN: that was the last
                return False
            if not record:
                return False
            for line in record.splitlines():
                if MARK in line and LIMIT in line and any(p.endswith(wanted) for p in _groups(line)):
                    return True
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _groups(line: bytes) -> list[bytes]:
    """Return the group that the process was in, and those above it."""
    _, _, rest = line.partition(b",task_memcg=")
    return rest.partition(b",")[0].split(b"/")
