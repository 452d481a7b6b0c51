"""Listening sockets."""

import contextlib
import re
import socket
import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from kubelib.clock import SYSTEM_CLOCK
from kubelib.server.answering import line_of
from kubelib.server.dates import Dates
from kubelib.server.limits import Limits
from kubelib.server.listener import CannotListen, bind, serve
from kubelib.server.responses import FOLLOWED
from kubelib.server.tls import Tls
from kubelib.testing.clocks import MovableClock
from reference_cluster import pki


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_taken_is_named_with_the_option_to_change() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}.*choose another --port"):
            bind("127.0.0.1", port, option="--port")


async def _answer_much(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"])
async def test_clients_that_neither_send_nor_read_lose_their_connection(sent: bytes) -> None:
    listening = bind("127.0.0.1", 0)
    limits = Limits(stalled=0.2, silent=0.2)
    async with (
        serve(_answer_much, listening, None, limits=limits) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        if sent:
            await stream.send(sent)
        await anyio.sleep(0.6)
        with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            received = 0
            while True:
                received += len(await stream.receive())
                assert received < 1000 * 65536


async def _read_all(stream: Any, until: bytes = b"") -> bytes:
    """Return what comes until the connection ends, or until some bytes have come."""
    received = b""
    with anyio.fail_after(60), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while not until or until not in received:
            received += await stream.receive()
    return received


async def _echo_headers(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the headers that came, once the whole body has."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    body = b" ".join(name + b"=" + value for name, value in scope["headers"])
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("dribble", [b"\r\n", b"GET / HTTP/1.1\r\nx: ", b"POST /refused HTTP/1.1\r\n"])
async def test_whoever_dribbles_a_further_request_loses_the_connection_too(dribble: bytes) -> None:
    limits = Limits(silent=1)
    async with (
        serve(_echo_headers, bind("127.0.0.1", 0), None, limits=limits) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(REQUEST)
        assert b"host=x" in await _read_all(stream, b"host=x")
        await stream.send(dribble)
        assert await _read_all(stream) == b""


async def test_a_client_that_takes_its_time_between_requests_is_served() -> None:
    limits = Limits(silent=1)
    async with (
        serve(_echo_headers, bind("127.0.0.1", 0), None, limits=limits) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        for _ in range(2):
            await stream.send(REQUEST)
            assert b"host=x" in await _read_all(stream, b"host=x")
            await anyio.sleep(1.5)


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ",
        b"GET /",
        b"GET / HTTP/1.1\r\n",
        REQUEST + b"GET / HTTP/1.1\r\nx-long: ",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: ",
    ],
    ids=["header", "path", "many", "second", "trailer"],
)
async def test_a_head_without_end_is_not_kept(beginning: bytes) -> None:
    limits = Limits(head=256 * 1024)
    filler = b"x: yyyyyyyyyy\r\n" * 4096 if beginning.endswith(b"1.1\r\n") else b"a" * 65536
    async with (
        serve(_echo_headers, bind("127.0.0.1", 0), None, limits=limits) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(beginning)
        sent = 0
        with contextlib.suppress(anyio.BrokenResourceError):
            with anyio.fail_after(60):
                while sent < 64 * 1024 * 1024:
                    await stream.send(filler)
                    sent += len(filler)
        assert sent < 64 * 1024 * 1024


async def test_a_head_that_is_too_large_is_refused_as_go_does() -> None:
    limits = Limits(head=64 * 1024)
    async with (
        serve(_echo_headers, bind("127.0.0.1", 0), None, limits=limits) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        # One byte too many, and none that the server leaves unread: closing would then take back its answer.
        await stream.send((b"GET / HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * limits.head)[: limits.head + 1])
        assert (await _read_all(stream)).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize(
    "more", [b"authorization: Bearer late\r\n", b"x-remote-user: eve\r\nimpersonate-user: eve\r\n"]
)
async def test_what_follows_a_body_says_nothing_about_the_request(more: bytes) -> None:
    async with (
        serve(_echo_headers, bind("127.0.0.1", 0), None) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        head = (
            b"POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer early\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await stream.send(head + b"2\r\n{}\r\n0\r\n" + more + b"\r\n" + REQUEST)
        answer = await _read_all(stream, b"\r\nhost=x")
        assert b"authorization=Bearer early" in answer
        assert b"late" not in answer
        assert b"eve" not in answer


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        b"content-length: 4\r\ncontent-length: 5\r\n",
        b"content-length: +4\r\n",
        b"content-length: -4\r\n",
        b"content-length: 99999999999999999999999\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding : chunked\r\n",
        b"x-folded: a\r\n b\r\n",
    ],
)
async def test_a_request_whose_end_is_doubtful_is_refused_and_nothing_after_it_is_read(head: bytes) -> None:
    """Whoever stands between may see another end: the rest would be a request that it has not seen."""
    async with (
        serve(_echo_headers, bind("127.0.0.1", 0), None) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(b"POST / HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n0\r\n\r\n" + REQUEST)
        answer = await _read_all(stream)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_connections_beyond_the_limit_are_closed() -> None:
    listening = bind("127.0.0.1", 0)
    async with serve(_answer_much, listening, None, limits=Limits(connections=2)) as port:
        streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(2)]
        for stream in streams:
            await stream.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await stream.receive()
        async with await anyio.connect_tcp("127.0.0.1", port) as third:
            with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await third.receive()
        for stream in streams:
            await stream.aclose()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-more: a\r\n\r\n"


def _answer(*headers: tuple[bytes, bytes], body: bytes = b"body", more: bytes = b"") -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        beginning = {"type": "http.response.start", "status": 200, "headers": list(headers), FOLLOWED: True}
        await send(beginning)
        await send({"type": "http.response.body", "body": body, "more_body": bool(more)})
        if more:
            await send({"type": "http.response.body", "body": more})

    return answer


def undated(answer: bytes) -> bytes:
    return re.sub(rb"date: [^\r]*\r\n", b"", answer, count=1)


async def _records(app: Any, asked: bytes, end: bytes, directory: Path) -> tuple[bytes, list[int]]:
    """Return an answer over TLS, and the sizes of the records in which it came."""
    authority = pki.Authority(directory)
    files = authority.server("server", ["127.0.0.1"])
    context = ssl.create_default_context(cafile=authority.ca)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    async with (
        serve(app, bind("127.0.0.1", 0), Tls(files.cert, files.key)) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await stream.send(outgoing.read())
                incoming.write(await stream.receive())
        tls.write(asked)
        await stream.send(outgoing.read())
        answer, raw = b"", b""
        with anyio.fail_after(60):
            while not undated(answer).endswith(end):
                data = await stream.receive()
                raw += data
                incoming.write(data)
                with contextlib.suppress(ssl.SSLWantReadError):
                    while read := tls.read(65536):
                        answer += read
        sizes = []
        while raw:
            size = int.from_bytes(raw[3:5])
            sizes.append(size)
            raw = raw[5 + size :]
        return answer, sizes


async def test_a_complete_answer_is_one_record(tmp_path: Path) -> None:
    app = _answer((b"content-length", b"4"), (b"X-More", b"a"))
    answer, sizes = await _records(app, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"body", tmp_path)
    assert undated(answer) == HEAD + b"body"
    assert sizes[-1] == len(answer) + 17, "TLS 1.3 adds a byte for what it is, and 16 to prove it"


@pytest.mark.parametrize(
    ("app", "asked", "answered"),
    [
        (_answer((b"content-length", b"4"), (b"x-more", b"a")), b"HEAD / HTTP/1.1", HEAD),
        (
            _answer((b"content-length", b"4"), (b"x-more", b"a"), body=b"bo", more=b"dy"),
            b"GET / HTTP/1.1",
            HEAD + b"body",
        ),
        (
            _answer(),
            b"GET / HTTP/1.1",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ),
        (
            _answer((b"content-length", b"4")),
            b"GET / HTTP/1.0",
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody",
        ),
        (
            _answer((b"content-length", b"4"), (b"connection", b"close")),
            b"GET / HTTP/1.1",
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody",
        ),
    ],
)
async def test_other_answers_are_as_http_has_them(
    app: Any, asked: bytes, answered: bytes, tmp_path: Path
) -> None:
    answer, _ = await _records(app, asked + b"\r\nhost: x\r\n\r\n", answered, tmp_path)
    assert undated(answer) == answered


@pytest.mark.parametrize("header", [(b"x y", b"a"), (b"x-more", b"a\r\nset-cookie: b")])
async def test_headers_that_http_does_not_allow_are_not_sent(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(RuntimeError, match="Invalid HTTP header"):
        line_of(*header)


async def test_an_answer_of_another_length_than_it_says_ends_the_connection() -> None:
    app = _answer((b"content-length", b"9"))
    async with (
        serve(app, bind("127.0.0.1", 0), None) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        received = b""
        with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                received += await stream.receive()
        assert received.endswith(b"body")


async def test_every_answer_bears_one_date_of_its_second() -> None:
    async with serve(_answer_little, bind("127.0.0.1", 0), None) as port:
        before = SYSTEM_CLOCK.now().replace(microsecond=0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            (date,) = (await client.get("/")).headers.get_list("date")
        assert before <= parsedate_to_datetime(date) <= SYSTEM_CLOCK.now()


async def _answer_little(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_date_is_made_once_a_second() -> None:
    clock = MovableClock()
    dates = Dates(clock)
    dates.refresh(0)
    first = dates.headers[0]
    dates.refresh(0.001)
    assert dates.headers == [first]
    clock.advance(seconds=1)
    dates.refresh(1)
    assert dates.headers != [first]
