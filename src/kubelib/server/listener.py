"""Listening: with `kubelib.server.answering` the only module that knows uvicorn.

TLS with optional client certificates; the verified certificate's user travels in the connection's state. Stopping ends
watches at once.
"""

import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.server.authn import user_of_certificate
from kubelib.server.responses import READER, Reader

if TYPE_CHECKING:
    from kubelib.server.authn.requestheader import RequestHeaders

GRACE = 1.0
"""How many seconds answers have that are being sent when the server stops."""


class CannotListen(Exception):
    """The address cannot be listened on; the message says why and what to do."""


@attrs.define(eq=False)
class Dates:
    """The header ``Date`` of all answers: made once a second, and only while there are any."""

    clock: Clock = SYSTEM_CLOCK
    headers: list[tuple[bytes, bytes]] = attrs.Factory(list)
    """Where the listener looks for the headers of every answer."""
    _stale: float = 0

    def refresh(self, now: float) -> None:
        """Make the date anew if it is a second old at `now`, the loop's time."""
        if now >= self._stale:
            date = self.clock.now()
            # The next one is due when the second is over, so that no answer bears the date of an earlier one.
            self._stale = now + 1 - date.microsecond / 1e6
            self.headers[:] = [(b"date", format_datetime(date, usegmt=True).encode())]


@attrs.frozen
class Tls:
    """The server's certificate and key, and the authority whose client certificates are accepted."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    proxies: "RequestHeaders | None" = None
    """Who may say in headers whom it speaks for."""

    def context(self) -> ssl.SSLContext:
        """Return a server-side TLS context."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        for authority in (self.client_ca, self.proxies.ca if self.proxies is not None else None):
            if authority is not None:
                context.load_verify_locations(authority)
                context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def identify(self) -> Callable[[ssl.SSLObject], dict[str, Any]]:
        """Return what tells from a connection who is at its other end: ``user``, and whether it is a ``front_proxy``."""
        if self.proxies is None:
            return lambda connection: {"user": user_of_certificate(connection.getpeercert())}
        from kubelib.server.authn.requestheader import Issuers

        issuers = Issuers(self.client_ca, self.proxies)

        def identified(connection: ssl.SSLObject) -> dict[str, Any]:
            shown = connection.getpeercert(binary_form=True)
            if not shown:
                return {"user": None}
            is_user, is_proxy = issuers.judge(shown)
            user = user_of_certificate(connection.getpeercert()) if is_user else None
            return {"user": user, "front_proxy": is_proxy}

        return identified


@attrs.frozen
class Limits:
    """What clients may cost. Those that exceed it lose their connection."""

    stalled: float = 60.0
    """Seconds that an answer, or a part of it, waits for a client that does not read."""
    silent: float = 60.0
    """Seconds in which a connection sends the head of a request, its first or a further one."""
    head: int = 1024 * 1024 + 4096
    """How many bytes the head of a request has at most, and what follows a body; as Go's servers have it."""
    connections: int = 16_384
    """How many connections there are at a time."""


LIMITS = Limits()
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"431 Request Header Fields Too Large"
)


def bind(host: str, port: int, *, option: str = "--listen") -> socket.socket:
    """Return a listening socket. Raises `CannotListen`, which names the `option` that would help."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Without, the body of an answer waits 40 ms for the client to acknowledge its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror}: choose another {option}"
        ) from error
    listening.setblocking(False)
    return listening


@asynccontextmanager
async def serve(
    app: Any,
    listening: socket.socket,
    tls: Tls | None,
    *,
    stop: Callable[[], None] = lambda: None,
    limits: Limits = LIMITS,
) -> AsyncIterator[int]:
    """Serve an ASGI application on a socket while the context is open; yields the port. `stop` ends long requests."""
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

    from kubelib.server.answering import Cycle
    from kubelib.server.upgrades import Upgrade, is_spdy, scope_of

    identify = tls.identify() if tls is not None else None
    dates = Dates()

    class Protocol(HttpToolsProtocol):
        silence: Any = None
        stall: Any = None
        reader: Reader
        in_head = False
        has_left = False
        unread = 0
        """How many bytes have come since the last that were taken as a head or as a part of a body."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.reader = Reader()
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self.silence = self.loop.call_later(limits.silent, transport.abort)
            encrypted = transport.get_extra_info("ssl_object")
            self.app_state = {
                **self.app_state,
                READER: self.reader,
                **(identify(encrypted) if encrypted and identify else {"user": None}),
            }

        def _should_upgrade(self) -> bool:
            return is_spdy(self.headers, self.url) or super()._should_upgrade()

        def _unsupported_upgrade_warning(self) -> None:
            """Say nothing: it is answered as any other request, and strangers would fill the log."""

        def handle_websocket_upgrade(self) -> None:
            """Hand the connection on to what speaks the protocol that was asked for."""
            self.has_left = True
            if not is_spdy(self.headers, self.url):
                super().handle_websocket_upgrade()
                return
            self.connections.discard(self)
            transport: Any = self.transport
            scope: Any = self.scope

            def stall() -> Any:
                return self.loop.call_later(limits.stalled, transport.abort)

            upgrade = Upgrade(transport, self.connections, stall)
            transport.set_protocol(upgrade)
            task = self.loop.create_task(upgrade.run(self.app, scope_of(scope, self.url)))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)

        def data_received(self, data: bytes) -> None:
            self.unread += len(data)
            super().data_received(data)
            if self.has_left:
                return
            cycle: Any = self.cycle
            idle = cycle is None or cycle.response_complete
            if self.unread > limits.head:
                if idle:
                    self.transport.write(TOO_LARGE)
                    self.transport.close()
                else:
                    self.transport.abort()
            elif idle and self.silence is None:
                self.silence = self.loop.call_later(limits.silent, self.transport.abort)

        def on_message_begin(self) -> None:
            self.in_head = True
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            # What comes after a body in chunks looks like headers, and says nothing about the request: least of all who sends it.
            if self.in_head:
                super().on_header(name, value)

        def on_body(self, body: bytes) -> None:
            self.unread = 0
            super().on_body(body)

        def on_headers_complete(self) -> None:
            self.in_head = False
            self.unread = 0
            if self.silence is not None:
                self.silence.cancel()
                self.silence = None
            dates.refresh(self.loop.time())
            super().on_headers_complete()
            cycle: Any = self.cycle
            if type(cycle) is RequestResponseCycle:
                cycle.__class__ = Cycle  # it is made within, and has not been used yet

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self.silence, self.stall):
                if timer is not None:
                    timer.cancel()
            self.silence = self.stall = None
            super().connection_lost(exc)

        # The transport says when it has more to send than the client takes, and when it has not: while all goes well no timer runs.
        def pause_writing(self) -> None:
            if self.stall is None:
                self.stall = self.loop.call_later(limits.stalled, self.transport.abort)
            super().pause_writing()
            if self.reader.lags is not None:
                self.reader.lags(True)

        def resume_writing(self) -> None:
            if self.stall is not None:
                self.stall.cancel()
                self.stall = None
            super().resume_writing()
            if self.reader.lags is not None:
                self.reader.lags(False)

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws=_websocket,  # type: ignore[arg-type]  # it makes a protocol, as the class does
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # it would be written by uvicorn's own loop, which looks ten times a second
        proxy_headers=False,  # who asks is whom the connection is with, whatever a header says
        timeout_keep_alive=75,
        ws_max_size=4 * 1024 * 1024,
    )
    server = uvicorn.Server(config)
    config.load()
    dates.headers = server.server_state.default_headers
    if tls is not None:
        config.ssl = tls.context()
    # What `Server.serve` does, without its looking ten times a second whether it is time to end.
    server.lifespan = config.lifespan_class(config)
    await server.startup([listening])
    try:
        yield listening.getsockname()[1]
    finally:
        stop()
        with anyio.CancelScope(shield=True):
            await _end(server)


def _websocket(**given: Any) -> Any:
    """Return the protocol of one WebSocket. Few servers get to see one: what it takes is loaded for the first."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    return WSProtocol(**given)


def _protocol_errors() -> tuple[type[Exception], ...]:
    utilities = sys.modules.get("wsproto.utilities")
    return () if utilities is None else (utilities.LocalProtocolError,)


async def _end(server: Any) -> None:
    """Let answers that are being sent end within the grace, then end them; leave no connection and no task."""
    for listener in server.servers:
        listener.close()
    state = server.server_state
    for connection in list(state.connections):
        with contextlib.suppress(*_protocol_errors()):  # a WebSocket that is closed already, its TCP not yet
            connection.shutdown()
    for grace in (GRACE, GRACE):
        with anyio.move_on_after(grace):
            while state.tasks:
                await anyio.sleep(0.002)
        for task in list(state.tasks):
            task.cancel()
    with anyio.move_on_after(GRACE):
        await anyio.lowlevel.checkpoint()
        while state.connections:
            for connection in list(state.connections):
                # Idle clients over TLS do not say goodbye before they are used again: they are not waited for.
                _abort(connection.transport, unless_sending=True)
            await anyio.sleep(0.002)
    for connection in list(state.connections):
        _abort(connection.transport)


def _abort(transport: Any, *, unless_sending: bool = False) -> None:
    # asyncio's transports over TLS cannot be asked anything any more once they have been aborted.
    with contextlib.suppress(AttributeError):
        if transport is not None and not (unless_sending and transport.get_write_buffer_size()):
            transport.abort()
