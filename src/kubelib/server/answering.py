"""Answers on the wire: a complete one leaves as one piece, which is one record of TLS and one call of the kernel instead of two."""

import functools
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from kubelib.server.responses import FOLLOWED, STREAMED


def line_of(name: bytes, value: bytes) -> bytes:
    """Return a header as it is sent. Raises RuntimeError for one that HTTP does not allow."""
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    if HEADER_VALUE_RE.search(value):
        raise RuntimeError("Invalid HTTP header value.")
    return b"%s: %s\r\n" % (name.lower(), value)


header_line = functools.lru_cache(maxsize=4096)(line_of)
"""The same, remembered: most headers are those of answers before."""


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
        lines = [STATUS_LINE[beginning["status"]]]
        length = -1
        for name, value in (*self.default_headers, *beginning["headers"]):
            if name == b"content-length":
                length = int(value)
                lines.append(b"content-length: %s\r\n" % value)
            elif name in (b"connection", b"transfer-encoding"):
                return None
            elif name == b"audit-id":
                lines.append(line_of(name, value))  # each is a new one, and would push out another
            else:
                lines.append(header_line(name, value))
        if length != len(body):
            return None
        lines += (b"\r\n", body)
        return b"".join(lines)
