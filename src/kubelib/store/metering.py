"""What a store is asked and how long it takes: a store that counts, and hands everything on."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

from kubelib.exposition import Histogram
from kubelib.store.base import (
    Change,
    Entry,
    Operation,
    Page,
    Revision,
    RevisionMismatch,
    Store,
    SupportsObserve,
    Watch,
    most_operations,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, of the classes into which durations are sorted."""


class StoreFigures:
    """What a store has been asked since it was opened."""

    def __init__(self) -> None:
        self.durations: dict[str, Histogram] = {}
        """In seconds, by operation: ``get``, ``list``, ``commit``, ``compact``."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """By operation and the name of the error. A commit whose expectations do not hold is no error."""
        self.conflicts = 0
        """Commits whose expectations did not hold."""
        self.watches = 0
        """Watches that are open."""
        self.changes = 0
        """Changes that watches and observers were told of."""

    def measured(self, operation: str) -> "Measured":
        """Return a context that counts what happens in it."""
        return Measured(self, operation)


class Measured:
    """One operation. A commit is short: what measures it must not take as long."""

    __slots__ = ("_began", "_figures", "_now", "_operation")

    def __init__(self, figures: StoreFigures, operation: str) -> None:
        self._figures = figures
        self._operation = operation

    def __enter__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._began = self._now()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        figures, operation = self._figures, self._operation
        if kind is not None:
            if issubclass(kind, RevisionMismatch):
                figures.conflicts += 1
            elif issubclass(kind, Exception):
                figures.errors[operation, kind.__name__] += 1
        durations = figures.durations.get(operation)
        if durations is None:
            durations = figures.durations[operation] = Histogram(BOUNDS)
        durations.add(self._now() - self._began)


class MeteredStore:
    """A store and its `figures`. Durations are by the event loop's clock, so they are virtual in a simulation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.figures = StoreFigures()

    @property
    def most_operations(self) -> int:
        """How many operations one commit may have; 0 if there is no limit."""
        return most_operations(self._store)

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, or None."""
        with self.figures.measured("get"):
            return await self._store.get(key)

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return the entries whose key begins with `prefix`."""
        with self.figures.measured("list"):
            return await self._store.list(prefix, limit=limit, start=start, at=at)

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none."""
        with self.figures.measured("commit"):
            return await self._store.commit(*operations)

    def watch(self, prefix: str, *, since: Revision) -> AbstractAsyncContextManager[Watch]:
        """Report every change after revision `since`."""
        return self._watch(prefix, since)

    @asynccontextmanager
    async def _watch(self, prefix: str, since: Revision) -> "AsyncIterator[Watch]":
        self.figures.watches += 1
        try:
            async with self._store.watch(prefix, since=since) as watch:
                yield _Watch(watch, self.figures)
        finally:
            self.figures.watches -= 1

    async def compact(self, before: Revision) -> None:
        """Forget the history before revision `before`."""
        with self.figures.measured("compact"):
            await self._store.compact(before)

    async def revision(self) -> Revision:
        """Return the revision of the latest commit."""
        return await self._store.revision()


class _Observable(MeteredStore):
    """Over a store that can call back at once."""

    def observe(self, callback: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        """Call `callback` on the loop with all changes of each commit, before the committer goes on."""
        assert isinstance(self._store, SupportsObserve)

        def counting(changes: tuple[Change, ...]) -> None:
            self.figures.changes += len(changes)
            callback(changes)

        return self._store.observe(counting)


class _Watch:
    def __init__(self, watch: Watch, figures: StoreFigures) -> None:
        self._watch = watch
        self._figures = figures

    @property
    def progress(self) -> Revision:
        return self._watch.progress

    async def take(self) -> tuple[Change, ...]:
        changes = await self._watch.take()
        self._figures.changes += len(changes)
        return changes


def metered(store: Store) -> MeteredStore:
    """Return `store` with `figures` of what it is asked."""
    return _Observable(store) if isinstance(store, SupportsObserve) else MeteredStore(store)
