"""What the streams of containers have in common, whichever engine runs them, and how the processes of commands are ended."""

import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio

from kubelib.runtime.base import NoSuchContainer, RuntimeFailure
from kubelib.runtime.containers import Frames, Stream
from kubelib.runtime.streams import Answer

RESIZE_WITHIN = 10.0
KILLED = 137


class EngineRefused(RuntimeFailure):
    """The engine has understood and declined; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineStream:
    """The streams of a container; see `kubelib.runtime.abilities.ExecStream`."""

    def __init__(
        self,
        answer: Answer,
        resize: Callable[[int, int], Awaitable[None]],
        *,
        tty: bool,
        stdin: bool,
    ) -> None:
        self._answer = answer
        self._resize = resize
        self._tty = tty
        self._writes = stdin
        self._frames = Frames()
        self._ready: list[tuple[Stream, bytes]] = []

    async def send(self, data: bytes) -> None:
        """Write to the standard input; what is no longer read is dropped."""
        if self._writes:
            await self._answer.send(data)

    async def close_stdin(self) -> None:
        """Tell that no more input comes."""
        if self._writes and self._tty:
            await self._answer.send(b"\x04")
        elif self._writes:
            await self._answer.send_eof()

    async def receive(self) -> tuple[Stream, bytes]:
        """Return the next output. Raises `anyio.EndOfStream`."""
        while not self._ready:
            data = await self._answer.receive()
            self._ready += [("stdout", data)] if self._tty else self._frames.feed(data)
        return self._ready.pop(0)

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size, as soon as there is one."""
        if not self._tty:
            return
        delay = 0.01
        with anyio.move_on_after(RESIZE_WITHIN):
            while True:
                try:
                    await self._resize(width, height)
                except NoSuchContainer:
                    return
                except EngineRefused:  # not started yet
                    await anyio.sleep(delay)
                    delay = min(delay * 2, 0.5)
                else:
                    return

    async def wait(self) -> int:
        """Return 0: how a container ends is its status."""
        return 0


class CommandStream(EngineStream, ABC):
    """A command that runs in a container."""

    async def _state(self) -> Mapping[str, object] | None:
        """Return how the engine describes the command; None if it is gone with its container."""
        try:
            return await self._ask()
        except (NoSuchContainer, EngineRefused):
            return None

    @abstractmethod
    async def _ask(self) -> Mapping[str, object]:
        """Ask the engine for the command."""

    @abstractmethod
    async def begun(self) -> None:
        """Return once the command runs, or has ended. Raises `CannotStart` if the engine could not start it."""

    async def wait(self) -> int:
        """Return the exit code once the command has ended."""
        delay = 0.01
        while True:
            state = await self._state()
            if state is None:
                return KILLED
            code = state.get("ExitCode")
            if not state["Running"] and isinstance(code, int):
                return code
            await anyio.sleep(delay)
            delay = min(delay * 1.5, 0.5)

    async def end(self) -> None:
        """End the command if it still runs. Engines have no call for that: its process is, if it is one of this machine."""
        with contextlib.suppress(RuntimeFailure):
            state = await self._state()
            if state is None or not state["Running"] or not self._is_local():
                return
            pid = state["Pid"]
            if isinstance(pid, int) and pid > 0:
                end_process(pid, str(state["ContainerID"]))

    def _is_local(self) -> bool:
        """Return whether the command's processes are of this machine."""
        return True


def end_process(pid: int, container: str) -> None:
    """Kill a process and what it has started, if it is one of a container: numbers are used again, also by other machines."""
    try:
        if container not in Path(f"/proc/{pid}/cgroup").read_text():
            return
    except OSError:
        return
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                with contextlib.suppress(OSError):
                    todo += map(int, Path(f"/proc/{one}/task/{thread}/children").read_text().split())
    for one in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)
