"""Listening: with `kubelib.server.connections` and `kubelib.server.answering` the only module that knows uvicorn.

The user of a client certificate that TLS has verified travels in the connection's state. Stopping ends watches at once.
"""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from kubelib.server.dates import Dates
from kubelib.server.limits import LIMITS, Limits
from kubelib.server.tls import LiveContext, Tls

GRACE = 1.0
"""How many seconds answers have that are being sent when the server stops."""


class CannotListen(Exception):
    """The address cannot be listened on; the message says why and what to do."""


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
    handshake_failed: Callable[[], None] = lambda: None,
) -> AsyncIterator[int]:
    """Serve an ASGI application on a socket while the context is open; yields the port. `stop` ends long requests.

    `handshake_failed` is called for each client with whom TLS cannot be agreed upon.
    """
    import uvicorn

    from kubelib.server.connections import Connection

    context = LiveContext(tls, handshake_failed) if tls is not None else None
    dates = Dates()

    config = uvicorn.Config(
        app,
        http=partial(Connection, limits, dates, context),  # type: ignore[arg-type]  # it makes a protocol, as the class does
        ws=_websocket,  # type: ignore[arg-type]
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
    config.ssl = context
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
