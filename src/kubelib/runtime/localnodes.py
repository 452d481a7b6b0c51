"""The way from the API server, or a node's own server, to agents in the same process: logs, commands, connections."""

from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from anyio.abc import ByteStream as AnyByteStream

from kubelib.api.core.pod import Pod
from kubelib.api.errors import BadRequest, ServiceUnavailable
from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.registry.base import User
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.figures import AgentFigures
from kubelib.runtime.logs import since_of
from kubelib.runtime.operations import PodOperations
from kubelib.server.exchange import ByteStream, Inquiry, Reply, exchange_with
from kubelib.server.nodes import LogOptions, NodeProxy, Stream
from kubelib.server.nodeserver import Allowed, NodeServer, pod_list
from kubelib.server.responses import Receive, Scope, Send

API_SERVER = User("kube-apiserver", ("system:masters", "system:authenticated"))
"""Who asks when the API server asks."""


class LocalNodes:
    """A `kubelib.server.nodes.NodeProxy` for agents in this process."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self.operations: dict[str, PodOperations] = {}
        """By node name."""
        self.servers: dict[str, NodeServer] = {}
        """What each node answers for itself, by its name."""
        self.elsewhere: NodeProxy | None = None
        """Reaches the nodes that are not in this process."""

    def add(self, agent: NodeAgent, allowed: Allowed | None = None) -> NodeServer:
        """Reach an agent of this process; return the server that answers for its node.

        `allowed` says who may ask that server what; None: only the API server of this process asks, which has decided.
        """
        name = agent.settings.name
        self.operations[name] = PodOperations(agent)
        server = self.servers[name] = NodeServer(
            self,
            pod=agent.pod,
            pods=lambda: pod_list(agent.pod_documents()),
            allowed=allowed or _anybody,
            figures=AgentFigures(agent),
        )
        return server

    def remove(self, node: str) -> None:
        """Reach a node no more: its agent has ended for good."""
        self.operations.pop(node, None)
        self.servers.pop(node, None)

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
        """Open the streams of what a container runs."""
        if (other := self._other(pod)) is not None:
            return other.attach(pod, container, stdin=stdin, tty=tty)
        return self._of(pod).attach(pod, container, stdin=stdin)

    @asynccontextmanager
    async def port_forward(self, pod: Pod, port: int) -> AsyncIterator[ByteStream]:
        """Connect to a port of the Pod."""
        if (other := self._other(pod)) is not None:
            async with other.port_forward(pod, port) as far:
                yield far
            return
        async with await self._of(pod).connect(pod, port) as stream:
            yield _Bytes(stream)

    @asynccontextmanager
    async def ask(self, node: str, inquiry: Inquiry) -> AsyncIterator[Reply]:
        """Ask a node's own server."""
        server = self.servers.get(node)
        if server is not None:
            async with exchange_with(server, inquiry, {"user": API_SERVER}) as reply:
                yield reply
        elif self.elsewhere is not None:
            async with self.elsewhere.ask(node, inquiry) as reply:
                yield reply
        else:
            raise ServiceUnavailable(f"node {node} does not answer")

    async def pass_websocket(self, node: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a WebSocket on to a node's own server."""
        server = self.servers.get(node)
        if server is not None:
            connecting: list[MutableMapping[str, Any]] = [{"type": "websocket.connect"}]

            async def receive_anew() -> MutableMapping[str, Any]:
                return connecting.pop() if connecting else await receive()

            await server({**scope, "state": {"user": API_SERVER}}, receive_anew, send)
        elif self.elsewhere is not None:
            await self.elsewhere.pass_websocket(node, scope, receive, send)
        else:
            raise ServiceUnavailable(f"node {node} does not answer")


async def _anybody(user: User, subresource: str) -> bool:
    return True


class _Bytes:
    def __init__(self, stream: AnyByteStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive(self) -> bytes:
        return await self._stream.receive()
