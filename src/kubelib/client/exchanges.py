"""HTTP/1.1 exchanges over kept connections: what carries the requests of our clients, to API servers and to webhooks.

In place of httpcore, which costs a client several times what our server needs to answer: for each request it goes through all
connections and polls the sockets of those that are idle. Here only the one that is about to be used is looked at, and a connection is
a protocol of asyncio's: what arrives is parsed where it arrives, and who waits for an answer wakes once, when all of it is there.
"""

import asyncio
import select
import ssl
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import anyio
import attrs
import httptools
import httpx

from kubelib.client.base import Answer
from kubelib.client.connecting import connected

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""
Timeouts: TypeAlias = Mapping[str, float | None]
"""How many seconds things may take, by the names that httpx has for them: ``connect``, ``write``, and ``read`` until something comes."""
Trace: TypeAlias = Callable[[str, Any], Awaitable[None]]

KEPT_CONNECTIONS, KEPT_FOR = 32, 5.0
"""How many idle connections are kept, and for how many seconds, where nobody says otherwise."""
UNREAD = 1 << 20
"""Bytes of a body that may have come without anybody having taken them, before the server is let wait."""
MAX_HEAD = 1 << 18
"""Bytes that a server may send without any of them being of a body: headers and trailers have an end."""
CONNECTING, SENDING = "connection.connect_tcp.started", "http11.send_request_headers.started"
"""What the ``trace`` extension of a request is told before a connection is opened for it, and before its first byte is sent; as by httpcore."""
_PORTS = {"http": 80, "https": 443}
_IN_PATHS = "/?:@!$&'()*+,;=-._~%"


@attrs.define
class _Answer:
    """What the parser has found of an answer; the names of the methods are those it calls."""

    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    reason: bytes = b""
    parts: list[bytes] = attrs.field(factory=list)
    """What has come of the body and has not been given on."""
    unread: int = 0
    """How many bytes that is."""
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
        self.unread += len(part)
        self.bodiless = 0

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_whole, self.may_be_followed = True, self.parser.should_keep_alive()
        else:
            self.headers, self.reason = [], b""

    @property
    def is_measured(self) -> bool:
        """Whether headers tell where the body ends; otherwise it ends with the connection."""
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)


class _Connection(asyncio.Protocol):
    """One connection, which carries one exchange at a time."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._answer: _Answer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_whole = False
        self._heard = 0.0
        """When something came last."""
        self._failure: httpx.HTTPError | None = None
        """Why nothing more is to be expected."""
        self._lost = False
        self._is_reading = True
        self._may_write = asyncio.Event()
        self._may_write.set()

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or self._is_answered:
            self._lost = True  # said unasked, which is that the server closes the connection
            return
        self._heard = self._loop.time()
        answer.bodiless += len(data)
        try:
            answer.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(str(error) or type(error).__name__))
            return
        if answer.bodiless > MAX_HEAD:
            self._fail(httpx.RemoteProtocolError(f"the headers are longer than {MAX_HEAD} bytes"))
            return
        if self._wants_whole:
            if answer.is_whole:
                self._wake()
            return
        if answer.unread > UNREAD and self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()
        if answer.has_head:
            self._wake()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    @property
    def _is_answered(self) -> bool:
        return self._answer is None or self._answer.is_whole

    def _end(self, error: Exception | None) -> None:
        self._lost = True
        self._may_write.set()
        answer = self._answer
        if answer is None or self._is_answered:
            return
        if error is not None and not isinstance(error, ssl.SSLEOFError):
            self._fail(httpx.ReadError(str(error) or "the connection was closed"))
        elif answer.has_head and not answer.is_measured:
            answer.is_whole = True
            self._wake()
        else:
            begun = answer.bodiless or answer.has_head
            what = "in the middle of an answer" if begun else "without sending a response"
            self._fail(httpx.RemoteProtocolError(f"Server disconnected {what}."))

    def _fail(self, failure: httpx.HTTPError) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What exchanges do

    @property
    def is_stale(self) -> bool:
        """Whether the server has said something unasked, or has closed the connection."""
        if self._lost or self._transport.is_closing():
            return True
        # Also if the event loop has not heard of it yet.
        connection = self._transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def is_free(self) -> bool:
        """Whether another exchange may follow."""
        return self._answer is not None and self._answer.may_be_followed and not self._lost

    async def close(self) -> None:
        """Close it, at once."""
        self._transport.abort()
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0)  # for the transport to let go of its socket

    async def send(self, request: bytes, timeout: float | None, *, whole: bool) -> None:
        """Send a request as it stands; `whole` says that its answer is wanted only when all of it is there.

        Raises `httpx.WriteError` and `httpx.WriteTimeout`.
        """
        self._answer, self._wants_whole, self._heard = _Answer(), whole, self._loop.time()
        if self._lost or self._transport.is_closing():
            raise httpx.WriteError("the connection was closed")
        self._transport.write(request)
        if not self._may_write.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._may_write.wait()
            except TimeoutError:
                raise httpx.WriteTimeout("") from None

    async def head(self, timeout: float | None, *, bodiless: bool = False) -> tuple[int, _Answer]:
        """Return the status of the answer, and what is known of it, as soon as its headers are there; `bodiless` ones end with them.

        Raises `httpx.ReadError`, `httpx.ReadTimeout` and `httpx.RemoteProtocolError`.
        """
        answer = self._answer
        assert answer is not None
        while not (answer.is_whole if self._wants_whole else answer.has_head):
            await self._wait(timeout)
        if bodiless:
            answer.is_whole, answer.may_be_followed = True, answer.parser.should_keep_alive()
        return answer.parser.get_status_code(), answer

    async def body(self, timeout: float | None) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        answer = self._answer
        assert answer is not None
        while True:
            parts, answer.parts, answer.unread = answer.parts, [], 0
            for part in parts:
                yield part
            if answer.is_whole:
                if not answer.parts:
                    return
                continue
            if not self._is_reading and not self._lost:
                self._is_reading = True
                self._transport.resume_reading()
            await self._wait(timeout)

    async def _wait(self, timeout: float | None) -> None:
        """Wait until there is more of the answer."""
        if self._failure is None:
            waiter = self._waiter = self._loop.create_future()
            timer = None
            if timeout is not None:
                timer = self._loop.call_at(self._heard + timeout, self._late, waiter, timeout)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        if self._failure is not None:
            raise self._failure

    def _late(self, waiter: asyncio.Future[None], timeout: float) -> None:
        if waiter.done():
            return
        due = self._heard + timeout
        if due > self._loop.time():
            # Something has come meanwhile. Whoever does not wait any more is found to be done, then.
            self._loop.call_at(due, self._late, waiter, timeout)
        else:
            self._fail(httpx.ReadTimeout(""))


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
        self._places: dict[str, tuple[Origin, str, str]] = {}

    async def aclose(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            await self._idle.popitem()[1].close()

    async def ask(
        self,
        method: str,
        server: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeouts: Timeouts,
        trace: Trace | None = None,
    ) -> Answer:
        """Make a request of a server, whose address may have a path of its own, and return the whole answer. Raises `httpx.HTTPError`.

        As `handle_async_request` does it, without objects of httpx's on the way: they cost as much as the exchange.
        """
        origin, host, prefix = self._places.get(server) or self._place(server)
        request = _request(method, prefix + path, host, headers, body)
        connection = await self._connection(origin, origin[1], timeouts, trace)
        try:
            if trace is not None:
                await trace(SENDING, {})
            await connection.send(request, timeouts.get("write"), whole=method != "HEAD")
            status, answer = await connection.head(timeouts.get("read"), bodiless=method == "HEAD")
        except BaseException:
            await connection.close()
            raise
        await self.give_back(connection)
        return _whole(status, answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the answer is there. Raises `httpx.TransportError`."""
        timeouts: Timeouts = request.extensions.get("timeout", {})
        trace: Trace | None = request.extensions.get("trace")
        url = request.url
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{url.scheme}: is no scheme of HTTP")
        origin = (url.scheme, url.host, url.port or _PORTS[url.scheme])
        name = request.extensions.get("sni_hostname") or url.host
        connection = await self._connection(origin, name, timeouts, trace)
        try:
            if trace is not None:
                await trace(SENDING, {})
            await connection.send(
                _as_bytes(request, await request.aread()), timeouts.get("write"), whole=False
            )
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

    def _place(self, server: str) -> tuple[Origin, str, str]:
        url = urlsplit(server)
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{url.scheme}: is no scheme of HTTP")
        name = url.hostname or ""
        shown = f"[{name}]" if ":" in name else name
        port = url.port or _PORTS[url.scheme]
        host = shown if port == _PORTS[url.scheme] else f"{shown}:{port}"
        place = self._places[server] = ((url.scheme, name, port), host, url.path.rstrip("/"))
        return place

    # Connections

    async def give_back(self, connection: _Connection) -> None:
        """Keep a connection for others if it can be, otherwise close it."""
        if not connection.is_free:
            await connection.close()
            return
        connection.idle_since = anyio.current_time()
        self._idle[id(connection)] = connection
        while len(self._idle) > KEPT_CONNECTIONS:
            await self._idle.popitem(last=False)[1].close()

    async def _connection(
        self, origin: Origin, name: str, timeouts: Timeouts, trace: Trace | None
    ) -> _Connection:
        """Return a connection that is the caller's: one that was kept, or a new one to a server that has this name."""
        found = await self._take(origin)
        if found is not None:
            return found
        if trace is not None:
            await trace(CONNECTING, {})
        return await self._open(origin, name, timeouts.get("connect"))

    async def _take(self, origin: Origin) -> _Connection | None:
        now = anyio.current_time()
        while self._idle:
            oldest = next(iter(self._idle.values()))
            if now - oldest.idle_since < self._kept_for:
                break
            await self._drop(oldest)
        for connection in reversed(list(self._idle.values())):
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
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {"ssl": self._tls, "server_hostname": name} if scheme == "https" else {}
        try:
            with anyio.fail_after(timeout):
                found = await connected(host, port)
                try:
                    _, connection = await loop.create_connection(
                        lambda: _Connection(origin), sock=found, **tls
                    )
                except BaseException:
                    # Whoever is cancelled, or runs out of time, in the handshake leaves nothing open.
                    found.close()
                    raise
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from None
        except OSError as error:
            raise httpx.ConnectError(str(error) or "the connection was closed") from None
        return connection


class Through:
    """Asks as `Exchanges` does, through any transport of httpx's."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def ask(
        self,
        method: str,
        server: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeouts: Timeouts,
        trace: Trace | None = None,
    ) -> Answer:
        """Make a request, and return the whole answer. Raises `httpx.HTTPError`."""
        extensions: dict[str, Any] = {"timeout": timeouts}
        if trace is not None:
            extensions["trace"] = trace
        request = httpx.Request(
            method, f"{server}{path}", headers=dict(headers), content=body, extensions=extensions
        )
        response = await self._transport.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return Answer(response.status_code, dict(response.headers), response.content)


def _whole(status: int, answer: _Answer) -> Answer:
    headers: dict[str, str] = {}
    for raw, value in answer.headers:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    parts = answer.parts
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if body and headers.get("content-encoding", "identity") != "identity":
        try:
            body = zlib.decompress(body, zlib.MAX_WBITS | 32)  # gzip, or zlib
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from None
    return Answer(status, headers, body)


def _request(method: str, path: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [f"{method} {quote(path, _IN_PATHS)} HTTP/1.1", f"host: {host}"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise httpx.LocalProtocolError(f"Illegal value of the header {name}")
        lines.append(f"{name}: {value}")
    if body is None:
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
    return ("\r\n".join(lines) + f"\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body


def _as_bytes(request: httpx.Request, body: bytes) -> bytes:
    lines = [request.method.encode(), b" ", request.url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in request.headers.raw:
        if b"\r" in value or b"\n" in value:
            raise httpx.LocalProtocolError(f"Illegal value of the header {name.decode()}")
        lines += (name, b": ", value, b"\r\n")
    lines += (b"\r\n", body)
    return b"".join(lines)
