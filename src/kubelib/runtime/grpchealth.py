"""One question of gRPC's health protocol: is this service serving? An HTTP/2 exchange, for which no gRPC is needed."""

from collections.abc import Mapping

import anyio

from kubelib.runtime import http2

SERVING = 1
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_UNIMPLEMENTED = "12"


async def ask_health(host: str, port: int, service: str) -> str | None:
    """Return None if the service is serving, else what a probe reports. Raises OSError if nobody listens."""
    async with await anyio.connect_tcp(host, port) as stream:
        try:
            fields, answer = await http2.exchange(stream, _headers(host, port), _request(service))
        except OSError as error:
            return f"error: health rpc probe failed: {error}"
    return _verdict(fields, answer)


def _headers(host: str, port: int) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", f"{host}:{port}"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/1.37"),
    ]


def _request(service: str) -> bytes:
    """Return a HealthCheckRequest in its frame: no compression, length, then field 1 if it says anything."""
    name = service.encode()
    assert len(name) < 128, "validation limits the service's name"
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _verdict(fields: Mapping[str, str], answer: bytes) -> str | None:
    status, message = fields.get("grpc-status", "0"), fields.get("grpc-message", "")
    if fields.get(":status") != "200":
        return f"error: health rpc probe failed: unexpected HTTP status {fields.get(':status', 'missing')}"
    if status == _UNIMPLEMENTED:
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
    if status != "0":
        return f"error: health rpc probe failed: rpc error: code {status}: {message}"
    # A HealthCheckResponse: five bytes of frame, then field 1 as a varint; a state of 0 is left out.
    state = answer[6] if len(answer) >= 7 and answer[5] == 0x08 else 0
    if state != SERVING:
        return f'service unhealthy (responded with "{_STATES.get(state, str(state))}")'
    return None
