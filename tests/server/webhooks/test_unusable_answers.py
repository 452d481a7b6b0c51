"""No answer of an admission webhook breaks the server: the failure policy says what becomes of the request."""

import gzip
import json
from typing import Any

import pytest

from kubelib.api.errors import InternalError
from kubelib.api.meta import Key
from tests.hooks import Request, hook
from tests.server.webhooks.asking import (
    MUTATING,
    VALIDATING,
    Api,
    Tree,
    add,
    answering,
    config_map,
    patch,
    store_with,
)

ELSEWHERE = 1
"""A port where nobody listens: whoever followed a redirection would say so."""


async def garbage(request: Request) -> None:
    await request.reply(b"<html>")


async def nothing(request: Request) -> None:
    await request.reply(b"{}")


async def null(request: Request) -> None:
    await request.reply(b"null")


async def deep(request: Request) -> None:
    await request.reply(b'{"response":' * 100_000)


async def wrong_types(request: Request) -> None:
    await request.reply(b'{"response":{"allowed":"yes"}}')


async def closes(request: Request) -> None:
    await request.stream.aclose()


async def breaks(request: Request) -> None:
    await request.reply(b"oh", "500 Internal Server Error")


async def floods(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        await request.stream.send(piece)


async def redirects(request: Request) -> None:
    await request.reply(b"", "302 Found", f"location: https://localhost:{ELSEWHERE}/hook\r\n")


async def redirects_for_good(request: Request) -> None:
    await request.reply(b"", "308 Permanent Redirect", f"location: {request.target}\r\n")


async def never_ends_its_head(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await request.stream.send(b"x: " + b"y" * 65536 + b"\r\n")


async def is_no_http(request: Request) -> None:
    await request.stream.send(b"SSH-2.0-OpenSSH_9.9\r\n" * 10)
    await request.stream.aclose()


async def compresses(request: Request) -> None:
    await request.reply(gzip.compress(b" " * 100_000_000), headers="content-encoding: gzip\r\n")


async def breaks_off(request: Request) -> None:
    await request.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await request.stream.aclose()


async def other_kind(request: Request) -> None:
    uid = request.tree["request"]["uid"]
    await request.reply(json.dumps({"response": {"uid": uid, "allowed": True}}).encode())


UNUSABLE = [
    (garbage, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (nothing, "received invalid webhook response: webhook response was absent"),
    (null, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (deep, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (wrong_types, "failed to call webhook: couldn't get version/kind; json parse error: "),
    (closes, r'failed to call webhook: Post "https://localhost:\d+/hook\?timeout=5s": EOF'),
    (breaks, r'failed to call webhook: an error on the server \("oh"\) has prevented the request'),
    (floods, "failed to call webhook: Post .*: the answer is longer than"),
    (redirects, "failed to call webhook: the server responded with the status code 302 but"),
    (redirects_for_good, "failed to call webhook: the server responded with the status code 308 but"),
    (never_ends_its_head, "failed to call webhook: Post .*: unexpected EOF"),
    (is_no_http, "failed to call webhook: Post .*: "),
    (compresses, "failed to call webhook: the answer is compressed"),
    (breaks_off, "failed to call webhook: Post .*: unexpected EOF"),
    (
        other_kind,
        r"received invalid webhook response: expected webhook response of .*, Kind=AdmissionReview, got /, Kind=",
    ),
    (
        answering(lambda request: {"uid": "another"}),
        'received invalid webhook response: expected response.uid="[-0-9a-f]*", got "another"',
    ),
]


@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
@pytest.mark.parametrize(("behave", "message"), UNUSABLE)
async def test_an_unusable_answer_counts_by_the_failure_policy(
    api: Api, kind: str, behave: Any, message: str
) -> None:
    async with hook(behave) as seen:
        await api.configure(kind, seen, timeoutSeconds=5, failurePolicy="Fail")
        prefix = 'Internal error occurred: failed calling webhook "c.example.com": '
        with pytest.raises(InternalError, match=prefix + message):
            await api.create(config_map())
        version = "admissionregistration.k8s.io/v1"
        await api.of(kind, version).delete(Key("", "c"))
        await api.configure(kind, seen, timeoutSeconds=5, failurePolicy="Ignore")
        await api.create(config_map())
    name = "mutation" if kind == MUTATING else "validating"
    assert api.notes[f"failed-open.{name}.webhook.admission.k8s.io/round_0_index_0"] == "c.example.com"


BAD_PATCHES = [
    ({"patch": "e30="}, "webhook returned response.patch but not response.patchType"),
    ({"patchType": "JSONPatch"}, "webhook returned response.patchType but not response.patch"),
    (
        {"patchType": "JSONPatch", "patch": "e30="},
        "received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
    ),
    ({"patchType": "JSONPatch", "patch": "!"}, "received undecodable patch in webhook response"),
    ({"patchType": "Merge", "patch": "e30="}, 'unsupported patch type "Merge"'),
]


@pytest.mark.parametrize(("response", "message"), BAD_PATCHES)
async def test_a_patch_that_is_none_counts_by_the_failure_policy(
    api: Api, response: Tree, message: str
) -> None:
    async with hook(answering(lambda request: response)) as seen:
        await api.configure(MUTATING, seen)
        with pytest.raises(InternalError, match=message):
            await api.create(config_map())
        await store_with(api, MUTATING, failurePolicy="Ignore")
        assert (await api.create(config_map()))["data"] == {"a": "1"}


async def test_a_validating_webhook_may_not_patch(api: Api) -> None:
    async with hook(answering(lambda request: patch(add("/data/b", "2")))) as seen:
        await api.configure(VALIDATING, seen)
        with pytest.raises(InternalError, match=r"validating webhook may not return response\.patch"):
            await api.create(config_map())


async def test_where_nobody_calls_webhooks_they_fail(api: Api) -> None:
    api.registries.webhooks = None
    await api.configure(VALIDATING, "https://localhost:1/")
    with pytest.raises(InternalError, match="this API server calls no webhooks"):
        await api.create(config_map())
