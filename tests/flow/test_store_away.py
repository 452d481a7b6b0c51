"""When the store is away the API says so, answers what it may from memory, and goes on by itself when the store is back."""

import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest
from kazoo.security import make_acl

from kubelib.api.core.config import ConfigMap
from kubelib.api.meta import ObjectMeta
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import ADMIN
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.listener import bind, serve
from kubelib.store import Store, StoreCorrupt
from kubelib.store.etcd import EtcdStore
from kubelib.store.etcd import parse_url as etcd_url
from kubelib.store.sqlite import SqliteStore
from kubelib.store.zookeeper import ZooKeeperStore
from kubelib.store.zookeeper import parse_url as zookeeper_url
from kubelib.store.zookeeper.layout import HEAD
from tests.engines import PREFIXES, Etcd, ZooKeeper
from tests.store.failures import files_end_at

pytestmark = pytest.mark.external
MAPS = "/api/v1/namespaces/default/configmaps"
LARGE = 100_000
"""Bytes of an object with which a store is filled."""


def patient(engine: Etcd | ZooKeeper, folder: str = "") -> AbstractAsyncContextManager[Store]:
    """Return a store that waits for its engine for a second."""
    if isinstance(engine, Etcd):
        return EtcdStore(etcd_url(engine.url(folder)), patience=1)
    return ZooKeeperStore(zookeeper_url(engine.url(folder)), patience=1)


@asynccontextmanager
async def served(opened: AbstractAsyncContextManager[Store]) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the API on a store in which there is a ConfigMap `a`; yield a client."""
    listening = bind("127.0.0.1", 0)
    try:
        async with opened as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            first = ConfigMap(metadata=ObjectMeta(name="a", namespace="default"))
            await LocalClient(registries).resource(ConfigMap).create(first)
            app = ApiServer(registries, authenticator=Authenticator([StaticTokens({"t": ADMIN})]))
            async with (
                serve(app, listening, None, stop=app.stop_watches) as port,
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", headers={"authorization": "Bearer t"}, timeout=60
                ) as client,
            ):
                yield client
    finally:
        listening.close()


async def make(client: httpx.AsyncClient, name: str, size: int = 0) -> httpx.Response:
    """Create a ConfigMap with noise in it."""
    noise = base64.b64encode(os.urandom(size)).decode()
    return await client.post(
        MAPS, json={"kind": "ConfigMap", "metadata": {"name": name}, "data": {"noise": noise}}
    )


def assert_refused(answer: httpx.Response) -> None:
    """A client that knows Kubernetes tries again later."""
    reason = {503: "ServiceUnavailable", 504: "Timeout"}.get(answer.status_code)
    assert answer.json()["reason"] == reason, answer.text
    assert int(answer.headers["retry-after"]) >= 1


async def assert_remembered(client: httpx.AsyncClient) -> None:
    """What may be old is answered from the watch cache."""
    stale = await client.get(f"{MAPS}/a", params={"resourceVersion": "0"})
    assert (stale.status_code, stale.json()["metadata"]["name"]) == (200, "a")
    listed = await client.get(MAPS, params={"resourceVersion": "0"})
    assert "a" in [item["metadata"]["name"] for item in listed.json()["items"]]


async def until_made(client: httpx.AsyncClient, name: str) -> None:
    """Wait until something can be written again."""
    with anyio.fail_after(60):
        while (await make(client, name)).status_code not in (201, 409):
            await anyio.sleep(0.1)


@pytest.mark.parametrize("blow", ["kill", "pause"])
@pytest.mark.parametrize("kind", [Etcd, ZooKeeper])
async def test_a_server_whose_store_goes_away_says_so_and_recovers(
    kind: type[Etcd | ZooKeeper], blow: str, tmp_path: Path
) -> None:
    with kind(tmp_path / "engine") as engine:
        async with served(patient(engine)) as client:
            (member,) = engine.members
            getattr(member, blow)()
            answers: list[httpx.Response] = []

            async def ask(method: str, path: str) -> None:
                body = {"kind": "ConfigMap", "metadata": {"name": "b"}} if method == "POST" else None
                answers.append(await client.request(method, path, json=body))

            async with anyio.create_task_group() as group:
                for method, path in (
                    ("GET", f"{MAPS}/a"),
                    ("GET", MAPS),
                    ("POST", MAPS),
                    ("DELETE", f"{MAPS}/b"),
                ):
                    group.start_soon(ask, method, path)
            for answer in answers:
                assert_refused(answer)
            await assert_remembered(client)
            assert (await client.get("/readyz")).status_code != 200

            if blow == "kill":
                member.start()
            else:
                member.resume()
            await until_made(client, "c")
            with anyio.fail_after(60):
                while (await client.get("/readyz")).status_code != 200:
                    await anyio.sleep(0.1)
            assert (await client.get(f"{MAPS}/a")).status_code == 200


async def until_refused(client: httpx.AsyncClient) -> tuple[int, httpx.Response]:
    """Write until the store takes no more; return how many objects it took, and the refusal."""
    for number in range(1000):
        answer = await make(client, f"large-{number}", LARGE)
        if answer.status_code != 201:
            return number, answer
    raise AssertionError("the store has no end")


Mend = Callable[[], Awaitable[None]]


async def writes_are_refused_and_the_rest_goes_on(client: httpx.AsyncClient, why: str, mend: Mend) -> None:
    """A store that takes no more writes is said to be such; what is there is served, and as of now."""
    taken, refusal = await until_refused(client)
    assert_refused(refusal)
    assert why in refusal.json()["message"]
    listed = (await client.get(MAPS)).json()["items"]
    assert {f"large-{n}" for n in range(taken)} <= {item["metadata"]["name"] for item in listed}
    assert (await client.get(f"{MAPS}/a")).status_code == 200
    assert (await client.get(f"{MAPS}/large-{taken}")).status_code == 404
    await mend()
    await until_made(client, "after")


async def test_a_full_disk(tmp_path: Path) -> None:
    async with served(SqliteStore(tmp_path / "store.sqlite")) as client:
        with files_end_at(2_000_000) as disk:

            async def mend() -> None:
                disk.grow()

            await writes_are_refused_and_the_rest_goes_on(client, "no space left", mend)


async def test_an_etcd_whose_quota_is_used_up_is_cleared_through_the_api(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd", 1, "--quota-backend-bytes", "4000000") as engine:
        async with served(patient(engine)) as client:

            async def mend() -> None:
                for number in range(10):
                    gone = await client.delete(f"{MAPS}/large-{number}")
                    assert gone.status_code == 200, gone.text
                status = json.loads(await ctl("endpoint", "status", "-w", "json"))
                await ctl("compact", str(status[0]["Status"]["header"]["revision"]))
                await ctl("defrag")
                await ctl("alarm", "disarm")

            async def ctl(*arguments: str) -> str:
                return await anyio.to_thread.run_sync(engine.ctl, *arguments)

            await writes_are_refused_and_the_rest_goes_on(client, "used up its quota", mend)


async def test_a_zookeeper_whose_quota_is_used_up(tmp_path: Path) -> None:
    with ZooKeeper(tmp_path / "zookeeper", enforceQuota="true") as engine:
        async with served(patient(engine, "/kubelib")) as client:
            await anyio.to_thread.run_sync(engine.cli, "setquota", "-B", "1000000", "/kubelib")

            async def mend() -> None:
                await anyio.to_thread.run_sync(engine.cli, "setquota", "-B", "100000000", "/kubelib")

            await writes_are_refused_and_the_rest_goes_on(client, "used up the quota of /kubelib", mend)


async def test_a_zookeeper_that_may_only_be_read(zookeeper: ZooKeeper) -> None:
    store = ZooKeeperStore(zookeeper_url(zookeeper.url(next(PREFIXES))), patience=1)

    async def allow(**rights: bool) -> None:
        session = store._session
        acl = [make_acl("world", "anyone", **rights)]
        await anyio.to_thread.run_sync(session._client.set_acls, session._at(HEAD), acl)

    async with served(store) as client:
        await allow(read=True, admin=True)
        await writes_are_refused_and_the_rest_goes_on(
            client, "does not let nobody in particular use", lambda: allow(all=True)
        )


def guard(engine: Etcd) -> str:
    """Let users in only, of which one may use all keys; return the URL with that one."""
    for command in (
        "user add root:secret", "user grant-role root root", "role add keeper", "user add keeper:secret",
        "user grant-role keeper keeper", "role grant-permission keeper readwrite --from-key=true \0",
    ):  # fmt: skip
        engine.ctl(*(word if word != "\0" else "" for word in command.split(" ")))
    engine.ctl("auth", "enable")
    return engine.url().replace("//", "//keeper:secret@")


def as_root(engine: Etcd, *commands: str) -> None:
    for command in commands:
        words = (word if word != "\0" else "" for word in command.split(" "))
        engine.ctl("--user", "root:secret", *words)


async def test_an_etcd_whose_user_may_only_read(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd") as engine:
        url = guard(engine)
        async with served(EtcdStore(etcd_url(url), patience=1)) as client:

            async def allow(what: str) -> None:
                await anyio.to_thread.run_sync(
                    as_root,
                    engine,
                    "role revoke-permission keeper --from-key=true \0",
                    f"role grant-permission keeper {what} --from-key=true \0",
                )

            await allow("read")
            await writes_are_refused_and_the_rest_goes_on(
                client, "does not let keeper use keys", lambda: allow("readwrite")
            )


async def test_an_etcd_whose_password_changes_while_it_is_used(tmp_path: Path) -> None:
    """Nobody can be let in then; once the password is right again, on whichever side, all goes on."""
    with Etcd(tmp_path / "etcd") as engine:
        url = guard(engine)
        async with served(EtcdStore(etcd_url(url), patience=1)) as client:

            async def change(password: str) -> None:
                await anyio.to_thread.run_sync(
                    as_root,
                    engine,
                    "user delete keeper",
                    f"user add keeper:{password}",
                    "user grant-role keeper keeper",
                )

            await change("other")
            for _ in range(2):  # and it is not forgotten that there is a user
                refusal = await make(client, "b")
                assert_refused(refusal)
                assert "does not know user 'keeper' with this password" in refusal.json()["message"]
            await assert_remembered(client)
            assert (await client.get("/readyz")).status_code != 200
            await change("secret")
            await until_made(client, "c")
            with anyio.fail_after(60):
                while (await client.get("/readyz")).status_code != 200:
                    await anyio.sleep(0.1)


@pytest.mark.parametrize("value", ["nonsense", "{}", "[]", '{"kind":"ConfigMap","metadata":{"name":5}}'])
async def test_an_object_that_somebody_spoils_in_etcd_is_as_it_was_until_it_is_put_right(
    etcd: Etcd, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = next(PREFIXES)
    key = f"{prefix}/registry/core/configmaps/default/a"
    async with served(EtcdStore(etcd_url(etcd.url(prefix)), patience=1)) as client:

        async def tell(*words: str) -> None:
            await anyio.to_thread.run_sync(etcd.ctl, *words)

        before = (await client.get(f"{MAPS}/a")).json()
        await tell("put", key, value)
        with anyio.fail_after(60):
            while "/registry/core/configmaps/default/a is no object, but" not in caplog.text:
                await anyio.sleep(0.01)
        assert (await client.get(f"{MAPS}/a")).json() == before
        for query in ({}, {"limit": "500"}):
            assert (await client.get(MAPS, params=query)).json()["items"] == [before]
        assert (await make(client, "b")).status_code == 201, "all others go on"
        changed = await client.patch(
            f"{MAPS}/a",
            content=b'{"data":{"x":"y"}}',
            headers={"content-type": "application/merge-patch+json"},
        )
        assert changed.status_code == 409, "nobody may build on what is not there any more"
        await tell("del", key)
        with anyio.fail_after(60):
            while (await client.get(f"{MAPS}/a")).status_code != 404:
                await anyio.sleep(0.01)
        assert (await make(client, "a")).status_code == 201
    await anyio.to_thread.run_sync(etcd.ctl, "put", key, value)
    with pytest.raises(
        StoreCorrupt, match=r"configmaps/default/a is no object, but .*: restore the store from a backup"
    ):
        async with served(EtcdStore(etcd_url(etcd.url(prefix)), patience=1)):
            pass
