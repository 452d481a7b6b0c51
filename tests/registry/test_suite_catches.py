"""`RegistrySuite` notices clients that break a promise: each of these breaks one, and a test that names it fails."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest

from kubelib.api import codec
from kubelib.api.errors import ApiError, Conflict
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import NO_PRECONDITIONS, WHOLE_CLUSTER, ObjectList, Patch, Query
from kubelib.store import MemoryStore
from kubelib.testing.registry import Backing, RegistrySuite, backing_of


class Faithful:
    """Passes everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def create(self, obj: Any) -> Any:
        return await self.inner.create(obj)

    async def get(self, key: Key) -> Any:
        return await self.inner.get(key)

    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[Any]:
        found: ObjectList[Any] = await self.inner.list(query, limit=limit, page=page)
        return found

    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        return await self.inner.update(obj, subresource=subresource)

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> Any:
        return await self.inner.patch(key, patch, subresource=subresource)

    async def delete(
        self, key: Key, *, preconditions: Any = NO_PRECONDITIONS, grace: Any = None, propagation: Any = None
    ) -> Any:
        return await self.inner.delete(key, preconditions=preconditions, grace=grace, propagation=propagation)

    def watch(self, query: Query = WHOLE_CLUSTER, *, since: str) -> AbstractAsyncContextManager[Any]:
        watch: AbstractAsyncContextManager[Any] = self.inner.watch(query, since=since)
        return watch


class LastWriterWins(Faithful):
    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        blind = replace(obj, metadata=replace(obj.metadata, resource_version=""))
        return await self.inner.update(blind, subresource=subresource)


class IgnoresPreconditions(Faithful):
    async def delete(
        self, key: Key, *, preconditions: Any = NO_PRECONDITIONS, grace: Any = None, propagation: Any = None
    ) -> Any:
        return await self.inner.delete(key, grace=grace, propagation=propagation)


class IgnoresSelectors(Faithful):
    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[Any]:
        found: ObjectList[Any] = await self.inner.list(
            Query(namespace=query.namespace), limit=limit, page=page
        )
        return found


class PagesOfThePresent(Faithful):
    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[Any]:
        found: ObjectList[Any] = await self.inner.list(query)
        start = int(page or 0)
        rest = len(found.items) - start - limit
        items = found.items[start : start + limit] if limit else found.items
        more = limit and rest > 0
        return attrs.evolve(
            found, items=items, page=str(start + limit) if more else "", remaining=rest if more else None
        )


class DropsEvents(Faithful):
    @asynccontextmanager
    async def watch(self, query: Query = WHOLE_CLUSTER, *, since: str) -> AsyncIterator[Any]:
        async with self.inner.watch(query, since=since) as events:

            async def some() -> AsyncIterator[Any]:
                number = 0
                async for event in events:
                    number += 1
                    if number != 2:
                        yield event

            yield some()


class RepeatsEvents(Faithful):
    @asynccontextmanager
    async def watch(self, query: Query = WHOLE_CLUSTER, *, since: str) -> AsyncIterator[Any]:
        async with self.inner.watch(query, since=since) as events:

            async def twice() -> AsyncIterator[Any]:
                async for event in events:
                    yield event
                    yield event

            yield twice()


class WatchesEverything(Faithful):
    def watch(self, query: Query = WHOLE_CLUSTER, *, since: str) -> AbstractAsyncContextManager[Any]:
        watch: AbstractAsyncContextManager[Any] = self.inner.watch(WHOLE_CLUSTER, since=since)
        return watch


class ForgetsWhatItDoesNotKnow(Faithful):
    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        tree = codec.to_tree(obj)
        document, _ = await self.inner.documents.update(obj.key, tree, subresource=subresource)
        return document.view(type(obj))


class ReadsTheFirstVersion(Faithful):
    first: dict[str, Any] = {}

    async def create(self, obj: Any) -> Any:
        created = await self.inner.create(obj)
        self.first[created.metadata.uid] = created
        return created

    async def get(self, key: Key) -> Any:
        found = await self.inner.get(key)
        return self.first[found.metadata.uid]


class WritesStatusWithSpec(Faithful):
    async def update(self, obj: Any, *, subresource: str = "") -> Any:
        if subresource:
            await self.inner.update(obj)
            current = await self.inner.get(obj.key)
            obj = replace(current, status=obj.status)
        return await self.inner.update(obj, subresource=subresource)


class DeletesAtOnce(Faithful):
    async def delete(
        self, key: Key, *, preconditions: Any = NO_PRECONDITIONS, grace: Any = None, propagation: Any = None
    ) -> Any:
        await self.inner.patch(key, Patch("merge", {"metadata": {"finalizers": None}}))
        return await self.inner.delete(key, preconditions=preconditions, grace=0)


class ConflictsForNothing(Faithful):
    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> Any:
        if patch.type == "merge" and not subresource:
            raise Conflict("try again")
        return await self.inner.patch(key, patch, subresource=subresource)


BROKEN = [
    (LastWriterWins, "test_an_update_of_the_latest_version_succeeds_and_one_of_an_older_conflicts"),
    (LastWriterWins, "test_concurrent_writers_lose_no_update"),
    (IgnoresPreconditions, "test_preconditions_must_hold"),
    (IgnoresSelectors, "test_a_list_finds_by_namespace_labels_and_fields"),
    (PagesOfThePresent, "test_pages_are_of_one_revision_while_writes_go_on"),
    (DropsEvents, "test_a_watch_reports_everything_after_a_version_once_and_in_order"),
    (DropsEvents, "test_many_watchers_see_the_same"),
    (RepeatsEvents, "test_a_watch_reports_everything_after_a_version_once_and_in_order"),
    (WatchesEverything, "test_a_watch_of_one_namespace_or_name_sees_no_other"),
    (WatchesEverything, "test_an_object_that_begins_or_ceases_to_match_is_added_or_deleted"),
    (ForgetsWhatItDoesNotKnow, "test_fields_that_the_class_does_not_know_survive_every_write"),
    (ReadsTheFirstVersion, "test_an_update_of_the_latest_version_succeeds_and_one_of_an_older_conflicts"),
    (WritesStatusWithSpec, "test_spec_and_status_are_written_apart"),
    (DeletesAtOnce, "test_finalizers_hold_an_object_until_the_last_is_gone"),
    (ConflictsForNothing, "test_a_merge_patch_sets_and_removes"),
]


class Client:
    def __init__(self, inner: LocalClient, registry: type[Faithful]) -> None:
        self._inner = inner
        self._registry = registry

    def resource(self, kind: Any) -> Any:
        return self._registry(self._inner.resource(kind))


@pytest.fixture
async def opened() -> AsyncIterator[tuple[MemoryStore, ResourceRegistries]]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield store, registries


async def run(name: str, backing: Backing) -> None:
    test = getattr(RegistrySuite(), name)
    wanted = test.__code__.co_varnames[1]
    await test(backing if wanted == "backing" else backing.client)


@pytest.mark.seeds(1)
@pytest.mark.parametrize(("registry", "name"), BROKEN, ids=[f"{r.__name__}-{n[5:40]}" for r, n in BROKEN])
async def test_a_broken_promise_is_noticed(
    opened: tuple[MemoryStore, ResourceRegistries], registry: type[Faithful], name: str
) -> None:
    store, registries = opened
    good: Any = Client(LocalClient(registries), registry)
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, ApiError, ExceptionGroup)):
        await run(name, backing_of(good, store, registries))


@pytest.mark.seeds(1)
@pytest.mark.parametrize("name", sorted({name for _, name in BROKEN}))
async def test_the_same_tests_pass_for_a_client_that_keeps_its_promises(
    opened: tuple[MemoryStore, ResourceRegistries], name: str
) -> None:
    store, registries = opened
    good: Any = Client(LocalClient(registries), Faithful)
    await run(name, backing_of(good, store, registries))
