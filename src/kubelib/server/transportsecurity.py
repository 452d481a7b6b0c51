"""What tells browsers to come by HTTPS alone: kube-apiserver's ``--strict-transport-security-directives``."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from kubelib.server.responses import Receive, Scope, Send

_HEADER = b"strict-transport-security"


def require_directive(directive: str) -> None:
    """Refuse what is no directive of RFC 6797. Raises ValueError."""
    if not directive.strip():
        raise ValueError("empty value in strict-transport-security-directives")
    name, _, value = directive.partition("=")
    if directive not in ("includeSubDomains", "preload") and (name != "max-age" or not value.isdecimal()):
        raise ValueError(
            "--strict-transport-security-directives invalid, allowed values: max-age=expireTime, includeSubDomains, preload."
            " see https://tools.ietf.org/html/rfc6797#section-6.1 for more information"
        )


class TransportSecurity:
    """An ASGI application whose answers carry the directives, unless they say something else themselves."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], directives: Sequence[str]
    ) -> None:
        """Add the directives to the answers of `app`."""
        self._app = app
        self._header = (_HEADER, "; ".join(directives).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_directives(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if not any(name.lower() == _HEADER for name, _ in headers):
                    message = {**message, "headers": [*headers, self._header]}
            await send(message)

        await self._app(scope, receive, send_with_directives)
