"""Commands over SPDY: a stream for each of stdin, stdout and stderr, one for what became of it, one for the terminal's size.

The rules are those of ``k8s.io/kubelet/pkg/cri/streaming/remotecommand``: the client opens the streams, all that its query asks for, and each
says in its headers which it is.
"""

import logging
from contextlib import AbstractAsyncContextManager

import anyio
import attrs
import msgspec

from kubelib.api.codec import encode_json
from kubelib.api.errors import ApiError, BadRequest, Forbidden, InternalError
from kubelib.server.commandends import exit_status, run_out
from kubelib.server.nodes import Stream
from kubelib.server.responses import Receive, Scope, Send, unless_gone
from kubelib.server.spdy import Data, Event, Pinged, SpdyConnection, SpdyError, StreamOpened, StreamReset

log = logging.getLogger("kubelib.server")

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
MOST_EARLY = 1024 * 1024
"""Bytes that may come before all streams are there."""
CREATION = 30.0
"""Seconds that the client has to open its streams."""
ERROR, STDIN, STDOUT, STDERR, RESIZE = "error", "stdin", "stdout", "stderr", "resize"


def command_protocol(scope: Scope) -> str:
    """Return the first of the client's protocols that is spoken. Raises BadRequest, Forbidden."""
    offered = scope["subprotocols"]
    if not offered:
        raise BadRequest("unable to upgrade: X-Stream-Protocol-Version is required")
    for name in offered:
        if name in PROTOCOLS:
            return str(name)
    clients, ours = " ".join(offered), " ".join(PROTOCOLS)
    raise Forbidden(
        f"unable to upgrade: unable to negotiate protocol: client supports [{clients}], server accepts [{ours}]"
    )


def expected_streams(protocol: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> frozenset[str]:
    """Return which streams a client opens."""
    wanted = {ERROR: True, STDIN: stdin, STDOUT: stdout, STDERR: stderr and not tty}
    wanted[RESIZE] = tty and protocol in PROTOCOLS[:2]
    return frozenset(name for name, there in wanted.items() if there)


@attrs.define(eq=False)
class SpdyCommand:
    """A command on its way through a client's streams."""

    protocol: str
    expected: frozenset[str]
    receive: Receive
    send: Send
    _spdy: SpdyConnection = attrs.Factory(SpdyConnection)
    _streams: dict[str, int] = attrs.Factory(dict)
    """By what they are."""
    _early: list[Data] = attrs.Factory(list)
    """What has come on some stream before all were there."""
    _sizes: bytearray = attrs.Factory(bytearray)

    async def serve(self, opened: AbstractAsyncContextManager[Stream], *, outlives: bool = False) -> None:
        """Accept the upgrade and carry the command's streams until it ends, as `kubelib.server.streams.serve_command` does."""
        self.send = unless_gone(self.send)
        await self.send({"type": "websocket.accept", "subprotocol": self.protocol})
        try:
            if not await self._opened():
                return
            await self._finish(await self._run(opened, outlives))
        except SpdyError as error:
            log.info("a command over SPDY: %s", error)
        finally:
            await self.send({"type": "websocket.close", "code": 1000})

    async def _events(self) -> list[Event] | None:
        """Return what has happened next; None if the client has gone. Raises SpdyError."""
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            return None
        return list(self._spdy.receive(message["bytes"]))

    async def _write(self, frame: bytes) -> None:
        await self.send({"type": "websocket.send", "bytes": frame})

    async def _opened(self) -> bool:
        """Wait until all streams are there; return whether they are."""
        with anyio.move_on_after(CREATION):
            while self._streams.keys() < self.expected:
                events = await self._events()
                if events is None:
                    return False
                for event in events:
                    match event:
                        case StreamOpened(stream, headers):
                            await self._add(stream, headers.get("streamtype", ""))
                        case Data():
                            self._early.append(event)
                            if sum(len(data.data) for data in self._early) > MOST_EARLY:
                                raise SpdyError("too much is said before all streams are there")
                        case Pinged(number):
                            await self._write(self._spdy.ping(number))
            return True
        log.info("a command over SPDY: timed out waiting for client to create streams")
        return False

    async def _add(self, stream: int, kind: str) -> None:
        if kind not in self.expected or kind in self._streams:
            await self._write(self._spdy.reset(stream))
            return
        await self._write(self._spdy.reply(stream))
        self._streams[kind] = stream

    async def _run(
        self, opened: AbstractAsyncContextManager[Stream], outlives: bool
    ) -> dict[str, object] | None:
        """Run the command; return what became of it, None if the client has gone before."""
        try:
            async with opened as stream:
                if not await self._relay(stream):
                    if outlives:
                        await run_out(stream)
                    return None
                return exit_status(await stream.wait())
        except ApiError as error:
            return error.status()
        except (anyio.get_cancelled_exc_class(), SpdyError):
            raise
        except Exception as error:
            log.exception("a command's streams failed")
            return InternalError(f"Internal error occurred: {error}").status()

    async def _relay(self, stream: Stream) -> bool:
        """Carry bytes both ways until the command has ended, or the client has gone; return whether it has ended."""
        ended = False
        async with anyio.create_task_group() as group:

            async def inwards() -> None:
                for data in self._early:
                    await self._take(stream, data)
                while (events := await self._events()) is not None:
                    for event in events:
                        match event:
                            case Data():
                                await self._take(stream, event)
                            case Pinged(number):
                                await self._write(self._spdy.ping(number))
                            case StreamOpened(number):
                                await self._write(self._spdy.reset(number))
                            case StreamReset(number) if number == self._streams.get(STDIN):
                                await stream.close_stdin()
                group.cancel_scope.cancel()

            group.start_soon(inwards)
            while True:
                try:
                    name, data = await stream.receive()
                except anyio.EndOfStream:
                    break
                if (number := self._streams.get(name)) is not None:
                    await self._write(self._spdy.data(number, data))
            ended = True
            group.cancel_scope.cancel()
        return ended

    async def _take(self, stream: Stream, event: Data) -> None:
        """Hand the command what has come for it."""
        if event.stream == self._streams.get(STDIN):
            if event.data:
                await stream.send(event.data)
            if event.end:
                await stream.close_stdin()
        elif event.stream == self._streams.get(RESIZE):
            self._sizes += event.data
            while b"\n" in self._sizes:
                line, _, rest = bytes(self._sizes).partition(b"\n")
                self._sizes = bytearray(rest)
                try:
                    size = msgspec.json.decode(line, type=_Size)
                except msgspec.DecodeError:
                    continue
                await stream.resize(size.width, size.height)

    async def _finish(self, status: dict[str, object] | None) -> None:
        """Tell the client what became of the command, and end the streams."""
        if status is None:
            return
        for name in (STDOUT, STDERR):
            if name in self._streams:
                await self._write(self._spdy.data(self._streams[name], b"", end=True))
        told = b""
        if self.protocol == PROTOCOLS[0]:
            told = encode_json(status)
        elif status["status"] != "Success":
            told = str(status["message"]).encode()
        await self._write(self._spdy.data(self._streams[ERROR], told, end=True))


class _Size(msgspec.Struct):
    width: int = msgspec.field(name="Width")
    height: int = msgspec.field(name="Height")
