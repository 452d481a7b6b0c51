"""Port-forwarding, from the frames upwards."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from kubelib.api.errors import BadRequest, NotFound
from kubelib.server import spdy
from kubelib.server.channels import ChannelProtocol
from kubelib.server.exchange import ByteStream
from kubelib.server.forwarding import CHANNELS, TUNNEL, forwarding_protocol, ports_of, serve_forwarding
from tests.server.spdyclient import Client, Socket


def test_frames_are_understood_however_they_are_cut() -> None:
    client, expected = Client(), []
    wire = client.open(1, streamtype="error", port="80") + client.open(3, streamtype="data", port="80")
    wire += client.data(3, b"hello") + client.data(3, b"", end=True)
    wire += spdy.SpdyConnection().ping(7) + spdy.SpdyConnection().reset(3)
    expected = [
        spdy.StreamOpened(1, {"streamtype": "error", "port": "80"}),
        spdy.StreamOpened(3, {"streamtype": "data", "port": "80"}),
        spdy.Data(3, b"hello", end=False),
        spdy.Data(3, b"", end=True),
        spdy.Pinged(7),
        spdy.StreamReset(3),
    ]
    for size in (1, 7, len(wire)):
        connection = spdy.SpdyConnection()
        found = [e for at in range(0, len(wire), size) for e in connection.receive(wire[at : at + size])]
        assert found == expected


@pytest.mark.parametrize(
    "wire",
    [
        b"\x80\x02\x00\x01\x00\x00\x00\x00",  # another version
        b"\x80\x03\x00\x01\x00\x00\x00\x04abcd",  # too short for a stream
        b"\x80\x03\x00\x01\x00\x00\x00\x10" + b"\xff" * 16,  # headers that are not compressed
    ],
)
def test_what_is_not_spdy_is_refused(wire: bytes) -> None:
    with pytest.raises(spdy.SpdyError):
        list(spdy.SpdyConnection().receive(wire))


@pytest.mark.parametrize("texts", [["0"], ["65536"], ["x"], [""], ["80,-1"]])
def test_ports_that_cannot_be_are_refused(texts: list[str]) -> None:
    with pytest.raises(BadRequest):
        ports_of(texts)


def test_the_protocol_is_one_that_both_speak() -> None:
    assert forwarding_protocol({"subprotocols": [CHANNELS, TUNNEL]}).name == TUNNEL
    assert forwarding_protocol({"subprotocols": [CHANNELS]}).name == CHANNELS
    assert forwarding_protocol({"subprotocols": []}).name == ""
    with pytest.raises(BadRequest, match="the server offers"):
        forwarding_protocol({"subprotocols": ["v9"]})


class Echo:
    """A port that sends back what it gets, and ends when its client does."""

    def __init__(self) -> None:
        self._sink, self._source = anyio.create_memory_object_stream[bytes](16)

    async def send(self, data: bytes) -> None:
        await self._sink.send(data.upper())

    async def send_eof(self) -> None:
        self._sink.close()

    async def receive(self) -> bytes:
        return await self._source.receive()

    def close(self) -> None:
        self._sink.close()
        self._source.close()


def connect(port: int) -> AbstractAsyncContextManager[ByteStream]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[ByteStream]:
        if port != 80:
            raise NotFound(f"cannot connect to port {port}")
        echo = Echo()
        try:
            yield echo
        finally:
            echo.close()

    return opened()


@pytest.mark.anyio
async def test_a_tunnel_carries_connections_and_says_when_a_port_does_not_answer() -> None:
    socket, client, answers = Socket(), Client(), spdy.SpdyConnection()
    async with anyio.create_task_group() as group:
        group.start_soon(serve_forwarding, ChannelProtocol(TUNNEL), connect, [], socket.receive, socket.send)

        async def hear(count: int) -> list[Any]:
            events: list[Any] = []
            while len(events) < count:
                events += answers.receive(await socket.hear())
            return events

        await socket.say(client.open(1, streamtype="error", port="80", requestid="0"))
        await socket.say(client.open(3, streamtype="data", port="80", requestid="0"))
        await socket.say(client.data(3, b"abc") + client.data(3, b"", end=True))
        assert await hear(3) == [
            spdy.Data(3, b"ABC", end=False),
            spdy.Data(1, b"", end=True),
            spdy.Data(3, b"", end=True),
        ]
        await socket.say(client.open(5, streamtype="error", port="81", requestid="1"))
        await socket.say(client.open(7, streamtype="data", port="81", requestid="1"))
        assert (await hear(2))[0] == spdy.Data(5, b"cannot connect to port 81", end=True)
        await socket.leave()
    socket.close()


@pytest.mark.anyio
async def test_channels_carry_one_connection_for_each_port() -> None:
    socket = Socket()
    async with anyio.create_task_group() as group:
        group.start_soon(
            serve_forwarding, ChannelProtocol(CHANNELS), connect, [80, 81], socket.receive, socket.send
        )
        announced = {await socket.hear() for _ in range(5)}
        assert announced == {
            b"\x00\x50\x00", b"\x01\x50\x00", b"\x02\x51\x00", b"\x03\x51\x00", b"\x03cannot connect to port 81",
        }  # fmt: skip
        await socket.say(b"\x00abc")
        assert await socket.hear() == b"\x00ABC"
        await socket.leave()
    socket.close()


@pytest.mark.parametrize("name", ["v5.channel.k8s.io", "channel.k8s.io", "", "base64.channel.k8s.io"])
def test_a_message_is_read_as_it_was_written(name: str) -> None:
    protocol = ChannelProtocol(name)
    sent = protocol.message(2, b"\x00\xff")
    assert protocol.read(sent) == (2, b"\x00\xff")
    assert ("text" in sent) == ("base64" in name)


@pytest.mark.parametrize("message", [{}, {"text": "x"}, {"text": "1%%%"}, {"bytes": b""}])
def test_a_message_that_means_nothing_is_on_no_channel(message: dict[str, Any]) -> None:
    assert ChannelProtocol("base64.channel.k8s.io").read(message)[0] == -1
