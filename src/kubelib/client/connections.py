"""Connections of our HTTP clients: httpx's, and none stays open when a caller leaves.

httpcore closes a connection whose TLS handshake fails, but forgets, without closing it, one whose caller is cancelled or runs
out of time during the handshake. What it reports on its way is enough to do that here.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx

Trace = Callable[[str, Any], Awaitable[None]]
"""What httpcore tells of a request, as its ``trace`` extension is called: what happens, and with what."""


class Connections(httpx.AsyncHTTPTransport):
    """The transport to give to an ``httpx.AsyncClient``; takes what httpx's own takes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the answer is there."""
        handshake = _Handshake(request.extensions.get("trace"))
        request.extensions = {**request.extensions, "trace": handshake.told}
        return await super().handle_async_request(request)


class _Handshake:
    def __init__(self, others: Trace | None) -> None:
        self._others = others
        self._connected: Any = None

    async def told(self, event: str, info: Any) -> None:
        if event == "connection.connect_tcp.complete":
            self._connected = info["return_value"]
        elif event == "connection.start_tls.complete":
            self._connected = None
        elif event == "connection.start_tls.failed" and self._connected is not None:
            with anyio.CancelScope(shield=True):
                await self._connected.aclose()
        if self._others is not None:
            await self._others(event, info)
