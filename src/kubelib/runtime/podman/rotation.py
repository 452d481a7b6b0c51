"""Keeping logs from filling the disk: the monitor of a container writes its log without end, and begins anew when it is told to."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from kubelib.runtime.podman.readings import Known

LARGEST = 10 << 20
"""Bytes of a log after which it is moved away; with the one that was moved before, there are two such files at most."""
EVERY = 2.0
"""Seconds between looks."""
REOPEN = b"2 0 0\n"
"""What the monitor's control pipe understands as: open the log anew."""


def rotate(containers: Iterable[Known]) -> None:
    """Move the logs away that have grown too large; nothing is lost, for the monitor has the old file open until it has the new one."""
    for known in containers:
        if not known.running or not known.log:
            continue
        with contextlib.suppress(OSError):
            if Path(known.log).stat().st_size > LARGEST:
                _begin_anew(known)


def _begin_anew(known: Known) -> None:
    control = os.open(f"{known.directory}/ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        log = Path(known.log)
        log.replace(log.with_name(log.name + ".1"))
        os.write(control, REOPEN)
    finally:
        os.close(control)
