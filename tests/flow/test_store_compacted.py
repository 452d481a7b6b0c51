"""History that is forgotten, by whoever: lists and watches that need it are told 410 and how to go on, all others notice nothing."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kubelib.store import Revision, Store, open_store
from tests.engines import PREFIXES, Etcd, ZooKeeper
from tests.flow.test_store_away import MAPS, make, served

pytestmark = pytest.mark.external
Forget = Callable[[Store], Awaitable[None]]


@asynccontextmanager
async def opened(url: str, stores: list[Store]) -> AsyncIterator[Store]:
    """Open a store that the test can get at, to forget its history."""
    async with open_store(url) as store:
        stores.append(store)
        yield store


KEPT = ["sqlite", "etcd", "etcd, by somebody else", "zookeeper"]


@pytest.fixture(params=["memory", *KEPT])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Forget]:
    """The URL of a store, and what makes it forget all but the present."""

    async def forget(store: Store) -> None:
        await store.compact(Revision(await store.revision() + 1))

    kind, _, others = request.param.partition(",")
    if kind in ("memory", "sqlite"):
        return ("memory://" if kind == "memory" else f"sqlite://{tmp_path}/store.sqlite"), forget
    engine: Etcd | ZooKeeper = request.getfixturevalue(kind)
    prefix = next(PREFIXES)
    if not others:
        return engine.url(prefix), forget

    async def compact(_: Store) -> None:
        assert isinstance(engine, Etcd)
        status = json.loads(await anyio.to_thread.run_sync(engine.ctl, "endpoint", "status", "-w", "json"))
        current = str(status[0]["Status"]["header"]["revision"])
        await anyio.to_thread.run_sync(engine.ctl, "compact", current)

    return engine.url(prefix), compact


async def test_a_list_and_a_watch_go_on_when_history_is_forgotten(kept: tuple[str, Forget]) -> None:
    url, forget = kept
    stores: list[Store] = []
    seen: list[tuple[str, str]] = []
    async with served(opened(url, stores)) as client, anyio.create_task_group() as group:
        for name in ("b", "c", "d"):
            assert (await make(client, name)).status_code == 201
        first = (await client.get(MAPS, params={"limit": 2})).json()
        begun = anyio.Event()

        async def follow() -> None:
            since = {"watch": "true", "resourceVersion": first["metadata"]["resourceVersion"]}
            async with client.stream("GET", MAPS, params=since) as stream:
                begun.set()
                async for line in stream.aiter_lines():
                    event = json.loads(line)
                    seen.append((event["type"], event["object"]["metadata"]["name"]))

        group.start_soon(follow)
        await begun.wait()
        await client.delete(f"{MAPS}/d")
        await forget(stores[0])

        # The page that was to come next is gone with its version, and there is a token for what is there now.
        expired = await client.get(MAPS, params={"limit": 2, "continue": first["metadata"]["continue"]})
        status = expired.json()
        assert (expired.status_code, status["reason"]) == (410, "Expired")
        assert (
            "The provided continue parameter is too old to display a consistent list result"
            in status["message"]
        )
        rest = (
            await client.get(MAPS, params={"limit": 2, "continue": status["metadata"]["continue"]})
        ).json()
        assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]
        exact = await client.get(
            MAPS,
            params={"resourceVersion": rest["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"},
        )
        assert exact.status_code == 200
        old = {"resourceVersion": first["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
        refused = await client.get(MAPS, params=old)
        assert (refused.status_code, refused.json()["reason"]) == (410, "Expired")

        # Who is in step with the present does not need the past.
        await make(client, "e")
        with anyio.fail_after(60):
            while len(seen) < 2:
                await anyio.sleep(0.01)
        assert seen == [("DELETED", "d"), ("ADDED", "e")]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("kept", KEPT, indirect=True)
async def test_a_watch_from_before_a_restart_is_told_to_list_again(kept: tuple[str, Forget]) -> None:
    url, forget = kept

    stores: list[Store] = []
    async with served(opened(url, stores)) as client:
        old = (await make(client, "x")).json()["metadata"]["resourceVersion"]
        await client.delete(f"{MAPS}/x")
        await client.delete(f"{MAPS}/a")
        await forget(stores[0])
    async with served(open_store(url)) as client:
        answer = await client.get(MAPS, params={"watch": "true", "resourceVersion": old, "timeoutSeconds": 5})
        told = answer.json()
        status = told.get("object", told)
        assert (status["code"], status["reason"]) == (410, "Expired")
        assert status["message"].startswith("too old resource version")
