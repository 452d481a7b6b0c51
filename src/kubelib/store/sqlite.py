"""The embedded durable store: SQLite as an append-only log of changes, the state in memory.

A commit is decided on the event loop, against the state including commits that are still being written. A thread
writes whatever has gathered in one transaction (``synchronous=FULL``: one fsync serves all who wait); only then does
a commit become visible and is acknowledged. Superseded changes are deleted as the history is compacted, and their
pages are given back, so that the file stays in proportion to what is stored.
"""

import asyncio
import functools
import os
import queue
import resource
import shutil
import threading
import zlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread

from kubelib.clock import SYSTEM_CLOCK, Clock
from kubelib.store.base import (
    ABSENT,
    Change,
    Entry,
    Lease,
    Operation,
    Put,
    Revision,
    RevisionMismatch,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from kubelib.store.engine import DEFAULT_HISTORY, Changes, Embedded, Writes

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x6B6C6962
"""Marks our files: ``klib``."""

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE changes (
    revision INTEGER NOT NULL,
    key      TEXT NOT NULL,
    value    BLOB,               -- NULL: deleted
    created  INTEGER NOT NULL,
    expires  REAL,               -- of a lease, in seconds since 1970
    crc      INTEGER,            -- of revision, key and value, NULL in rows of format 1
    PRIMARY KEY (revision, key)
) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO facts VALUES ('compacted', 0), ('revision', 0);
"""

_NO_ROOM = 1 << 20
"""Bytes: with less than this left, a write that failed is taken to have failed for lack of room."""

AT_ONCE = 64
"""How many rows a statement writes at most: as many statements are kept prepared."""

_Row = tuple[int, str, bytes | None, int, float | None, int]
_Rows = list[_Row]
_RowKeys = list[tuple[int, str]]


def _checksum(revision: int, key: str, value: bytes) -> int:
    """Return what tells a damaged record: SQLite notices broken pages, but not a bit that changed within a value."""
    return zlib.crc32(value, zlib.crc32(b"%d\0%s" % (revision, key.encode())))


class _Commit:
    """A decided commit on its way to the disk."""

    __slots__ = ("done", "revision", "rows", "writes")

    def __init__(
        self,
        revision: Revision,
        writes: Writes,
        rows: _Rows,
        done: "asyncio.Future[Revision]",
    ) -> None:
        self.revision = revision
        self.writes = writes
        self.rows = rows
        self.done = done


_Commits = list[_Commit]


class _Compaction:
    """Rows to delete: superseded by changes up to revision `compacted`."""

    __slots__ = ("compacted", "rows")

    def __init__(self, compacted: Revision, rows: _RowKeys) -> None:
        self.compacted = compacted
        self.rows = rows


@functools.lru_cache(AT_ONCE)
def _insertion(rows: int) -> str:
    return f"INSERT INTO changes VALUES {', '.join(['(?, ?, ?, ?, ?, ?)'] * rows)}"


def _transact(connection: "sqlite3.Connection", rows: _Rows, compactions: list[_Compaction]) -> None:
    """Write rows and delete others, in one transaction.

    Python gives up its lock for every statement that SQLite carries out, and has to wait for it afterwards. So few statements do
    it all: mostly a single one, which is a transaction of its own.
    """
    single = not compactions and len(rows) <= AT_ONCE
    if not single:
        connection.execute("BEGIN IMMEDIATE")
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        connection.execute(_insertion(len(some)), list(chain.from_iterable(some)))
    for compaction in compactions:
        connection.executemany("DELETE FROM changes WHERE revision = ? AND key = ?", compaction.rows)
        connection.execute("UPDATE facts SET value = ? WHERE name = 'compacted'", (compaction.compacted,))
        connection.execute(
            "UPDATE facts SET value = max(value, ?) WHERE name = 'revision'", (compaction.compacted,)
        )
    if not single:
        connection.execute("COMMIT")
    if compactions:
        connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()


def _make(path: Path) -> None:
    """Make the file if it is not there, for its owner alone: Secrets are in it. SQLite gives what is beside it the same rights."""
    with suppress(OSError):  # what is wrong is said by SQLite, which opens it next
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class SqliteStore(Embedded):
    """A store in one SQLite file. Acknowledged commits survive kill -9 and power loss.

    Entering it raises `StoreCorrupt` for a file that is not ours, is newer or is damaged, and `StoreUnavailable` for
    one that cannot be opened or is in use.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        history: int = DEFAULT_HISTORY,
        clock: Clock = SYSTEM_CLOCK,
        base: Revision = ABSENT,
    ) -> None:
        super().__init__(history=history, clock=clock, base=base)
        self.path = Path(path)
        self._queue: queue.SimpleQueue[_Commits | _Compaction | None] = queue.SimpleQueue()
        self._gathered: _Commits = []
        """What was decided in this turn of the event loop: it goes to the thread together, when the loop has time again."""
        self._pending: dict[str, Revision] = {}
        self._next = Revision(1)
        self._latest: asyncio.Future[Revision] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._load()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="kubelib-sqlite", daemon=True)
        self._thread.start()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self._hand_over()
        self._queue.put(None)
        assert self._thread is not None
        with anyio.CancelScope(
            shield=True
        ):  # what is acknowledged is on disk; what is queued should get there
            await anyio.to_thread.run_sync(self._thread.join)
        self._connection.close()

    # Opening

    def _load(self) -> None:
        import sqlite3

        try:
            _make(self.path)
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot open the store {self.path}: {error}") from error
        try:
            self._open(connection)
            self._require_whole(connection)
            self._restore(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._translated(error) from error
        except (
            TypeError,
            ValueError,
            KeyError,
        ) as error:  # a value of another type than we have written there
            connection.close()
            raise self._damaged("a record is none of ours") from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _open(self, connection: "sqlite3.Connection") -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION_ID and (application or tables):
            raise StoreCorrupt(f"{self.path} is a database of another program: choose another path")
        if version > SCHEMA_VERSION:
            raise StoreCorrupt(
                f"{self.path} was written by a newer version (format {version}, this one reads up to {SCHEMA_VERSION}):"
                " upgrade kubelib"
            )
        if not tables:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=67108864")
        connection.execute("BEGIN IMMEDIATE")
        if not tables:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("UPDATE facts SET value = ?", (self._base,))
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version == 1:
            connection.execute("ALTER TABLE changes ADD COLUMN crc INTEGER")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _require_whole(self, connection: "sqlite3.Connection") -> None:
        """See to it that no page is out of place: a few bits are enough for records to be passed over, which no checksum tells.

        That takes a fifth of the time in which everything is read anyway. Raises `StoreCorrupt`.
        """
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._damaged(" ".join(found.split()))

    def _damaged(self, how: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self.path} is damaged ({how}): restore it from a backup")

    def _restore(self, connection: "sqlite3.Connection") -> None:
        """Replay the log: what is before the compacted revision is state, what is after it is also history."""
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        compacted = Revision(facts["compacted"])
        self._history.compacted = compacted
        entries = self._entries
        revision = Revision(facts["revision"])
        expiries: dict[str, tuple[float, Revision]] = {}
        changes: Changes = []
        rows = connection.execute(
            "SELECT revision, key, value, created, expires, crc FROM changes ORDER BY revision"
        )
        for at, key, value, created, expires, crc in rows:
            if crc is not None and crc != _checksum(at, key, value or b""):
                raise self._damaged(f"the record of {key} at revision {at} does not match its checksum")
            previous = entries.get(key)
            entry = None
            if value is None:
                entries.pop(key, None)
            else:
                entry = entries[key] = Entry(key, bytes(value), Revision(created), Revision(at))
            if expires is not None:
                expiries[key] = (expires, Revision(at))
            if at > compacted:
                changes.append(Change(key, Revision(at), entry, previous))
            revision = max(revision, Revision(at))
        self._history.add(changes)
        self._keys = sorted(entries)
        self._revision = self._fanout.revision = revision
        self._next = Revision(revision + 1)
        for key, (expires, modified) in expiries.items():
            if self._modified(key) == modified:
                self._add_lease(expires, key, modified)

    def _out_of_room(self) -> bool:
        """Return whether a failed write has come to the end of the disk, or of what this process may write."""
        try:
            free = shutil.disk_usage(self.path.parent).free
            log = self.path.with_name(f"{self.path.name}-wal")
            size = max(path.stat().st_size for path in (self.path, log) if path.exists())
        except (OSError, ValueError):
            return False
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return free < _NO_ROOM or (limit != resource.RLIM_INFINITY and size + _NO_ROOM > limit)

    def _translated(self, error: "sqlite3.Error") -> StoreError:
        import sqlite3

        text = str(error)
        if isinstance(error, sqlite3.OperationalError) and "decode" not in text:
            if "full" in text or ("disk I/O" in text and self._out_of_room()):
                return StoreFull(
                    f"no space left for the store {self.path} ({text}): free some; nothing stored is lost"
                )
            if "readonly" in text:
                return StoreUnavailable(
                    f"the store {self.path} is read-only: make the file and its directory writable for this user"
                )
            if "locked" in text:
                return StoreUnavailable(
                    f"the store {self.path} is in use by another process: stop that one first"
                )
            return StoreUnavailable(f"cannot use the store {self.path}: {text}")
        return StoreCorrupt(f"{self.path} is damaged or not a database ({text}): restore it from a backup")

    # Committing

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none; see `kubelib.store.base.Store`."""
        self._require_open()
        try:
            writes = self._check(operations, self._decided)
        except RevisionMismatch as mismatch:
            if mismatch.key in self._pending and self._latest is not None:
                # Somebody was quicker but is not on the disk yet. The caller will read again: let it see who won.
                await asyncio.wait([self._latest])
            raise
        assert self._loop is not None
        if not writes:
            return await self._confirm(operations)
        revision = self._next
        self._next = Revision(revision + 1)
        done: asyncio.Future[Revision] = self._loop.create_future()
        rows: _Rows = []
        for write in writes:
            if isinstance(write, Put):
                entry = self._entries.get(write.key)
                self._pending[write.key] = revision
                lease: Lease | None = write.lease
                expires = self._clock.now().timestamp() + lease.ttl if lease is not None else None
                created = entry.created if entry else revision
                crc = _checksum(revision, write.key, write.value)
                rows.append((revision, write.key, write.value, created, expires, crc))
            else:
                self._pending[write.key] = ABSENT
                crc = _checksum(revision, write.key, b"")
                rows.append((revision, write.key, None, 0, None, crc))
        self._latest = done
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Commit(revision, writes, rows, done))
        return await done

    def _hand_over(self) -> None:
        """Give the thread what was gathered. It would only contend with the loop if it began while more is being decided."""
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    async def _confirm(self, operations: Iterable[Operation]) -> Revision:
        """Return from checks that hold once what they rest on is on the disk. Raises `RevisionMismatch`."""
        while any(operation.key in self._pending for operation in operations):
            assert self._latest is not None
            await asyncio.wait([self._latest])
            self._require_open()
            # What was on its way may have failed, or something else may have come: do the checks still hold?
            self._check(operations, self._decided)
        return self._revision

    def _decided(self, key: str) -> Revision:
        pending = self._pending.get(key)
        return self._modified(key) if pending is None else pending

    def _landed(self, commits: Iterable[_Commit]) -> None:
        """Make durable commits visible, in order, and wake their callers."""
        for commit in commits:
            self._apply(commit.revision, commit.writes)
            for write in commit.writes:
                if self._pending.get(write.key) == (commit.revision if isinstance(write, Put) else ABSENT):
                    del self._pending[write.key]
            if not commit.done.done():
                commit.done.set_result(commit.revision)

    def _failed(self, commits: _Commits, error: StoreError) -> None:
        """Refuse commits that did not reach the disk, and all that were decided after them."""
        with suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, list):
                    commits += item
                elif item is None:
                    self._queue.put(None)
                    break
        commits += self._gathered
        self._gathered = []
        self._pending.clear()
        self._next = Revision(self._revision + 1)
        for commit in commits:
            if not commit.done.done():
                commit.done.set_exception(error)

    def _compact(self, before: Revision) -> Changes:
        dropped = super()._compact(before)
        rows: _RowKeys = [(c.previous.modified, c.key) for c in dropped if c.previous is not None]
        rows += [(c.revision, c.key) for c in dropped if c.entry is None]
        self._queue.put(_Compaction(self._history.compacted, rows))
        return dropped

    # The writing thread

    def _write(self) -> None:
        import sqlite3

        assert self._loop is not None
        connection = self._connection
        stop = False
        while not stop:
            commits: _Commits = []
            compactions: list[_Compaction] = []
            item = self._queue.get()
            while True:
                if item is None:
                    stop = True
                elif isinstance(item, list):
                    commits += item
                else:
                    compactions.append(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if not commits and not compactions:
                break
            try:
                _transact(connection, [row for commit in commits for row in commit.rows], compactions)
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                failed = threading.Event()
                translated = self._translated(error)

                def fail(
                    commits: _Commits = commits,
                    translated: StoreError = translated,
                    failed: threading.Event = failed,
                ) -> None:
                    self._failed(commits, translated)
                    failed.set()

                # Whatever is queued was decided on top of what just failed: nothing more is written before the loop
                # has refused it.
                self._loop.call_soon_threadsafe(fail)
                while not failed.wait(0.1):
                    if self._loop.is_closed():
                        return
            else:
                if commits:
                    with suppress(RuntimeError):  # the loop is gone: what landed is found at the next opening
                        self._loop.call_soon_threadsafe(self._landed, commits)
