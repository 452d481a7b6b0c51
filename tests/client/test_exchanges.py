"""Exchanges over a connection: how long they wait, and how much they take."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from anyio.abc import AnyByteStream, SocketAttribute

from kubelib.client.connections import UNREAD
from kubelib.client.exchanges import Exchanges

Serve = Callable[[AnyByteStream], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """Run a server that does this with each connection, once it has been asked something."""

    async def one(stream: AnyByteStream) -> None:
        async with stream:
            await stream.receive()
            await serve(stream)

    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listening, anyio.create_task_group() as group:
        group.start_soon(listening.serve, one)
        with anyio.fail_after(60):
            yield f"http://127.0.0.1:{listening.extra(SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


async def test_an_answer_may_take_longer_than_the_time_to_wait_as_long_as_something_comes() -> None:
    async def slowly(stream: AnyByteStream) -> None:
        await stream.send(HEAD % 5)
        for letter in b"hello":
            await anyio.sleep(0.3)
            await stream.send(bytes([letter]))

    async with served(slowly) as url, Exchanges(None) as exchanges:
        answer = await exchanges.ask("GET", url, "/", {}, None, {"read": 0.8})
        assert answer.body == b"hello"


async def test_a_server_that_falls_silent_is_not_waited_for_for_ever() -> None:
    async def half(stream: AnyByteStream) -> None:
        await stream.send(HEAD % 5 + b"he")
        await anyio.sleep_forever()

    async with served(half) as url, Exchanges(None) as exchanges:
        with pytest.raises(httpx.ReadTimeout):
            await exchanges.ask("GET", url, "/", {}, None, {"read": 0.1})


async def test_a_server_waits_until_what_it_has_sent_is_read() -> None:
    size, sent = 64 * UNREAD, 0

    async def much(stream: AnyByteStream) -> None:
        nonlocal sent
        await stream.send(HEAD % size)
        while sent < size:
            await stream.send(bytes(UNREAD))
            sent += UNREAD

    async with served(much) as url, Exchanges(None) as exchanges:
        response = await exchanges.handle_async_request(httpx.Request("GET", url))
        parts = response.aiter_bytes()
        found = len(await anext(parts))
        await anyio.sleep(0.5)
        assert sent < size / 2
        async for part in parts:
            found += len(part)
        assert found == size
        await response.aclose()


async def test_what_a_server_does_not_take_is_not_waited_for_for_ever() -> None:
    async def deaf(stream: AnyByteStream) -> None:
        await anyio.sleep_forever()

    async with served(deaf) as url, Exchanges(None) as exchanges:
        with pytest.raises(httpx.WriteTimeout):
            await exchanges.ask("POST", url, "/", {}, bytes(64 << 20), {"write": 0.2})


async def test_a_server_s_address_may_have_a_path_and_names_any_characters() -> None:
    heads: list[bytes] = []

    async def answered(stream: AnyByteStream) -> None:
        await stream.send(HEAD % 0)

    async def noting(stream: AnyByteStream) -> None:
        async with stream:
            heads.append(await stream.receive())
            await answered(stream)

    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listening.extra(SocketAttribute.local_port)
    async with listening, anyio.create_task_group() as group, Exchanges(None) as exchanges:
        group.start_soon(listening.serve, noting)
        await exchanges.ask("GET", f"http://127.0.0.1:{port}/far/", "/a:b c?x=1%2C2", {"a": "b"}, None, {})
        group.cancel_scope.cancel()
    assert heads == [b"GET /far/a:b%%20c?x=1%%2C2 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\na: b\r\n\r\n" % port]
