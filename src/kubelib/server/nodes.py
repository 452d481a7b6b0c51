"""What the server asks of nodes: logs and streams of containers. The node room, near or far, answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from kubelib.api.core.pod import Pod
from kubelib.server.exchange import ByteStream, Inquiry, Reply

if TYPE_CHECKING:
    from kubelib.server.responses import Receive, Scope, Send


@attrs.frozen(kw_only=True)
class LogOptions:
    """Which part of a log."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_seconds: float | None = None
    since_time: str = ""
    limit_bytes: int | None = None
    insecure: bool = False
    """Whether it is taken from a node whose certificate nobody vouches for."""


class Stream(Protocol):
    """A command that runs in a container, its streams open."""

    async def send(self, data: bytes) -> None:
        """Write to its standard input."""
        ...

    async def close_stdin(self) -> None:
        """Tell it that no more input comes."""
        ...

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Return the next output. Raises `anyio.EndOfStream` when all has been read."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Tell its terminal the new size."""
        ...

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        ...


class NodeProxy(Protocol):
    """Reaches the node that a Pod runs on. Errors are ApiErrors."""

    def logs(
        self, pod: Pod, container: str, options: LogOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read a container's log."""
        ...

    def exec(
        self, pod: Pod, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        """Run a command in a container."""
        ...

    def attach(
        self, pod: Pod, container: str, *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        """Attach to what a container runs."""
        ...

    def port_forward(self, pod: Pod, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """Connect to a port of the Pod."""
        ...

    def ask(self, node: str, inquiry: Inquiry) -> AbstractAsyncContextManager[Reply]:
        """Ask a node's own server: its health, its Pods, its metrics."""
        ...

    async def pass_websocket(self, node: str, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a WebSocket, whose connect message has been received, on to a node's own server, as `scope` says where.

        Raises ApiError before the upgrade.
        """
        ...


class NodeFigures(Protocol):
    """What a node measures of itself and its Pods."""

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes:
        """Return the document ``/stats/summary``."""
        ...

    async def metrics(self, which: Literal["own", "resource", "cadvisor", "probes"]) -> bytes:
        """Return metrics in Prometheus' text form: of the agent's own work, or those that are named."""
        ...

    def configuration(self) -> bytes:
        """Return the document ``/configz``."""
        ...
