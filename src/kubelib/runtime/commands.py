"""Commands in containers, on any runtime that gives them streams."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from kubelib.runtime.abilities import ExecResult, ExecStream
from kubelib.runtime.base import ContainerId


class RunsCommands(ABC):
    """The half of `kubelib.runtime.abilities.SupportsExec` that follows from the other."""

    @abstractmethod
    def exec_stream(
        self, container: ContainerId, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[ExecStream]:
        """Run a command with open streams; leaving the context ends it."""

    async def exec(
        self, container: ContainerId, command: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """Run a command to its end. Raises `TimeoutError`, `NoSuchContainer`, `CannotStart`."""
        with anyio.fail_after(timeout):
            async with self.exec_stream(container, command, stdin=False, tty=False) as stream:
                return await run_to_end(stream)


async def run_to_end(stream: ExecStream) -> ExecResult:
    """Read all that a command writes, and return it with the exit code."""
    found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            name, data = await stream.receive()
            found[name].append(data)
    return ExecResult(await stream.wait(), b"".join(found["stdout"]), b"".join(found["stderr"]))
