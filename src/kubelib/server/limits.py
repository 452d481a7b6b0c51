"""What clients may cost a server."""

import attrs


@attrs.frozen
class Limits:
    """What clients may cost. Those that exceed it lose their connection."""

    stalled: float = 60.0
    """Seconds that an answer, or a part of it, waits for a client that does not read."""
    silent: float = 60.0
    """Seconds in which a connection sends the head of a request, its first or a further one."""
    head: int = 1024 * 1024 + 4096
    """How many bytes the head of a request has at most, and what follows a body; as Go's servers have it."""
    connections: int = 16_384
    """How many connections there are at a time."""


LIMITS = Limits()
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"431 Request Header Fields Too Large"
)
