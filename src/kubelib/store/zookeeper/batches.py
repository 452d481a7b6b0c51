"""Which of the commits that wait go into the next transaction, and what that transaction is. Nothing here speaks to anybody."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import anyio
import msgspec
from attrs import define

from kubelib.store.base import (
    ABSENT,
    Change,
    CommitTooLarge,
    Delete,
    Entry,
    Lease,
    Operation,
    Put,
    Revision,
    RevisionMismatch,
    StoreError,
    ValueTooLarge,
)
from kubelib.store.engine import Writes
from kubelib.store.zookeeper import layout
from kubelib.store.zookeeper.layout import Batch, Commit, Head, Node, Write

TOGETHER = 64
"""How many commits share a transaction at most."""
_HEAD = 1_000
"""Bytes that a transaction has beside its commits."""

Operations = list[tuple[Any, ...]]
Check = Callable[[Iterable[Operation], Callable[[str], Revision]], Writes]
"""Returns what a commit writes. Raises `RevisionMismatch`."""


class Waiting:
    """A commit that waits for its turn and then for its outcome."""

    __slots__ = ("deadline", "done", "error", "number", "operations", "revision")

    def __init__(self, operations: tuple[Operation, ...], number: int, deadline: float) -> None:
        self.operations = operations
        self.number = number
        """Its place among the commits of this process."""
        self.deadline = deadline
        self.done = anyio.Event()
        self.revision = ABSENT
        self.error: StoreError | None = None

    def succeed(self, revision: Revision) -> None:
        """Let the caller go on."""
        self.revision = revision
        self.done.set()

    def fail(self, error: StoreError) -> None:
        """Let the caller know."""
        if not self.done.is_set():
            self.error = error
            self.done.set()


Chosen = list[tuple[Waiting, Revision]]


@define
class Composer:
    """Composes the transaction that follows what a process has read."""

    entries: Mapping[str, Entry]
    """Every key as of the latest batch."""
    revision: Revision
    batch: int
    version: int
    """That of ``/head``, which the transaction expects."""
    now: float
    """In seconds since 1970: when leases begin."""
    id: str
    """What the batch is to be known by."""

    def choose(
        self, waiting: Iterable[Waiting], check: Check, confirmed: int
    ) -> tuple[Chosen, Batch, Operations]:
        """Choose commits, and settle those that cannot be in any transaction.

        What a commit expects is compared with what is there and with what those before it leave. One that fails is refused only if its
        number is `confirmed`: if all that was there when it came has been read since.
        """
        revision, size = int(self.revision), _HEAD
        left: dict[str, Entry | None] = {}
        chosen: Chosen = []
        commits: list[Commit] = []

        def modified(key: str) -> Revision:
            entry = left[key] if key in left else self.entries.get(key)
            return entry.modified if entry is not None else ABSENT

        for one in waiting:
            if one.done.is_set():
                continue
            conclusive = one.number <= confirmed and not left
            try:
                writes = check(one.operations, modified)
            except RevisionMismatch as mismatch:
                if conclusive:
                    one.fail(mismatch)
                continue
            if not writes:
                if conclusive:
                    one.succeed(self.revision)
                continue
            commit = self._commit(writes, revision + 1, left)
            cost = sum(map(_cost, commit.writes))
            if size + cost > layout.LIMIT:
                if commits:
                    break
                if not self._fits(commit):
                    too_large = ValueTooLarge if len(commit.writes) == 1 else CommitTooLarge
                    one.fail(
                        too_large(
                            "ZooKeeper takes no more than jute.maxbuffer in one commit (1 MiB unless set)"
                        )
                    )
                    continue
            revision += 1
            size += cost
            commits.append(commit)
            chosen.append((one, Revision(revision)))
            left.update((write.key, change_of(write, revision).entry) for write in commit.writes)
            if len(commits) == TOGETHER or size > layout.LIMIT:
                break
        batch = Batch(self.id, commits)
        return chosen, batch, self._operations(batch, revision) if commits else []

    def _commit(self, writes: Writes, revision: int, left: Mapping[str, Entry | None]) -> Commit:
        done = []
        for write in writes:
            previous = left[write.key] if write.key in left else self.entries.get(write.key)
            value, expires = None, 0.0
            if isinstance(write, Put):
                value = write.value
                expires = self.now + write.lease.ttl if write.lease is not None else 0.0
            before = (previous.value, previous.created, previous.modified) if previous else (None, 0, 0)
            done.append(Write(write.key, value, expires, *before))
        return Commit(revision, done)

    def _fits(self, commit: Commit) -> bool:
        operations = self._operations(Batch(self.id, [commit]), commit.revision)
        return sum(layout.OVERHEAD + sum(map(len, o[1:3])) for o in operations) <= layout.LIMIT

    def _operations(self, batch: Batch, revision: int) -> Operations:
        """Return the transaction: the head as it will be, the batch, and every key that it leaves changed."""
        number = self.batch + 1
        operations: Operations = [
            ("set", layout.HEAD, msgspec.json.encode(Head(revision, number)), self.version),
            ("create", layout.batch_path(number), layout.pack(batch)),
        ]
        last = {write.key: (write, commit.revision) for commit in batch.commits for write in commit.writes}
        for key, (write, modified) in last.items():
            there, path = key in self.entries, layout.key_path(key)
            if write.value is None:
                if there:
                    operations.append(("delete", path))
                continue
            node = Node(key, write.value, write.previous_created or modified, modified, write.expires)
            operations.append(("set" if there else "create", path, layout.pack(node)))
        return operations


def change_of(write: Write, revision: int) -> Change:
    """Return a write of the log as the change that it was."""
    previous = None
    if write.previous is not None:
        previous = Entry(
            write.key, write.previous, Revision(write.previous_created), Revision(write.previous_modified)
        )
    entry = None
    if write.value is not None:
        entry = Entry(
            write.key, write.value, Revision(write.previous_created or revision), Revision(revision)
        )
    return Change(write.key, Revision(revision), entry, previous)


def operation_of(write: Write, now: float) -> Put | Delete:
    """Return a write of the log as the operation that it was."""
    if write.value is None:
        return Delete(write.key, Revision(write.previous_modified))
    lease = Lease(max(0.0, write.expires - now)) if write.expires else None
    return Put(write.key, write.value, Revision(write.previous_modified), lease)


def entry_of(node: Node) -> Entry:
    """Return a key as it is kept as the entry that it is."""
    return Entry(node.key, node.value, Revision(node.created), Revision(node.modified))


def _cost(write: Write) -> int:
    """Return about how many bytes a write takes up in a transaction before anything is compressed."""
    return 2 * len(write.value or b"") + len(write.previous or b"") + 4 * len(write.key) + 2 * layout.OVERHEAD
