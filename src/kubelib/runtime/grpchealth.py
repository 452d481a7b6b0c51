"""One question of gRPC's health protocol: is this service serving? An HTTP/2 exchange, for which no gRPC is needed."""

import anyio

# Why not `kubelib.store.etcd.rpc`: that speaks HTTP/2 with one server that we know, as fast as it can, over a connection that it
# keeps. A probe meets anybody's server once: h2 judges what it answers. They would share no more than five bytes of framing.

SERVING = 1
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_UNIMPLEMENTED = "12"


async def ask_health(host: str, port: int, service: str) -> str | None:
    """Return None if the service is serving, else what a probe reports. Raises OSError if nobody listens."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import (
        ConnectionTerminated,
        DataReceived,
        ResponseReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
    )
    from h2.exceptions import ProtocolError

    fields: dict[str, str] = {}
    answer, over = b"", False
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    async with await anyio.connect_tcp(host, port) as stream:
        connection.initiate_connection()
        number = connection.get_next_available_stream_id()
        connection.send_headers(number, _headers(host, port))
        connection.send_data(number, _request(service), end_stream=True)
        try:
            while not over:
                await stream.send(connection.data_to_send())
                for event in connection.receive_data(await stream.receive()):
                    match event:
                        case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                            fields.update((str(name), str(value)) for name, value in headers or ())
                        case DataReceived(data=data):
                            answer += data or b""
                        case StreamEnded() | StreamReset() | ConnectionTerminated():
                            over = True
        except (ProtocolError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            return f"error: health rpc probe failed: {str(error) or 'the connection was closed'}"
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


def _verdict(fields: dict[str, str], answer: bytes) -> str | None:
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
