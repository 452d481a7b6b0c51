"""The state of a store that lives in memory, whatever makes it durable: entries, history, watches, leases."""

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self

import anyio

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.store.base import (
    ABSENT,
    Change,
    Check,
    Delete,
    Entry,
    Operation,
    Page,
    Put,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    RevisionMismatch,
    StoreUnavailable,
)
from kubelib.store.fanout import Cursor, Fanout, Observer
from kubelib.store.history import History

DEFAULT_HISTORY = 20_000
"""How many changes are kept for watches to continue from."""


# Inside of the class, `list` is the method.
Keys = list[str]
Writes = list[Put | Delete]
Changes = list[Change]
Leases = list[tuple[float, str, Revision]]


def after_prefix(prefix: str) -> str:
    """Return the smallest string greater than every string that begins with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"


class Engine:
    """What stores that hold their state in memory share. Subclasses implement `commit`."""

    def __init__(
        self, *, history: int = DEFAULT_HISTORY, clock: Clock = SYSTEM_CLOCK, base: Revision = ABSENT
    ) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._keys: Keys = []
        self._base = self._revision = base
        """The revision that a new store begins with: not 0 where it continues another one."""
        self._history = History(history)
        self._history.compacted = base
        self._fanout = Fanout(self._history)
        self._fanout.revision = base
        self._leases: Leases = []
        self._lease_added: anyio.Event | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(group.cancel_scope.cancel)
        group.start_soon(self._expire_leases)
        self._group = group
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fanout.close("the store has been closed")
        # The group has nothing to do with an error of whoever uses the store, and would wrap it.
        await self._stack.__aexit__(None, None, None)

    # Reading

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, or None."""
        self._require_open()
        return self._entries.get(key)

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return a page of entries; see `kubelib.store.base.Store`."""
        self._require_open()
        if at is None or at == self._revision:
            return self._page(self._keys, self._entries, prefix, limit, start, self._revision)
        if at > self._revision:
            raise RevisionInFuture(at, self._revision)
        if at < self._history.compacted:
            raise RevisionCompacted(at, self._history.compacted)
        low, high = bisect_left(self._keys, prefix), bisect_left(self._keys, after_prefix(prefix))
        entries = {key: self._entries[key] for key in self._keys[low:high]}
        for change in self._history.backwards(at):
            if change.key.startswith(prefix):
                if change.previous is None:
                    entries.pop(change.key, None)
                else:
                    entries[change.key] = change.previous
        return self._page(sorted(entries), entries, prefix, limit, start, at)

    @staticmethod
    def _page(
        keys: Keys, entries: dict[str, Entry], prefix: str, limit: int, start: str, revision: Revision
    ) -> Page:
        low = bisect_left(keys, max(prefix, start))
        high = bisect_left(keys, after_prefix(prefix))
        end = min(high, low + limit) if limit else high
        found = tuple(entries[key] for key in keys[low:end])
        return Page(found, revision, keys[end] if end < high else "", max(0, high - end))

    async def revision(self) -> Revision:
        """Return the revision of the latest commit."""
        self._require_open()
        return self._revision

    def watch(self, prefix: str, *, since: Revision) -> AbstractAsyncContextManager[Cursor]:
        """Report every change after `since`; see `kubelib.store.base.Store`."""
        return self._fanout.watch(prefix, since)

    async def compact(self, before: Revision) -> None:
        """Forget the history before revision `before`."""
        self._require_open()
        if before > self._revision + 1:
            raise RevisionInFuture(before, self._revision)
        self._compact(before)

    # Writing

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none; see `kubelib.store.base.Store`."""
        raise NotImplementedError

    def _require_open(self) -> None:
        if self._fanout.closed:
            raise StoreUnavailable(self._fanout.closed)

    def _check(self, operations: Iterable[Operation], found: Callable[[str], Revision]) -> Writes:
        """Return the operations that write. Raises `RevisionMismatch`, and ValueError for a key named twice."""
        seen: set[str] = set()
        writes: Writes = []
        for operation in operations:
            if operation.key in seen:
                raise ValueError(f"one commit cannot name {operation.key} twice")
            seen.add(operation.key)
            actual = found(operation.key)
            if actual != operation.expect or (isinstance(operation, Delete) and actual == ABSENT):
                raise RevisionMismatch(operation.key, operation.expect, actual)
            if not isinstance(operation, Check):
                writes.append(operation)
        return writes

    def _modified(self, key: str) -> Revision:
        entry = self._entries.get(key)
        return entry.modified if entry is not None else ABSENT

    def _apply(self, revision: Revision, writes: Iterable[Put | Delete]) -> tuple[Change, ...]:
        """Carry out checked writes in memory and publish them."""
        changes = []
        for write in writes:
            previous = self._entries.get(write.key)
            entry = None
            if isinstance(write, Put):
                created = previous.created if previous is not None else revision
                entry = self._entries[write.key] = Entry(write.key, write.value, created, revision)
                if previous is None:
                    self._add_key(write.key)
                if write.lease is not None:
                    expires = self._clock.now().timestamp() + write.lease.ttl
                    self._add_lease(expires, write.key, revision)
            else:
                del self._entries[write.key]
                del self._keys[bisect_left(self._keys, write.key)]
            changes.append(Change(write.key, revision, entry, previous))
        self._revision = revision
        done = tuple(changes)
        self._fanout.publish(revision, done)
        if self._history.overfull:
            self._compact(self._history.revision_to_keep())
        return done

    def _add_key(self, key: str) -> None:
        if not self._keys or self._keys[-1] < key:
            self._keys.append(key)
        else:
            insort(self._keys, key)

    def _compact(self, before: Revision) -> Changes:
        return self._history.compact(before)

    # Leases

    def _add_lease(self, expires: float, key: str, modified: Revision) -> None:
        heapq.heappush(self._leases, (expires, key, modified))
        if self._lease_added is not None and self._leases[0][1] == key:
            self._lease_added.set()

    async def _expire_leases(self) -> None:
        """Delete keys whose time has come. A key that was written again has a lease of its own, or none."""
        while True:
            now = self._clock.now().timestamp()
            while self._leases and self._leases[0][0] <= now:
                _, key, modified = heapq.heappop(self._leases)
                if self._modified(key) == modified:
                    try:
                        await self.commit(Delete(key, modified))
                    except RevisionMismatch:
                        continue
                    except StoreUnavailable:
                        heapq.heappush(self._leases, (now + 1, key, modified))
                        break
            self._lease_added = anyio.Event()
            wait = self._leases[0][0] - now if self._leases else float("inf")
            with anyio.move_on_after(wait):
                await self._lease_added.wait()


class Embedded(Engine):
    """A store of this process alone: what it commits is news at once."""

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Call `callback` on the loop with all changes of each commit, before the committer goes on."""
        return self._fanout.observe(callback)
