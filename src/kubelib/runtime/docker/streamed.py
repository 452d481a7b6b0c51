"""Commands in containers, and what containers run themselves, with open streams."""

import contextlib

import anyio

from kubelib.runtime.base import CannotStart, NoSuchContainer, RuntimeFailure
from kubelib.runtime.docker.engine import Engine
from kubelib.runtime.enginestreams import EngineRefused, EngineStream, end_process
from kubelib.runtime.streams import Answer

KILLED = 137
REFUSALS = (b"OCI runtime exec failed", b"cannot exec in a", b"failed to create runc console")
"""How the output begins where the engine could not start a command."""


class EngineCommand(EngineStream):
    """A command that runs in a container."""

    def __init__(self, engine: Engine, identity: str, answer: Answer, *, tty: bool, stdin: bool) -> None:
        async def resize(width: int, height: int) -> None:
            await engine.call(lambda client: client.exec_resize(identity, height=height, width=width))

        super().__init__(answer, resize, tty=tty, stdin=stdin)
        self._engine = engine
        self._identity = identity

    async def begun(self) -> None:
        """Return once the command runs, or has ended. Raises `CannotStart` if the engine could not start it."""
        delay = 0.005
        while True:
            state = await self._state()
            if state is None or (state["Running"] and state.get("Pid")):
                return
            if not state["Running"] and state.get("ExitCode") is not None:
                break
            await anyio.sleep(delay)
            delay = min(delay * 1.5, 0.2)
        if state["ExitCode"] in (126, 127) and not state.get("Pid"):
            with contextlib.suppress(anyio.EndOfStream):
                first = await super().receive()
                if first[1].startswith(REFUSALS):
                    raise CannotStart(first[1].decode(errors="replace").strip())
                self._ready.insert(0, first)

    async def _state(self) -> dict[str, object] | None:
        try:
            found: dict[str, object] = await self._engine.call(lambda c: c.exec_inspect(self._identity))
        except (NoSuchContainer, EngineRefused):
            return None  # gone with its container
        return found

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
        """End the command if it still runs. The engine has no call for that: its process is, if it is one of this machine."""
        with contextlib.suppress(RuntimeFailure):
            state = await self._state()
            pid = state["Pid"] if state is not None and state["Running"] else 0
            container = state["ContainerID"] if state is not None else ""
            if isinstance(pid, int) and pid > 0 and self._engine.is_local():
                end_process(pid, str(container))
