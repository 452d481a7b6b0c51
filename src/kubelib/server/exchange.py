"""One HTTP exchange over bytes: how the API server speaks to Pods, Services and nodes on behalf of its clients."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode

import attrs
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    create_memory_object_stream,
    create_task_group,
)
from anyio.abc import TaskGroup

from kubelib.api.codec import error_of_answer
from kubelib.api.errors import ServiceUnavailable
from kubelib.registry.base import User
from kubelib.server.responses import Headers, Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_OF_ONE_CONNECTION = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"proxy-connection",
}  # fmt: skip
"""Headers that are about a connection and not about what it carries."""


class ByteStream(Protocol):
    """A connection to a port of a Pod."""

    async def send(self, data: bytes) -> None:
        """Send bytes to the port."""

    async def send_eof(self) -> None:
        """Tell the port that nothing more comes, where the way there can carry that."""

    async def receive(self) -> bytes:
        """Return the next bytes. Raises `anyio.EndOfStream` at the end."""


@attrs.frozen
class Inquiry:
    """A request that is passed on."""

    method: str
    target: bytes
    """Path and query, as they go on the wire."""
    headers: Headers
    body: AsyncIterator[bytes]


@attrs.frozen
class Reply:
    """The answer to an inquiry; its body comes as it is read."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]


def end_to_end(headers: Headers) -> Headers:
    """Return the headers that are passed on: those of one connection, and those that `Connection` names, stay behind."""
    named = {
        part.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for part in value.split(b",")
    }
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _OF_ONE_CONNECTION and name.lower() not in named
    ]


def _undated(headers: Headers) -> Headers:
    """Return an answer's headers without its date: the listener that passes it on adds its own."""
    return [(name, value) for name, value in headers if name.lower() != b"date"]


@asynccontextmanager
async def concurrently() -> AsyncIterator[TaskGroup]:
    """Open a task group whose host's only error comes out as it is, and not in a group."""
    try:
        async with create_task_group() as group:
            yield group
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise


@asynccontextmanager
async def exchange(stream: ByteStream, inquiry: Inquiry) -> AsyncIterator[Reply]:
    """Send a request over `stream` and receive its answer. Raises ServiceUnavailable if none comes, or only a part."""
    import h11

    connection = h11.Connection(h11.CLIENT)

    async def send() -> None:
        headers = [*inquiry.headers, (b"connection", b"close")]
        sized = any(name.lower() == b"content-length" for name, _ in headers)
        if not sized and inquiry.method in ("POST", "PUT", "PATCH"):
            headers.append((b"transfer-encoding", b"chunked"))
        try:
            head = h11.Request(method=inquiry.method, target=inquiry.target, headers=headers)
            await stream.send(connection.send(head) or b"")
            async for data in inquiry.body:
                await stream.send(connection.send(h11.Data(data=data)) or b"")
            if end := connection.send(h11.EndOfMessage()):
                await stream.send(end)
        except (OSError, BrokenResourceError, ClosedResourceError, h11.LocalProtocolError):
            return  # it has answered already, or is gone: reading says which

    async def next_event() -> object:
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                try:
                    data = await stream.receive()
                except (EndOfStream, BrokenResourceError, OSError):
                    data = b""
                connection.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from None
        return event

    async def body() -> AsyncIterator[bytes]:
        while isinstance(event := await next_event(), h11.Data):
            yield bytes(event.data)

    async with concurrently() as group:
        group.start_soon(send)
        head = await next_event()
        while isinstance(head, h11.InformationalResponse):
            head = await next_event()
        if not isinstance(head, h11.Response):
            raise ServiceUnavailable("error trying to reach service: EOF")
        yield Reply(head.status_code, _undated(end_to_end(list(head.headers))), body())
        group.cancel_scope.cancel()


@asynccontextmanager
async def exchange_with(
    application: Application, inquiry: Inquiry, state: Mapping[str, Any]
) -> AsyncIterator[Reply]:
    """Ask an ASGI application in this process. Raises ServiceUnavailable if it does not answer."""
    path, _, query = inquiry.target.partition(b"?")
    scope: Scope = {
        "type": "http",
        "method": inquiry.method,
        "path": unquote(path.decode("latin1")),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in inquiry.headers],
        "state": dict(state),
        "extensions": {},
    }
    send, messages = create_memory_object_stream[MutableMapping[str, Any]](4)
    gone = Event()

    async def receive() -> MutableMapping[str, Any]:
        async for data in inquiry.body:
            return {"type": "http.request", "body": data, "more_body": True}
        if not ended.is_set():
            ended.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    ended = Event()

    async def answer() -> None:
        with send:
            await application(scope, receive, send.send)

    async def body() -> AsyncIterator[bytes]:
        async for message in messages:
            if data := message.get("body"):
                yield data

    async with concurrently() as group:
        with messages:
            group.start_soon(answer)
            try:
                start = await messages.receive()
            except EndOfStream:
                raise ServiceUnavailable("error trying to reach service: EOF") from None
            yield Reply(start["status"], _undated(end_to_end(start["headers"])), body())
            group.cancel_scope.cancel()


async def nothing() -> AsyncIterator[bytes]:
    """Yield the body of a request that has none."""
    none: tuple[bytes, ...] = ()
    for chunk in none:
        yield chunk


async def request_from(
    application: Application, user: User, method: str, path: str, query: Mapping[str, str]
) -> bytes:
    """Ask as a user, in the process of the API server, what only the server and not its registries can tell. Raises ApiError."""
    target = f"{quote(path)}?{urlencode(query)}".encode()
    inquiry = Inquiry(method, target, [(b"accept", b"application/json")], nothing())
    async with exchange_with(application, inquiry, {"user": user}) as reply:
        body = b"".join([chunk async for chunk in reply.body])
    if reply.status >= 400:
        raise error_of_answer(reply.status, body)
    return body
