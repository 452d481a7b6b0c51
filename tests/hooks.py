"""A webhook in the test's own process: HTTPS on loopback, behaving as the test says."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import trustme
from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSAttribute, TLSListener

AUTHORITY = trustme.CA()
CA = AUTHORITY.cert_pem.bytes()


class Request:
    """What the webhook was asked, and the connection to answer on."""

    def __init__(self, stream: AnyByteStream, target: str, headers: dict[str, str], body: bytes) -> None:
        self.stream = stream
        self.target = target
        self.headers = headers
        self.body = body

    @property
    def tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(self.body)
        return tree

    @property
    def server_name(self) -> str:
        extra = self.stream.extra(TLSAttribute.ssl_object)
        return str(getattr(extra, "asked_for", ""))

    async def reply(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        await self.stream.send(head.encode() + body)


Behaviour = Callable[[Request], Awaitable[None]]


class Hook:
    """A webhook that listens. It counts its connections and keeps the requests that it was asked.

    That a caller has left is noticed when something is read from it: until then its connection counts as open.
    """

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        """How many there have been."""
        self.open = 0
        self.most_open = 0
        """How many have been open at one time."""
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hook"


async def _read(stream: AnyByteStream, buffer: bytearray) -> tuple[str, dict[str, str], bytes]:
    while b"\r\n\r\n" not in buffer:
        buffer += await stream.receive()
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = bytearray(rest)
    size = int(headers.get("content-length", "0"))
    while len(body) < size:
        body += await stream.receive()
    buffer[:] = body[size:]
    return first.split(" ")[1], headers, bytes(body[:size])


@asynccontextmanager
async def hook(
    behave: Behaviour, *names: str, authority: trustme.CA = AUTHORITY, context: ssl.SSLContext | None = None
) -> AsyncIterator[Hook]:
    """Run a webhook while the context is open; its certificate is for `names`, or localhost."""
    running = Hook()
    if context is None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)

    async def serve(stream: AnyByteStream) -> None:
        running.connections += 1
        running.open += 1
        running.most_open = max(running.most_open, running.open)
        buffer = bytearray()
        async with stream:
            try:
                while True:
                    target, headers, body = await _read(stream, buffer)
                    request = Request(stream, target, headers, body)
                    running.requests.append(request)
                    await behave(request)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return
            finally:
                running.open -= 1

    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    running.port = listening.extra(anyio.abc.SocketAttribute.local_port)
    async with (
        TLSListener(listening, context, standard_compatible=False) as tls,
        anyio.create_task_group() as group,
    ):
        group.start_soon(tls.serve, serve)
        try:
            yield running
        finally:
            group.cancel_scope.cancel()
