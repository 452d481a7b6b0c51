"""The messages of Kubernetes' channel protocols over WebSockets: a channel's number, and its bytes.

``v5.channel.k8s.io``, ``v4.channel.k8s.io``, ``channel.k8s.io`` and no protocol at all begin each binary message with the number
as a byte; those with ``base64`` in their name begin each text message with the number as a digit, and the rest is base64.
v5 can close a channel; v4 and v5 end with a ``Status``, the others with a text, and only if something went wrong.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import attrs

from kubelib.api.errors import BadRequest
from kubelib.server.responses import Scope

PROTOCOLS = (
    "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io",
)  # fmt: skip


@attrs.frozen
class ChannelProtocol:
    """One of the protocols; the name is empty for clients that offer none."""

    name: str

    @property
    def ends_with_status(self) -> bool:
        """Whether the last message is a ``Status`` in any case."""
        return self.name.startswith(("v4.", "v5."))

    def accept(self) -> dict[str, Any]:
        """Return the message that accepts the upgrade."""
        return {"type": "websocket.accept", "subprotocol": self.name or None}

    def message(self, channel: int, data: bytes) -> dict[str, Any]:
        """Return the message that carries some bytes on a channel."""
        if "base64" in self.name:
            return {"type": "websocket.send", "text": f"{channel}{base64.b64encode(data).decode()}"}
        return {"type": "websocket.send", "bytes": bytes([channel]) + data}

    def read(self, message: Mapping[str, Any]) -> tuple[int, bytes]:
        """Take a received message apart; what cannot be understood is on channel -1."""
        if "base64" in self.name:
            text = message.get("text") or (message.get("bytes") or b"").decode("latin1")
            try:
                return int(text[:1]), base64.b64decode(text[1:], validate=True)
            except (ValueError, binascii.Error):
                return -1, b""
        data: bytes = message.get("bytes") or (message.get("text") or "").encode()
        return (data[0], data[1:]) if data else (-1, b"")


def channel_protocol(scope: Scope) -> ChannelProtocol:
    """Return the first of the offered protocols that is spoken. Raises BadRequest."""
    offered = scope.get("subprotocols") or ()
    if not offered:
        return ChannelProtocol("")
    for name in PROTOCOLS:
        if name in offered:
            return ChannelProtocol(name)
    raise BadRequest(f"unable to upgrade: the server offers {', '.join(PROTOCOLS)}")
