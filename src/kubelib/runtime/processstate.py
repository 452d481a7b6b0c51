"""What the shims of the process runtime have written down, and what of it is still so."""

import contextlib
import fcntl
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from kubelib.runtime.base import CannotStart, Container, ContainerId
from kubelib.runtime.isolation.cgroups import groups_of

log = logging.getLogger("kubelib.runtime")

START_TIMEOUT = 20.0


def containers_of(sandbox: Path) -> list[Path]:
    """Return the directories of a sandbox's containers, without those that were never started and will not be."""
    try:
        found = sorted((sandbox / "containers").iterdir())
    except FileNotFoundError:  # none was started, or the sandbox is being removed
        return []
    return [path for path in found if (path / "spec.json").exists() and not is_unborn(path)]


def claim(directory: Path) -> int:
    """Return a descriptor that says, for as long as it or a copy in a shim is open, that somebody has a container in hand."""
    descriptor = os.open(directory / "claim", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_unborn(directory: Path) -> bool:
    """Return whether a container was prepared by somebody who was killed before its shim had begun: it will never run."""
    if (directory / "state.json").exists() or (directory / "exit.json").exists():
        return False
    try:
        descriptor = os.open(directory / "claim", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    # Its shim may have noted something, and gone, in between.
    return not (directory / "state.json").exists() and not (directory / "exit.json").exists()


def json_of(path: Path) -> dict[str, Any] | None:
    """Return what a file says, None if it is not there or not whole."""
    try:
        tree: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return tree


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Note something: all of it or, where that is interrupted, nothing."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(tree))
    temporary.replace(path)


ISOLATED = "isolated.json"
"""The file that says that a runtime has isolated sandboxes, and from which network they have their addresses."""


def network_left(root: Path) -> str | None:
    """Return the network of the isolated sandboxes that a runtime has had, empty if they had the host's; None if it has isolated none."""
    note = json_of(root / ISOLATED)
    return str(note["network"]) if note is not None else None


def state_of(directory: Path) -> dict[str, Any] | None:
    """Return what a shim has written of the process that it has started."""
    return json_of(directory / "state.json")


def exit_of(directory: Path) -> dict[str, Any] | None:
    """Return what a shim has written of the end."""
    return json_of(directory / "exit.json")


def is_process(pid: int, ticks: int) -> bool:
    """Return whether the process that was started then is still there: numbers are used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == ticks and fields[0] != b"Z"


def is_alive(directory: Path) -> bool:
    """Return whether the container runs: its end is only its end once the shim has noted it, or is gone itself."""
    if (directory / "exit.json").exists():
        return False
    state = state_of(directory)
    if state is None:
        return False
    return is_process(state["shim"], state["shim_ticks"]) or is_process(state["pid"], state["ticks"])


def has_shim(directory: Path) -> bool:
    """Return whether a container's shim is still there: for a moment after it has noted the end."""
    noted = state_of(directory) or exit_of(directory)
    return noted is not None and is_process(noted.get("shim", 0), noted.get("shim_ticks", 0))


def terminate(directory: Path) -> None:
    """Ask a container's first process to end, if it still runs: as on engines, what it has started hears of it from there."""
    _send(directory, signal.SIGTERM, os.kill)


def kill(directory: Path) -> None:
    """Kill a container's process group."""
    _send(directory, signal.SIGKILL, os.killpg)


def _send(directory: Path, number: int, send: Callable[[int, int], None]) -> None:
    state = state_of(directory)
    if (
        state is not None
        and not (directory / "exit.json").exists()
        and is_process(state["pid"], state["ticks"])
    ):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(state["pid"], number)


def time_of(text: str | None) -> datetime | None:
    """Return a time that a shim has written."""
    return datetime.fromisoformat(text[:26] + "Z").astimezone(UTC) if text else None


def container_of(directory: Path) -> Container:
    """Return a container as its files tell it."""
    spec = json_of(directory / "spec.json") or {}
    state = state_of(directory)
    alive = state is not None and is_alive(directory)
    # Looked for last: its shim may note the end, and go, while one looks, and nobody has killed it then.
    ended = None if alive else exit_of(directory)
    common: dict[str, Any] = {
        "id": ContainerId(str(directory)),
        "name": spec.get("name", directory.name.rpartition("-")[0]),
        "image": spec.get("image", ""),
        "image_id": spec.get("image_id") or f"process://{spec.get('image', '')}",
        "attempt": spec.get("attempt", 0),
        "annotations": spec.get("annotations", {}),
    }
    if ended is not None:
        code, number = ended.get("code", 128), ended.get("signal", 0)
        reason = "ContainerCannotRun" if "failure" in ended else ("Completed" if code == 0 else "Error")
        if ended.get("oom") and code != 0:
            reason = "OOMKilled"
        return Container(
            **common,
            state="exited",
            started=time_of(ended.get("started")),
            finished=time_of(ended.get("finished")),
            exit_code=code,
            signal=number,
            reason=reason,
            message=ended.get("failure", ""),
        )
    if state is not None and alive:
        return Container(**common, state="running", pid=state["pid"], started=time_of(state["started"]))
    if state is not None:
        # The shim was killed before it could note the end.
        started = time_of(state["started"])
        return Container(
            **common,
            state="exited",
            started=started,
            finished=started,
            exit_code=137,
            signal=9,
            reason="Error",
        )
    return Container(**common, state="created")


async def leave_groups(directory: Path) -> None:
    """Remove the control groups of a container that has ended: the kernel lets go of its processes a moment after their end."""
    isolation = (json_of(directory / "spec.json") or {}).get("isolation")
    if isolation is None:
        return
    groups = groups_of(isolation["note"])
    with anyio.move_on_after(5):
        while True:
            groups.remove()
            if not any(place.exists() for place in groups.directories()):
                return
            await anyio.sleep(0.02)
    log.warning("control groups of %s cannot be removed", directory.name)


async def until_started(directory: Path) -> None:
    """Wait until the shim has said that the command runs, has ended, or could not be started. Raises CannotStart if it says nothing."""
    delay = 0.004
    with anyio.move_on_after(START_TIMEOUT):
        while not (directory / "state.json").exists() and not (directory / "exit.json").exists():
            await anyio.sleep(delay)
            delay = min(delay * 1.3, 0.05)
        return
    raise CannotStart("the container's shim did not start in time")
