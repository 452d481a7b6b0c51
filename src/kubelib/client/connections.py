"""One connection of a client: a protocol of asyncio's, on which one exchange of HTTP/1.1 follows the other.

What arrives is parsed where it arrives, and who waits for an answer wakes once, when all of it is there.
"""

import asyncio
import select
import ssl
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import anyio
import attrs
import httptools
import httpx

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host, port."""

UNREAD = 1 << 20
"""Bytes of a body that may have come without anybody having taken them, before the server is let wait."""
MAX_HEAD = 1 << 18
"""Bytes that a server may send without any of them being of a body: headers and trailers have an end."""


@attrs.define
class Incoming:
    """What the parser has found of an answer; the names of the methods are those it calls."""

    headers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    reason: bytes = b""
    parts: list[bytes] = attrs.field(factory=list)
    """What has come of the body and has not been given on."""
    unread: int = 0
    """How many bytes that is."""
    bodiless: int = 0
    """Bytes that have come since a part of the body."""
    has_head: bool = False
    is_whole: bool = False
    may_be_followed: bool = False
    """Whether the connection stays open, so far as the server says; the parser knows while it reports the end, not afterwards."""
    parser: Any = attrs.field(
        init=False, default=attrs.Factory(lambda self: httptools.HttpResponseParser(self), takes_self=True)
    )

    def on_status(self, reason: bytes) -> None:
        """Note the words beside the number."""
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header, or a trailer."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that the headers are there."""
        # What is said before (100 Continue, 103 Early Hints) is not the answer.
        self.has_head = self.parser.get_status_code() >= 200

    def on_body(self, part: bytes) -> None:
        """Note a part of the body."""
        self.parts.append(part)
        self.unread += len(part)
        self.bodiless = 0

    def on_message_complete(self) -> None:
        """Note the end."""
        if self.has_head:
            self.is_whole, self.may_be_followed = True, self.parser.should_keep_alive()
        else:
            self.headers, self.reason = [], b""

    @property
    def is_measured(self) -> bool:
        """Whether headers tell where the body ends; otherwise it ends with the connection."""
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)


class KeptConnection(asyncio.Protocol):
    """One connection, which carries one exchange at a time."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None = None) -> None:
        self.origin = origin
        self.tls = tls
        """What it shows and trusts, where it is encrypted."""
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._answer: Incoming | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_whole = False
        self._heard = 0.0
        """When something came last."""
        self._patience: float | None = None
        """How long who waits does so while nothing comes."""
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        self._failure: httpx.HTTPError | None = None
        """Why nothing more is to be expected."""
        self._lost = False
        self._is_reading = True
        self._may_write = asyncio.Event()
        self._may_write.set()

    # What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note what is written to."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse what comes, and wake who waits for it."""
        answer = self._answer
        if answer is None or self._is_answered:
            self._lost = True  # said unasked, which is that the server closes the connection
            return
        self._heard = self._loop.time()
        answer.bodiless += len(data)
        try:
            answer.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(httpx.RemoteProtocolError(str(error) or type(error).__name__))
            return
        if answer.bodiless > MAX_HEAD:
            self.fail(httpx.RemoteProtocolError(f"the headers are longer than {MAX_HEAD} bytes"))
            return
        if self._wants_whole:
            if answer.is_whole:
                self._wake()
            return
        if answer.unread > UNREAD and self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()
        if answer.has_head:
            self._wake()

    def eof_received(self) -> None:
        """Take the end of what the server says for that of the connection."""
        self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Note that there is no connection any more."""
        self._end(error)

    def pause_writing(self) -> None:
        """Let who sends wait."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Let who sends go on."""
        self._may_write.set()

    @property
    def _is_answered(self) -> bool:
        return self._answer is None or self._answer.is_whole

    def _end(self, error: Exception | None) -> None:
        self._lost = True
        self._may_write.set()
        if self._timer is not None:
            self._timer.cancel()
        answer = self._answer
        if answer is None or self._is_answered:
            return
        if error is not None and not isinstance(error, ssl.SSLEOFError):
            self.fail(httpx.ReadError(str(error) or "the connection was closed"))
        elif answer.has_head and not answer.is_measured:
            answer.is_whole = True
            self._wake()
        else:
            begun = answer.bodiless or answer.has_head
            what = "in the middle of an answer" if begun else "without sending a response"
            self.fail(httpx.RemoteProtocolError(f"Server disconnected {what}."))

    def fail(self, failure: httpx.HTTPError) -> None:
        """Let who waits for an answer, or for more of one, know that nothing more comes, and why."""
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What exchanges do

    @property
    def is_stale(self) -> bool:
        """Whether the server has said something unasked, or has closed the connection."""
        if self._lost or self._transport.is_closing():
            return True
        # Also if the event loop has not heard of it yet.
        connection = self._transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def is_free(self) -> bool:
        """Whether another exchange may follow."""
        return self._answer is not None and self._answer.may_be_followed and not self._lost

    async def close(self) -> None:
        """Close it, at once."""
        self._transport.abort()
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0)  # for the transport to let go of its socket

    async def send(self, request: bytes, timeout: float | None, *, whole: bool) -> None:
        """Send a request as it stands; `whole` says that its answer is wanted only when all of it is there.

        Raises `httpx.WriteError` and `httpx.WriteTimeout`.
        """
        self._answer, self._wants_whole, self._heard = Incoming(), whole, self._loop.time()
        if self._lost or self._transport.is_closing():
            raise httpx.WriteError("the connection was closed")
        self._transport.write(request)
        if not self._may_write.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._may_write.wait()
            except TimeoutError:
                raise httpx.WriteTimeout("") from None

    async def head(self, timeout: float | None, *, bodiless: bool = False) -> tuple[int, Incoming]:
        """Return the status of the answer, and what is known of it, as soon as its headers are there; `bodiless` ones end with them.

        Raises `httpx.ReadError`, `httpx.ReadTimeout` and `httpx.RemoteProtocolError`.
        """
        answer = self._answer
        assert answer is not None
        while not (answer.is_whole if self._wants_whole else answer.has_head):
            await self._wait(timeout)
        if bodiless:
            answer.is_whole, answer.may_be_followed = True, answer.parser.should_keep_alive()
        return answer.parser.get_status_code(), answer

    async def body(self, timeout: float | None) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        answer = self._answer
        assert answer is not None
        while True:
            parts, answer.parts, answer.unread = answer.parts, [], 0
            for part in parts:
                yield part
            if answer.is_whole:
                if not answer.parts:
                    return
                continue
            if not self._is_reading and not self._lost:
                self._is_reading = True
                self._transport.resume_reading()
            await self._wait(timeout)

    async def _wait(self, timeout: float | None) -> None:
        """Wait until there is more of the answer."""
        if self._failure is None:
            waiter = self._waiter = self._loop.create_future()
            self._patience = timeout
            if timeout is not None:
                self._look_at(self._heard + timeout)
            try:
                await waiter
            finally:
                self._waiter = None
        if self._failure is not None:
            raise self._failure

    def _look_at(self, due: float) -> None:
        """Look then whether something has come; or before, which is followed by a look when it must have come.

        So one timer does for many exchanges, each of which would otherwise pay for one that never rings.
        """
        if self._timer is not None:
            if self._looks_at <= due:
                return
            self._timer.cancel()
        self._looks_at = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done() or self._patience is None:
            return
        due = self._heard + self._patience
        if due > self._loop.time():
            self._look_at(due)
        else:
            self.fail(httpx.ReadTimeout(""))
