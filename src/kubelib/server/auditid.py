"""The identity of a request, by which client, audit log and aggregated servers speak of it: the header ``Audit-Id``."""

from collections.abc import MutableMapping
from random import Random
from typing import Any

from kubelib.clock import new_uid
from kubelib.server.responses import Scope, Send

HEADER = b"audit-id"
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
    given = next((value for name, value in scope["headers"] if name == HEADER and value), b"")
    identity: bytes = given or new_uid(random).encode()
    scope[AUDIT_ID] = identity

    async def send_identified(message: MutableMapping[str, Any]) -> None:
        if message["type"] in _ANSWERS:
            headers = message["headers"]
            scope[STATUS] = message["status"]
            if not any(name.lower() == HEADER for name, _ in headers):
                message["headers"] = [*headers, (HEADER, identity)]
        elif message["type"] == "websocket.accept":
            scope[STATUS] = 101
        await send(message)

    return send_identified
