from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.client.base import Client, Unreachable
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.informers import Backoff, Informer, SharedInformers
from kubelib.labels import parse_selector
from kubelib.registry.base import WHOLE_CLUSTER, Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.sim import Lossy
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_config_map

QUICK = Backoff(base=0.01, maximum=0.1, jitter=1.0)


@asynccontextmanager
async def api() -> AsyncIterator[LocalClient]:
    async with ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(1)) as registries:
        await registries.bootstrap()
        yield LocalClient(registries)


@asynccontextmanager
async def running(
    client: Client, query: Query = WHOLE_CLUSTER, seed: int = 1
) -> AsyncIterator[Informer[ConfigMap]]:
    informer = Informer(
        client.resource(ConfigMap), ConfigMap, query=query, random=Random(seed), backoff=QUICK
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(informer.run)
        yield informer
        tasks.cancel_scope.cancel()


def names(informer: Informer[ConfigMap]) -> list[str]:
    return sorted(document.meta.name for document in informer.cache)


class Log:
    """What a handler saw, and a check that it is an alternation per object."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[Key, Document] = {}

    def __call__(self, old: Document | None, new: Document | None) -> None:
        document = new or old
        assert document is not None
        known = self.known.get(document.key)
        assert (old is None) == (known is None), f"{document.key}: told {old and 'old'}, knew {known}"
        if known is not None and old is not None:
            assert known.meta.uid == old.meta.uid
        if new is None:
            del self.known[document.key]
        else:
            self.known[document.key] = new
        verb = "added" if old is None else "deleted" if new is None else "changed"
        self.lines.append(f"{verb} {document.meta.name}")


async def test_started_means_that_the_cache_holds_what_was_there() -> None:
    async with api() as client:
        for name in "abc":
            await client.resource(ConfigMap).create(make_config_map(name))
        async with running(client) as informer:
            assert informer.synced
            assert names(informer) == ["a", "b", "c"]


async def test_handlers_hear_of_additions_changes_and_deletions_in_order() -> None:
    async with api() as client, running(client) as informer:
        log = Log()
        informer.subscribe(log)
        registry = client.resource(ConfigMap)
        made = await registry.create(make_config_map("a", color="red"))
        await anyio.sleep(0.01)
        await registry.update(replace(made, data={"color": "blue"}))
        await registry.delete(made.key)
        await anyio.sleep(0.05)
        assert log.lines == ["added a", "changed a", "deleted a"]


async def test_a_late_handler_hears_first_of_everything_that_is_there() -> None:
    async with api() as client, running(client) as informer:
        await client.resource(ConfigMap).create(make_config_map("a"))
        await anyio.sleep(0.05)
        log = Log()
        informer.subscribe(log)
        assert log.lines == ["added a"]


async def test_the_lister_selects_by_label_namespace_and_index() -> None:
    async with api() as client, running(client) as informer:
        registry = client.resource(ConfigMap)
        for n in range(6):
            one = make_config_map(f"c{n}", "default" if n % 2 else "kube-public")
            await registry.create(replace(one, metadata=replace(one.metadata, labels={"third": str(n % 3)})))
        await anyio.sleep(0.05)
        found = informer.lister.list(parse_selector("third=0"))
        assert sorted(obj.metadata.name for obj in found) == ["c0", "c3"]
        found = informer.lister.list(parse_selector("third=0"), "default")
        assert [obj.metadata.name for obj in found] == ["c3"]
        assert len(informer.lister.by_index("namespace", "kube-public")) == 3
        informer.cache.add_index("first letter", lambda document: [document.meta.name[0]])
        assert len(informer.lister.by_index("first letter", "c")) == 6
        await registry.delete(Key("default", "c3"))
        await anyio.sleep(0.05)
        assert not informer.lister.list(parse_selector("third=0"), "default")
        assert len(informer.lister.by_index("first letter", "c")) == 5


async def test_a_query_keeps_only_what_matches_and_forgets_what_ceases_to() -> None:
    async with api() as client, running(client, Query(labels=parse_selector("on"))) as informer:
        log = Log()
        informer.subscribe(log)
        one = make_config_map("a")
        registry = client.resource(ConfigMap)
        made = await registry.create(one)
        made = await registry.update(replace(made, metadata=replace(made.metadata, labels={"on": "1"})))
        await registry.update(replace(made, metadata=replace(made.metadata, labels={})))
        await anyio.sleep(0.05)
        assert log.lines == ["added a", "deleted a"]


async def test_shared_informers_share_by_kind_and_query() -> None:
    async with api() as client:
        informers = SharedInformers(client, random=Random(1))
        assert informers.of(ConfigMap) is informers.of(ConfigMap)
        assert informers.of(ConfigMap) is not informers.of(ConfigMap, Query("default"))
        async with anyio.create_task_group() as tasks:
            await tasks.start(informers.run)
            assert informers.of(ConfigMap).synced
            late = informers.of(ConfigMap, Query("kube-public"))
            await late.wait_until_synced()
            tasks.cancel_scope.cancel()


class Away:
    """A client whose server accepts no connection from time to time: what it had watched ends."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.away = False
        self.attempts: list[float] = []
        self.watching: set[anyio.CancelScope] = set()

    def resource(self, kind: type[Object], /) -> Any:
        return _Door(self, self._client.resource(kind))

    def go(self) -> None:
        self.away = True
        for scope in self.watching:
            scope.cancel()


class _Door:
    def __init__(self, server: Away, registry: Any) -> None:
        self._server, self._registry = server, registry

    def _connect(self) -> None:
        self._server.attempts.append(anyio.current_time())
        if self._server.away:
            raise Unreachable("connection refused")

    async def list(self, *what: Any, **more: Any) -> Any:
        self._connect()
        return await self._registry.list(*what, **more)

    @asynccontextmanager
    async def watch(self, query: Query, *, since: str) -> AsyncIterator[Any]:
        self._connect()
        async with self._registry.watch(query, since=since) as events:
            with anyio.CancelScope() as scope:
                self._server.watching.add(scope)
                yield events
        self._server.watching.remove(scope)


@pytest.mark.seeds(2)
async def test_who_was_refused_connections_is_there_again_soon_after_the_server_is_and_not_all_at_once() -> (
    None
):
    async with api() as client, anyio.create_task_group() as tasks:
        server = Away(client)
        random = Random(1)
        informers = [Informer(server.resource(ConfigMap), ConfigMap, random=random) for _ in range(200)]
        for informer in informers:
            await tasks.start(informer.run)
        await anyio.sleep(60)
        server.go()
        await anyio.sleep(40)
        assert len(server.attempts) < 200 * (2 + 40 / 3), "and it is not asked without end meanwhile"
        await client.resource(ConfigMap).create(make_config_map("a"))
        server.away, server.attempts = False, []
        back = anyio.current_time()
        await anyio.sleep(8)
        assert all(names(informer) == ["a"] for informer in informers)
        seconds = Counter(int(moment - back) for moment in server.attempts)
        assert max(seconds.values()) < 100, "who failed together does not return together"
        tasks.cancel_scope.cancel()


def test_nothing_is_decoded_that_nobody_looks_at() -> None:
    async def main() -> None:
        async with api() as client, running(client) as informer:
            informer.subscribe(lambda old, new: None)
            await client.resource(ConfigMap).create(make_config_map("a"))
            await anyio.sleep(0.05)
            fresh = Document(next(iter(informer.cache)).raw)
            informer.replace([fresh], "99")
            assert fresh._view is None
            assert informer.lister.list()[0].metadata.name == "a"
            assert fresh._view is not None

    anyio.run(main)


@pytest.mark.seeds(20)
async def test_on_a_bad_line_the_cache_still_becomes_what_the_registry_holds(anyio_backend: object) -> None:
    async with api() as client:
        random = Random(str(anyio_backend))
        line = Lossy(client, random, rate=0.2, latency=0.05)
        async with running(line) as informer:
            log = Log()
            informer.subscribe(log)
            registry = client.resource(ConfigMap)
            there: dict[str, ConfigMap] = {}
            for n in range(100):
                name = f"c{random.randrange(12)}"
                if name not in there:
                    there[name] = await registry.create(make_config_map(name, n=str(n)))
                elif random.random() < 0.4:
                    await registry.delete(there.pop(name).key)
                else:
                    there[name] = await registry.update(replace(there[name], data={"n": str(n)}))
                await anyio.sleep(random.random() / 5)
            await anyio.sleep(60)
            assert line.lost
            assert names(informer) == sorted(there)
            assert {d.meta.name: d.view(ConfigMap).data for d in log.known.values()} == {
                name: obj.data for name, obj in there.items()
            }
