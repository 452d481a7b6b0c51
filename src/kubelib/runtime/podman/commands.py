"""Commands in containers, with open streams."""

import contextlib
import os
import signal
import time
from pathlib import Path

import anyio

from kubelib.runtime.base import CannotStart
from kubelib.runtime.enginestreams import CommandStream
from kubelib.runtime.podman.engine import Engine
from kubelib.runtime.stats.cgroups import ROOT
from kubelib.runtime.streams import Answer

NOT_RUN = (126, 127)
REFUSAL = b"Error: "
"""How the output begins where the command could not be started."""


class PodmanCommand(CommandStream):
    """A command that runs in a container."""

    def __init__(self, engine: Engine, identity: str, answer: Answer, *, tty: bool, stdin: bool) -> None:
        async def resize(width: int, height: int) -> None:
            await engine.call("POST", f"/exec/{identity}/resize", {"h": height, "w": width})

        super().__init__(answer, resize, tty=tty, stdin=stdin)
        self._engine = engine
        self._identity = identity

    async def begun(self) -> None:
        """Return once the command runs, or has ended. Raises `CannotStart` if it could not be started."""
        state = await self._state()
        if state is None or state["Running"] or state.get("ExitCode") not in NOT_RUN:
            return
        with contextlib.suppress(anyio.EndOfStream):
            first = await self.receive()
            if first[1].startswith(REFUSAL) and b"OCI" in first[1]:
                raise CannotStart(first[1].removeprefix(REFUSAL).decode(errors="replace").strip())
            self._ready.insert(0, first)

    async def _ask(self) -> dict[str, object]:
        found: dict[str, object] = await self._engine.call("GET", f"/exec/{self._identity}/json")
        return found


def end_monitors(cgroup: str) -> None:
    """End the monitors of the commands that were run in a pod, given the control group of one of its containers.

    They stay for `exit_command_delay` (5 minutes by default) after their command, and the pod's group, which Podman waits for
    when it removes a pod, does not go as long as they are in it.
    """
    groups = [ROOT / controller / cgroup.strip("/") for controller in ("pids", "memory", ".")]
    listed = [group.parent / "conmon" / "cgroup.procs" for group in groups]
    procs = next((file for file in listed if file.exists()), None)
    for _ in range(50):
        # One that is about to end makes a child that stays in its place: until there is none.
        if procs is None or not _kill_monitors(procs):
            return
        time.sleep(0.01)


def _kill_monitors(procs: Path) -> bool:
    """Kill the monitors of commands in a group; return whether there were any."""
    found = False
    with contextlib.suppress(OSError, ValueError):
        for pid in map(int, procs.read_text().split()):
            if _is_of_command(pid):
                found = True
                os.kill(pid, signal.SIGKILL)
    return found


def _is_of_command(pid: int) -> bool:
    """Return whether a monitor is that of a command: what it watches is not its container."""
    words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    return (
        b"-c" in words and b"-u" in words and words[words.index(b"-c") + 1] != words[words.index(b"-u") + 1]
    )
