"""Calls of webhooks: who is trusted, what comes back, and that nothing that a webhook does is more than an error."""

import base64
import ssl
from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import pytest
import trustme

from kubelib.client.webhooks import HttpWebhooks
from kubelib.registry.webhooks import (
    AnswerTooLarge,
    BadAnswer,
    CannotConnect,
    ServiceTarget,
    TimedOut,
    TlsFailed,
    WebhookFailed,
)
from tests.hooks import CA, Hook, Request, hook


def at(where: str | ServiceTarget, ca: bytes = b"") -> dict[str, Any]:
    """Return the ``clientConfig`` of a webhook."""
    config: dict[str, Any] = {"caBundle": base64.b64encode(ca).decode()} if ca else {}
    if isinstance(where, str):
        return {**config, "url": where}
    return {**config, "service": attrs.asdict(where)}


def nowhere(target: ServiceTarget) -> tuple[str, int]:
    raise CannotConnect(f'service "{target.name}" not found')


@pytest.fixture
async def webhooks() -> AsyncIterator[HttpWebhooks]:
    async with HttpWebhooks(nowhere, max_answer=100_000) as caller:
        yield caller


async def agrees(request: Request) -> None:
    await request.reply(b'{"fine":true}')


async def test_a_document_is_posted_and_the_answer_returned(webhooks: HttpWebhooks) -> None:
    async with hook(agrees) as running:
        answer = await webhooks.call(at(running.url, CA), b'{"a":1}', timeout=29.3)
    assert answer == b'{"fine":true}'
    [request] = running.requests
    assert request.tree == {"a": 1}
    assert request.target == "/hook?timeout=30s"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "kube-apiserver-admission"


async def test_connections_are_used_again(webhooks: HttpWebhooks) -> None:
    async with hook(agrees) as running:
        for _ in range(20):
            await webhooks.call(at(running.url, CA), b"{}", timeout=60)
    assert running.connections == 1


async def test_a_connection_that_was_closed_meanwhile_is_no_error(webhooks: HttpWebhooks) -> None:
    async def agrees_and_leaves(request: Request) -> None:
        await request.reply(b"{}")
        await request.stream.aclose()

    async with hook(agrees_and_leaves) as running:
        for _ in range(5):
            assert await webhooks.call(at(running.url, CA), b"{}", timeout=60) == b"{}"
    assert running.connections == 5


async def test_a_service_is_reached_where_it_answers_and_must_have_its_name() -> None:
    target = ServiceTarget("ns", "web", 8443, "/mutate")
    async with hook(agrees, "web.ns.svc") as good, hook(agrees, "other.ns.svc") as bad:
        where = {"web": good.port, "bad": bad.port}
        async with HttpWebhooks(lambda target: ("127.0.0.1", where[target.name])) as caller:
            await caller.call(at(target, CA), b"{}", timeout=60)
            wrong = ServiceTarget("ns", "bad", 8443, "/mutate")
            with pytest.raises(
                TlsFailed, match=r'^Post "https://bad.ns.svc:8443/mutate\?timeout=60s": tls: '
            ):
                await caller.call(at(wrong, CA), b"{}", timeout=60)
    [request] = good.requests
    assert request.headers["host"] == "web.ns.svc:8443"
    assert request.target == "/mutate?timeout=60s"
    assert not bad.requests


async def test_who_is_not_trusted_sees_nothing(webhooks: HttpWebhooks) -> None:
    other = trustme.CA()
    async with hook(agrees) as running:
        for ca in (other.cert_pem.bytes(), b""):
            with pytest.raises(TlsFailed, match="x509: certificate signed by unknown authority"):
                await webhooks.call(at(running.url, ca), b"{}", timeout=60)
        with pytest.raises(TlsFailed, match="unable to load root certificates"):
            await webhooks.call(at(running.url, b"no PEM"), b"{}", timeout=60)
    assert not running.requests


async def test_a_certificate_that_is_its_own_authority_is_trusted(webhooks: HttpWebhooks) -> None:
    """As cert-manager and many charts make them: the bundle is the server's certificate itself."""
    leaf = trustme.CA().issue_cert("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf.configure_cert(context)
    async with hook(agrees, context=context) as running:
        ca = leaf.cert_chain_pems[0].bytes()
        assert await webhooks.call(at(running.url, ca), b"{}", timeout=60)


async def closes(request: Request) -> None:
    await request.stream.aclose()


async def stops_in_the_middle(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await request.stream.aclose()


async def speaks_nonsense(request: Request) -> None:
    await request.stream.send(b"\x00\x01 what?\r\n\r\n" * 10)
    await request.stream.aclose()


async def sends_endless_headers(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        await request.stream.send(b"x-more: " + b"x" * 8000 + b"\r\n")
    await request.stream.aclose()


async def floods(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await request.stream.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


async def redirects(request: Request) -> None:
    await request.reply(b"", "307 Temporary Redirect", "location: https://localhost:1/\r\n")


async def is_not_there(request: Request) -> None:
    await request.reply(b"no such page", "404 Not Found")


async def fails(request: Request) -> None:
    await request.reply(b'I "fail"', "500 Internal Server Error")


async def compresses(request: Request) -> None:
    await request.reply(b"\x1f\x8b", headers="content-encoding: gzip\r\n")


@pytest.mark.parametrize(
    ("behave", "error", "message"),
    [
        (closes, CannotConnect, "EOF"),
        (stops_in_the_middle, CannotConnect, "unexpected EOF"),
        (speaks_nonsense, CannotConnect, "EOF"),
        (sends_endless_headers, CannotConnect, "EOF"),
        (floods, AnswerTooLarge, "the answer is longer than 100000 bytes"),
        (redirects, BadAnswer, "the server responded with the status code 307"),
        (is_not_there, BadAnswer, "the server could not find the requested resource"),
        (fails, BadAnswer, r'an error on the server \("I \\"fail\\""\) has prevented the request from'),
        (compresses, BadAnswer, "compressed"),
    ],
)
async def test_whatever_a_webhook_does_is_one_error(
    behave: "object", error: type[WebhookFailed], message: str, webhooks: HttpWebhooks
) -> None:
    async with hook(behave) as running:  # type: ignore[arg-type]
        with pytest.raises(error, match=message):
            await webhooks.call(at(running.url, CA), b"{}", timeout=10)
    assert len(running.requests) == 1


async def test_nobody_there_is_an_error_in_go_s_words(webhooks: HttpWebhooks) -> None:
    port = (listener := await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)).extra(
        anyio.abc.SocketAttribute.local_port
    )
    await listener.aclose()
    url = f"https://127.0.0.1:{port}/x"
    with pytest.raises(CannotConnect) as refused:
        await webhooks.call(at(url), b"{}", timeout=60)
    assert str(refused.value) == (
        f'Post "{url}?timeout=60s": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )
    target = ServiceTarget("ns", "web")
    with pytest.raises(CannotConnect) as missing:
        await webhooks.call(at(target), b"{}", timeout=60)
    assert str(missing.value) == 'Post "https://web.ns.svc:443/?timeout=60s": service "web" not found'


async def hangs(request: Request) -> None:
    await request.stream.receive()  # until the caller leaves


async def trickles(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
    while True:
        await request.stream.send(b" ")
        await anyio.sleep(0.02)


@pytest.mark.parametrize("behave", [hangs, trickles])
async def test_a_call_ends_with_its_time(behave: "object", webhooks: HttpWebhooks) -> None:
    async with hook(behave) as running:  # type: ignore[arg-type]
        with anyio.fail_after(60), pytest.raises(TimedOut, match="context deadline exceeded"):
            await webhooks.call(at(running.url, CA), b"{}", timeout=0.3)


async def test_many_calls_of_one_that_hangs_keep_nobody_from_the_others(webhooks: HttpWebhooks) -> None:
    async def one(running: Hook) -> None:
        await webhooks.call(at(running.url, CA), b"{}", timeout=600)

    async with hook(hangs) as bad, hook(agrees) as good, anyio.create_task_group() as group:
        for _ in range(300):
            group.start_soon(one, bad)
        with anyio.fail_after(120):
            while len(bad.requests) < 32:
                await anyio.sleep(0.01)
            assert await webhooks.call(at(good.url, CA), b"{}", timeout=110)
        assert len(bad.requests) == 32, "nobody's turn came while the first did not leave"
        group.cancel_scope.cancel()


async def test_no_more_connections_than_allowed_are_open_to_one_server_at_a_time(
    webhooks: HttpWebhooks,
) -> None:
    async def one(running: Hook) -> None:
        with pytest.raises(TimedOut):
            await webhooks.call(at(running.url, CA), b"{}", timeout=0.5)

    async with hook(hangs) as running:
        for _ in range(3):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(one, running)
        assert running.most_open <= 32
