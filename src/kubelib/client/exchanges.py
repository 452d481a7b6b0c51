"""HTTP/1.1 exchanges over kept connections: what carries the requests of our clients, to API servers and to webhooks.

A transport of httpx, in place of httpcore's. That one costs a client several times what our server needs to answer: for each request it goes
through all connections and polls the sockets of those that are idle. Here only the one that is about to be used is looked at.
"""

import select
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import anyio
import attrs
import httptools
import httpx
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""

KEPT_CONNECTIONS, KEPT_FOR = 32, 5.0
"""How many idle connections are kept, and for how many seconds, where nobody says otherwise."""
CHUNK = 1 << 16
MAX_HEAD = 1 << 18
"""Bytes that a server may send without any of them being of a body: headers and trailers have an end."""
CONNECTING, SENDING = "connection.connect_tcp.started", "http11.send_request_headers.started"
"""What the ``trace`` extension of a request is told before a connection is opened for it, and before its first byte is sent; as by httpcore."""
_PORTS = {"http": 80, "https": 443}


@attrs.define
class _Answer:
    """What the parser has found of an answer; the names of the methods are those it calls."""

    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    reason: bytes = b""
    parts: list[bytes] = attrs.field(factory=list)
    """What has come of the body and has not been given on."""
    bodiless: int = 0
    """Bytes that have come since a part of the body."""
    has_head: bool = False
    is_whole: bool = False
    may_be_followed: bool = False
    """Whether the connection stays open, so far as the server says; the parser knows while it reports the end, not afterwards."""
    parser: Any = attrs.field(
        init=False, default=attrs.Factory(lambda self: httptools.HttpResponseParser(self), takes_self=True)
    )

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        # What is said before (100 Continue, 103 Early Hints) is not the answer.
        self.has_head = self.parser.get_status_code() >= 200

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)
        self.bodiless = 0

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_whole, self.may_be_followed = True, self.parser.should_keep_alive()
        else:
            self.headers, self.reason = [], b""


class _Connection:
    """One connection, which carries one exchange at a time."""

    def __init__(self, stream: ByteStream, origin: Origin) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)
        self._answer = _Answer()

    @property
    def is_stale(self) -> bool:
        """Whether the server has said something unasked, which is that it closes the connection."""
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    async def close(self) -> None:
        """Close it, at once."""
        await anyio.aclose_forcefully(self._stream)

    async def send(self, request: bytes, timeout: float | None) -> None:
        """Send a request as it stands. Raises `httpx.WriteError` and `httpx.WriteTimeout`."""
        self._answer = _Answer()
        with _failing_as(httpx.WriteError, httpx.WriteTimeout):
            with anyio.fail_after(timeout):
                await self._stream.send(request)

    async def head(self, timeout: float | None, *, bodiless: bool) -> tuple[int, _Answer]:
        """Return the status of the answer, and what is known of it, as soon as its headers are there; `bodiless` ones end with them."""
        while not self._answer.has_head:
            await self._read(timeout)
        if bodiless:
            self._answer.is_whole = True
        return self._answer.parser.get_status_code(), self._answer

    async def body(self, timeout: float | None) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        answer = self._answer
        while True:
            parts, answer.parts = answer.parts, []
            for part in parts:
                yield part
            if answer.is_whole:
                return
            await self._read(timeout)

    @property
    def is_free(self) -> bool:
        """Whether another exchange may follow."""
        return self._answer.may_be_followed

    async def _read(self, timeout: float | None) -> None:
        answer = self._answer
        with _failing_as(httpx.ReadError, httpx.ReadTimeout):
            with anyio.fail_after(timeout):
                try:
                    data = await self._stream.receive(CHUNK)
                except (anyio.EndOfStream, ssl.SSLEOFError):
                    data = b""
        if not data:
            if answer.has_head and not _is_measured(answer.headers):
                answer.is_whole = True
                return
            what = (
                "in the middle of an answer"
                if answer.bodiless or answer.has_head
                else "without sending a response"
            )
            raise httpx.RemoteProtocolError(f"Server disconnected {what}.")
        answer.bodiless += len(data)
        try:
            answer.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise httpx.RemoteProtocolError(str(error) or type(error).__name__) from None
        if answer.bodiless > MAX_HEAD:
            raise httpx.RemoteProtocolError(f"the headers are longer than {MAX_HEAD} bytes")


def _is_measured(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether headers tell where the body ends; otherwise it ends with the connection."""
    return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)


@contextmanager
def _failing_as(broken: type[httpx.HTTPError], late: type[httpx.HTTPError]) -> Any:
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from None
    except anyio.EndOfStream:
        raise broken("the connection was closed") from None
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
        raise broken(str(error.__cause__ or error)) from None


class _Body(httpx.AsyncByteStream):
    """The body of an answer, after which its connection serves others."""

    def __init__(self, connection: _Connection, connections: "Exchanges", timeout: float | None) -> None:
        self._connection: _Connection | None = connection
        self._connections = connections
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._connection is not None
        async for part in self._connection.body(self._timeout):
            yield part

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._connections.give_back(connection)


class Exchanges(httpx.AsyncBaseTransport):
    """The transport to give to an ``httpx.AsyncClient``. Bodies of requests are bytes; no proxies, no HTTP/2.

    Without a context for `tls` it only does for ``http``. The ``sni_hostname`` of a request is the name that the server must have.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, kept_for: float = KEPT_FOR) -> None:
        self._tls = tls
        self._kept_for = kept_for
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        self._idle: OrderedDict[int, _Connection] = OrderedDict()
        """The one that was used last at the end."""

    async def aclose(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            await self._idle.popitem()[1].close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the answer is there. Raises `httpx.TransportError`."""
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        trace = request.extensions.get("trace", _untraced)
        url = request.url
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{url.scheme}: is no scheme of HTTP")
        origin = (url.scheme, url.host, url.port or _PORTS[url.scheme])
        connection = await self._take(origin)
        if connection is None:
            await trace(CONNECTING, {})
            name = request.extensions.get("sni_hostname") or url.host
            connection = await self._open(origin, name, timeouts.get("connect"))
        try:
            await trace(SENDING, {})
            await connection.send(_as_bytes(request, await request.aread()), timeouts.get("write"))
            reading = timeouts.get("read")
            status, answer = await connection.head(reading, bodiless=request.method == "HEAD")
        except BaseException:
            await connection.close()
            raise
        return httpx.Response(
            status,
            headers=answer.headers,
            stream=_Body(connection, self, reading),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": answer.reason},
        )

    async def give_back(self, connection: _Connection) -> None:
        """Keep a connection for others if it can be, otherwise close it."""
        if not connection.is_free:
            await connection.close()
            return
        connection.idle_since = anyio.current_time()
        self._idle[id(connection)] = connection
        for old in list(self._idle.values())[: max(0, len(self._idle) - KEPT_CONNECTIONS)]:
            await self._drop(old)

    async def _take(self, origin: Origin) -> _Connection | None:
        now = anyio.current_time()
        while self._idle:
            oldest = next(iter(self._idle.values()))
            if now - oldest.idle_since < self._kept_for:
                break
            await self._drop(oldest)
        for connection in list(reversed(self._idle.values())):
            if connection.origin == origin and self._idle.pop(id(connection), None) is not None:
                if not connection.is_stale:
                    return connection
                await connection.close()
        return None

    async def _drop(self, connection: _Connection) -> None:
        if self._idle.pop(id(connection), None) is not None:
            await connection.close()

    async def _open(self, origin: Origin, name: str, timeout: float | None) -> _Connection:
        scheme, host, port = origin
        with _failing_as(httpx.ConnectError, httpx.ConnectTimeout):
            with anyio.fail_after(timeout):
                stream: ByteStream = await anyio.connect_tcp(host, port)
                if scheme == "https":
                    try:
                        stream = await TLSStream.wrap(
                            stream, hostname=name, ssl_context=self._tls, standard_compatible=False
                        )
                    except BaseException:
                        # Whoever is cancelled, or runs out of time, in the handshake leaves nothing open.
                        await anyio.aclose_forcefully(stream)
                        raise
        return _Connection(stream, origin)


async def _untraced(event: str, info: Mapping[str, Any]) -> None:
    """Where nobody wants to be told."""


def _as_bytes(request: httpx.Request, body: bytes) -> bytes:
    lines = [request.method.encode(), b" ", request.url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in request.headers.raw:
        if b"\r" in value or b"\n" in value:
            raise httpx.LocalProtocolError(f"Illegal value of the header {name.decode()}")
        lines += (name, b": ", value, b"\r\n")
    lines += (b"\r\n", body)
    return b"".join(lines)
