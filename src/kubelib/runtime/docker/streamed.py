"""Commands in containers, with open streams."""

import contextlib

import anyio

from kubelib.runtime.base import CannotStart
from kubelib.runtime.docker.engine import Engine
from kubelib.runtime.enginestreams import CommandStream
from kubelib.runtime.streams import Answer

REFUSALS = (b"OCI runtime exec failed", b"cannot exec in a", b"failed to create runc console")
"""How the output begins where the engine could not start a command."""


class DockerCommand(CommandStream):
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

    async def _ask(self) -> dict[str, object]:
        found: dict[str, object] = await self._engine.call(lambda c: c.exec_inspect(self._identity))
        return found

    def _is_local(self) -> bool:
        return self._engine.is_local()
