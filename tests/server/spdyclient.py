"""The client's side of SPDY, and a WebSocket or an upgraded connection for the server to be driven by."""

import struct
import zlib
from typing import Any

import anyio

from kubelib.server import spdy


class Client:
    """The side that opens streams: what kubectl's library writes."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=spdy._DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name, value):
                block += struct.pack(">I", len(text)) + text.encode()
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return spdy.SpdyConnection._frame(spdy.SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + packed)

    def data(self, stream: int, data: bytes, *, end: bool = False) -> bytes:
        return struct.pack(">II", stream, (1 if end else 0) << 24 | len(data)) + data


class Socket:
    """The two ends of a WebSocket, for the server to be driven by."""

    def __init__(self) -> None:
        self.to_server, self._server_reads = anyio.create_memory_object_stream[dict[str, Any]](100)
        self._server_writes, self.from_server = anyio.create_memory_object_stream[dict[str, Any]](100)

    async def receive(self) -> dict[str, Any]:
        return await self._server_reads.receive()

    async def send(self, message: Any) -> None:
        await self._server_writes.send(message)

    async def say(self, data: bytes) -> None:
        await self.to_server.send({"type": "websocket.receive", "bytes": data})

    async def hear(self) -> bytes:
        with anyio.fail_after(60):
            while True:
                message = await self.from_server.receive()
                if "bytes" in message:
                    return bytes(message["bytes"])

    async def leave(self) -> None:
        await self.to_server.send({"type": "websocket.disconnect"})

    def close(self) -> None:
        for stream in (self.to_server, self._server_reads, self._server_writes, self.from_server):
            stream.close()
