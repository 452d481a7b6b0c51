"""Connections of the clients over HTTP: they are used again, and who leaves in the middle leaves nothing open."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import AnyByteStream, SocketAttribute

from kubelib.api.errors import ServiceUnavailable
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.client.webhooks import HttpWebhooks

Call = Callable[[], Coroutine[Any, Any, object]]


class Mute:
    """A server that takes what clients say first, and never answers."""

    def __init__(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.spoken_to = anyio.Event()
        self.left = anyio.Event()

    async def serve(self, stream: AnyByteStream) -> None:
        async with stream:
            await stream.receive()
            self.spoken_to.set()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            self.left.set()


@pytest.fixture
async def mute() -> AsyncIterator[Mute]:
    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    server = Mute(listening.extra(SocketAttribute.local_port))
    async with listening, anyio.create_task_group() as group:
        group.start_soon(listening.serve, server.serve)
        yield server
        group.cancel_scope.cancel()


async def test_a_client_that_is_cancelled_in_the_handshake_leaves_nothing_open(mute: Mute) -> None:
    async with HttpClient(Connection(server=mute.url, insecure=True)) as client:
        await _cancelled(mute, lambda: client.request("GET", "/version"))


async def test_a_webhook_s_call_that_is_cancelled_in_the_handshake_leaves_nothing_open(mute: Mute) -> None:
    async with HttpWebhooks(lambda target: ("127.0.0.1", 1)) as caller:
        await _cancelled(mute, lambda: caller.call({"url": f"{mute.url}/hook"}, b"{}", timeout=600))


async def test_a_server_that_leaves_in_the_handshake_is_unavailable() -> None:
    """As one does that is killed just then, or a load balancer that has lost it."""

    async def serve(stream: AnyByteStream) -> None:
        async with stream:
            await stream.receive()

    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    url = f"https://127.0.0.1:{listening.extra(SocketAttribute.local_port)}"
    async with listening, anyio.create_task_group() as group:
        group.start_soon(listening.serve, serve)
        async with HttpClient(Connection(server=url, insecure=True)) as client:
            with anyio.fail_after(60), pytest.raises(ServiceUnavailable, match="the connection was closed"):
                await client.request("GET", "/version")
        group.cancel_scope.cancel()


async def _cancelled(mute: Mute, call: Call) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        with anyio.fail_after(60):
            await mute.spoken_to.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(60):
        await mute.left.wait()


class Scripted:
    """A server that answers each request with the next of its answers, and counts connections; ``b""`` closes one."""

    def __init__(self, port: int, answers: list[bytes]) -> None:
        self.connection = Connection(server=f"http://127.0.0.1:{port}")
        self.answers = answers
        self.connections = 0
        self.heads: list[bytes] = []
        self.closed = anyio.Event()

    async def serve(self, stream: AnyByteStream) -> None:
        self.connections += 1
        async with stream:
            while True:
                try:
                    self.heads.append(await stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
                answer = self.answers.pop(0)
                for part in answer.split(b"|"):
                    await stream.send(part)
                if not answer or answer.endswith(b"|"):
                    break
        self.closed.set()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[tuple[Scripted, HttpClient]]:
    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    server = Scripted(listening.extra(SocketAttribute.local_port), list(answers))
    async with listening, anyio.create_task_group() as group:
        group.start_soon(listening.serve, server.serve)
        with anyio.fail_after(60):
            async with HttpClient(server.connection) as client:
                yield server, client
        group.cancel_scope.cancel()


async def test_one_connection_serves_requests_in_turn_and_several_serve_them_at_once() -> None:
    async with scripted(*[OK] * 6) as (server, client):
        for _ in range(3):
            assert (await client.request("GET", "/a")).body == b"{}"
        assert server.connections == 1
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(client.request, "GET", "/a")
        assert 1 <= server.connections <= 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n|he|llo",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n|3\r\nllo\r\n0\r\n|\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhel|lo|",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello|",
    ],
    ids=["measured", "chunked", "continued", "until the end", "HTTP/1.0"],
)
async def test_an_answer_is_read_to_its_end_however_that_is_told(answer: bytes) -> None:
    async with scripted(answer, OK) as (_, client):
        assert (await client.request("GET", "/a")).body == b"hello"
        assert (await client.request("GET", "/b")).body == b"{}"


@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n"],
    ids=["headers", "trailers"],
)
async def test_headers_have_an_end(beginning: bytes) -> None:
    async with scripted(beginning + b"a: b\r\n" * (1 << 16), OK) as (_, client):
        with pytest.raises(ServiceUnavailable, match="the headers are longer than"):
            await client.request("POST", "/a", body=b"{}")
        assert (await client.request("GET", "/b")).body == b"{}"


async def test_a_kept_connection_that_the_server_has_closed_is_not_used() -> None:
    async with scripted(OK + b"|", OK) as (server, client):
        await client.request("GET", "/a")
        await server.closed.wait()
        await client.request("PATCH", "/b", body=b"{}")
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "Server disconnected without sending a response."),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal|",
            "Server disconnected in the middle of an answer.",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "HTTP"),
    ],
    ids=["nothing", "half an answer", "another protocol"],
)
async def test_a_server_that_does_not_answer_as_it_should_is_unavailable(answer: bytes, why: str) -> None:
    async with scripted(answer) as (_, client):
        with pytest.raises(ServiceUnavailable, match=why):
            await client.request("POST", "/a", body=b"{}")


async def test_a_stream_that_is_left_in_the_middle_is_closed() -> None:
    async with scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc") as (server, client):
        async with client.stream("GET", "/a") as parts:
            assert await anext(parts) == b"abc"
        await server.closed.wait()


async def test_what_would_end_a_header_early_is_not_sent() -> None:
    async with scripted() as (server, _), HttpClient(server.connection, manager="a\r\nb") as client:
        with pytest.raises(ServiceUnavailable, match="Illegal value of the header"):
            await client.request("GET", "/a")
        assert not server.heads
