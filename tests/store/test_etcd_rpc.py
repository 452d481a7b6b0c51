"""Calls over HTTP/2, against an implementation of the other side by other people: what servers may do, and what they must not."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
import trustme
from anyio.streams.tls import TLSListener
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from kubelib.store.etcd import http2
from kubelib.store.etcd.http2 import Http2Connection
from kubelib.store.etcd.rpc import Channel, RpcError

GOOD = [("grpc-status", "0"), ("grpc-message", "")]


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


class Peer:
    """A server's side of one connection. What it does with a request, `answer` says."""

    def __init__(self, stream: anyio.abc.ByteStream, answer: "Answer", **settings: int) -> None:
        self.stream = stream
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.answer = answer
        self.settings: dict[SettingCodes | int, int] = {SettingCodes[name]: n for name, n in settings.items()}
        self.requests: dict[int, bytearray] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.turn = anyio.Lock()
        self.most_at_once = 0
        self.resets: list[int] = []

    async def run(self) -> None:
        self.h2.initiate_connection()
        if self.settings:
            self.h2.update_settings(self.settings)
        try:
            async with self.stream, anyio.create_task_group() as group:
                self.group = group
                while True:
                    await self.flush()
                    for event in self.h2.receive_data(await self.stream.receive()):
                        self.take_in(event)
        except* (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    def take_in(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=number, headers=headers):
                assert number is not None
                self.requests[number] = bytearray()
                self.headers[number] = {str(name): str(value) for name, value in headers or ()}
                self.most_at_once = max(self.most_at_once, self.h2.open_inbound_streams)
            case DataReceived(stream_id=number, data=data):
                assert number is not None
                self.requests[number] += data or b""
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, number)
            case StreamEnded(stream_id=number):
                assert number is not None
                self.group.start_soon(self.answer, self, number, bytes(self.requests[number])[5:])
            case StreamReset(stream_id=number):
                assert number is not None
                self.resets.append(number)

    async def send(self, number: int, data: bytes, *, piece: int = 1 << 14, pad: int | None = None) -> None:
        """Send data as the other side takes it."""
        while data:
            room = min(self.h2.local_flow_control_window(number) - (pad or 0) - 1, piece)
            if room <= 0:
                await anyio.sleep(0.001)
                continue
            part, data = data[:room], data[room:]
            self.h2.send_data(number, part, pad_length=pad)
            await self.flush()

    async def flush(self) -> None:
        async with self.turn:  # who waits for it, sends what others have left since
            await self.stream.send(self.h2.data_to_send())

    async def reply(
        self, number: int, message: bytes, trailers: list[tuple[str, str]] = GOOD, **how: Any
    ) -> None:
        self.h2.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
        await self.send(number, framed(message), **how)
        self.h2.send_headers(number, trailers, end_stream=True)
        await self.flush()


Answer = Callable[[Peer, int, bytes], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(answer: Answer, **settings: int) -> AsyncIterator[tuple[Channel, list[Peer]]]:
    """Serve on loopback; yield a channel to the server, and its side of each connection."""
    peers: list[Peer] = []

    async def serve(stream: anyio.abc.ByteStream) -> None:
        peers.append(Peer(stream, answer, **settings))
        await peers[-1].run()

    async with raw(serve) as channel:
        yield channel, peers


@asynccontextmanager
async def raw(
    serve: Callable[[Any], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Channel]:
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    channel = Channel(f"127.0.0.1:{port}", None if trust is None else lambda: trust)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            with anyio.fail_after(60):
                yield channel
        finally:
            await channel.close()
            group.cancel_scope.cancel()


async def ask(channel: Channel, message: bytes = b"hello", timeout: float = 30) -> bytes:
    return await channel.call("/some.Service/Call", message, timeout, [("token", "t" * 300)])


async def echo(peer: Peer, number: int, message: bytes) -> None:
    await peer.reply(number, message)


async def test_many_calls_share_a_connection_and_each_gets_its_answer() -> None:
    async with serving(echo) as (channel, peers):
        answers: dict[int, bytes] = {}

        async def one(number: int) -> None:
            answers[number] = await ask(channel, b"%d" % number)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(one, number)
        assert answers == {number: b"%d" % number for number in range(100)}
        (peer,) = peers
        headers = peer.headers[1]
        assert (headers[":path"], headers["token"], headers["te"]) == (
            "/some.Service/Call",
            "t" * 300,
            "trailers",
        )
        assert peer.resets == []


async def test_messages_larger_than_any_window_go_both_ways() -> None:
    large = bytes(range(256)) * 40_000
    async with serving(echo) as (channel, _):
        assert await ask(channel, large) == large
        assert await ask(channel, b"") == b""


async def test_answers_in_small_and_padded_pieces_are_put_together() -> None:
    async def answer(peer: Peer, number: int, message: bytes) -> None:
        await peer.reply(number, message, piece=3, pad=7)

    async with serving(answer) as (channel, _):
        assert await ask(channel, b"one message in many pieces") == b"one message in many pieces"


async def test_headers_may_be_long_and_change_what_is_remembered() -> None:
    async def answer(peer: Peer, number: int, message: bytes) -> None:
        words = [(f"x-{n}-{number}", message.decode() * 4000) for n in range(3)]
        await peer.reply(number, message, [*words, *GOOD])

    async with serving(answer) as (channel, _):
        for word in (b"a", b"b", b"b"):
            assert await ask(channel, word) == word


async def test_no_more_streams_are_open_than_the_server_wants() -> None:
    async def answer(peer: Peer, number: int, message: bytes) -> None:
        await anyio.sleep(0.002)
        await peer.reply(number, message)

    async with serving(answer, MAX_CONCURRENT_STREAMS=3) as (channel, peers):
        await ask(channel)  # its settings are here now
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask, channel)
        assert peers[0].most_at_once == 3


async def test_a_server_that_takes_little_at_a_time_gets_it_so() -> None:
    large = bytes(range(256)) * 400
    async with serving(echo, INITIAL_WINDOW_SIZE=1000, MAX_FRAME_SIZE=20_000) as (channel, _):
        assert await ask(channel, b"first") == b"first"
        assert await ask(channel, large) == large


@pytest.mark.parametrize(
    ("trailers", "code", "details"),
    [
        (
            [("grpc-status", "11"), ("grpc-message", "etcdserver: a%20b%25")],
            "OUT_OF_RANGE",
            "etcdserver: a b%",
        ),
        ([("grpc-status", "99"), ("grpc-message", "new")], "UNKNOWN", "new"),
        ([("x", "y")], "UNKNOWN", "it answers as no etcd does: status 200"),
    ],
)
async def test_errors_are_told_by_trailers(trailers: list[tuple[str, str]], code: str, details: str) -> None:
    async def answer(peer: Peer, number: int, message: bytes) -> None:
        await peer.reply(number, message, trailers)

    async with serving(answer) as (channel, _):
        with pytest.raises(RpcError) as caught:
            await ask(channel)
        assert (caught.value.code, caught.value.details, caught.value.untouched) == (code, details, False)


@pytest.mark.parametrize(
    ("status", "code"), [("401", "UNAUTHENTICATED"), ("503", "UNAVAILABLE"), ("302", "UNKNOWN")]
)
async def test_an_answer_that_is_none_of_grpc_is_an_error(status: str, code: str) -> None:
    async def answer(peer: Peer, number: int, _: bytes) -> None:
        peer.h2.send_headers(number, [(":status", status)], end_stream=True)
        await peer.flush()

    async with serving(answer) as (channel, _):
        with pytest.raises(RpcError, match=f"status {status}") as caught:
            await ask(channel)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("reset", "code", "untouched"),
    [
        (ErrorCodes.REFUSED_STREAM, "UNAVAILABLE", True),
        (ErrorCodes.CANCEL, "CANCELLED", False),
        (ErrorCodes.INTERNAL_ERROR, "INTERNAL", False),
    ],
)
async def test_a_stream_that_the_server_resets_says_whether_something_was_done(
    reset: ErrorCodes, code: str, untouched: bool
) -> None:
    async def answer(peer: Peer, number: int, message: bytes) -> None:
        if message == b"hello":
            peer.h2.reset_stream(number, reset)
            await peer.flush()
        else:
            await peer.reply(number, message)

    async with serving(answer) as (channel, peers):
        with pytest.raises(RpcError) as caught:
            await ask(channel)
        assert (caught.value.code, caught.value.untouched) == (code, untouched)
        assert await ask(channel, b"next") == b"next"
        assert len(peers) == 1


async def test_a_server_that_goes_away_finishes_what_it_has_begun_and_the_rest_goes_to_the_next() -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def answer(peer: Peer, number: int, message: bytes) -> None:
        if message == b"slow":
            begun.set()
            await go_on.wait()
        elif message == b"refused":
            peer.h2.close_connection(last_stream_id=1)
            await peer.flush()
            peer.h2.state_machine.state = type(
                peer.h2.state_machine.state
            ).SERVER_OPEN  # it goes on, as servers do
            return
        await peer.reply(number, message)

    async with serving(answer) as (channel, peers), anyio.create_task_group() as group:
        answers: list[bytes] = []

        async def slow() -> None:
            answers.append(await ask(channel, b"slow"))

        group.start_soon(slow)
        await begun.wait()
        with pytest.raises(RpcError) as caught:
            await ask(channel, b"refused")
        assert (caught.value.code, caught.value.untouched) == ("UNAVAILABLE", True)
        assert await ask(channel, b"next") == b"next"
        assert len(peers) == 2
        go_on.set()
        with anyio.fail_after(60):
            while not answers:
                await anyio.sleep(0.01)
        assert answers == [b"slow"]


async def test_numbers_of_streams_that_are_used_up_make_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2, "LAST_STREAM", 5)
    async with serving(echo) as (channel, peers):
        for number in range(7):
            assert await ask(channel, b"%d" % number) == b"%d" % number
        assert [sorted(peer.headers) for peer in peers] == [[1, 3, 5], [1, 3, 5], [1]]


async def test_a_call_that_takes_too_long_ends_and_tells_the_server() -> None:
    async def answer(peer: Peer, number: int, message: bytes) -> None:
        if message == b"hello":
            await anyio.sleep_forever()
        await peer.reply(number, message)

    async with serving(answer) as (channel, peers):
        with pytest.raises(RpcError) as caught:
            await ask(channel, timeout=0.05)
        assert caught.value.code == "DEADLINE_EXCEEDED"
        with anyio.move_on_after(0.05):
            await ask(channel)  # so does one whose caller is cancelled
        assert await ask(channel, b"next") == b"next"
        assert peers[0].resets == [1, 3]


async def test_a_server_that_says_nothing_any_more_is_left_for_a_new_connection() -> None:
    connections = 0

    async def serve(stream: Any) -> None:
        nonlocal connections
        connections += 1
        async with stream:
            if connections < 2:
                await anyio.sleep_forever()
            await Peer(stream, echo).run()

    async with raw(serve) as channel:
        for _ in range(2):  # it is only known from the second on that nothing was heard during the call
            with pytest.raises(RpcError, match="deadline exceeded"):
                await ask(channel, timeout=0.1)
        assert await ask(channel) == b"hello"
        assert connections == 2


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak HTTP/2"),
        (b"\0\0\x02\4\0\0\0\0\0ab" + b"\0\0\1\1\4\0\0\0\1\xff", "it breaks the rules of HTTP/2"),
        (
            b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\0\0\0\0\1\x88" + b"\0\0\0\0\1\0\0\0\1",
            "headers were interrupted",
        ),
        (b"", "the connection was lost"),
    ],
)
async def test_a_server_that_speaks_otherwise_is_told_from_one_that_is_lost(says: bytes, why: str) -> None:
    async def serve(stream: Any) -> None:
        async with stream:
            await stream.receive()
            if says:
                await stream.send(says)
                await anyio.sleep_forever()

    async with raw(serve) as channel:
        with pytest.raises(RpcError, match=why) as caught:
            await ask(channel)
        assert (caught.value.code, caught.value.untouched) == ("UNAVAILABLE", False)


async def test_a_server_without_http2_behind_its_certificate_is_not_spoken_to() -> None:
    authority = trustme.CA()
    tls, trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(trust)
    trust.set_alpn_protocols(["h2"])

    async def serve(stream: Any) -> None:
        async with stream:
            await stream.receive()

    async with raw(serve, tls=tls, trust=trust) as channel:
        with pytest.raises(RpcError, match="it does not speak HTTP/2") as caught:
            await ask(channel)
        assert caught.value.untouched


async def test_a_reader_of_a_stream_that_is_slow_is_sent_no_more_than_a_window() -> None:
    sent, message = 0, bytes(100_000)
    count = 3 * http2.WINDOW // len(message)

    async def serve(stream: Any) -> None:
        peer = Peer(stream, echo)
        take_in = peer.take_in

        async def pour(number: int) -> None:
            nonlocal sent
            peer.h2.send_headers(number, [(":status", "200")])
            for _ in range(count):
                await peer.send(number, framed(message))
                sent += len(message)
            peer.h2.send_headers(number, GOOD, end_stream=True)
            await peer.flush()

        def begin(event: Event) -> None:
            take_in(event)
            if isinstance(event, RequestReceived):
                assert event.stream_id is not None
                peer.group.start_soon(pour, event.stream_id)

        peer.take_in = begin  # type: ignore[method-assign]
        await peer.run()

    async with raw(serve) as channel:
        stream = await channel.stream("/some.Service/Pour", 30, [])
        stream.write(b"begin")
        before = -1
        while before < sent:  # until nothing more comes
            before = sent
            await anyio.sleep(0.2)
        assert 0 < sent <= http2.WINDOW
        found = 0
        while (got := await stream.read()) is not None:
            assert got == message
            found += 1
        assert found == count


async def test_a_stream_that_is_hung_up_ends_for_its_reader_and_its_server() -> None:
    async with serving(echo) as (channel, peers):
        stream = await channel.stream("/some.Service/Watch", 30, [])
        stream.write(b"begin")
        async with anyio.create_task_group() as group:

            async def hang_up() -> None:
                await anyio.sleep(0.05)
                stream.hang_up()

            group.start_soon(hang_up)
            assert await stream.read() is None
        stream.write(b"after")
        assert await ask(channel) == b"hello"
        assert peers[0].resets == [1]


async def test_a_stream_breaks_with_its_connection() -> None:
    async with serving(echo) as (channel, peers):
        stream = await channel.stream("/some.Service/Watch", 30, [])
        await ask(channel)
        await peers[0].stream.aclose()
        with pytest.raises(RpcError, match="the connection was lost"):
            await stream.read()
        assert await ask(channel) == b"hello"


def test_the_end_of_a_connection_is_no_news_to_one_that_is_over() -> None:
    async def main() -> None:
        connection = Http2Connection()
        connection.connection_lost(None)
        assert connection.lost.is_set() and not connection.usable

    anyio.run(main)
