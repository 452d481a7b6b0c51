"""The store on ZooKeeper: a log of batches that everybody reads in order, and may add to only when having read all of it.

Every process that has the store open keeps all of it in memory, as the embedded stores do, in step with the log. What a commit
expects is compared there, and holds because the transaction expects ``/head`` to be as it was. Commits that come
while one transaction is under way share the next. See `kubelib.store.zookeeper.layout` for what is where.
"""

import logging
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from random import Random
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec

from kubelib.clock import SYSTEM_CLOCK, Clock, new_uid, system_random
from kubelib.store.base import (
    ABSENT,
    Entry,
    Operation,
    Page,
    Revision,
    RevisionInFuture,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from kubelib.store.clusters import ClusterAddress
from kubelib.store.engine import Changes, Engine
from kubelib.store.zookeeper import layout
from kubelib.store.zookeeper.batches import (
    Chosen,
    Composer,
    Operations,
    Waiting,
    change_of,
    entry_of,
    operation_of,
)
from kubelib.store.zookeeper.layout import Batch, Head, Marker
from kubelib.store.zookeeper.session import RETRY, Lost, Refused, Session
from kubelib.store.zookeeper.sharing import Shared

log = logging.getLogger(__name__)

HISTORY = 10_000
"""How many changes are kept for watches to continue from."""
PATIENCE = 15.0
"""Seconds that a call waits for the ensemble: longer than an election takes."""
AHEAD = 16
"""How many batches are asked for at once by a process that is behind."""
LOOK_AGAIN = 2.0
"""Seconds after which a process looks for news although nobody called: watches of ZooKeeper are one-shot and may get lost."""


class ZooKeeperStore(Engine):
    """A store in a ZooKeeper ensemble. Any number of processes may have it open.

    `history` is how many changes are kept, `base` the revision that a new store begins with, `patience` how many seconds
    the ensemble has to answer.
    """

    def __init__(
        self,
        address: ClusterAddress,
        *,
        history: int = HISTORY,
        clock: Clock = SYSTEM_CLOCK,
        random: Random | None = None,
        base: Revision = ABSENT,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(history=address.settings.get("history", history), clock=clock, base=base)
        self.address = address
        self._random = random if random is not None else system_random()
        self._session = Session(address, patience)
        self._session.on_change = self._look
        self._batch = 0
        self._version = 0
        """The version of ``/head`` less the number of the batch that it names: they grow together."""
        self._kept: deque[tuple[int, int]] = deque()
        """The batches of the log that are still there, each with its last revision."""
        self._waiting: deque[Waiting] = deque()
        self._count = 0
        self._confirmed = 0
        """Commits up to this one came before a moment at which this process is known to have read the whole log."""
        self._mine: dict[str, Chosen] = {}
        self._to_do = anyio.Event()
        self._news = anyio.Event()
        self._came = anyio.Event()
        self._share_look = Shared(self._look_at_head)

    async def __aenter__(self) -> Self:
        await self._session.open()
        try:
            await self._recognize()
            await self._load()
        except (Lost, Refused):
            await self._session.close()
            raise StoreUnavailable(
                f"{self.address} was lost while the store was being read: try again"
            ) from None
        except BaseException:
            await self._session.close()
            raise
        await super().__aenter__()
        self._group.start_soon(self._follow)
        self._group.start_soon(self._write)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self._fail_all(StoreUnavailable("the store has been closed"))
            await self._session.close()

    # Opening

    async def _recognize(self) -> None:
        """Find what makes the nodes a store of ours, or make it where there is nothing yet."""
        session = self._session
        names = set(await session.children("/")) - {"zookeeper"}
        if not names:
            with suppress(Refused):  # another process was quicker
                await session.transact(*layout.founding(self._base))
        elif layout.MARKER[1:] not in names:
            raise StoreCorrupt(
                f"{self.address} has nodes that are not ours, such as {min(names)!r}: name a folder of your own,"
                f" as in zookeeper://{self.address.endpoints[0]}/kubelib"
            )
        data, _ = await session.get(layout.MARKER)
        try:
            marker = msgspec.json.decode(data, type=Marker)
        except msgspec.DecodeError:
            raise StoreCorrupt(
                f"{self.address} has a damaged node {layout.MARKER}: is it another store?"
            ) from None
        if marker.format > layout.FORMAT:
            raise StoreCorrupt(
                f"{self.address} was written by a newer version of kubelib (format {marker.format}): use that version"
            )

    async def _load(self) -> None:
        """Read all keys, and the log, which also tells what was written meanwhile."""
        session = self._session
        data, version = await session.latest(layout.HEAD)
        head = self._readable(layout.read_head, data)
        self._version = version - head.batch
        compacted = self._readable(int, (await session.get(layout.COMPACTED))[0])
        entries = await self._read_keys()
        leftover, batches = await self._read_log()
        first, last = min(batches, default=head.batch + 1), max(batches, default=head.batch)
        if first > head.batch + 1 or last < max(head.batch, *leftover, 0):
            raise Lost  # so much was written while we read that the log has gone on without us
        self._begin(entries, batches, max(compacted, int(self._base)), head, last)
        self._kept.extendleft((number, 0) for number in reversed(leftover))

    async def _read_keys(self) -> dict[str, Entry]:
        session = self._session
        folders = await session.children_of_all(layout.FOLDERS)
        paths = [
            f"{folder}/{name}"
            for folder, names in zip(layout.FOLDERS, folders, strict=True)
            for name in names
        ]
        entries: dict[str, Entry] = {}
        async with aclosing(session.read(paths)) as parts:
            async for part in parts:
                for data in part:
                    if data is None:
                        continue  # deleted since
                    node = self._readable(layout.unpack_node, data)
                    entries[node.key] = entry_of(node)
                    if node.expires:
                        self._add_lease(node.expires, node.key, Revision(node.modified))
        return entries

    async def _read_log(self) -> tuple[list[int], dict[int, Batch]]:
        """Return the batches up to the latest without a gap, and the numbers of those before the last gap.

        Who is interrupted while trimming the log, or trims it now, leaves such.
        """
        session = self._session
        numbers = sorted(map(int, await session.children(layout.LOG)))
        waiting = iter(numbers)
        leftover: list[int] = []
        batches: dict[int, Batch] = {}
        async with aclosing(session.read([layout.batch_path(number) for number in numbers])) as parts:
            async for part in parts:
                for data, number in zip(part, waiting, strict=False):
                    if data is None or number - 1 not in batches:
                        leftover += batches
                        batches.clear()
                    if data is not None:
                        batches[number] = self._readable(layout.unpack_batch, data)
        return leftover, batches

    def _begin(
        self, entries: dict[str, Entry], batches: dict[int, Batch], compacted: int, head: Head, last: int
    ) -> None:
        """Bring the keys up to the end of the log, and take its changes as history."""
        first = next((c.revision for b in batches.values() for c in b.commits), head.revision + 1)
        history = self._history
        history.forget(Revision(max(compacted, first - 1)))
        revision = head.revision
        self._kept.clear()
        for number, batch in batches.items():
            for commit in batch.commits:
                revision = commit.revision
                changes = [change_of(write, commit.revision) for write in commit.writes]
                for write, change in zip(commit.writes, changes, strict=True):
                    known = entries.get(change.key)
                    if known is not None and known.modified >= change.revision:
                        continue
                    if change.entry is None:
                        entries.pop(change.key, None)
                        continue
                    entries[change.key] = change.entry
                    if write.expires:
                        self._add_lease(write.expires, change.key, change.revision)
                if commit.revision > history.compacted:
                    history.add(changes)
            self._kept.append((number, revision))
        self._entries = entries
        self._keys = sorted(entries)
        self._revision = Revision(revision)
        self._fanout.skip(self._revision)
        self._batch = last

    def _readable(self, read: Callable[[bytes], Any], data: bytes) -> Any:
        try:
            return read(data)
        except (ValueError, zlib.error):  # msgspec's errors are such
            raise StoreCorrupt(
                f"{self.address} holds a damaged record: restore the store from a backup"
            ) from None

    # Reading: as of now, wherever it was written

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, or None."""
        await self._catch_up()
        return await super().get(key)

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return a page of entries; see `kubelib.store.base.Store`."""
        if at is None or at > self._revision:
            await self._catch_up()
        return await super().list(prefix, limit=limit, start=start, at=at)

    async def revision(self) -> Revision:
        """Return the revision of the latest commit."""
        await self._catch_up()
        return self._revision

    async def _catch_up(self) -> None:
        """Read the log up to where it is now. All who ask at the same time share one look."""
        self._require_open()
        await self._share_look()

    async def _look_at_head(self) -> None:
        count = self._count
        deadline = anyio.current_time() + self._session.patience
        while True:
            self._require_open()
            try:
                data, _ = await self._session.latest(layout.HEAD)
                break
            except Lost:
                if anyio.current_time() > deadline:
                    raise StoreUnavailable(f"{self.address} does not answer") from None
                await anyio.sleep(RETRY)
        target = self._readable(layout.read_head, data).batch
        while self._batch < target:
            self._require_open()
            self._look()
            came = self._came
            with anyio.move_on_after(LOOK_AGAIN):
                await came.wait()
            if anyio.current_time() > deadline:
                raise StoreUnavailable(f"{self.address} does not give out what was written to it")
        self._confirmed = max(self._confirmed, count)

    # Following the log

    def _look(self) -> None:
        """Let the follower look for news."""
        self._news.set()

    async def _follow(self) -> None:
        while True:
            try:
                if await self._read_on():
                    continue
                self._news = anyio.Event()
                there = await self._session.exists(layout.batch_path(self._batch + 1), self._look)
                if not there:
                    with anyio.move_on_after(LOOK_AGAIN):
                        await self._news.wait()
            except Lost:
                await anyio.sleep(RETRY)
            except StoreCorrupt as error:
                self._give_up(error)
                return
            except StoreUnavailable as error:
                log.warning("%s", error)
                await anyio.sleep(1)

    async def _read_on(self) -> bool:
        """Take in the next batches; return whether there were any."""
        ahead, came = 1, False
        while True:
            first = self._batch + 1
            found = await self._session.get_all([layout.batch_path(n) for n in range(first, first + ahead)])
            for number, data in enumerate(found, first):
                if data is None:
                    return came or await self._start_over_if_behind()
                self._take_in(number, self._readable(layout.unpack_batch, data))
                came = True
            ahead = AHEAD

    async def _start_over_if_behind(self) -> bool:
        """Read everything anew if the log has been trimmed beyond what this process has read of it."""
        session = self._session
        data, _ = await session.get(layout.HEAD)
        if self._readable(layout.read_head, data).batch <= self._batch:
            return False
        (following,) = await session.get_all([layout.batch_path(self._batch + 1)])
        if following is None:  # although it was there when the head came to name it, or one after it
            log.warning("%s has gone on without us: reading all of it", self.address)
            await self._load()
        return True

    def _take_in(self, number: int, batch: Batch) -> None:
        """Bring memory up to a batch, and let those go on whose commits it holds."""
        if number != self._batch + 1:
            return
        now = self._clock.now().timestamp()
        for commit in batch.commits:
            self._apply(Revision(commit.revision), [operation_of(write, now) for write in commit.writes])
        self._batch = number
        self._kept.append((number, self._revision))
        for waiting, revision in self._mine.pop(batch.id, ()):
            waiting.succeed(revision)
        self._came.set()
        self._came = anyio.Event()

    # Writing

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none; see `kubelib.store.base.Store`."""
        self._require_open()
        keys = [operation.key for operation in operations]
        for n, key in enumerate(keys):
            if key in keys[:n]:
                raise ValueError(f"one commit cannot name {key} twice")
        self._count += 1
        waiting = Waiting(operations, self._count, anyio.current_time() + self._session.patience)
        self._waiting.append(waiting)
        self._to_do.set()
        await waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error
        return waiting.revision

    async def _write(self) -> None:
        """Carry out what waits, one transaction after the other."""
        while True:
            if not self._waiting:
                self._to_do = anyio.Event()
                await self._to_do.wait()
            try:
                await self._write_some()
            except StoreCorrupt as error:
                self._give_up(error)
                return
            except (Lost, StoreUnavailable) as error:
                now = anyio.current_time()
                why = (
                    str(error)
                    or f"{self.address} does not answer: whether the write was carried out is not known"
                )
                for waiting in self._waiting:
                    if waiting.deadline < now:
                        waiting.fail(StoreUnavailable(why))
                await anyio.sleep(RETRY)
            self._waiting = deque(w for w in self._waiting if not w.done.is_set())

    async def _write_some(self) -> None:
        waiting, batch, operations = self._compose()
        if not batch.commits:
            if any(not w.done.is_set() for w in self._waiting):
                # Only what expects something else than we know, or writes nothing: true once we have looked again.
                await self._look_at_head()
            return
        count, number = self._count, self._batch + 1
        self._mine[batch.id] = waiting
        try:
            await self._session.transact(*operations)
        except Refused:
            await self._look_at_head()
            if (
                batch.id in self._mine
            ):  # somebody else was quicker; had it been ours after all, we would have read it
                del self._mine[batch.id]
            return
        except StoreUnavailable as error:  # nothing was done, and trying again would not help
            for one, _ in self._mine.pop(batch.id):
                one.fail(error)
            if isinstance(error, StoreCorrupt):
                raise
            return
        except Lost:
            # The answer is lost. If the batch is in the log, reading on will show it and let its writers go on.
            await self._look_at_head()
            return
        self._confirmed = max(self._confirmed, count)
        self._take_in(number, batch)

    def _compose(self) -> tuple[Chosen, Batch, Operations]:
        composer = Composer(
            self._entries,
            self._revision,
            self._batch,
            self._batch + self._version,
            self._clock.now().timestamp(),
            new_uid(self._random),
        )
        return composer.choose(tuple(self._waiting), self._check, self._confirmed)

    def _give_up(self, error: StoreCorrupt) -> None:
        """Close a store that cannot be gone on with, and say why to all who ask."""
        log.error("%s", error)
        self._fanout.close(str(error))
        self._fail_all(error)

    def _fail_all(self, error: StoreError) -> None:
        for waiting in self._waiting:
            waiting.fail(error)

    # Compacting

    async def compact(self, before: Revision) -> None:
        """Forget the history before revision `before`."""
        await self._catch_up()
        if before > self._revision + 1:
            raise RevisionInFuture(before, self._revision)
        try:
            while True:
                data, version = await self._session.get(layout.COMPACTED)
                if int(data) >= before - 1:
                    break
                try:
                    await self._session.transact(("set", layout.COMPACTED, str(before - 1).encode(), version))
                    break
                except Refused:
                    continue
        except Lost:
            raise StoreUnavailable(f"{self.address} does not answer") from None
        self._compact(before)

    def _compact(self, before: Revision) -> Changes:
        dropped = super()._compact(before)
        gone = []
        while self._kept and self._kept[0][1] < before:
            gone.append(self._kept.popleft()[0])
        if gone:
            self._group.start_soon(self._trim, gone)
        return dropped

    async def _trim(self, numbers: Sequence[int]) -> None:
        """Take batches out of the log whose changes nobody may ask for any more. Others may be doing the same."""
        for number in numbers:
            try:
                await self._session.delete(layout.batch_path(number))
            except (Lost, StoreUnavailable):
                return  # they are in nobody's way
