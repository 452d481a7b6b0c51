"""Tokens of those who open a WebSocket and can set no header, as browsers: among the subprotocols that they offer.

As in Kubernetes' ``authentication/request/websocket``: the token in base64url without padding, behind a prefix, and another protocol
beside it that can be agreed upon.
"""

import base64
import binascii
from collections.abc import Mapping, MutableMapping
from typing import Any

from kubelib.api.errors import Unauthorized

PREFIX = "base64url.bearer.authorization.k8s.io."
_HEADER = b"sec-websocket-protocol"


def offers_token(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether there is a token, good or not, among the subprotocols that the headers of a request offer."""
    return PREFIX.encode() in headers.get(_HEADER, b"")


def take_token(scope: MutableMapping[str, Any]) -> str:
    """Take the token out of the subprotocols that a WebSocket offers; "" if there is none. Nobody sees it there any more.

    Raises Unauthorized for what is no token, and for a token alone.
    """
    offered = scope.get("subprotocols") or ()
    tokens = [protocol for protocol in offered if protocol.startswith(PREFIX)]
    if not tokens:
        return ""
    others = [protocol for protocol in offered if not protocol.startswith(PREFIX)]
    scope["subprotocols"] = others
    scope["headers"] = [
        (name, ", ".join(others).encode("latin1") if name == _HEADER else value)
        for name, value in scope["headers"]
    ]
    encoded = tokens[0].removeprefix(PREFIX)
    try:
        token = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized("Unauthorized") from None
    if len(tokens) > 1 or not token or not others or "=" in encoded:
        raise Unauthorized("Unauthorized")
    return token
