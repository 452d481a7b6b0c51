"""The way from the API server to nodes in other processes: HTTPS to each node's own server."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from urllib.parse import urlsplit

import anyio
import attrs
from anyio.abc import ByteStream as AnyByteStream

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import InternalError, ServiceUnavailable
from kubelib.client.credentials import tls_context
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.client.websocket import CONNECT_TIMEOUT, WebSocket, connect_websocket, open_command
from kubelib.server.exchange import ByteStream, Inquiry, Reply, exchange
from kubelib.server.forwarding import CHANNELS
from kubelib.server.nodes import LogOptions, Stream
from kubelib.server.proxying import Target, pass_websocket
from kubelib.server.responses import Receive, Scope, Send
from reference_cluster.pki import Credential

DEFAULT_PORT = 10250
NodeOf = Callable[[str], Node | None]


class RemoteNodes:
    """A `kubelib.server.nodes.NodeProxy` for nodes that serve HTTPS."""

    def __init__(self, node: NodeOf, *, ca: bytes, credential: Credential) -> None:
        self._node_of = node
        self._ca = ca
        self._credential = credential

    def _connection(self, name: str) -> Connection:
        """Return how a node is reached. Raises ServiceUnavailable."""
        node = self._node_of(name)
        if node is None:
            raise ServiceUnavailable(f"there is no node {name}")
        port = node.status.daemon_endpoints.kubelet_endpoint.port
        addresses = {address.type: address.address for address in node.status.addresses}
        host = addresses.get("InternalIP") or addresses.get("Hostname")
        if not port or not host:
            raise ServiceUnavailable(f"node {name} does not say where it can be reached")
        return Connection(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ca_data=self._ca,
            cert_data=self._credential.cert.read_bytes(),
            key_data=self._credential.key.read_bytes(),
        )

    @asynccontextmanager
    async def logs(
        self, pod: Pod, container: str, options: LogOptions
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read a container's log."""
        meta = pod.metadata
        query = {
            name: str(value)
            for name, value in (
                ("follow", "true" if options.follow else ""),
                ("previous", "true" if options.previous else ""),
                ("timestamps", "true" if options.timestamps else ""),
                ("tailLines", options.tail_lines),
                ("sinceSeconds", int(options.since_seconds) if options.since_seconds is not None else None),
                ("sinceTime", options.since_time),
                ("limitBytes", options.limit_bytes),
            )
            if value not in (None, "")
        }
        path = f"/containerLogs/{meta.namespace}/{meta.name}/{container}"
        connection = attrs.evolve(self._connection(pod.spec.node_name), insecure=options.insecure)
        async with (
            HttpClient(connection, manager="kube-apiserver") as client,
            client.stream("GET", path, query=query, accept="*/*") as chunks,
        ):
            yield chunks

    def exec(
        self, pod: Pod, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        """Run a command in a container."""
        return self._command("exec", pod, container, command, stdin=stdin, tty=tty)

    def attach(
        self, pod: Pod, container: str, *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        """Attach to what a container runs."""
        return self._command("attach", pod, container, (), stdin=stdin, tty=tty)

    def _command(
        self, verb: str, pod: Pod, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AbstractAsyncContextManager[Stream]:
        query = [("output", "1"), ("error", "0" if tty else "1"), *(("command", part) for part in command)]
        query += [("input", "1")] if stdin else []
        query += [("tty", "1")] if tty else []
        path = f"/{verb}/{pod.metadata.namespace}/{pod.metadata.name}/{container}"
        return open_command(self._connection(pod.spec.node_name), path, query)

    @asynccontextmanager
    async def port_forward(self, pod: Pod, port: int) -> AsyncIterator[ByteStream]:
        """Connect to a port of the Pod."""
        path = f"/portForward/{pod.metadata.namespace}/{pod.metadata.name}"
        async with connect_websocket(
            self._connection(pod.spec.node_name), path, [("port", str(port))], (CHANNELS,)
        ) as websocket:
            yield _Port(websocket)

    @asynccontextmanager
    async def ask(self, node: str, inquiry: Inquiry) -> AsyncIterator[Reply]:
        """Ask a node's own server."""
        async with self._dialled(node) as (host, stream):
            headers = [(b"host", host.encode()), *inquiry.headers]
            async with exchange(stream, attrs.evolve(inquiry, headers=headers)) as reply:
                yield reply

    async def pass_websocket(self, node: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a WebSocket on to a node's own server."""
        path, query = scope["raw_path"], scope["query_string"]
        async with self._dialled(node) as (host, stream):
            target = Target(host, lambda: nullcontext(stream))
            await pass_websocket(target, path + (b"?" + query if query else b""), scope, receive, send)

    @asynccontextmanager
    async def _dialled(self, node: str) -> AsyncIterator[tuple[str, ByteStream]]:
        """Connect to a node's own server, and say how it is called. Raises ServiceUnavailable."""
        connection = self._connection(node)
        where = urlsplit(connection.server)
        host, port = where.hostname or "", where.port or DEFAULT_PORT
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                stream = await anyio.connect_tcp(
                    host,
                    port,
                    ssl_context=tls_context(connection),
                    tls_hostname=host,
                    tls_standard_compatible=False,
                )
        except (OSError, TimeoutError) as error:
            raise ServiceUnavailable(f"node {node} does not answer: {error}") from None
        async with stream:
            yield where.netloc, _Encrypted(stream)


class _Encrypted:
    """A connection as `kubelib.server.exchange.ByteStream`."""

    def __init__(self, stream: AnyByteStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def send_eof(self) -> None:
        """TLS cannot say it."""

    async def receive(self) -> bytes:
        return await self._stream.receive()


class _Port:
    """A connection to a port: channel 0 carries its bytes, channel 1 says why there is none."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._announced: set[int] = set()

    async def send(self, data: bytes) -> None:
        await self._websocket.send(b"\x00" + data)

    async def send_eof(self) -> None:
        """The channel protocol cannot say it: the port sees the end when the connection closes."""

    async def receive(self) -> bytes:
        while True:
            message = await self._websocket.receive()
            channel, data = message[0], message[1:]
            if channel not in self._announced:
                self._announced.add(channel)  # the first message only names the port
            elif channel == 1:
                raise InternalError(data.decode(errors="replace"))
            elif data:
                return data
