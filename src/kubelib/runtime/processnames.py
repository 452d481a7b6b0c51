"""How containers resolve names that run on the host's files: each sees mounts of its own, which differ from the host's in two files only.

Where the kernel does not let this process do that, or nothing would differ, a container sees what the host has.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from kubelib.runtime.base import ContainerSpec, SandboxSpec
from kubelib.runtime.isolation.holders import RESOLV_CONF, files_of, resolv_conf
from kubelib.runtime.isolation.inside import apart, bind, show
from kubelib.runtime.namespaces import inside
from kubelib.runtime.processstate import is_process, json_of, state_of
from kubelib.runtime.programs import LOOK_AROUND

PLACES = ("/etc/resolv.conf", "/etc/hosts")
T = TypeVar("T")


@cache
def can_show() -> bool:
    """Return whether containers can see files of their own, by trying it once: in a container, root may not be allowed to."""

    def attempt() -> None:
        apart([], os.uname().nodename)
        bind("/", "/")

    try:
        inside(os.getpid(), [], attempt)
        inside(os.getpid(), ["mnt", "uts"], lambda: None)
    except OSError:
        return False
    return True


def noted(directory: Path, spec: SandboxSpec) -> dict[str, Any]:
    """Return what is noted of a sandbox in `directory` beside what every one has, and write the file that its containers will see."""
    text = resolv_conf(spec.dns)
    if text:
        path = directory / RESOLV_CONF
        path.write_text(text)
        path.chmod(0o644)  # whoever the containers run as
    return {"dns": text}


def names_of(directory: Path, note: Mapping[str, Any], container: ContainerSpec) -> dict[str, Any] | None:
    """Return what the shim of a container of the sandbox in `directory` shows it, None where that is what the host has.

    A container that mounts for the host needs the host's mounts, and sees its files.
    """
    if not can_show() or any(mount.propagation == "Bidirectional" for mount in container.mounts):
        return None
    files = {place: source for source, place, _ in files_of(directory, note)}
    files |= {mount.target: mount.source for mount in container.mounts if mount.target in PLACES}
    differing = [[source, place] for place, source in files.items() if _lines(source) != _lines(place)]
    if not differing:
        return None
    # Its own name is in a Pod's hosts file, and the host's is not.
    return {"files": differing, "hostname": "" if note["host_network"] else note["hostname"]}


def _lines(path: str) -> list[str] | None:
    """Return what a file says, without comments; None if there is none."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return None
    return [line for line in lines if line and not line.startswith("#")]


def among(state: Mapping[str, Any], do: Callable[[], T]) -> T:
    """Return what `do` returns where the files are seen that a container sees. Raises OSError, also if its process has ended."""

    def once_inside() -> T:
        # Only now it is certain whose namespaces these are: numbers are used again.
        if not is_process(state["pid"], state["ticks"]):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return do()

    return inside(state["pid"], ["mnt", "uts"], once_inside)


async def keep_shown(containers: Callable[[], Iterable[Path]]) -> None:
    """Show `containers` their files again whenever the host replaces its own, for ever.

    The kernel takes away what is mounted on a file that is replaced or removed, wherever that is mounted.
    """
    # What starts while a file is replaced is there the next time, if it is not yet.
    seen = deque[list[int]](maxlen=3)
    while True:
        seen.append([_inode(place) for place in PLACES])
        if len(seen) < 3 or seen[0] != seen[-1] or seen[1] != seen[-1]:
            await anyio.to_thread.run_sync(_show_again, containers)
        await anyio.sleep(LOOK_AROUND / 1000)


def _inode(place: str) -> int:
    try:
        return os.stat(place).st_ino
    except OSError:
        return 0


def _show_again(containers: Callable[[], Iterable[Path]]) -> None:
    for container in containers():
        names, state = (json_of(container / "spec.json") or {}).get("names"), state_of(container)
        if names is not None and state is not None:
            with contextlib.suppress(OSError):  # it has ended
                among(state, partial(show, names["files"]))
