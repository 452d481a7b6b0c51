"""Several API servers on one etcd or ZooKeeper are one: whichever is asked, what any of them acknowledged is there."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import Conflict, Expired
from kubelib.api.meta import Key, Object
from kubelib.client import Client, LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.store import Change, Revision, Store, WatchLagged, open_store
from kubelib.testing.registry import HERE, KEY, Backing, RegistrySuite, backing_of, config_map
from tests.engines import PREFIXES, Etcd, ZooKeeper

pytestmark = pytest.mark.external


class Alternating:
    """A client that sends each call to the next server, as a load balancer does."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = itertools.cycle(clients)

    def resource(self, kind: type[Object], /) -> Any:
        return _Verbs(self, kind)

    def next(self, kind: type[Object]) -> Any:
        return next(self._clients).resource(kind)


class _Verbs:
    def __init__(self, owner: Alternating, kind: type[Object]) -> None:
        self._owner = owner
        self._kind = kind

    def __getattr__(self, verb: str) -> Any:
        return lambda *args, **options: getattr(self._owner.next(self._kind), verb)(*args, **options)


@pytest.fixture(params=["etcd", "zookeeper"])
def url(request: pytest.FixtureRequest) -> str:
    """Where there is nothing yet."""
    engine: Etcd | ZooKeeper = request.getfixturevalue(request.param)
    return engine.url(next(PREFIXES))


@pytest.fixture
async def servers(url: str) -> AsyncIterator[list[ResourceRegistries]]:
    """Three servers' registries, each with a connection and a watch cache of its own."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(3):
            store = await stack.enter_async_context(open_store(url))
            registries = await stack.enter_async_context(ResourceRegistries(store))
            await registries.bootstrap()
            found.append(registries)
        yield found


class TestThreeServersInTurn(RegistrySuite):
    @pytest.fixture
    async def backing(self, servers: list[ResourceRegistries]) -> Backing:
        async def forget() -> None:
            for registries in servers:
                await backing_of(client, registries.store, registries).forget()

        client: Any = Alternating([LocalClient(registries) for registries in servers])
        return Backing(client, servers[0].store, forget)


async def test_what_one_acknowledged_all_others_show_at_once(servers: list[ResourceRegistries]) -> None:
    maps = [LocalClient(registries).resource(ConfigMap) for registries in servers]
    for n in range(50):
        made = await maps[n % 3].create(config_map(f"m{n}"))
        seen = await maps[(n + 1) % 3].get(Key("default", f"m{n}"))
        assert seen.metadata.uid == made.metadata.uid
        assert len((await maps[(n + 2) % 3].list(HERE)).items) == n + 1


async def test_a_watch_goes_on_at_another_server_where_it_was(servers: list[ResourceRegistries]) -> None:
    maps = [LocalClient(registries).resource(ConfigMap) for registries in servers]
    begun = await maps[0].list(HERE)
    for n in range(9):
        await maps[n % 3].create(config_map(f"m{n}"))
    since, seen = begun.resource_version, []
    for n in itertools.cycle(range(3)):
        async with maps[n].watch(HERE, since=since) as events:
            async for event in events:
                assert event.object is not None
                seen.append(event.object.metadata.name)
                since = event.object.metadata.resource_version
                break
        if len(seen) == 9:
            break
    assert seen == [f"m{n}" for n in range(9)]


async def test_counting_through_all_servers_at_once_loses_no_count(servers: list[ResourceRegistries]) -> None:
    maps = [LocalClient(registries).resource(ConfigMap) for registries in servers]
    await maps[0].create(config_map(n="0"))

    async def count(worker: int) -> None:
        for _ in range(10):
            while True:
                now = await maps[worker % 3].get(KEY)
                raised = {"data": {"n": str(int(now.data["n"]) + 1)}}
                raised["metadata"] = {"resourceVersion": now.metadata.resource_version}
                try:
                    await maps[(worker + 1) % 3].patch(KEY, Patch("merge", raised))
                    break
                except Conflict:
                    continue

    async with anyio.create_task_group() as group:
        for worker in range(6):
            group.start_soon(count, worker)
    assert (await maps[2].get(KEY)).data["n"] == "60"


class Forgetful:
    """A store whose watches say that they fell behind, once, when told so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.falls_behind = anyio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def watch(self, prefix: str, *, since: Revision) -> AsyncIterator[Any]:
        if not self.falls_behind.is_set():
            yield self
        else:
            async with self._store.watch(prefix, since=since) as watch:
                yield watch

    async def take(self) -> tuple[Change, ...]:
        await self.falls_behind.wait()
        raise WatchLagged("cut off for longer than history is kept")


async def test_a_server_that_lost_its_place_loads_anew_and_its_watches_end(url: str) -> None:
    async with open_store(url) as store, open_store(url) as its_own, ResourceRegistries(store) as first:
        await first.bootstrap()
        maps = LocalClient(first).resource(ConfigMap)
        await maps.create(config_map("before"))
        forgetful: Any = Forgetful(its_own)
        async with ResourceRegistries(forgetful) as second:
            others = LocalClient(second).resource(ConfigMap)
            start = str(second.cache.revision)
            async with others.watch(HERE, since=start) as events:
                await maps.create(config_map("missed"))
                forgetful.falls_behind.set()
                with anyio.fail_after(60), pytest.raises(Expired):
                    async for _ in events:
                        pass
            found = await others.list(HERE)
            assert {m.metadata.name for m in found.items} >= {"before", "missed"}
            with pytest.raises(Expired):
                async with others.watch(HERE, since=start) as events:
                    await anext(events)
