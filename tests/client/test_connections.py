"""Connections of the clients over HTTP: who leaves in the middle of a handshake leaves nothing open."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio
import pytest
from anyio.abc import AnyByteStream, SocketAttribute

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


async def _cancelled(mute: Mute, call: Call) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        with anyio.fail_after(60):
            await mute.spoken_to.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(60):
        await mute.left.wait()
