"""SPDY/3.1 framing, as far as port-forwarding needs it: bytes in, events out, frames back. No I/O.

kubectl forwards ports over SPDY streams inside of a WebSocket. The format is that of the SPDY protocol draft 3.1; there is
no flow control, as in Kubernetes' own implementation.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

import attrs

FIN = 1
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
VERSION = 3
MOST_PER_FRAME = 0xFFFFFF
MOST_HEADER_BYTES = 64 * 1024


def _words(*groups: str) -> bytes:
    return b"".join(
        struct.pack(">I", len(word)) + word.encode() for group in groups for word in group.split()
    )


# The dictionary that both sides begin to compress headers with: part of the protocol, 1423 bytes.
_DICTIONARY = (
    _words(
        "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow",
        "authorization cache-control connection content-base content-encoding content-language content-length",
        "content-location content-md5 content-range content-type date etag expect expires from host if-match",
        "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma",
        "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade",
        "user-agent vary via warning www-authenticate method get status",
    )
    + struct.pack(">I", 6)
    + b"200 OK"
    + _words("version HTTP/1.1 url public set-cookie keep-alive origin")
    + b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    b"Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal "
    b"Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, "
    b"Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    b"application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    b"charset=iso-8859-1,utf-,*,enq=0."
)


class SpdyError(ValueError):
    """The other side does not speak SPDY/3.1."""


@attrs.frozen
class StreamOpened:
    """The other side has opened a stream."""

    stream: int
    headers: Mapping[str, str]
    """By lower-case name."""


@attrs.frozen
class Data:
    """Bytes of a stream; the last ones if `end`."""

    stream: int
    data: bytes
    end: bool


@attrs.frozen
class StreamReset:
    """The other side has given a stream up."""

    stream: int


@attrs.frozen
class Pinged:
    """The other side wants to know whether we live: answer with `SpdyConnection.ping`."""

    number: int


@attrs.frozen
class GoneAway:
    """The other side will open no more streams."""


Event = StreamOpened | Data | StreamReset | Pinged | GoneAway


class SpdyConnection:
    """One side of a connection, the one that streams are opened to."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._inflate = zlib.decompressobj(zdict=_DICTIONARY)
        self._deflate = zlib.compressobj(zdict=_DICTIONARY)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yield what has happened with some bytes that came. Raises `SpdyError`."""
        self._received += data
        while len(self._received) >= 8:
            first, second = struct.unpack_from(">II", self._received)
            length = second & MOST_PER_FRAME
            if len(self._received) < 8 + length:
                return
            payload = bytes(self._received[8 : 8 + length])
            del self._received[: 8 + length]
            if first & 0x80000000:
                event = self._control(first, second >> 24, payload)
                if event is not None:
                    yield event
            else:
                yield Data(first, payload, bool(second >> 24 & FIN))

    def _control(self, first: int, flags: int, payload: bytes) -> Event | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise SpdyError(f"SPDY version {version} is not spoken here, only {VERSION}")
        try:
            match kind:
                case 1:  # SYN_STREAM: stream, associated stream, priority, slot, headers
                    stream = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
                    return StreamOpened(stream, self._headers(payload[10:]))
                case 2 | 8:  # SYN_REPLY, HEADERS: to be read, so that the compression stays in step
                    self._headers(payload[4:])
                case 3:
                    return StreamReset(struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF)
                case 6:
                    return Pinged(struct.unpack_from(">I", payload)[0])
                case 7:
                    return GoneAway()
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a damaged frame of type {kind}: {error}") from None
        return None

    def _headers(self, block: bytes) -> Mapping[str, str]:
        plain = self._inflate.decompress(block, MOST_HEADER_BYTES)
        at = 4
        headers = {}

        def text() -> str:
            nonlocal at
            (length,) = struct.unpack_from(">I", plain, at)
            at += 4 + length
            return plain[at - length : at].decode()

        for _ in range(struct.unpack_from(">I", plain)[0]):
            name = text().lower()
            headers[name] = text().replace("\0", ", ")
        return headers

    @staticmethod
    def _frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
        return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload

    def reply(self, stream: int) -> bytes:
        """Return the frame that accepts a stream."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self._frame(SYN_REPLY, struct.pack(">I", stream) + block)

    def data(self, stream: int, data: bytes, *, end: bool = False) -> bytes:
        """Return the frame of some bytes of a stream, at most 16 MiB; after `end` nothing more comes."""
        return struct.pack(">II", stream, (FIN if end else 0) << 24 | len(data)) + data

    def reset(self, stream: int) -> bytes:
        """Return the frame that gives a stream up."""
        return self._frame(RST_STREAM, struct.pack(">II", stream, 5))

    def ping(self, number: int) -> bytes:
        """Return the answer to a ping."""
        return self._frame(PING, struct.pack(">I", number))
