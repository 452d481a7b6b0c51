"""Port-forwarding over WebSockets, in the two forms that clients speak.

``v4.channel.k8s.io`` and its relatives: each port of the query has two channels, for data and for an error text; the first message of each is
the port's number, little-endian. ``SPDY/3.1+portforward.k8s.io``: SPDY streams in the messages, two for every connection.
"""

import contextlib
import logging
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from kubelib.api.errors import ApiError, BadRequest, Forbidden
from kubelib.server.channels import ChannelProtocol, channel_protocol
from kubelib.server.exchange import ByteStream
from kubelib.server.responses import Receive, Scope, Send, unless_gone
from kubelib.server.spdy import Data, Event, Pinged, SpdyConnection, SpdyError, StreamOpened, StreamReset
from kubelib.server.upgrades import EXTENSION

log = logging.getLogger("kubelib.server")

CHANNELS = "v4.channel.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
STREAMS = "portforward.k8s.io"
"""What is spoken over SPDY without a WebSocket around it."""
IN_STREAMS = (TUNNEL, STREAMS)
Connect = Callable[[int], AbstractAsyncContextManager[ByteStream]]
"""Connects to a port. Raises ApiError."""


def forwarding_protocol(scope: Scope) -> ChannelProtocol:
    """Return which of the offered protocols is spoken. Raises BadRequest, Forbidden."""
    offered = scope.get("subprotocols") or ()
    if EXTENSION in scope.get("extensions", {}):
        if STREAMS not in offered:
            clients = " ".join(offered)
            raise Forbidden(
                f"unable to upgrade: unable to negotiate protocol: client supports [{clients}], server accepts [{STREAMS}]"
            )
        return ChannelProtocol(STREAMS)
    if TUNNEL in offered:
        return ChannelProtocol(TUNNEL)
    return channel_protocol(scope)


def is_port(text: str) -> bool:
    """Return whether a text is the number of a port."""
    return text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535


def ports_of(texts: Sequence[str]) -> list[int]:
    """Return the ports of a query. Raises BadRequest."""
    ports = []
    for text in ",".join(texts).split(","):
        if not is_port(text):
            raise BadRequest(f'unable to parse "{text}" as a port: it must be between 1 and 65535, inclusive')
        ports.append(int(text))
    return ports


async def serve_channels(
    protocol: ChannelProtocol, connect: Connect, ports: Sequence[int], receive: Receive, send: Send
) -> None:
    """Forward the ports of a query, one connection each, until the client or all ports have ended."""
    await send(protocol.accept())

    async def say(channel: int, data: bytes) -> None:
        await send(protocol.message(channel, data))

    async def forward(index: int, port: int, source: MemoryObjectReceiveStream[bytes]) -> None:
        for channel in (2 * index, 2 * index + 1):
            await say(channel, struct.pack("<H", port))
        with source:
            try:
                async with connect(port) as stream, anyio.create_task_group() as group:
                    group.start_soon(_carry, source, stream)
                    while True:
                        try:
                            await say(2 * index, await stream.receive())
                        except anyio.EndOfStream:
                            break
                    group.cancel_scope.cancel()
            except ApiError as error:
                await say(2 * index + 1, str(error).encode())
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the port's side is gone, as it may be at any time

    sinks: list[MemoryObjectSendStream[bytes]] = []
    try:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                while (message := await receive())["type"] != "websocket.disconnect":
                    channel, data = protocol.read(message)
                    if data and channel >= 0 and channel % 2 == 0 and channel // 2 < len(sinks):
                        with contextlib.suppress(anyio.BrokenResourceError):
                            await sinks[channel // 2].send(data)
                group.cancel_scope.cancel()

            async with anyio.create_task_group() as forwards:
                for index, port in enumerate(ports):
                    sink, source = anyio.create_memory_object_stream[bytes](16)
                    sinks.append(sink)
                    forwards.start_soon(forward, index, port, source)
                group.start_soon(listen)
            await send({"type": "websocket.close", "code": 1000})
            group.cancel_scope.cancel()
    finally:
        for sink in sinks:
            sink.close()


@attrs.define
class _Forward:
    """One connection that the client wants: its two streams, and what has come for the port."""

    port: int
    error: int = 0
    data: int = 0
    sink: MemoryObjectSendStream[bytes] | None = None
    scope: anyio.CancelScope = attrs.Factory(anyio.CancelScope)


class Tunnel:
    """Serves SPDY streams in a WebSocket's messages, or as they are."""

    def __init__(self, connect: Connect, receive: Receive, send: Send, protocol: str = TUNNEL) -> None:
        self._connect = connect
        self._protocol = protocol
        self._receive = receive
        self._send = send
        self._spdy = SpdyConnection()
        self._waiting: dict[str, _Forward] = {}
        """Those whose data stream has not come yet, by the client's request number."""
        self._forwards: dict[int, _Forward] = {}
        """By data stream."""

    async def serve(self) -> None:
        """Serve until the client goes."""
        await self._send({"type": "websocket.accept", "subprotocol": self._protocol})
        async with anyio.create_task_group() as group:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    break
                try:
                    for event in self._spdy.receive(message.get("bytes") or b""):
                        await self._happened(group, event)
                except (SpdyError, BadRequest) as error:
                    log.info("port-forward: %s", error)
                    await self._send({"type": "websocket.close", "code": 1002, "reason": str(error)[:100]})
                    break
            group.cancel_scope.cancel()

    async def _write(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": frame})

    async def _happened(self, group: TaskGroup, event: Event) -> None:
        match event:
            case StreamOpened(stream, headers):
                await self._opened(group, stream, headers)
            case Data(stream, data, end):
                forward = self._forwards.get(stream)
                if forward is None or forward.sink is None:
                    return
                try:
                    if data:
                        await forward.sink.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return  # the port's side has ended before
                if end:
                    await forward.sink.aclose()
            case StreamReset(stream):
                if (forward := self._forwards.get(stream)) is not None:
                    forward.scope.cancel()
            case Pinged(number):
                await self._write(self._spdy.ping(number))

    async def _opened(self, group: TaskGroup, stream: int, headers: Mapping[str, str]) -> None:
        [port] = ports_of([headers.get("port", "")])
        number = headers.get("requestid", "")
        await self._write(self._spdy.reply(stream))
        if headers.get("streamtype") == "error":
            self._waiting[number] = _Forward(port, error=stream)
            return
        forward = self._waiting.pop(number, None) or _Forward(port)
        forward.data = stream
        forward.sink, source = anyio.create_memory_object_stream[bytes](16)
        self._forwards[stream] = forward
        group.start_soon(self._forward, forward, source)

    async def _forward(self, forward: _Forward, source: MemoryObjectReceiveStream[bytes]) -> None:
        """Carry bytes between a data stream and the port until one of them ends."""
        try:
            trouble = await self._until_ended(forward, source)
        finally:
            self._forwards.pop(forward.data, None)
            assert forward.sink is not None
            forward.sink.close()
        if forward.error:
            await self._write(self._spdy.data(forward.error, trouble, end=True))
        if not forward.scope.cancelled_caught:
            await self._write(self._spdy.data(forward.data, b"", end=True))

    async def _until_ended(self, forward: _Forward, source: MemoryObjectReceiveStream[bytes]) -> bytes:
        """Return what went wrong, if anything did that the client should know of."""
        with forward.scope, source:
            try:
                async with self._connect(forward.port) as stream, anyio.create_task_group() as group:
                    group.start_soon(_carry, source, stream)
                    while True:
                        try:
                            data = await stream.receive()
                        except anyio.EndOfStream:
                            break
                        await self._write(self._spdy.data(forward.data, data))
                    group.cancel_scope.cancel()
            except ApiError as error:
                return str(error).encode()
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return b""  # the port's side is gone, as it may be at any time
        return b""


async def _carry(source: MemoryObjectReceiveStream[bytes], stream: ByteStream) -> None:
    """Send what comes to a port until the client says that no more does, or the port is gone."""
    try:
        async for data in source:
            await stream.send(data)
        await stream.send_eof()
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def serve_forwarding(
    protocol: ChannelProtocol, connect: Connect, ports: Sequence[int], receive: Receive, send: Send
) -> None:
    """Accept the upgrade and forward connections until the client goes."""
    send = unless_gone(send)
    if protocol.name in IN_STREAMS:
        await Tunnel(connect, receive, send, protocol.name).serve()
    else:
        await serve_channels(protocol, connect, ports, receive, send)
