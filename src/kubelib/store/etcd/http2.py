"""The client's side of HTTP/2 (RFC 9113), as far as remote procedure calls need it: frames, streams and their windows.

gRPC's own library for Python costs three times as much per call, most of it for handing each message from its threads to the
event loop. Here a call is two frames that are written, and three that are read where they arrive.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

Headers = Sequence[tuple[str, str]]

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM = _ACK = 1
_END_HEADERS, _PADDED, _PRIORITY = 4, 8, 32
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MOST_STREAMS, _INITIAL_WINDOW, _FRAME_SIZE = 1, 2, 3, 4, 5
_NO_ERROR, _PROTOCOL_ERROR, _CANCEL = 0, 1, 8

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = 16_384
"""Bytes that a frame may have: neither side of ours asks for more."""
WINDOW = 4 << 20
"""Bytes that a server may send on one stream before they have been taken."""
WHOLE_WINDOW = 1 << 30
"""Bytes that it may send on all of them together: more than it ever has under way."""
LAST_STREAM = _MASK = (1 << 31) - 1
"""The last number that a stream may have: the bit above is reserved, here and in other numbers."""
_MANY = 64


class StreamFailed(Exception):
    """A stream ended otherwise than by an answer: the server reset it, or the connection was lost."""

    def __init__(self, why: str, *, code: int = -1, untouched: bool = False) -> None:
        super().__init__(why)
        self.code = code
        """That of the frame by which the server reset it; -1 if it did not."""
        self.untouched = untouched
        """Whether the server has certainly done nothing about it."""


class Stream:
    """One request and its answer. Heirs say what becomes of what arrives."""

    __slots__ = ("_left", "_sent_end", "_taken", "connection", "number", "window")

    def __init__(self) -> None:
        self.connection: Http2Connection | None = None
        self.number = 0
        """Its number on the connection; 0 as long as it waits for its turn."""
        self.window = 0
        """Bytes that may be sent."""
        self._left: deque[bytes] = deque()
        self._sent_end = False
        self._taken = 0

    def got_headers(self, headers: Headers) -> None:
        """Take in headers, or trailers."""

    def got_data(self, data: bytes) -> None:
        """Take in a part of the answer; call `taken` for as many bytes, now or later."""

    def ended(self) -> None:
        """Learn that the answer is complete."""

    def failed(self, error: StreamFailed) -> None:
        """Learn that there will be no answer, or no more of it."""

    def taken(self, count: int) -> None:
        """Let the server send as many more bytes."""
        self._taken += count
        if self._taken > WINDOW // 2 and self.connection is not None:
            self.connection.widen(self, self._taken)
            self._taken = 0

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Send data, as soon as the server takes it."""
        self._left.extend(data[at : at + FRAME] for at in range(0, len(data) or 1, FRAME))
        self._sent_end = end
        if self.connection is not None and self.number:
            self.connection.flush(self)

    def reset(self) -> None:
        """Tell the server that nobody waits for the answer any more. Nothing more arrives."""
        if self.connection is not None:
            self.connection.drop(self)


class Http2Connection(asyncio.Protocol):
    """A connection to a server. It is made ready for use by its transport, and ends with it."""

    def __init__(self) -> None:
        from hpack import Decoder

        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, Stream] = {}
        self._unopened: deque[tuple[Stream, bytes]] = deque()
        """Streams beyond those that the server wants at a time."""
        self._blocked: dict[Stream, None] = {}
        """Those that wait for the server to take more."""
        self._next = 1
        self._most = 1 << 31
        self._window = self._initial_window = 65_535
        self._frame = FRAME
        self._received = 0
        self._rest = b""
        self._decoder = Decoder()
        self._outgoing: list[bytes] = []
        self._known: dict[bytes, Headers] = {}
        self._block: list[bytes] = []
        self._block_of = (0, 0)
        self._begun = False
        self.heard = self._loop.time()
        """When something last arrived, by the loop's clock."""
        self.usable = True
        """Whether further streams may be opened."""
        self.lost = asyncio.Event()
        """Set at the end."""

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        self._transport = transport
        settings = ((_HEADER_TABLE_SIZE, 4096), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, WINDOW))
        body = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in settings)
        more = (WHOLE_WINDOW - 65_535).to_bytes(4, "big")
        self._write(PREFACE + _frame(_SETTINGS, 0, 0, body) + _frame(_WINDOW, 0, 0, more))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let every stream know."""
        reason = getattr(exc, "reason", None)  # of an error of TLS
        why = reason.replace("_", " ").lower() if isinstance(reason, str) else "the connection was lost"
        self._give_up(StreamFailed(why))
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        self.heard = self._loop.time()
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            kind = data[at + 3]
            if length > FRAME or not (self._begun or kind == _SETTINGS):
                return self._end("it does not speak HTTP/2")
            end = at + 9 + length
            if end > size:
                break
            self._begun = True
            number = int.from_bytes(data[at + 5 : at + 9], "big") & _MASK
            try:
                self._take_in(kind, data[at + 4], number, data[at + 9 : end])
            except (ValueError, IndexError) as error:  # hpack's errors are ValueErrors here, see _headers_of
                return self._end(f"it breaks the rules of HTTP/2: {error}")
            at = end
        self._rest = data[at:]
        return None

    # What arrives

    def _take_in(self, kind: int, flags: int, number: int, body: bytes) -> None:
        if self._block and kind != _CONTINUATION:
            raise ValueError("headers were interrupted")
        if kind == _DATA:
            self._received += len(body)
            if self._received > WHOLE_WINDOW // 4:
                self._write(_frame(_WINDOW, 0, 0, self._received.to_bytes(4, "big")))
                self._received = 0
            stream = self._streams.get(number)
            if stream is not None:
                data = _unpadded(flags, body)
                stream.taken(len(body) - len(data))
                stream.got_data(data)
                if flags & _END_STREAM:
                    self._finish(stream)
        elif kind == _HEADERS:
            body = _unpadded(flags, body)
            self._got_headers(number, flags, body[5:] if flags & _PRIORITY else body)
        elif kind == _CONTINUATION:
            number, first = self._block_of
            self._got_headers(number, first | (flags & _END_HEADERS), body)
        elif kind == _WINDOW:
            self._got_window(number, int.from_bytes(body, "big") & _MASK)
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, body))
        elif kind == _SETTINGS and not flags & _ACK:
            self._got_settings(body)
        elif kind == _RESET:
            stream = self._streams.get(number)
            if stream is not None:
                self._forget(stream)
                code = int.from_bytes(body, "big")
                stream.failed(StreamFailed(f"the stream was reset ({code})", code=code, untouched=code == 7))
        elif kind == _GOAWAY:
            self._got_goaway(int.from_bytes(body[:4], "big") & _MASK)

    def _got_headers(self, number: int, flags: int, block: bytes) -> None:
        self._block.append(block)
        if not flags & _END_HEADERS:
            self._block_of = number, flags
            return
        block = b"".join(self._block)
        self._block.clear()
        headers = self._headers_of(block)  # also of streams that nobody waits for: they change the table
        stream = self._streams.get(number)
        if stream is not None:
            stream.got_headers(headers)
            if flags & _END_STREAM:
                self._finish(stream)

    def _headers_of(self, block: bytes) -> Headers:
        """Decode headers. Those that only point into the table change nothing in it, and mean the same until something does."""
        known = self._known.get(block)
        if known is not None:
            return known
        from hpack import HPACKError

        try:
            headers: Headers = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except HPACKError as error:
            raise ValueError(str(error)) from None
        if all(0x80 < byte < 0xFF for byte in block):
            self._known[block] = headers
        if len(self._known) > _MANY or block not in self._known:
            self._known.clear()
        return headers

    def _got_window(self, number: int, more: int) -> None:
        if number == 0:
            self._window += more
            for stream in tuple(self._blocked):
                self.flush(stream)
        elif (widened := self._streams.get(number)) is not None:
            widened.window += more
            if widened in self._blocked:
                self.flush(widened)

    def _got_settings(self, body: bytes) -> None:
        for at in range(0, len(body) - 5, 6):
            name, value = (
                int.from_bytes(body[at : at + 2], "big"),
                int.from_bytes(body[at + 2 : at + 6], "big"),
            )
            if name == _INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window += value - self._initial_window
                self._initial_window = value
            elif name == _FRAME_SIZE:
                self._frame = value
            elif name == _MOST_STREAMS:
                self._most = value
        self._write(_frame(_SETTINGS, _ACK, 0, b""))
        for stream in tuple(self._blocked):
            self.flush(stream)
        self._open_more()

    def _got_goaway(self, last: int) -> None:
        """Open no more streams; those that the server has not begun with will not be answered."""
        self.usable = False
        refused = StreamFailed("the server is going away", untouched=True)
        for stream in [stream for stream in self._streams.values() if stream.number > last]:
            self._forget(stream)
            stream.failed(refused)
        self._refuse_unopened(refused)
        self._close_if_done()

    def _finish(self, stream: Stream) -> None:
        self._forget(stream)
        stream.ended()

    # What is sent

    def open(self, stream: Stream, block: bytes) -> None:
        """Send a request's headers, and what the stream has been given to send, or have them wait for their turn."""
        stream.connection = self
        if self._unopened or len(self._streams) >= self._most:
            self._unopened.append((stream, block))
        else:
            self._begin(stream, block)

    def _begin(self, stream: Stream, block: bytes) -> None:
        number = stream.number = self._next
        self._next += 2
        self._streams[number] = stream
        if self._next > LAST_STREAM:  # the next connection counts from the beginning
            self.usable = False
            self._refuse_unopened(StreamFailed("the connection is used up", untouched=True))
        stream.window = self._initial_window
        first, kind = block[: self._frame], _HEADERS
        while len(block) > self._frame:
            self._write(_frame(kind, 0, number, first))
            block, kind = block[self._frame :], _CONTINUATION
            first = block[: self._frame]
        self._write(_frame(kind, _END_HEADERS, number, first))
        if stream._left:
            self.flush(stream)

    def _open_more(self) -> None:
        while self._unopened and len(self._streams) < self._most:
            self._begin(*self._unopened.popleft())

    def flush(self, stream: Stream) -> None:
        """Send as much of a stream as the server takes now."""
        left = stream._left
        while left:
            data = left[0]
            room = min(self._window, stream.window)
            if data and room <= 0:
                self._blocked[stream] = None
                return
            part = data[: min(room, self._frame)] if len(data) > min(room, self._frame) else data
            if part is data:
                left.popleft()
            else:
                left[0] = data[len(part) :]
            self._window -= len(part)
            stream.window -= len(part)
            last = stream._sent_end and not left
            self._write(_frame(_DATA, _END_STREAM if last else 0, stream.number, part))
        self._blocked.pop(stream, None)

    def widen(self, stream: Stream, count: int) -> None:
        """Let the server send more on a stream."""
        if stream.number in self._streams:
            self._write(_frame(_WINDOW, 0, stream.number, count.to_bytes(4, "big")))

    def drop(self, stream: Stream) -> None:
        """Reset a stream, if it has not ended."""
        if stream.number in self._streams:
            self._write(_frame(_RESET, 0, stream.number, _CANCEL.to_bytes(4, "big")))
            self._forget(stream)
        elif not stream.number:
            self._unopened = deque(one for one in self._unopened if one[0] is not stream)
        stream.connection = None

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self._blocked.pop(stream, None)
        if self._unopened:
            self._open_more()
        if not self.usable:
            self._close_if_done()

    def _write(self, data: bytes) -> None:
        """Send a frame, together with all others of this turn of the loop: one call of the system serves them all."""
        if not self._outgoing:
            self._loop.call_soon(self._write_out)
        self._outgoing.append(data)

    def _write_out(self) -> None:
        if self._outgoing and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    # The end

    def _close_if_done(self) -> None:
        if not self._streams:
            self.close()

    def close(self) -> None:
        """Say goodbye, and fail what has not been answered."""
        self.usable = False
        self._write(_frame(_GOAWAY, 0, 0, bytes(4) + _NO_ERROR.to_bytes(4, "big")))
        self._give_up(StreamFailed("the connection has been closed"))
        self._write_out()
        self._transport.close()

    def abort(self, why: str) -> None:
        """End at once, without waiting for a server that says nothing any more."""
        self._give_up(StreamFailed(why))
        self._outgoing.clear()
        self._transport.abort()

    def _end(self, why: str) -> None:
        self._write(_frame(_GOAWAY, 0, 0, bytes(4) + _PROTOCOL_ERROR.to_bytes(4, "big")))
        self._write_out()
        self.abort(why)

    def _give_up(self, error: StreamFailed) -> None:
        self.usable = False
        streams, self._streams = list(self._streams.values()), {}
        self._blocked.clear()
        for stream in streams:
            stream.failed(error)
        self._refuse_unopened(error)

    def _refuse_unopened(self, error: StreamFailed) -> None:
        waiting, self._unopened = self._unopened, deque()
        for stream, _ in waiting:
            stream.failed(error)


def _frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return b"".join((len(body).to_bytes(3, "big"), bytes((kind, flags)), number.to_bytes(4, "big"), body))


def _unpadded(flags: int, body: bytes) -> bytes:
    return body[1 : len(body) - body[0]] if flags & _PADDED else body
