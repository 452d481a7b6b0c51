"""Answers on the wire: a complete one leaves as one piece, which is one record of TLS and one call of the kernel instead of two."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from kubelib.server.auditid import HEADER as AUDIT_ID
from kubelib.server.responses import FOLLOWED, STREAMED


def line_of(name: bytes, value: bytes) -> bytes:
    """Return a header as it is sent. Raises RuntimeError for one that HTTP does not allow."""
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    if HEADER_VALUE_RE.search(value):
        raise RuntimeError("Invalid HTTP header value.")
    return b"%s: %s\r\n" % (name.lower(), value)


class _Lines(dict[tuple[bytes, bytes], bytes | None]):
    """Headers as they are sent, None for those that say how an answer ends. Most are those of answers before, and found at once."""

    def __missing__(self, header: tuple[bytes, bytes]) -> bytes | None:
        name, value = header
        line = None if name in (b"connection", b"transfer-encoding") else line_of(name, value)
        if name != AUDIT_ID:  # each is a new one
            if len(self) >= MOST_LINES:
                self.clear()
            self[header] = line
        return line


MOST_LINES = 4096
_lines = _Lines()


class Cycle(RequestResponseCycle):
    """A request and its answer. The beginning of an answer that says that its body follows at once waits for it."""

    beginning: Any = None

    async def send(self, message: Any) -> None:
        """Send a part of the answer, as ASGI has it."""
        beginning = self.beginning
        if beginning is None:
            if FOLLOWED in message:
                self.beginning = message
            else:
                await super().send(message)
                if STREAMED in message and self.chunked_encoding and self.scope["method"] != "HEAD":
                    message[STREAMED](self)
            return
        self.beginning = None
        piece = self._piece(beginning, message)
        if piece is None:
            await super().send(beginning)
            await super().send(message)
            return
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.transport.write(piece)
        self.message_event.set()
        self.on_response()

    @property
    def is_free(self) -> bool:
        """Whether a part of a body, sent in chunks, can be sent at once; see `kubelib.server.responses.Direct`."""
        return not (self.flow.write_paused or self.disconnected or self.response_complete)

    @staticmethod
    def frame(body: bytes) -> bytes:
        """Return a chunk."""
        return b"%x\r\n%s\r\n" % (len(body), body)

    def send_now(self, framed: bytes) -> None:
        """Send a chunk."""
        self.transport.write(framed)

    def _piece(self, beginning: Any, message: Any) -> bytes | None:
        """Return the whole answer; None if it is not one that is simply sent."""
        if (
            self.disconnected
            or self.response_started
            or not self.keep_alive
            or self.flow.write_paused
            or message.get("more_body")
            or self.scope["method"] == "HEAD"
        ):
            return None
        body: bytes = message.get("body", b"")
        headers = beginning["headers"]
        lines = [_lines[header] for header in (*self.default_headers, *headers)]
        if None in lines or (b"content-length", b"%d" % len(body)) not in headers:
            return None
        return b"".join((STATUS_LINE[beginning["status"]], *lines, b"\r\n", body))  # type: ignore[arg-type]  # none is None
