"""The identity of a request, by which client, audit log and aggregated servers speak of it: the header ``Audit-Id``."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from kubelib.server.responses import Scope, Send

HEADER = b"audit-id"
_LENGTH = len(HEADER)
AUDIT_ID = "kubelib.audit-id"
"""Where the scope of a request has its identity."""
STATUS = "kubelib.status"
"""Where the scope of a request has the status of its answer, once that has begun."""
_ANSWERS = ("http.response.start", "websocket.http.response.start")
"""What begins an answer. One that accepts an upgrade tells no identity, as kube-apiserver's tells none."""


def identify(scope: Scope, headers: Mapping[bytes, bytes], new: Iterator[str]) -> None:
    """Note the identity of a request in its scope: the client's own, as it is, or the next of `new` ones."""
    scope[AUDIT_ID] = headers.get(HEADER) or next(new).encode()


def identified(scope: Scope, send: Send) -> Send:
    """Return a `send` whose answers tell the identity of the request, and that notes their status.

    Those that have one already keep it: it is that of another server that was asked.
    """
    identity = scope[AUDIT_ID]

    async def send_identified(message: MutableMapping[str, Any]) -> None:
        kind = message["type"]
        if kind in _ANSWERS:
            headers = message["headers"]
            scope[STATUS] = message["status"]
            for name, _ in headers:
                if len(name) == _LENGTH and name.lower() == HEADER:
                    break
            else:
                message["headers"] = [*headers, (HEADER, identity)]
        elif kind == "websocket.accept":
            scope[STATUS] = 101
        await send(message)

    return send_identified
