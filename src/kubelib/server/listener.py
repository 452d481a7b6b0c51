"""Listening: the only module that knows uvicorn.

TLS with optional client certificates; the verified certificate's user travels in the connection's state. Stopping ends
watches at once.
"""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs

from kubelib.server.authn import user_of_certificate


class CannotListen(Exception):
    """The address cannot be listened on; the message says why and what to do."""


@attrs.frozen
class Tls:
    """The server's certificate and key, and the authority whose client certificates are accepted."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a server-side TLS context."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


def bind(host: str, port: int, *, option: str = "--listen") -> socket.socket:
    """Return a listening socket. Raises `CannotListen`, which names the `option` that would help."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
    app: Any, listening: socket.socket, tls: Tls | None, *, stop: Callable[[], None] = lambda: None
) -> AsyncIterator[int]:
    """Serve an ASGI application on a socket while the context is open; yields the port. `stop` ends long requests."""
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            encrypted = transport.get_extra_info("ssl_object")
            user = user_of_certificate(encrypted.getpeercert()) if encrypted else None
            self.app_state = {**self.app_state, "user": user}

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="wsproto",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        ws_max_size=4 * 1024 * 1024,
    )
    if tls is not None:
        config.load()
        config.ssl = tls.context()
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listening])
        while not server.started:  # uvicorn has no event for it
            await anyio.sleep(0.001)
        try:
            yield listening.getsockname()[1]
        finally:
            stop()
            server.should_exit = True


def _no_signals() -> Any:
    """The daemon handles signals: uvicorn must not."""
    import contextlib

    return contextlib.nullcontext()
