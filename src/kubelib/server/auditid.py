"""The identity of a request, by which client, audit log and aggregated servers speak of it: the header ``Audit-Id``."""

from collections.abc import MutableMapping
from random import Random
from typing import Any

from kubelib.clock import new_uid
from kubelib.server.responses import Scope, Send

HEADER = b"audit-id"
_LENGTH = len(HEADER)
AUDIT_ID = "kubelib.audit-id"
"""Where the scope of a request has its identity."""
STATUS = "kubelib.status"
"""Where the scope of a request has the status of its answer, once that has begun."""
_ANSWERS = ("http.response.start", "websocket.http.response.start")
"""What begins an answer. One that accepts an upgrade tells no identity, as kube-apiserver's tells none."""


def identify(scope: Scope, send: Send, random: Random) -> Send:
    """Note the identity of a request in its scope: the client's own, as it is, or a new one.

    Returns a `send` whose answers tell it, unless they have one already: that of another server that was asked. It notes their status.
    """
    # Every request comes by here twice: loops cost a third of what generators do.
    identity = b""
    for name, value in scope["headers"]:
        if name == HEADER and value:
            identity = value
            break
    identity = scope[AUDIT_ID] = identity or new_uid(random).encode()

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
