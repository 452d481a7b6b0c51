"""Remote procedure calls in gRPC's format, over `kubelib.store.etcd.http2`: a call, and a stream of messages in both directions."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import anyio

from kubelib.store.etcd.http2 import Headers, Http2Connection, Stream, StreamFailed

GOODBYE = 1.0
"""Seconds that a server has to let go of a connection."""

_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
_OF_RESETS = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}
"""What frames that reset a stream mean; others are errors of the server."""
_OF_HTTP = {
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
}
_LENGTH = 5
"""Bytes before each message: whether it is compressed, which ours never are, and how long it is."""


class RpcError(Exception):
    """A call failed, or a stream broke."""

    def __init__(self, code: str, details: str, *, untouched: bool = False) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        """The name of one of gRPC's codes."""
        self.details = details
        self.untouched = untouched
        """Whether no server can have done anything about it."""


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


class _Answering(Stream):
    """A stream whose answer has messages and then a status."""

    __slots__ = ("_buffer", "_fields")

    def __init__(self) -> None:
        super().__init__()
        self._buffer = b""
        self._fields: dict[str, str] = {}

    def got_headers(self, headers: Headers) -> None:
        self._fields.update(headers)

    def _outcome(self) -> RpcError | None:
        """Return the error that the trailers tell of; None if all went well."""
        status = self._fields.get("grpc-status", "")
        if status == "0":
            return None
        details = unquote(self._fields.get("grpc-message", ""))
        if status.isdecimal():
            return RpcError(_CODES[int(status)] if int(status) < len(_CODES) else "UNKNOWN", details)
        answered = self._fields.get(":status", "")
        code = _OF_HTTP.get(answered, "UNAVAILABLE" if answered.startswith("5") else "UNKNOWN")
        return RpcError(code, f"it answers as no etcd does: status {answered}")

    def _messages(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete now."""
        data = self._buffer + data if self._buffer else data
        found, at, size = [], 0, len(data)
        while size - at >= _LENGTH:
            end = at + _LENGTH + int.from_bytes(data[at + 1 : at + _LENGTH], "big")
            if end > size:
                break
            found.append(data[at + _LENGTH : end])
            at = end
        self._buffer = data[at:]
        return found


def _error_of(error: StreamFailed) -> RpcError:
    code = _OF_RESETS.get(error.code, "INTERNAL") if error.code >= 0 else "UNAVAILABLE"
    return RpcError(code, str(error), untouched=error.untouched)


def _unconnected(why: str, code: str = "UNAVAILABLE") -> RpcError:
    return RpcError(code, why, untouched=True)


class _Call(_Answering):
    """A request that has one message, and so has its answer."""

    __slots__ = ("_parts", "answer", "expired")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self.expired = False

    def got_data(self, data: bytes) -> None:
        self._parts.append(data)
        self.taken(len(data))

    def ended(self) -> None:
        error = self._outcome()
        messages = self._messages(b"".join(self._parts)) if error is None else []
        if error is None and len(messages) != 1:
            error = RpcError("INTERNAL", "the answer is not whole")
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(messages[0])

    def failed(self, error: StreamFailed) -> None:
        if not self.answer.done():
            self.answer.set_exception(_error_of(error))

    def expire(self) -> None:
        """Wait no longer."""
        if not self.answer.done():
            self.expired = True
            self.answer.set_exception(RpcError("DEADLINE_EXCEEDED", "deadline exceeded"))


class MessageStream(_Answering):
    """Messages in both directions, until one side ends it."""

    __slots__ = ("_error", "_news", "_over", "_untaken", "_waiting")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[bytes] = deque()
        self._untaken = 0
        self._over = False
        self._error: RpcError | None = None
        self._news: asyncio.Future[None] | None = None

    def write(self, message: bytes) -> None:
        """Send a message; nothing happens if the stream has ended: its reader says why."""
        if not self._over:
            self.send(_framed(message))

    async def read(self) -> bytes | None:
        """Return the next message; None when the stream has ended. Raises RpcError when it broke."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._over:
                return None
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        message = self._waiting.popleft()
        if not self._waiting:
            self._let_more_come()
        return message

    def hang_up(self) -> None:
        """End the stream, if it has not ended; whoever reads it is told so."""
        if not self._over:
            self._over = True
            self.reset()
            self._tell()

    def got_data(self, data: bytes) -> None:
        """Take in some bytes of messages."""
        self._waiting += self._messages(data)
        self._untaken += len(data)
        # A reader that is slow is not sent more than a window; a message larger than that must still come in.
        if self._waiting:
            self._tell()
        else:
            self._let_more_come()

    def _let_more_come(self) -> None:
        self.taken(self._untaken)
        self._untaken = 0

    def ended(self) -> None:
        """Tell the reader how the server ended the stream."""
        self._error, self._over = self._outcome(), True
        self._tell()

    def failed(self, error: StreamFailed) -> None:
        """Tell the reader why the stream broke."""
        self._error, self._over = _error_of(error), True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)


class Channel:
    """Calls to one server, over a connection that is made when it is needed, and anew when it was lost."""

    def __init__(self, endpoint: str, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self.endpoint = endpoint
        host, _, port = endpoint.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls = tls
        self._connection: Http2Connection | None = None
        self._retired: set[Http2Connection] = set()
        """Connections for which no streams are opened any more, though some may be under way."""
        self._turn = anyio.Lock(fast_acquire=True)
        self._blocks: dict[tuple[str, tuple[tuple[str, str], ...]], bytes] = {}

    async def call(
        self, path: str, request: bytes, timeout: float, metadata: Sequence[tuple[str, str]]
    ) -> bytes:
        """Make a call, and return the answer's message. Raises RpcError."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self._connected(timeout)
            timeout = max(0.0, timeout - (loop.time() - begun))
        call = _Call(loop)
        call.send(_framed(request), end=True)
        timer = loop.call_later(timeout, call.expire)
        try:
            connection.open(call, self._headers(path, metadata))
            return await call.answer
        finally:
            timer.cancel()
            call.reset()  # nothing, if it has ended
            if connection.heard < begun and call.expired:
                connection.abort("deadline exceeded")  # it may be gone, and its machine with it

    async def stream(self, path: str, timeout: float, metadata: Sequence[tuple[str, str]]) -> MessageStream:
        """Open a stream, which is ended by `hang_up`. Raises RpcError."""
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self._connected(timeout)
        stream = MessageStream()
        connection.open(stream, self._headers(path, metadata))
        return stream

    def _headers(self, path: str, metadata: Sequence[tuple[str, str]]) -> bytes:
        """Return the headers of a request, encoded such that they mean the same at any time on any connection."""
        key = path, tuple(metadata)
        block = self._blocks.get(key)
        if block is None:
            from hpack import Encoder, NeverIndexedHeaderTuple

            fields = (
                *((":method", "POST"), (":scheme", "https" if self._tls else "http"), (":path", path)),
                *((":authority", self.endpoint), ("te", "trailers"), ("content-type", "application/grpc")),
                *metadata,
            )
            if len(self._blocks) > 16:
                self._blocks.clear()  # of tokens that are no longer good
            block = self._blocks[key] = bytes(
                Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)
            )
        return block

    async def _connected(self, timeout: float) -> Http2Connection:
        try:
            with anyio.fail_after(timeout):
                async with self._turn:
                    if self._connection is None or not self._connection.usable:
                        self._retire()
                        self._connection = await self._connect()
                    return self._connection
        except TimeoutError:
            raise _unconnected("deadline exceeded", "DEADLINE_EXCEEDED") from None

    async def _connect(self) -> Http2Connection:
        loop = asyncio.get_running_loop()
        tls = self._tls() if self._tls is not None else None
        name: dict[str, Any] = {"server_hostname": self._host} if tls is not None else {}
        try:
            transport, connection = await loop.create_connection(
                Http2Connection, self._host, self._port, ssl=tls, **name
            )
        except ConnectionRefusedError:
            raise _unconnected("connection refused") from None
        except ssl.SSLCertVerificationError as error:
            raise _unconnected(f"its certificate is not accepted: {error.verify_message}") from None
        except ssl.SSLError:
            raise _unconnected("TLS handshake failed") from None
        except OSError as error:
            raise _unconnected((error.strerror or str(error) or "no connection").lower()) from None
        speaks = transport.get_extra_info("ssl_object")
        if speaks is not None and speaks.selected_alpn_protocol() != "h2":
            connection.abort("")
            raise _unconnected("it does not speak HTTP/2")
        return connection

    def _retire(self) -> None:
        self._retired = {connection for connection in self._retired if not connection.lost.is_set()}
        if self._connection is not None and not self._connection.lost.is_set():
            self._retired.add(self._connection)
        self._connection = None

    async def close(self) -> None:
        """End the connections, and what is under way on them."""
        self._retire()
        for connection in self._retired:
            connection.close()
        for connection in self._retired:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await connection.lost.wait()
                continue
            connection.abort("")
            await connection.lost.wait()
        self._retired.clear()
