"""Pages of other origins that may read what a server answers to their browsers: kube-apiserver's ``--cors-allowed-origins``."""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from kubelib.server.responses import Headers, Receive, Scope, Send, by_name

_ALLOWED: Headers = [
    (b"access-control-allow-methods", b"POST, GET, OPTIONS, PUT, DELETE, PATCH"),
    (
        b"access-control-allow-headers",
        b"Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
    ),
    (b"access-control-expose-headers", b"Date"),
    (b"access-control-allow-credentials", b"true"),
]


def require_pattern(pattern: str) -> None:
    """Refuse a pattern of origins that also matches a longer name than is meant. Raises ValueError."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from None
    if not any(start in pattern for start in ("^", "//")) or not any(end in pattern for end in ("$", ":")):
        raise ValueError("regular expression does not pin to start/end of host in the origin header")


class CrossOrigin:
    """An ASGI application whose answers say that pages of some origins may read them.

    Browsers ask that with OPTIONS before they send what changes something: this is answered here, whoever asks.
    """

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], patterns: Iterable[str]
    ) -> None:
        """Let pages read the answers of `app` in whose origin one of the regular expressions is found."""
        self._app = app
        self._patterns = [re.compile(pattern) for pattern in patterns]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        origin = by_name(scope).get(b"origin") if scope["type"] == "http" else None
        if origin is None or not self._allows(origin.decode("latin1")):
            await self._app(scope, receive, send)
            return
        headers = [(b"access-control-allow-origin", origin), *_ALLOWED]
        if scope["method"] == "OPTIONS":
            headers.append((b"cache-control", b"no-cache, private"))
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_allowing(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self._app(scope, receive, send_allowing)

    def _allows(self, origin: str) -> bool:
        return any(pattern.search(origin) for pattern in self._patterns)
