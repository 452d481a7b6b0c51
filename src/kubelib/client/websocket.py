"""WebSockets, and commands in containers over them: how exec, attach and port-forward reach a server.

The messages are those of Kubernetes' channel protocols: the first byte names a channel (0 stdin, 1 stdout, 2 stderr, 3 the
final status, 4 the terminal's size); in ``v5.channel.k8s.io``, 255 and a channel's number close that channel.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import SplitResult, urlencode, urlsplit

import anyio
from anyio.abc import ByteStream

from kubelib.api.codec import encode_json, error_of_answer, parse_json
from kubelib.api.errors import InternalError, ServiceUnavailable, error_from_status
from kubelib.client.credentials import tls_context
from kubelib.client.kubeconfig import Connection

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
CONNECT_TIMEOUT = 10.0


class WebSocket:
    """An open WebSocket: whole binary messages."""

    def __init__(self, stream: ByteStream, protocol: Any) -> None:
        self._stream = stream
        self._protocol = protocol
        self._sending = anyio.Lock()
        self._parts: list[bytes] = []
        self.subprotocol = ""

    async def send(self, data: bytes) -> None:
        """Send a message. Raises `anyio.BrokenResourceError` if the connection is gone."""
        from wsproto.events import BytesMessage

        await self._write(BytesMessage(data))

    async def receive(self) -> bytes:
        """Return the next message. Raises `anyio.EndOfStream` when the other side has closed."""
        from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

        while True:
            match event := await self._next():
                case BytesMessage() | TextMessage():
                    data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                    self._parts.append(data)
                    if event.message_finished:
                        whole = b"".join(self._parts)
                        self._parts.clear()
                        return whole
                case Ping():
                    await self._write(event.response())
                case CloseConnection():
                    raise anyio.EndOfStream

    async def _next(self) -> Any:
        """Return the next event."""
        while True:
            for event in self._protocol.events():
                return event
            try:
                data = await self._stream.receive()
            except (anyio.BrokenResourceError, OSError):
                raise anyio.EndOfStream from None
            self._protocol.receive_data(data)

    async def _write(self, event: Any) -> None:
        async with self._sending:
            await self._stream.send(self._protocol.send(event))

    async def open(
        self, host: str, target: str, subprotocols: Sequence[str], headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Shake hands. Raises ApiError if the server refuses."""
        from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request

        await self._write(
            Request(host=host, target=target, subprotocols=list(subprotocols), extra_headers=headers)
        )
        code, body = 0, b""
        while True:
            match event := await self._next():
                case AcceptConnection():
                    self.subprotocol = event.subprotocol or ""
                    return
                case RejectConnection():
                    code = event.status_code
                    if not event.has_body:
                        raise error_of_answer(code, b"the server refused the upgrade with %d" % code)
                case RejectData():
                    body += event.data
                    if event.body_finished:
                        raise error_of_answer(code, body)

    async def close(self) -> None:
        """Say good-bye, if the other side still listens."""
        from wsproto.events import CloseConnection
        from wsproto.utilities import LocalProtocolError

        try:
            await self._write(CloseConnection(code=1000))
        except (LocalProtocolError, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return


def _port(server: SplitResult) -> int:
    return server.port or (443 if server.scheme == "https" else 80)


async def _dial(connection: Connection) -> tuple[str, ByteStream]:
    """Open a stream to the first server that can be reached."""
    why = ""
    for url in connection.servers:
        server = urlsplit(url)
        host, port = server.hostname or "", _port(server)
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                if server.scheme != "https":
                    return url, await anyio.connect_tcp(host, port)
                return url, await anyio.connect_tcp(
                    host,
                    port,
                    ssl_context=tls_context(connection),
                    tls_hostname=host,
                    tls_standard_compatible=False,
                )
        except (OSError, TimeoutError) as error:
            why = f"{url}: {str(error) or 'no answer'}"
    raise ServiceUnavailable(f"cannot reach the server {why}")


@asynccontextmanager
async def connect_websocket(
    connection: Connection, path: str, query: Sequence[tuple[str, str]], subprotocols: Sequence[str]
) -> AsyncIterator[WebSocket]:
    """Open a WebSocket to a path of the server. Raises ApiError: `ServiceUnavailable` if nobody answers."""
    from wsproto import ConnectionType, WSConnection

    url, stream = await _dial(connection)
    server = urlsplit(url)
    target = f"{server.path}{path}" + (f"?{urlencode(query)}" if query else "")
    headers = [(b"authorization", f"Bearer {connection.token}".encode())] if connection.token else []
    async with stream:
        websocket = WebSocket(stream, WSConnection(ConnectionType.CLIENT))
        try:
            await websocket.open(f"{server.hostname}:{_port(server)}", target, subprotocols, headers)
        except anyio.EndOfStream:
            raise ServiceUnavailable(f"the server {url} closed the connection") from None
        try:
            yield websocket
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await websocket.close()


class CommandStream:
    """A command in a container at the other end of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._status: dict[str, Any] | None = None

    async def send(self, data: bytes) -> None:
        """Write to its standard input."""
        await self._websocket.send(bytes([STDIN]) + data)

    async def close_stdin(self) -> None:
        """Tell it that no more input comes. Only v5 can say so."""
        if self._websocket.subprotocol == V5:
            await self._websocket.send(bytes([CLOSE, STDIN]))

    async def receive(self) -> tuple[Literal["stdout", "stderr"], bytes]:
        """Return the next output. Raises `anyio.EndOfStream` when all has been read."""
        while True:
            message = await self._websocket.receive()
            match message[:1]:
                case b"\x01" if len(message) > 1:
                    return "stdout", message[1:]
                case b"\x02" if len(message) > 1:
                    return "stderr", message[1:]
                case b"\x03":
                    self._status = parse_json(message[1:])

    async def resize(self, width: int, height: int) -> None:
        """Tell its terminal the new size."""
        await self._websocket.send(bytes([RESIZE]) + encode_json({"Width": width, "Height": height}))

    async def wait(self) -> int:
        """Return the exit code once all output has been read. Raises ApiError if it could not be run."""
        status = self._status
        if status is None:
            raise InternalError("the connection ended before the command did")
        if status.get("status") == "Success":
            return 0
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
        raise error_from_status(status, int(status.get("code") or 500))


@asynccontextmanager
async def open_command(
    connection: Connection, path: str, query: Sequence[tuple[str, str]]
) -> AsyncIterator[CommandStream]:
    """Run a command, or attach to one, at a path that speaks the channel protocols."""
    async with connect_websocket(connection, path, query, (V5, V4)) as websocket:
        yield CommandStream(websocket)
