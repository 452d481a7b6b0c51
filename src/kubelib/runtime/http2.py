"""One question over HTTP/2 in the clear, with a server that is known to speak it. Probes need no more than that."""

from collections.abc import Callable, Mapping, Sequence

import anyio
from anyio.abc import ByteStream

# Why not `kubelib.store.etcd.rpc`: that speaks HTTP/2 with one server that we know, as fast as it can, over a connection that it
# keeps. A probe meets anybody's server once: h2 judges what it answers. They would share no more than five bytes of framing.

LONGEST_BODY = 10 << 10
CLOSED = "the connection was closed"


async def exchange(
    stream: ByteStream,
    headers: Sequence[tuple[str, str]],
    body: bytes = b"",
    enough: Callable[[Mapping[str, str]], bool] = lambda _: False,
) -> tuple[Mapping[str, str], bytes]:
    """Ask once, and return the fields and the body (at most its beginning) of the answer.

    The fields are those before the body, ``:status`` among them, and those after it; the body is not waited for if those before it
    are `enough`. Nothing is in them if the server refused to answer. Raises OSError if it speaks no HTTP/2.
    """
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
    try:
        connection.initiate_connection()
        number = connection.get_next_available_stream_id()
        connection.send_headers(number, headers, end_stream=not body)
        if body:
            connection.send_data(number, body, end_stream=True)
        while not over:
            await stream.send(connection.data_to_send())
            for event in connection.receive_data(await stream.receive()):
                match event:
                    case ResponseReceived(headers=given) | TrailersReceived(headers=given):
                        fields.update((str(name), str(value)) for name, value in given or ())
                        over = over or enough(fields)
                    case DataReceived(data=data):
                        answer += data or b""
                        over = over or len(answer) >= LONGEST_BODY
                    case StreamEnded() | StreamReset() | ConnectionTerminated():
                        over = True
    except (ProtocolError, UnicodeDecodeError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
        raise OSError(str(error) or CLOSED) from error
    return fields, answer[:LONGEST_BODY]
