"""API servers that share a store: none binds on what it knew of a node before another bound there, however the news are interleaved."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.registry.binding import RECORDS
from kubelib.registry.room import GUARDS, Wanted
from kubelib.store import Store, open_store
from kubelib.transactions import Claim, Result, Transaction
from tests.flow.test_room import node_with, pod_of, taken


class Shared:
    """A store as one of several API servers sees it: it hears of changes by a watch, which can be held up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hears = anyio.Event()
        self._hears.set()
        self._before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.list, self.commit = store.list, store.commit
        self.compact, self.revision = store.compact, store.revision

    def before_get(self, prefix: str, what: Callable[[], Awaitable[None]]) -> None:
        """Do something the next time that a key with this prefix is read."""
        self._before[prefix] = what

    def hold(self) -> None:
        self._hears = anyio.Event()

    def hear(self) -> None:
        self._hears.set()

    async def get(self, key: str) -> Any:
        for prefix in [prefix for prefix in self._before if key.startswith(prefix)]:
            await self._before.pop(prefix)()
        return await self._store.get(key)

    @asynccontextmanager
    async def watch(self, prefix: str, *, since: Any) -> AsyncIterator[Any]:
        async with self._store.watch(prefix, since=since) as watch:
            yield _Held(self, watch)


@attrs.define
class _Held:
    owner: Shared
    watch: Any
    progress: int = 0

    async def take(self) -> Any:
        changes = await self.watch.take()
        progress = self.watch.progress
        await self.owner._hears.wait()
        self.progress = progress
        return changes


@attrs.frozen
class Servers:
    store: Shared
    """That of the first."""
    registries: ResourceRegistries
    """Those of the first."""
    first: LocalClient
    second: LocalClient

    async def bind(self, pod: str, node: str) -> None:
        result = await self.second.binder.commit(Transaction(id=pod, claims=[claim(pod, node)]))
        assert result.landed == 1

    async def holds(self, node: str) -> int:
        await self.registries.catch_up()
        return (await taken(self.first, node))[1]


def claim(pod: str, node: str) -> Claim:
    return Claim(Key("default", pod), "", node)


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store("memory://"))
        views = [Shared(store), Shared(store)]
        found = [await stack.enter_async_context(ResourceRegistries(view)) for view in views]
        for registries in found:
            await registries.bootstrap()
        both = Servers(views[0], found[0], *(LocalClient(registries) for registries in found))
        for name, pods in (("big", "9"), ("small", "1")):
            await both.first.resource(Node).create(node_with(name, "4", pods))
        for name in ("a", "b", "c", "d"):
            await both.first.resource(Pod).create(pod_of(name, "100m"))
        yield both


def causes(result: Result) -> list[str]:
    return [outcome.cause for outcome in result.outcomes]


async def test_what_is_learnt_while_a_record_is_looked_for_does_not_count_as_decided_on(
    servers: Servers,
) -> None:
    await servers.bind("a", "big")

    async def fill() -> None:
        """Another server binds, and somebody else here learns of that."""
        await servers.bind("b", "small")
        await servers.registries.catch_up()
        assert servers.registries.room.lacks("small", Wanted({}, ())) == ("pods",)

    servers.store.before_get(RECORDS, fill)
    result = await servers.first.binder.commit(
        Transaction(id="t", claims=[claim("a", "small"), claim("c", "small")])
    )
    assert causes(result) == ["Assigned", "NoRoom"]
    assert await servers.holds("small") == 1


async def test_a_guard_is_not_known_before_the_pods_that_it_guards(servers: Servers) -> None:
    await servers.bind("a", "big")
    # Written since, it hides when it was bound: the first transaction on its node learns of the guard.
    await servers.second.resource(Pod).patch(
        Key("default", "a"), Patch("merge", {"metadata": {"labels": {"written": "again"}}})
    )

    async with anyio.create_task_group() as tasks:

        async def hear() -> None:
            await anyio.sleep(0.05)
            servers.store.hear()

        async def fill() -> None:
            """Another server binds, of which only the guard is known here for a while."""
            servers.store.hold()
            await servers.bind("b", "small")
            tasks.start_soon(hear)

        servers.store.before_get(GUARDS, fill)
        result = await servers.first.binder.commit(
            Transaction(id="t", claims=[claim("c", "big"), claim("d", "small")])
        )
    assert causes(result) == ["", "NoRoom"]
    assert await servers.holds("small") == 1
