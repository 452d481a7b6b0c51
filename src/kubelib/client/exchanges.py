"""HTTP/1.1 exchanges over kept connections: what carries the requests of our clients, to API servers and to webhooks.

In place of httpcore, which costs a client several times what our server needs to answer: for each request it goes through all
connections and polls the sockets of those that are idle. Here only the one that is about to be used is looked at; what one of them does is
in `kubelib.client.connections`.
"""

import asyncio
import ssl
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import anyio
import httpx

from kubelib.client.base import Answer
from kubelib.client.connecting import connected
from kubelib.client.connections import Incoming, KeptConnection, Origin

Timeouts: TypeAlias = Mapping[str, float | None]
"""How many seconds things may take, by the names that httpx has for them: ``connect``, ``write``, and ``read`` until something comes."""
Trace: TypeAlias = Callable[[str, Any], Awaitable[None]]

KEPT_CONNECTIONS, KEPT_FOR = 32, 5.0
"""How many idle connections are kept, and for how many seconds, where nobody says otherwise."""
CONNECTING, SENDING = "connection.connect_tcp.started", "http11.send_request_headers.started"
"""What the ``trace`` extension of a request is told before a connection is opened for it, and before its first byte is sent; as by httpcore."""
_PORTS = {"http": 80, "https": 443}
_IN_PATHS = "/?:@!$&'()*+,;=-._~%"


class _Body(httpx.AsyncByteStream):
    """The body of an answer, after which its connection serves others."""

    def __init__(self, connection: KeptConnection, connections: "Exchanges", timeout: float | None) -> None:
        self._connection: KeptConnection | None = connection
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
        self._idle: OrderedDict[int, KeptConnection] = OrderedDict()
        """The one that was used last at the end."""
        self._streaming: set[KeptConnection] = set()
        """Those whose answers are being read as they come."""
        self._places: dict[str, tuple[Origin, str, str]] = {}

    async def aclose(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            await self._idle.popitem()[1].close()

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Show and trust something else on connections that are opened from now on, and use no other ones.

        What is being answered ends in peace, except for what is read as it comes: it may go on for long with what counts no more.
        """
        if tls is self._tls:
            return
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        for connection in list(self._streaming):
            connection.fail(httpx.ReadError("the credentials of the connection have changed"))

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
        self._streaming.add(connection)
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

    async def give_back(self, connection: KeptConnection) -> None:
        """Keep a connection for others if it can be, otherwise close it."""
        self._streaming.discard(connection)
        if not connection.is_free or connection.tls is not self._tls:
            await connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle[id(connection)] = connection
        while len(self._idle) > KEPT_CONNECTIONS:
            await self._idle.popitem(last=False)[1].close()

    async def _connection(
        self, origin: Origin, name: str, timeouts: Timeouts, trace: Trace | None
    ) -> KeptConnection:
        """Return a connection that is the caller's: one that was kept, or a new one to a server that has this name."""
        found = await self._take(origin)
        if found is not None:
            return found
        if trace is not None:
            await trace(CONNECTING, {})
        return await self._open(origin, name, timeouts.get("connect"))

    async def _take(self, origin: Origin) -> KeptConnection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            oldest = next(iter(self._idle.values()))
            if now - oldest.idle_since < self._kept_for:
                break
            await self._drop(oldest)
        for connection in reversed(list(self._idle.values())):
            if connection.origin == origin and self._idle.pop(id(connection), None) is not None:
                if connection.tls is self._tls and not connection.is_stale:
                    return connection
                await connection.close()
        return None

    async def _drop(self, connection: KeptConnection) -> None:
        if self._idle.pop(id(connection), None) is not None:
            await connection.close()

    async def _open(self, origin: Origin, name: str, timeout: float | None) -> KeptConnection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        context = self._tls
        tls: dict[str, Any] = {"ssl": context, "server_hostname": name} if scheme == "https" else {}
        try:
            with anyio.fail_after(timeout):
                found = await connected(host, port)
                try:
                    _, connection = await loop.create_connection(
                        lambda: KeptConnection(origin, context), sock=found, **tls
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

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Do nothing: whoever made the transport says what it shows."""

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


def _whole(status: int, answer: Incoming) -> Answer:
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
