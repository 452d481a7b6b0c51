"""Seeded faults as wrappers: each is an ordinary implementation of the Protocol that it wraps.

They stack: ``Conflicting(Lossy(LocalClient(registries), random), every=3)``. All chance comes from the given `Random`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Generic, TypeVar

import anyio

from kubelib.api.errors import Conflict, Expired, ServiceUnavailable, Timeout
from kubelib.api.meta import Key, Object
from kubelib.client.base import Client
from kubelib.registry.base import (
    NO_PRECONDITIONS,
    WHOLE_CLUSTER,
    ObjectList,
    Patch,
    Preconditions,
    Propagation,
    Query,
    Registry,
    WatchEvent,
)
from kubelib.store import Change, Entry, Operation, Page, Revision, Store, Watch

R = TypeVar("R", bound=Object)


class Slow:
    """A store whose every answer takes between nothing and `latency` seconds longer."""

    def __init__(self, store: Store, random: Random, *, latency: float = 0.05) -> None:
        self._store = store
        self._random = random
        self._latency = latency

    async def _wait(self) -> None:
        await anyio.sleep(self._random.random() * self._latency)

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, later."""
        await self._wait()
        return await self._store.get(key)

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return a page, later."""
        await self._wait()
        return await self._store.list(prefix, limit=limit, start=start, at=at)

    async def commit(self, *operations: Operation) -> Revision:
        """Commit, and say so later: others see the write before its writer knows."""
        revision = await self._store.commit(*operations)
        await self._wait()
        return revision

    def watch(self, prefix: str, *, since: Revision) -> AbstractAsyncContextManager[Watch]:
        """Watch, each batch later."""
        return self._watch(prefix, since)

    @asynccontextmanager
    async def _watch(self, prefix: str, since: Revision) -> AsyncIterator[Watch]:
        async with self._store.watch(prefix, since=since) as watch:
            yield _SlowWatch(watch, self)

    async def compact(self, before: Revision) -> None:
        """Forget the history before a revision."""
        await self._store.compact(before)

    async def revision(self) -> Revision:
        """Return the revision of the latest commit, later."""
        await self._wait()
        return await self._store.revision()


class _SlowWatch:
    def __init__(self, watch: Watch, slow: Slow) -> None:
        self._watch = watch
        self._slow = slow

    async def take(self) -> tuple[Change, ...]:
        changes = await self._watch.take()
        await self._slow._wait()
        return changes

    @property
    def progress(self) -> Revision:
        return self._watch.progress


class Wrapper(Generic[R]):
    """A registry that passes everything on: what the wrappers here begin from."""

    def __init__(self, registry: Registry[R]) -> None:
        self.registry = registry

    async def create(self, obj: R) -> R:
        """Pass on a create."""
        return await self.registry.create(obj)

    async def get(self, key: Key) -> R:
        """Pass on a get."""
        return await self.registry.get(key)

    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[R]:
        """Pass on a list."""
        return await self.registry.list(query, limit=limit, page=page)

    async def update(self, obj: R, *, subresource: str = "") -> R:
        """Pass on an update."""
        return await self.registry.update(obj, subresource=subresource)

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> R:
        """Pass on a patch."""
        return await self.registry.patch(key, patch, subresource=subresource)

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
    ) -> R:
        """Pass on a delete."""
        return await self.registry.delete(
            key, preconditions=preconditions, grace=grace, propagation=propagation
        )

    def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[R]]]:
        """Pass on a watch."""
        return self.registry.watch(query, since=since)


class Lossy:
    """A client whose requests get lost at a rate: half of them on the way there, half of the answers on the way back.

    A lost answer is the interesting case, because its request has had its effect. Watches break after about
    ``1 / rate`` events; every fifth one that is resumed finds its revision too old and must list again.
    """

    def __init__(
        self,
        client: Client,
        random: Random,
        *,
        rate: float = 0.1,
        latency: float = 0.0,
        until: float | None = None,
    ) -> None:
        self._client = client
        self.random = random
        self.rate = rate
        self.latency = latency
        self.until = until
        """The loop's time from which on nothing is lost any more; None for never."""
        self.lost = 0

    def resource(self, kind: type[R], /) -> Registry[R]:
        """Return the registry of a kind, behind the same bad line."""
        return _LossyRegistry(self._client.resource(kind), self)

    def fails(self) -> bool:
        """Draw whether something gets lost now."""
        if self.until is not None and anyio.current_time() >= self.until:
            return False
        lost = self.random.random() < self.rate
        self.lost += lost
        return lost

    async def carry(self) -> None:
        """Take the time that a message needs, or lose it."""
        if self.latency:
            await anyio.sleep(self.random.random() * self.latency)
        if self.fails() and self.random.random() < 0.5:
            raise ServiceUnavailable("the request was lost")

    async def answer(self) -> None:
        """Lose the answer of a request that has been carried out."""
        if self.fails() and self.random.random() < 0.5:
            raise Timeout("the answer was lost")


class _LossyRegistry(Wrapper[R]):
    def __init__(self, registry: Registry[R], line: Lossy) -> None:
        super().__init__(registry)
        self._line = line

    async def create(self, obj: R) -> R:
        await self._line.carry()
        created = await super().create(obj)
        await self._line.answer()
        return created

    async def get(self, key: Key) -> R:
        await self._line.carry()
        return await super().get(key)

    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[R]:
        await self._line.carry()
        return await super().list(query, limit=limit, page=page)

    async def update(self, obj: R, *, subresource: str = "") -> R:
        await self._line.carry()
        updated = await super().update(obj, subresource=subresource)
        await self._line.answer()
        return updated

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> R:
        await self._line.carry()
        patched = await super().patch(key, patch, subresource=subresource)
        await self._line.answer()
        return patched

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
    ) -> R:
        await self._line.carry()
        deleted = await super().delete(key, preconditions=preconditions, grace=grace, propagation=propagation)
        await self._line.answer()
        return deleted

    def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[R]]]:
        return self._watch(query, since)

    @asynccontextmanager
    async def _watch(self, query: Query, since: str) -> AsyncIterator[AsyncIterator[WatchEvent[R]]]:
        await self._line.carry()
        if self._line.fails() and self._line.random.random() < 0.2:
            raise Expired("too old resource version")
        async with self.registry.watch(query, since=since) as events:
            lossy = _breaking(events, self._line)
            try:
                yield lossy
            finally:
                await lossy.aclose()  # type: ignore[attr-defined]


async def _breaking(events: AsyncIterator[WatchEvent[R]], line: Lossy) -> AsyncIterator[WatchEvent[R]]:
    async for event in events:
        if line.fails():
            raise ServiceUnavailable("the watch broke")
        yield event


class Conflicting:
    """A client that refuses every n-th update or patch as a conflict, as if somebody else had been quicker."""

    def __init__(self, client: Client, random: Random | None = None, *, every: int = 3) -> None:
        self._client = client
        self.every = every
        self.writes = 0

    def resource(self, kind: type[R], /) -> Registry[R]:
        """Return the registry of a kind, with a rival."""
        return _ConflictingRegistry(self._client.resource(kind), self)

    def collide(self, name: str) -> None:
        """Count a write, and refuse it if it is its turn."""
        self.writes += 1
        if self.writes % self.every == 0:
            raise Conflict(
                f'Operation cannot be fulfilled on "{name}": the object has been modified; please apply your changes to'
                " the latest version and try again",
                name=name,
            )


class _ConflictingRegistry(Wrapper[R]):
    def __init__(self, registry: Registry[R], rival: Conflicting) -> None:
        super().__init__(registry)
        self._rival = rival

    async def update(self, obj: R, *, subresource: str = "") -> R:
        self._rival.collide(obj.metadata.name)
        return await super().update(obj, subresource=subresource)

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> R:
        self._rival.collide(key.name)
        return await super().patch(key, patch, subresource=subresource)
