"""Connections of clients, as uvicorn serves them: what one may cost, whose it is, and how it leaves HTTP for another protocol."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kubelib.server.answering import Cycle
from kubelib.server.dates import Dates
from kubelib.server.limits import TOO_LARGE, Limits
from kubelib.server.responses import READER, Reader
from kubelib.server.tls import LiveContext
from kubelib.server.upgrades import Upgrade, is_spdy, scope_of


class Connection(HttpToolsProtocol):
    """One connection: who is at its other end, how long it may be silent, and to what it is handed on."""

    silence: Any = None
    stall: Any = None
    reader: Reader
    in_head = False
    has_left = False
    unread = 0
    """How many bytes have come since the last that were taken as a head or as a part of a body."""

    def __init__(self, limits: Limits, dates: Dates, tls: LiveContext | None, **given: Any) -> None:
        super().__init__(**given)
        if tls is not None:
            tls.look(self.loop.time())  # it is about to begin the connection
        self.limits = limits
        self.dates = dates
        self.tls = tls

    def connection_made(self, transport: Any) -> None:
        """Begin to listen to a client, if there are not too many."""
        super().connection_made(transport)
        self.reader = Reader()
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self.silence = self.loop.call_later(self.limits.silent, transport.abort)
        encrypted = transport.get_extra_info("ssl_object")
        self.app_state = {
            **self.app_state,
            READER: self.reader,
            **(self.tls.identify(encrypted) if encrypted and self.tls else {"user": None}),
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
            return self.loop.call_later(self.limits.stalled, transport.abort)

        upgrade = Upgrade(transport, self.connections, stall)
        transport.set_protocol(upgrade)
        task = self.loop.create_task(upgrade.run(self.app, scope_of(scope, self.url)))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a client that says too much before its request is whole has to go."""
        self.unread += len(data)
        super().data_received(data)
        if self.has_left:
            return
        cycle: Any = self.cycle
        idle = cycle is None or cycle.response_complete
        if self.unread > self.limits.head:
            if idle:
                self.transport.write(TOO_LARGE)
                self.transport.close()
            else:
                self.transport.abort()
        elif idle and self.silence is None:
            self.silence = self.loop.call_later(self.limits.silent, self.transport.abort)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self.in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in."""
        # What comes after a body in chunks looks like headers, and says nothing about the request: least of all who sends it.
        if self.in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body in."""
        self.unread = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Begin to answer a request whose head is whole."""
        self.in_head = False
        self.unread = 0
        if self.silence is not None:
            self.silence.cancel()
            self.silence = None
        self.dates.refresh(self.loop.time())
        super().on_headers_complete()
        cycle: Any = self.cycle
        if type(cycle) is RequestResponseCycle:
            cycle.__class__ = Cycle  # it is made within, and has not been used yet

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timers."""
        for timer in (self.silence, self.stall):
            if timer is not None:
                timer.cancel()
        self.silence = self.stall = None
        super().connection_lost(exc)

    # The transport says when it has more to send than the client takes, and when it has not: while all goes well no timer runs.
    def pause_writing(self) -> None:
        """Wait for a client that does not read, for as long as it may take."""
        if self.stall is None:
            self.stall = self.loop.call_later(self.limits.stalled, self.transport.abort)
        super().pause_writing()
        if self.reader.lags is not None:
            self.reader.lags(True)

    def resume_writing(self) -> None:
        """Go on, as the client reads again."""
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None
        super().resume_writing()
        if self.reader.lags is not None:
            self.reader.lags(False)
