"""HTTP whose answers do not end: what an engine reports, and connections that become a container's streams."""

from collections.abc import AsyncIterator

import anyio
import h11
from anyio.abc import ByteStream

CHUNK = 65536


class Answer:
    """The answer to a request. It is iterated over, or, after an upgrade, sent to and received from."""

    def __init__(self, stream: ByteStream, connection: h11.Connection, status: int) -> None:
        self._stream = stream
        self._connection = connection
        self.status = status
        self._first = b""
        if connection.their_state is h11.SWITCHED_PROTOCOL:
            self._first = connection.trailing_data[0]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises OSError if the connection breaks."""
        while True:
            event = await _next(self._stream, self._connection)
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def send(self, data: bytes) -> None:
        """Write to the other end; what it no longer reads is dropped."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def send_eof(self) -> None:
        """Say that no more comes."""
        try:
            await self._stream.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, NotImplementedError, OSError):
            return

    async def receive(self) -> bytes:
        """Return what comes next. Raises `anyio.EndOfStream`."""
        if self._first:
            data, self._first = self._first, b""
            return data
        try:
            return await self._stream.receive(CHUNK)
        except (anyio.BrokenResourceError, OSError):
            raise anyio.EndOfStream from None


async def exchange(
    stream: ByteStream, method: str, target: str, content: bytes, *, upgrade: bool = False
) -> Answer:
    """Send a request and return its answer once it has begun. Raises OSError."""
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", "engine"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
    ]
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", "tcp")]
    request = connection.send(h11.Request(method=method, target=target, headers=headers))
    body = connection.send(h11.Data(data=content)) if content else b""
    end = connection.send(h11.EndOfMessage())
    try:
        await stream.send((request or b"") + (body or b"") + (end or b""))
    except anyio.BrokenResourceError as error:
        raise OSError(f"the connection was lost: {error}") from error
    while True:
        event = await _next(stream, connection)
        if isinstance(event, h11.Response | h11.InformationalResponse):
            if event.status_code == 101 or isinstance(event, h11.Response):
                return Answer(stream, connection, event.status_code)
        elif not isinstance(event, h11.InformationalResponse):
            raise OSError("the connection was closed before there was an answer")


async def _next(stream: ByteStream, connection: h11.Connection) -> object:
    """Return the next event. Raises OSError if what comes is no HTTP, or ends in the middle."""
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            try:
                data = await stream.receive(CHUNK)
            except anyio.EndOfStream:
                data = b""
            connection.receive_data(data)
    except anyio.BrokenResourceError as error:
        raise OSError(f"the connection was lost: {error}") from error
    except h11.RemoteProtocolError as error:
        raise OSError(str(error)) from error
    return event
