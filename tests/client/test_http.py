"""The HTTP client when things go wrong, and the helpers around clients."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import ApiError, Conflict, NotFound, ServiceUnavailable, TooManyRequests, Unauthorized
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.client import LocalClient, patch_difference, update_with
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import (
    Connection,
    KubeconfigError,
    kubeconfig_paths,
    load_connection,
    write_kubeconfig,
)
from kubelib.registry import ResourceRegistries
from kubelib.server.listener import bind, serve
from kubelib.store import MemoryStore

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
        with pytest.raises(ServiceUnavailable, match=r"cannot reach the server http://127\.0\.0\.1:1"):
            await client.resource(ConfigMap).get(KEY)
        with pytest.raises(ServiceUnavailable):
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
