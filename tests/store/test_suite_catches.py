"""`StoreSuite` notices stores that break a promise: each of these breaks one, and a test that names it fails."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from kubelib.clock import LoopClock
from kubelib.store import (
    MemoryStore,
    Put,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    RevisionMismatch,
)
from kubelib.store.base import Operation, Page
from kubelib.store.fanout import Cursor
from kubelib.testing.loops import anyio_backend, pytest_generate_tests
from kubelib.testing.store import StoreSuite

__all__ = ["anyio_backend", "pytest_generate_tests"]


class LastWriterWins(MemoryStore):
    async def commit(self, *operations: Operation) -> Revision:
        blind = [
            attrs.evolve(o, expect=self._modified(o.key)) if isinstance(o, Put) else o for o in operations
        ]
        return await super().commit(*blind)


class CommitsOneByOne(MemoryStore):
    async def commit(self, *operations: Operation) -> Revision:
        revision = self._revision
        for operation in operations:
            revision = await super().commit(operation)
        return revision


class WritesForChecks(MemoryStore):
    async def commit(self, *operations: Operation) -> Revision:
        await super().commit(*operations)
        self._revision = self._fanout.revision = Revision(self._revision + 1)
        return self._revision


class SkipsRevisions(MemoryStore):
    async def commit(self, *operations: Operation) -> Revision:
        if len(operations) == 1 and operations[0].key.endswith("1"):
            self._revision = self._fanout.revision = Revision(self._revision + 1)
        return await super().commit(*operations)


class ForgetsCreation(MemoryStore):
    def _apply(self, revision: Revision, writes: Any) -> Any:
        changes = super()._apply(revision, writes)
        for change in changes:
            if change.entry is not None:
                self._entries[change.key] = attrs.evolve(change.entry, created=revision)
        return changes


class ListsThePresent(MemoryStore):
    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        page = await super().list(prefix, limit=limit, start=start)
        return attrs.evolve(page, revision=at or page.revision)


class ListsUnsorted(MemoryStore):
    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        page = await super().list(prefix, limit=limit, start=start, at=at)
        return attrs.evolve(page, entries=tuple(reversed(page.entries)))


class PrefixesByFolder(MemoryStore):
    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        return await super().list(prefix.rstrip("/") + "/", limit=limit, start=start, at=at)


class _Altered(Cursor):
    alter: Callable[[list[Any]], list[Any]]

    async def take(self) -> tuple[Any, ...]:
        while True:
            changes = self.alter(list(await super().take()))
            if changes:
                return tuple(changes)


class AltersWatches(MemoryStore):
    since = 0

    def alter(self, changes: list[Any]) -> list[Any]:
        return changes

    @asynccontextmanager
    async def watch(self, prefix: str, *, since: Revision) -> AsyncIterator[Cursor]:
        cursor = _Altered(self._fanout, self._history, prefix, Revision(max(0, since + self.since)))
        cursor.alter = self.alter
        yield cursor


class LosesChanges(AltersWatches):
    def alter(self, changes: list[Any]) -> list[Any]:
        return [change for change in changes if change.revision % 4]


class RepeatsChanges(AltersWatches):
    def alter(self, changes: list[Any]) -> list[Any]:
        return [change for change in changes for _ in range(2)]


class StartsTooEarly(AltersWatches):
    since = -1


class ForgetsThePrevious(AltersWatches):
    def alter(self, changes: list[Any]) -> list[Any]:
        return [attrs.evolve(change, previous=None) for change in changes]


class SplitsCommits(AltersWatches):
    def alter(self, changes: list[Any]) -> list[Any]:
        return changes[:1]


class WatchesTheFuture(MemoryStore):
    @asynccontextmanager
    async def watch(self, prefix: str, *, since: Revision) -> AsyncIterator[Cursor]:
        yield Cursor(self._fanout, self._history, prefix, min(since, self._revision))


class NeverCompacts(MemoryStore):
    async def compact(self, before: Revision) -> None:
        return


class CompactsThePresent(MemoryStore):
    async def compact(self, before: Revision) -> None:
        await super().compact(before)
        self._entries.clear()
        self._keys.clear()


class KeepsLeasedKeys(MemoryStore):
    def _add_lease(self, expires: float, key: str, modified: Revision) -> None:
        return


class FailsWithItsObservers(MemoryStore):
    def observe(self, callback: Any) -> Callable[[], None]:
        self._callbacks = [*getattr(self, "_callbacks", []), callback]
        return lambda: self._callbacks.remove(callback)

    def _apply(self, revision: Revision, writes: Any) -> Any:
        changes = super()._apply(revision, writes)
        for callback in getattr(self, "_callbacks", []):
            callback(changes)
        return changes


BROKEN: list[tuple[type[MemoryStore], str]] = [
    (LastWriterWins, "test_of_concurrent_writers_of_one_key_exactly_one_wins"),
    (CommitsOneByOne, "test_all_changes_of_a_commit_arrive_together"),
    (WritesForChecks, "test_a_commit_of_checks_verifies_and_writes_nothing"),
    (SkipsRevisions, "test_revisions_begin_at_one_and_each_commit_is_the_next"),
    (ForgetsCreation, "test_an_entry_remembers_when_it_was_created_and_modified"),
    (ListsThePresent, "test_pages_are_of_one_revision_while_writes_go_on"),
    (ListsThePresent, "test_a_list_of_the_future_is_refused"),
    (ListsUnsorted, "test_a_list_is_in_key_order_and_ends_at_its_prefix"),
    (PrefixesByFolder, "test_a_list_is_in_key_order_and_ends_at_its_prefix"),
    (LosesChanges, "test_a_watch_reports_every_change_after_its_start_once_in_order"),
    (RepeatsChanges, "test_a_watch_reports_every_change_after_its_start_once_in_order"),
    (StartsTooEarly, "test_a_watch_reports_every_change_after_its_start_once_in_order"),
    (ForgetsThePrevious, "test_a_deletion_is_a_change_without_entry"),
    (SplitsCommits, "test_all_changes_of_a_commit_arrive_together"),
    (WatchesTheFuture, "test_a_watch_from_the_future_is_refused"),
    (NeverCompacts, "test_compaction_ends_what_was_before_and_keeps_the_present"),
    (CompactsThePresent, "test_compaction_ends_what_was_before_and_keeps_the_present"),
    (KeepsLeasedKeys, "test_a_lease_deletes_its_key_as_an_ordinary_change"),
    (FailsWithItsObservers, "test_an_observer_that_fails_fails_nobody_else"),
]


@pytest.mark.seeds(1)
@pytest.mark.parametrize(("broken", "name"), BROKEN, ids=[f"{b.__name__}-{n[5:40]}" for b, n in BROKEN])
async def test_a_broken_promise_is_noticed(broken: type[MemoryStore], name: str) -> None:
    noticed = (
        AssertionError, pytest.fail.Exception, TimeoutError, RevisionMismatch, RevisionCompacted, RevisionInFuture, RuntimeError,
        ExceptionGroup,
    )  # fmt: skip
    async with broken(clock=LoopClock()) as store:
        with pytest.raises(noticed):
            await getattr(StoreSuite(), name)(store)


@pytest.mark.seeds(1)
@pytest.mark.parametrize("name", sorted({name for _, name in BROKEN}))
async def test_the_same_tests_pass_for_the_reference(name: str) -> None:
    async with MemoryStore(clock=LoopClock()) as store:
        await getattr(StoreSuite(), name)(store)
