"""The HTTP client when things go wrong, and the helpers around clients."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from anyio.abc import SocketAttribute

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import ApiError, Conflict, NotFound, ServiceUnavailable, TooManyRequests, Unauthorized
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.client import LocalClient, patch_difference, update_with
from kubelib.client.base import Unreachable
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import (
    Connection,
    KubeconfigError,
    kubeconfig_paths,
    load_connection,
    write_kubeconfig,
)
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.server.listener import bind, serve
from kubelib.store import MemoryStore
from kubelib.transactions.base import Transaction

KEY = Key("default", "a")


def config_map(**data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data=data)


# Errors


async def answers(status: int, body: bytes, *headers: tuple[bytes, bytes], times: int = 1000) -> Any:
    """Return an application that answers everything so, `times` times, and then with an empty object."""
    seen = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal seen
        seen += 1
        code, content = (status, body) if seen <= times else (200, b'{"metadata":{"name":"a"}}')
        await send({"type": "http.response.start", "status": code, "headers": list(headers)})
        await send({"type": "http.response.body", "body": content})

    return app


async def get(app: Any) -> ConfigMap:
    listening = bind("127.0.0.1", 0)
    try:
        async with (
            serve(app, listening, None) as port,
            HttpClient(Connection(server=f"http://127.0.0.1:{port}")) as client,
        ):
            try:
                return await client.resource(ConfigMap).get(KEY)
            except ApiError as error:
                refusal = error
    finally:
        listening.close()
    raise refusal  # here, and not in the server's task group, which would wrap it


@pytest.mark.anyio
async def test_a_status_becomes_the_error_that_it_names() -> None:
    body = b'{"kind":"Status","status":"Failure","message":"not here","reason":"NotFound","code":404,"details":{"name":"a"}}'
    with pytest.raises(NotFound, match="not here") as caught:
        await get(await answers(404, body))
    assert caught.value.name == "a"


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"text"', b'{"kind":"Other"}'])
async def test_an_answer_that_is_no_status_is_judged_by_its_code(body: bytes) -> None:
    with pytest.raises(Unauthorized):
        await get(await answers(401, body))


@pytest.mark.anyio
async def test_a_server_that_asks_for_patience_gets_it() -> None:
    busy = b'{"kind":"Status","reason":"TooManyRequests","message":"busy","code":429}'
    found = await get(await answers(429, busy, (b"retry-after", b"0"), times=2))
    assert found.metadata.name == "a"
    with pytest.raises(TooManyRequests):
        await get(await answers(429, busy, (b"retry-after", b"0")))


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_named() -> None:
    async with HttpClient(Connection(server="http://127.0.0.1:1")) as client:
        with pytest.raises(Unreachable, match=r"cannot reach the server http://127\.0\.0\.1:1"):
            await client.resource(ConfigMap).get(KEY)
        with pytest.raises(Unreachable):
            async with client.resource(ConfigMap).watch(since="1") as events:
                await anext(events)


@pytest.mark.anyio
async def test_a_watch_that_the_server_ends_just_ends() -> None:
    line = b'{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}}\n'
    listening = bind("127.0.0.1", 0)
    async with (
        serve(await answers(200, line), listening, None) as port,
        HttpClient(Connection(server=f"http://127.0.0.1:{port}")) as client,
        client.resource(ConfigMap).watch(since="1") as events,
    ):
        assert [event.object.metadata.name async for event in events] == ["a"]
    listening.close()


# update_with, patch_difference


@pytest.fixture
async def local() -> AsyncIterator[LocalClient]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield LocalClient(registries)


@pytest.mark.anyio
async def test_update_with_tries_again_when_somebody_was_quicker(local: LocalClient) -> None:
    maps = local.resource(ConfigMap)
    await maps.create(config_map(n="0"))
    calls = 0

    def increase(current: ConfigMap) -> ConfigMap:
        nonlocal calls
        calls += 1
        return replace(current, data={"n": str(int(current.data["n"]) + 1)})

    async def once() -> None:
        await update_with(local, ConfigMap, KEY, increase)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(once)
    assert (await maps.get(KEY)).data["n"] == "5"
    assert calls >= 5


@pytest.mark.anyio
async def test_update_with_gives_up_at_last_and_writes_nothing_for_nothing(local: LocalClient) -> None:
    maps = local.resource(ConfigMap)
    first = await maps.create(config_map(n="0"))
    assert await update_with(local, ConfigMap, KEY, lambda current: None) == first
    assert await update_with(local, ConfigMap, KEY, lambda current: current) == first

    def stale(current: ConfigMap) -> ConfigMap:
        return replace(first, metadata=replace(first.metadata, resource_version="1"), data={"n": "9"})

    with pytest.raises(Conflict):
        await update_with(local, ConfigMap, KEY, stale, tries=3)


@pytest.mark.anyio
async def test_patch_difference_leaves_what_others_write_alone(local: LocalClient) -> None:
    maps = local.resource(ConfigMap)
    first = await maps.create(config_map(a="1", b="2"))
    await maps.update(replace(first, data={**first.data, "c": "3"}))
    after = await patch_difference(local, first, replace(first, data={"a": "9"}))
    assert dict(after.data) == {"a": "9", "c": "3"}


# Several servers


async def counted(name: str, calls: list[str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(f"{name} {scope['method']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"metadata":{"name":"a"},"items":[]}'})

    return app


async def dropping(calls: list[str]) -> tuple[Any, int]:
    """Return a listener with what reads a request and closes the connection, and its port."""

    async def drop(stream: Any) -> None:
        async with stream:
            calls.append("dropped " + (await stream.receive()).split(b" ", 1)[0].decode())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    return (listener, drop), listener.extra(SocketAttribute.local_port)


async def test_what_was_never_sent_goes_to_the_next_server_and_stays_there() -> None:
    calls: list[str] = []
    with socket.socket() as closed:  # a port that is taken and at which nobody listens
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        async with serve(await counted("b", calls), bind("127.0.0.1", 0), None) as port:
            connection = Connection(server=f"http://127.0.0.1:{nobody}", others=(f"http://127.0.0.1:{port}",))
            async with HttpClient(connection) as client:
                maps = client.resource(ConfigMap)
                await maps.create(config_map())
                assert (await maps.get(KEY)).metadata.name == "a"
                assert (await client.request("GET", "/version")).status == 200
    assert calls == ["b POST", "b GET", "b GET"]


async def test_a_write_that_was_sent_is_not_sent_again_by_itself_and_a_read_is() -> None:
    calls: list[str] = []
    (listener, drop), first = await dropping(calls)
    async with (
        listener,
        serve(await counted("b", calls), bind("127.0.0.1", 0), None) as second,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, drop)
        connection = Connection(server=f"http://127.0.0.1:{first}", others=(f"http://127.0.0.1:{second}",))
        async with HttpClient(connection) as client:
            assert (await client.resource(ConfigMap).get(KEY)).metadata.name == "a"
        async with HttpClient(connection) as client:
            with pytest.raises(ServiceUnavailable, match=f":{first}"):
                await client.resource(ConfigMap).create(config_map())
            await client.resource(ConfigMap).create(config_map())
        group.cancel_scope.cancel()
    assert calls == ["dropped GET", "b GET", "dropped POST", "b POST"]


async def test_when_none_of_them_answers_it_says_so() -> None:
    with socket.socket() as one, socket.socket() as two:
        for closed in (one, two):
            closed.bind(("127.0.0.1", 0))
        urls = [f"http://127.0.0.1:{closed.getsockname()[1]}" for closed in (one, two)]
        async with HttpClient(Connection(server=urls[0], others=(urls[1],))) as client:
            with pytest.raises(Unreachable, match="cannot reach the server"):
                await client.resource(ConfigMap).get(KEY)


# Kubeconfigs


def files(directory: Path) -> dict[str, Path]:
    found = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
    for name, path in found.items():
        path.write_text(name)
    return found


def test_a_kubeconfig_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config"
    made: Any = files(tmp_path)
    write_kubeconfig(path, server="https://here:6443", user="jane", namespace="dev", **made)
    assert path.stat().st_mode & 0o777 == 0o600
    connection = load_connection([path])
    assert (connection.server, connection.namespace) == ("https://here:6443", "dev")
    assert (connection.ca_data, connection.cert_data, connection.key_data) == (b"ca", b"cert", b"key")


def test_further_servers_are_read_as_they_were_written_and_kubectl_passes_over_them(tmp_path: Path) -> None:
    path = tmp_path / "config"
    made: Any = files(tmp_path)
    write_kubeconfig(
        path, server="https://a:6443", others=["https://b:6443", "https://c"], user="jane", **made
    )
    connection = load_connection([path])
    assert connection.servers == ("https://a:6443", "https://b:6443", "https://c")
    cluster = yaml.safe_load(path.read_text())["clusters"][0]["cluster"]
    assert cluster["server"] == "https://a:6443"


def test_files_are_merged_as_kubectl_merges_them(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("current-context: b\nusers: [{name: u, user: {tokenFile: token}}]")
    second.write_text(
        "current-context: a\ncontexts: [{name: b, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://there/'}}]"
    )
    connection = load_connection([first, second, tmp_path / "missing"])
    assert (connection.server, connection.token) == ("https://there", "secret")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no kubeconfig at"),
        ("{", "cannot read the kubeconfig"),
        ("- a", "is not a kubeconfig"),
        ("contexts: []", "has no context ''"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: c}}]", "names no server"),
        (
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n"
                "clusters: [{name: c, cluster: {server: 'https://x', certificate-authority: nowhere}}]"
            ),
            "cannot read the certificate-authority nowhere",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(KubeconfigError, match=said):
        load_connection([path])


def test_where_kubeconfigs_are_looked_for() -> None:
    assert kubeconfig_paths("x", {"KUBECONFIG": "a:b"}) == [Path("x")]
    assert kubeconfig_paths(None, {"KUBECONFIG": "a:b"}) == [Path("a"), Path("b")]
    assert kubeconfig_paths(None, {})[0].parts[-2:] == (".kube", "config")


# Guards


@pytest.mark.anyio
@pytest.mark.parametrize("passes", [0, 1], ids=["before connecting", "when connected"])
async def test_who_must_not_write_any_more_sends_no_write_and_still_reads(passes: int) -> None:
    sent: list[str] = []
    asked = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append(scope["method"])
        body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default"}}'
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def may_write() -> None:
        nonlocal asked
        asked += 1
        if asked > passes:
            raise Conflict("not now")

    listening = bind("127.0.0.1", 0)
    async with (
        serve(app, listening, None) as port,
        HttpClient(Connection(server=f"http://127.0.0.1:{port}")) as client,
    ):
        guarded = client.guarded(may_write)
        maps = guarded.resource(ConfigMap)
        for write in (
            lambda: maps.create(config_map()),
            lambda: maps.update(config_map(a="b")),
            lambda: maps.patch(KEY, Patch("merge", {"data": {"a": "b"}})),
            lambda: maps.delete(KEY),
            lambda: guarded.binder.commit(Transaction(claims=(), id="x")),
        ):
            asked = 0
            with pytest.raises(Conflict, match="not now"):
                await write()
            assert asked == passes + 1
        assert set(sent) == {"GET"}, "what is read before something is changed"
        assert (await maps.get(KEY)).metadata.name == "a"
        asked = -10
        await maps.create(config_map())
        await client.resource(ConfigMap).delete(KEY)
        assert sent[-3:] == ["POST", "GET", "DELETE"]
    listening.close()
