"""Commands over SPDY, as clients before WebSockets run them: from the streams that they open to the status that they read."""

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelib.api.errors import BadRequest, Forbidden, NotFound
from kubelib.server import spdy
from kubelib.server.listener import bind, serve
from kubelib.server.nodes import Stream
from kubelib.server.spdycommands import SpdyCommand, command_protocol, expected_streams
from kubelib.testing import Cluster
from tests.server.spdyclient import Client, Socket

V4, V1 = "v4.channel.k8s.io", "channel.k8s.io"
ALL = frozenset({"error", "stdin", "stdout", "stderr", "resize"})


class Command:
    """Says on stderr what it is told on stdin and of sizes, and ends with a code when stdin does."""

    def __init__(self, code: int) -> None:
        self._code = code
        self._sink, self._source = anyio.create_memory_object_stream[tuple[str, bytes]](16)

    async def send(self, data: bytes) -> None:
        await self._sink.send(("stderr", data))

    async def close_stdin(self) -> None:
        await self._sink.send(("stdout", b"done"))
        self._sink.close()

    async def resize(self, width: int, height: int) -> None:
        await self._sink.send(("stderr", b"%dx%d" % (width, height)))

    async def receive(self) -> tuple[str, bytes]:
        return await self._source.receive()

    async def wait(self) -> int:
        return self._code

    def close(self) -> None:
        self._sink.close()
        self._source.close()


@asynccontextmanager
async def running(code: int) -> AsyncIterator[Any]:
    command = Command(code)
    try:
        yield command
    finally:
        command.close()


@asynccontextmanager
async def refused(code: int) -> AsyncIterator[Any]:
    if code == 0:
        raise NotFound("there is no such container")
    yield Command(code)


class Conversation:
    """A client, and what it has heard: by stream, what was said on it and whether it was ended."""

    def __init__(self) -> None:
        self.socket, self.client = Socket(), Client()
        self._answers = spdy.SpdyConnection()
        self.said: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.events: list[spdy.Event] = []

    async def until(self, check: Callable[[], bool]) -> None:
        while not check():
            for event in self._answers.receive(await self.socket.hear()):
                self.events.append(event)
                if isinstance(event, spdy.Data):
                    self.said[event.stream] = self.said.get(event.stream, b"") + event.data
                    self.ended |= {event.stream} if event.end else set()

    async def open(self, **streams: int) -> None:
        for kind, number in streams.items():
            await self.socket.say(self.client.open(number, streamtype=kind))


Opened = Callable[[int], AbstractAsyncContextManager[Stream]]


@asynccontextmanager
async def conversation(
    protocol: str = V4,
    expected: frozenset[str] = ALL,
    code: int = 0,
    opened: Opened = running,
    outlives: bool = False,
) -> AsyncIterator[Conversation]:
    talk = Conversation()
    command = SpdyCommand(protocol, expected, talk.socket.receive, talk.socket.send)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(command.serve, opened(code), outlives=outlives))
        yield talk
        with anyio.fail_after(60):
            await talk.socket.leave()
    talk.socket.close()


FRAMES = [
    Client().open(1, streamtype="error"),
    Client().data(3, b"abc", end=True),
    spdy.SpdyConnection().ping(1),
    spdy.SpdyConnection().reset(3),
    b"\x80\x03\x00\x01\x00\x00\x00\x0a" + bytes(10),
    b"\x80\x03\x00\x08\x01\xff\xff\xff",
]
STREAMS = {"error": 1, "stdin": 3, "stdout": 5, "stderr": 7, "resize": 9}


@pytest.mark.anyio
async def test_streams_carry_a_command_from_its_input_to_its_status() -> None:
    async with conversation() as talk:
        # What comes before all streams are there is kept for the command.
        await talk.open(error=1, stdin=3)
        await talk.socket.say(talk.client.data(3, b"early "))
        await talk.socket.say(spdy.SpdyConnection().ping(5))
        await talk.open(stdout=5, stderr=7, resize=9)
        await talk.until(lambda: talk.said.get(7) == b"early ")
        assert spdy.Pinged(5) in talk.events
        size = b'{"Width":80,"Height":24}\nnonsense\n{"Width":1,'
        await talk.socket.say(talk.client.data(9, size))
        await talk.until(lambda: talk.said[7] == b"early 80x24")
        await talk.socket.say(talk.client.data(9, b'"Height":2}\n'))
        await talk.until(lambda: talk.said[7].endswith(b"1x2"))
        await talk.socket.say(talk.client.data(3, b"late", end=True))
        await talk.until(lambda: 1 in talk.ended)
        assert talk.said[7] == b"early 80x241x2late"
        assert talk.said[5] == b"done"
        assert talk.ended == {1, 5, 7}
        assert json.loads(talk.said[1])["status"] == "Success"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("protocol", "code", "told"),
    [
        (V4, 3, {"status": "Failure", "reason": "NonZeroExitCode"}),
        (V1, 3, b"command terminated with non-zero exit code: exit status 3"),
        ("v3.channel.k8s.io", 0, b""),
    ],
)
async def test_the_error_stream_says_how_it_ended(protocol: str, code: int, told: Any) -> None:
    wanted = frozenset({"error", "stdin", "stdout"})
    async with conversation(protocol, wanted, code) as talk:
        await talk.open(error=1, stdin=3, stdout=5)
        await talk.socket.say(talk.client.data(3, b"", end=True))
        await talk.until(lambda: 1 in talk.ended)
    if isinstance(told, dict):
        assert told.items() <= json.loads(talk.said[1]).items()
    else:
        assert talk.said[1] == told
    assert 7 not in talk.said, "nobody asked for stderr"


@pytest.mark.anyio
async def test_a_command_that_cannot_run_is_told_of_on_the_error_stream() -> None:
    async with conversation(opened=refused) as talk:
        await talk.open(**STREAMS)
        await talk.until(lambda: 1 in talk.ended)
    assert json.loads(talk.said[1])["message"] == "there is no such container"


@pytest.mark.anyio
async def test_streams_that_nobody_expects_are_given_back() -> None:
    async with conversation(expected=frozenset({"error", "stdin"})) as talk:
        await talk.open(error=1, stdout=3, stdin=5)
        await talk.until(lambda: spdy.StreamReset(3) in talk.events)
        await talk.open(stdin=7)
        await talk.until(lambda: spdy.StreamReset(7) in talk.events)
        await talk.socket.say(talk.client.data(5, b"", end=True))
        await talk.until(lambda: 1 in talk.ended)


@pytest.mark.anyio
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("wire", [b"", b"\x80\x02\x00\x01\x00\x00\x00\x00"], ids=["goes", "is-no-spdy"])
async def test_a_client_that_goes_or_babbles_ends_its_command(early: bool, wire: bytes) -> None:
    async with conversation() as talk:
        if not early:
            await talk.open(**STREAMS)
        if wire:
            await talk.socket.say(wire)
            with anyio.fail_after(60):
                while (await talk.socket.from_server.receive())["type"] != "websocket.close":
                    pass


@pytest.mark.anyio
@pytest.mark.parametrize("outlives", [True, False])
async def test_a_command_may_outlive_its_client(outlives: bool) -> None:
    told: list[str] = []

    class Recording(Command):
        async def close_stdin(self) -> None:
            told.append("no more comes")
            await super().close_stdin()

        async def wait(self) -> int:
            told.append("ended")
            return await super().wait()

    @asynccontextmanager
    async def recorded(code: int) -> AsyncIterator[Any]:
        command = Recording(code)
        yield command
        command.close()

    async with conversation(opened=recorded, outlives=outlives) as talk:
        await talk.open(**STREAMS)
        await talk.socket.say(talk.client.data(3, b"abc"))
        await talk.until(lambda: talk.said.get(7) == b"abc")
    assert told == (["no more comes", "ended"] if outlives else [])


@pytest.mark.anyio
async def test_a_client_that_talks_before_its_streams_are_there_is_not_listened_to_for_ever() -> None:
    async with conversation() as talk:
        await talk.open(error=1, stdin=3)
        for _ in range(20):
            await talk.socket.say(talk.client.data(3, b"x" * 65536))
        with anyio.fail_after(60):
            while (await talk.socket.from_server.receive())["type"] != "websocket.close":
                pass


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(FRAMES)), max_size=12), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_the_reader_of_frames(parts: list[bytes], size: int) -> None:
    wire, connection = b"".join(parts), spdy.SpdyConnection()
    try:
        for at in range(0, len(wire), size):
            list(connection.receive(wire[at : at + size]))
    except spdy.SpdyError:
        return


def test_a_protocol_is_agreed_on() -> None:
    assert command_protocol({"subprotocols": ["v5.channel.k8s.io", V4, V1]}) == V4
    assert command_protocol({"subprotocols": [V1]}) == V1
    with pytest.raises(BadRequest, match="X-Stream-Protocol-Version is required"):
        command_protocol({"subprotocols": []})
    with pytest.raises(Forbidden, match=r"client supports \[v9\], server accepts \[v4\.channel\.k8s\.io"):
        command_protocol({"subprotocols": ["v9"]})


@pytest.mark.parametrize(
    ("protocol", "asked", "expected"),
    [
        (V4, {"stdout", "stderr"}, {"error", "stdout", "stderr"}),
        (V4, {"stdin", "stdout", "stderr", "tty"}, {"error", "stdin", "stdout", "resize"}),
        (V1, {"stdin", "stdout", "tty"}, {"error", "stdin", "stdout"}),
    ],
)
def test_the_query_says_which_streams_come(protocol: str, asked: set[str], expected: set[str]) -> None:
    flags = {name: name in asked for name in ("stdin", "stdout", "stderr", "tty")}
    assert expected_streams(protocol, **flags) == expected


# The connection itself


HEAD = "Host: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {}\r\nContent-Length: 0\r\n"


def asking(port: int, path: str, *headers: str, protocol: str = V4) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    extra = "".join(f"{header}\r\n" for header in headers)
    connection.sendall(f"POST {path} HTTP/1.1\r\n{HEAD.format(protocol)}{extra}\r\n".encode())
    return connection


def all_of(connection: socket.socket, until: bytes = b"") -> bytes:
    heard = b""
    while not (until and until in heard):
        data = connection.recv(65536)
        if not data:
            break
        heard += data
    return heard


def answer_of(connection: socket.socket) -> tuple[int, str]:
    head, _, body = all_of(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    while len(body) < int(length[16:]):
        body += connection.recv(65536)
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize("credentials", [[], ["Authorization: Bearer wrong"]])
def test_strangers_are_refused_in_http(kubelib_cluster: Cluster, credentials: list[str]) -> None:
    port = int(kubelib_cluster.url.rpartition(":")[2])
    for part in ("exec?command=ls", "attach", "portforward"):
        path = f"/api/v1/namespaces/default/pods/p/{part}"
        with asking(port, path, *credentials) as connection:
            code, body = answer_of(connection)
        assert code == json.loads(body)["code"] == (401 if credentials else 403)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/api/v1/namespaces/default/pods/missing/exec?command=ls", 404, r"pods \"missing\" not found"),
        ("/api/v1/namespaces/default/configmaps/exec", 400, "SPDY is spoken for commands"),
        ("/api/v1/namespaces/default/services/s/proxy/exec", 400, "SPDY is spoken for commands"),
        # Where it makes no sense, nobody looks at the wish.
        ("/api/v1/namespaces/default/configmaps", 400, "object provided is unrecognized"),
        ("/nowhere", 404, "404 page not found"),
    ],
)
def test_what_cannot_be_upgraded_is_refused_in_http(
    kubelib_cluster: Cluster, path: str, code: int, message: str
) -> None:
    port = int(kubelib_cluster.url.rpartition(":")[2])
    with asking(port, path, f"Authorization: Bearer {kubelib_cluster.token}") as connection:
        answered, body = answer_of(connection)
    assert (answered, message in body) == (code, True), body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes, or be told to behave otherwise by the path."""
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refuses/exec":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1]})
    if scope["path"] == "/fails/exec":
        raise RuntimeError("as told")
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "bytes": message["bytes"]})
        if b"end" in message["bytes"]:
            await send({"type": "websocket.close", "code": 1000})


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_bytes_go_both_ways_once_a_connection_is_upgraded() -> None:
    listening = bind("127.0.0.1", 0)
    async with serve(echo, listening, None) as port:

        def talk() -> None:
            with asking(port, "/exec?a=b", protocol="one, two") as connection:
                head = all_of(connection, b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
                assert b"upgrade: SPDY/3.1\r\n" in head
                assert b"x-stream-protocol-version: two\r\n" in head
                sent = bytes(range(256)) * 4096 * 4  # more than waits anywhere
                connection.settimeout(20)
                heard = b""
                for at in range(0, len(sent), 65536):
                    connection.sendall(sent[at : at + 65536])
                    heard += connection.recv(65536)
                while len(heard) < len(sent):
                    heard += connection.recv(65536)
                assert heard == sent
                connection.sendall(b"end")
                assert all_of(connection) == b"end"
            with asking(port, "/refuses/exec") as connection:
                assert all_of(connection).startswith(b"HTTP/1.1 403 Forbidden\r\n")
            with asking(port, "/goes/exec") as connection:
                all_of(connection, b"\r\n\r\n")

        await anyio.to_thread.run_sync(talk)
        staying = await anyio.to_thread.run_sync(lambda: asking(port, "/stays/exec"))
        head = await anyio.to_thread.run_sync(lambda: all_of(staying, b"\r\n\r\n"))
        assert b" 101 " in head
    # The server has stopped, and ended what was open.
    assert await anyio.to_thread.run_sync(lambda: all_of(staying)) == b""
    staying.close()
