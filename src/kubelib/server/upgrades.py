"""Connections that leave HTTP for SPDY/3.1, as clients before WebSockets do for commands and port-forwarding.

To the application such a connection is a WebSocket whose messages are the bytes as they come: it is accepted, refused with an answer of HTTP,
written to and closed by the same messages. Which protocols the client speaks inside of SPDY stands among the scope's ``subprotocols``.
"""

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import anyio

SPDY = "SPDY/3.1"
EXTENSION = "kubelib.spdy"
"""Among a scope's extensions: what the connection speaks once it is accepted is SPDY."""
VERSIONS = b"x-stream-protocol-version"
COMMANDS = (b"exec", b"attach", b"portforward")
"""The subresources that are reached over SPDY."""
HIGH_WATER = 1024 * 1024
"""How many bytes wait to be taken before no more are read."""

Application = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


def is_spdy(headers: Sequence[tuple[bytes, bytes]], url: bytes) -> bool:
    """Return whether a request asks for SPDY instead of HTTP, where that makes sense: elsewhere it is answered as any other."""
    if url.partition(b"?")[0].rpartition(b"/")[2] not in COMMANDS:
        return False
    asked = {name: value.lower() for name, value in headers}
    return b"upgrade" in asked.get(b"connection", b"") and asked.get(b"upgrade") == SPDY.lower().encode()


def scope_of(base: MutableMapping[str, Any], url: bytes) -> dict[str, Any]:
    """Return the scope of the application for a request that asks for SPDY."""
    raw_path, _, query = url.partition(b"?")
    offered = [
        name.strip().decode("latin1")
        for header, value in base["headers"]
        if header == VERSIONS
        for name in value.split(b",")
    ]
    return {
        **base,
        "type": "websocket",
        "scheme": "wss" if base["scheme"] == "https" else "ws",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "subprotocols": offered,
        "extensions": {"websocket.http.response": {}, EXTENSION: {}},
    }


class Upgrade:
    """One such connection; it takes the place of the one that spoke HTTP as the receiver of its transport."""

    def __init__(self, transport: Any, connections: set[Any], stall: Callable[[], Any]) -> None:
        """Take over a transport. `stall` begins to count the time that the client has to read, and returns what ends that."""
        self.transport = transport
        self._connections = connections
        self._stall = stall
        self._stalled: Any = None
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._gone = self._connected = self._accepted = False
        self._arrived = anyio.Event()
        self._writable = anyio.Event()
        self._writable.set()
        self._answer: dict[str, Any] = {}
        connections.add(self)

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        """Keep what comes until it is asked for."""
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting > HIGH_WATER:
            self.transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> bool:
        """Close: who sends no more does not read either."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client has gone."""
        self._gone = True
        self._connections.discard(self)
        self.resume_writing()
        self._arrived.set()

    def pause_writing(self) -> None:
        """Wait with what is sent: the client does not read."""
        if self._writable.is_set():
            self._writable = anyio.Event()
            self._stalled = self._stall()

    def resume_writing(self) -> None:
        """Go on."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self._writable.set()

    def shutdown(self) -> None:
        """Close: the server is about to stop, and has ended what the application did."""
        self.transport.close()

    # What the application calls

    async def run(self, app: Application, scope: MutableMapping[str, Any]) -> None:
        """Let the application answer."""
        try:
            await app(scope, self.receive, self.send)
        finally:
            self.transport.close()

    async def receive(self) -> MutableMapping[str, Any]:
        """Return what has come, as ASGI has it."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._chunks:
            if self._gone:
                return {"type": "websocket.disconnect", "code": 1006}
            self._arrived = anyio.Event()
            await self._arrived.wait()
        data = self._chunks.popleft()
        if self._waiting > HIGH_WATER >= self._waiting - len(data) and not self._gone:
            self.transport.resume_reading()
        self._waiting -= len(data)
        return {"type": "websocket.receive", "bytes": data}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a message of the application."""
        if self._gone:
            return
        match message["type"]:
            case "websocket.accept":
                self._accepted = True
                protocol = (message.get("subprotocol") or "").encode()
                self._write_head(
                    101, [(b"connection", b"Upgrade"), (b"upgrade", SPDY.encode()), (VERSIONS, protocol)]
                )
            case "websocket.send":
                self.transport.write(message["bytes"])
            case "websocket.http.response.start":
                self._answer = dict(message)
            case "websocket.http.response.body":
                headers = [*self._answer["headers"], (b"connection", b"close")]
                self._write_head(self._answer["status"], headers)
                self.transport.write(message.get("body") or b"")
                self.transport.close()
            case "websocket.close":
                if not self._accepted:
                    self._write_head(403, [(b"content-length", b"0"), (b"connection", b"close")])
                self.transport.close()
        await self._writable.wait()

    def _write_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += (b"%s: %s" % header for header in headers)
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
