"""Revisioned bytes: what every store promises, whatever keeps them.

One counter, the revision, orders every change of the whole store. There is one door for writing, `Store.commit`,
and it is conditional and atomic over several keys: there is no lost update to look for, and a scheduler's
transaction is one call on every backend. `kubelib.testing.StoreSuite` pins all of this down as tests.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NewType, Protocol, runtime_checkable

from attrs import frozen

Revision = NewType("Revision", int)
"""A point in the history of the whole store. The first commit of an empty store is revision 1."""

ABSENT = Revision(0)
"""As `expect`: the key must not exist."""


@frozen
class Lease:
    """A time to live: the key is deleted, as an ordinary change, `ttl` seconds after the commit."""

    ttl: float


@frozen
class Entry:
    """One key as it was at one revision."""

    key: str
    value: bytes
    created: Revision
    """The revision at which the key came into being (again)."""
    modified: Revision
    """The revision of the latest write: what `expect` is compared with."""


@frozen
class Page:
    """Part of a range of keys, in key order, all as of one revision."""

    entries: tuple[Entry, ...]
    revision: Revision
    next_key: str = ""
    """Where the next page starts; empty when this is the last."""
    remaining: int | None = None
    """How many entries follow this page, when the store knows."""


@frozen
class Change:
    """What a store reports: one key written (`entry` is what it became) or deleted (`entry` is None)."""

    key: str
    revision: Revision
    entry: Entry | None
    previous: Entry | None
    """What it was just before, None when the key is new."""


@frozen
class Put:
    """Write `value` if the key's modified revision is `expect` (`ABSENT`: if there is no such key)."""

    key: str
    value: bytes
    expect: Revision
    lease: Lease | None = None


@frozen
class Delete:
    """Delete the key if its modified revision is `expect`."""

    key: str
    expect: Revision


@frozen
class Check:
    """Require that the key's modified revision is `expect`; write nothing."""

    key: str
    expect: Revision


Operation = Put | Delete | Check


class Watch(Protocol):
    """A running watch: a cursor into the store's history."""

    async def take(self) -> tuple[Change, ...]:
        """Wait for, and return, the next changes in revision order, none lost, none twice.

        There is at least one, unless nothing but `progress` has moved. All changes of one commit arrive in one call. Raises `WatchLagged` when this reader fell so far
        behind that the history no longer holds its next change, `RevisionCompacted` when the watch was to
        start before the oldest revision kept, and `StoreUnavailable` when the store is closed or lost.
        """
        ...

    @property
    def progress(self) -> Revision:
        """The revision up to which this watch has reported everything."""
        ...


class Store(Protocol):
    """Revisioned bytes. Stores are opened by `kubelib.store.open_store` and closed by leaving its context."""

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, or None."""
        ...

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return the entries whose key begins with `prefix`, in key order, as of one revision.

        `limit` 0 means all. `start` is the first key wanted (a `Page.next_key`). `at` asks for the state at
        an earlier revision: `RevisionCompacted` if that is no longer kept, `RevisionInFuture` if not yet reached.
        """
        ...

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none, at one new revision, and return that revision.

        When it returns, the write is as durable as the backend promises. `RevisionMismatch` names the first key
        whose expectation did not hold. A commit of nothing but checks verifies them and returns the current
        revision. Naming one key twice is a `ValueError`.
        """
        ...

    def watch(self, prefix: str, *, since: Revision) -> AbstractAsyncContextManager[Watch]:
        """Report every change after revision `since` to keys that begin with `prefix`."""
        ...

    async def compact(self, before: Revision) -> None:
        """Forget the history before revision `before`: earlier watches and lists raise `RevisionCompacted`."""
        ...

    async def revision(self) -> Revision:
        """Return the revision of the latest commit, 0 for an empty store."""
        ...


@runtime_checkable
class SupportsObserve(Protocol):
    """A store that can call back at once, which spares the watch cache a task switch per write."""

    def observe(self, callback: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        """Call `callback` on the loop, in commit order, with all changes of each commit, before the committer goes on.

        The returned function ends it.
        """
        ...


@runtime_checkable
class LimitsCommits(Protocol):
    """A store that takes only so many operations in one commit: larger ones raise `CommitTooLarge`."""

    @property
    def most_operations(self) -> int:
        """How many; 0 if there is no limit. It is the same for all who have the store open."""
        ...


@runtime_checkable
class SupportsRenewal(Protocol):
    """A store that writes values otherwise than it once did: with another key, for example. Old ones are renewed by writing them again."""

    async def is_outdated(self, key: str) -> bool:
        """Return whether the key's value would be kept otherwise if it was written now, though it is the same to those who read it."""
        ...


def most_operations(store: Store) -> int:
    """Return how many operations a store takes in one commit; 0 if there is no limit."""
    return store.most_operations if isinstance(store, LimitsCommits) else 0


class StoreError(Exception):
    """The tree: `RevisionMismatch`, `RevisionCompacted`, `RevisionInFuture`, `WatchLagged`, `CommitTooLarge` (`ValueTooLarge`),
    `StoreUnavailable` (`StoreCorrupt`, `StoreFull`).
    """


class RevisionMismatch(StoreError):
    """A commit's expectation did not hold; nothing was written."""

    def __init__(self, key: str, expected: Revision, found: Revision) -> None:
        super().__init__(f"{key}: expected revision {expected or 'absent'}, found {found or 'absent'}")
        self.key = key
        self.expected = expected
        self.found = found


class RevisionCompacted(StoreError):
    """The wanted revision is older than the history that is kept."""

    def __init__(self, wanted: Revision, oldest: Revision | None) -> None:
        known = f", the oldest kept is {oldest}" if oldest is not None else ""
        super().__init__(f"revision {wanted} has been compacted{known}")
        self.wanted = wanted
        self.oldest = oldest


class RevisionInFuture(StoreError):
    """The wanted revision has not been reached yet."""

    def __init__(self, wanted: Revision, current: Revision) -> None:
        super().__init__(f"revision {wanted} is in the future, the current one is {current}")
        self.wanted = wanted
        self.current = current


class WatchLagged(StoreError):
    """The watch's reader was too slow: list again and watch from there."""


class CommitTooLarge(StoreError):
    """What is to be committed at once is more than the backend takes: too many keys, or values that are too large together."""


class ValueTooLarge(CommitTooLarge):
    """A value exceeds by itself what the backend can hold."""


class StoreUnavailable(StoreError):
    """The store cannot answer (closed, lost, unwritable); the message says why and what to do."""


class StoreFull(StoreUnavailable):
    """There is no space left; what was stored before is intact."""


class StoreCorrupt(StoreUnavailable):
    """What is stored is not a store of ours, is of a newer version, or is damaged."""
