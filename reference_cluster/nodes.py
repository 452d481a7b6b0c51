"""The way from the API server, or a node's own server, to agents in the same process: logs, commands, connections."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

import anyio
from anyio.abc import SocketStream

from kubelib.api.core.pod import Pod
from kubelib.api.errors import BadRequest, ServiceUnavailable
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.runtime.logs import since_of
from kubelib.runtime.operations import PodOperations
from kubelib.server.nodes import ByteStream, LogOptions, NodeProxy, Stream


class LocalNodes:
    """A `kubelib.server.nodes.NodeProxy` for agents in this process."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self.operations: dict[str, PodOperations] = {}
        """By node name."""
        self.elsewhere: NodeProxy | None = None
        """Reaches the nodes that are not in this process."""

    def _other(self, pod: Pod) -> NodeProxy | None:
        return None if pod.spec.node_name in self.operations else self.elsewhere

    def _of(self, pod: Pod) -> PodOperations:
        try:
            return self.operations[pod.spec.node_name]
        except KeyError:
            raise ServiceUnavailable(f"node {pod.spec.node_name} does not answer") from None

    def logs(
        self, pod: Pod, container: str, options: LogOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read a container's log."""
        if (other := self._other(pod)) is not None:
            return other.logs(pod, container, options)
        try:
            since = since_of(self._clock.now(), options.since_seconds, options.since_time)
        except ValueError as error:
            raise BadRequest(f"sinceTime: {error}") from None
        return self._of(pod).logs(
            pod,
            container,
            follow=options.follow,
            previously=options.previous,
            tail=options.tail_lines,
            since=since,
            timestamps=options.timestamps,
            limit=options.limit_bytes,
        )

    def exec(
        self, pod: Pod, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        """Run a command in a container."""
        if (other := self._other(pod)) is not None:
            return other.exec(pod, container, command, stdin=stdin, tty=tty)
        return self._of(pod).exec(pod, container, command, stdin=stdin, tty=tty)

    def attach(
        self, pod: Pod, container: str, *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        """Follow what a container writes from now on."""
        if (other := self._other(pod)) is not None:
            return other.attach(pod, container, stdin=stdin, tty=tty)
        return _attach(self, pod, container)

    @asynccontextmanager
    async def port_forward(self, pod: Pod, port: int) -> AsyncIterator[ByteStream]:
        """Connect to a port of the Pod."""
        if (other := self._other(pod)) is not None:
            async with other.port_forward(pod, port) as far:
                yield far
            return
        async with await self._of(pod).connect(pod, port) as stream:
            yield _Bytes(stream)


class _Bytes:
    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive(self) -> bytes:
        return await self._stream.receive()


@asynccontextmanager
async def _attach(nodes: LocalNodes, pod: Pod, container: str) -> AsyncIterator[Stream]:
    async with nodes.logs(pod, container, LogOptions(follow=True, tail_lines=0)) as chunks:
        yield _Following(chunks)


class _Following:
    """A container's output as a stream: a container of the process runtime has no input to attach to."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    async def send(self, data: bytes) -> None:
        return

    async def close_stdin(self) -> None:
        return

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        try:
            return "stdout", await anext(self._chunks)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def resize(self, width: int, height: int) -> None:
        return

    async def wait(self) -> int:
        return 0
