"""The store on etcd: every promise of `kubelib.store.base.Store` is one of etcd's own, revision by revision.

Keys are etcd's keys behind the prefix of the URL, values are the documents as they are. A revision is etcd's, counted from
the moment the store was made in it. Beside the keys of the store there are three of its own, under ``.kubelib/``: what
this store is, when it was last compacted, and a bell that is rung to learn how far a watch has come.
"""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec

from kubelib.store.base import (
    ABSENT,
    Check,
    CommitTooLarge,
    Delete,
    Entry,
    Operation,
    Page,
    Put,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    RevisionMismatch,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)
from kubelib.store.clusters import ClusterAddress
from kubelib.store.etcd.connection import (
    COMPACT,
    GRANT,
    PATIENCE,
    RANGE,
    TXN,
    Compacted,
    Connection,
    Doubt,
    InFuture,
)
from kubelib.store.etcd.messages import message
from kubelib.store.etcd.watch import EtcdWatch

FORMAT = 1
KEEP = 300.0
"""Seconds of history that are kept for watches to continue from, as kube-apiserver keeps."""
MAX_TXN_OPS = 128
"""How many keys etcd takes in one transaction unless it was started with another ``--max-txn-ops``."""
PART = 2_000
"""How many entries are asked of etcd at once: a list of a hundred thousand must not be one message."""
BELL_AFTER = 0.25
"""Seconds that a watch may be behind what is known before the bell is rung."""

_OWN = b".kubelib/"
_MOD = 2  # Compare.MOD
Keys = tuple[bytes, bytes]


class _Marker(msgspec.Struct):
    """What the store's own key says."""

    format: int
    base: int
    """The revision that the store began with: not 0 where it continues another one."""


class _Shared:
    """One answer for all who asked before the question was put."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.revision = ABSENT
        self.error: StoreError | None = None


class EtcdStore:
    """A store in an etcd cluster. Any number of processes may have it open.

    `keep` is how many seconds of history are kept, if the address does not say; 0 leaves compaction to others. `base` is the
    revision that a new store begins with. `patience` is how many seconds some member has to answer a call.
    """

    def __init__(
        self,
        address: ClusterAddress,
        *,
        keep: float = KEEP,
        base: Revision = ABSENT,
        patience: float = PATIENCE,
    ) -> None:
        self.address = address
        self.connection = Connection(address, patience)
        self.most_operations = address.settings.get("max-txn-ops", MAX_TXN_OPS)
        self._keep = address.settings.get("keep", keep)
        self._base = base
        self._prefix = address.path.encode()
        self._offset = 0
        self.everything: Keys = (self._prefix + b".", self._prefix + b"0")
        """The range of all keys of the store, its own included."""
        self._stack = AsyncExitStack()
        self._watches: set[EtcdWatch] = set()
        self._queued: _Shared | None = None
        self._reading = anyio.Lock(fast_acquire=True)
        self._ringing = False
        self._expected = ABSENT
        self._open = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.connection.close)
            await self.connection.open()
            await self._recognize()
            self._group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._group.cancel_scope.cancel)
            if self._keep:
                self._group.start_soon(self._compact_regularly)
            self._stack = stack.pop_all()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for watch in self._watches:
            watch.end(StoreUnavailable("the store has been closed"))
            watch.stop()
        # The group has nothing to do with an error of whoever uses the store, and would wrap it.
        await self._stack.__aexit__(None, None, None)

    async def _recognize(self) -> None:
        """Find what makes the keys a store of ours, or make it where there is nothing yet."""
        key = self._prefix + _OWN + b"store"
        first, end = self.everything
        for _ in range(2):
            found = await self.connection.call(RANGE, message("RangeRequest")(key=key))
            if found.kvs:
                return self._read_marker(found.kvs[0])
            other = await self.connection.call(
                RANGE, message("RangeRequest")(key=first, range_end=end, limit=1, keys_only=True)
            )
            if other.kvs:
                name = other.kvs[0].key.decode(errors="replace")
                raise StoreCorrupt(
                    f"{self.address} has keys that are not ours, such as {name!r}: name a prefix of your own,"
                    f" as in etcd://{self.address.endpoints[0]}/kubelib"
                )
            value = msgspec.json.encode(_Marker(FORMAT, self._base))
            await self.connection.call(
                TXN,
                message("TxnRequest")(
                    compare=[message("Compare")(key=key, target=_MOD, mod_revision=0)],
                    success=[_put(key, value)],
                ),
            )
        raise StoreUnavailable(f"{self.address} does not keep what is written to it")

    def _read_marker(self, kv: Any) -> None:
        try:
            marker = msgspec.json.decode(kv.value, type=_Marker)
        except msgspec.DecodeError:
            raise StoreCorrupt(
                f"{self.address} has a damaged {kv.key.decode()!r}: is it another store?"
            ) from None
        if marker.format > FORMAT:
            raise StoreCorrupt(
                f"{self.address} was written by a newer version of kubelib (format {marker.format}): use that version"
            )
        self._offset = kv.create_revision - marker.base

    # Between our revisions and keys and etcd's

    def ours(self, revision: int) -> Revision:
        """Return a revision of etcd as the store counts."""
        return Revision(revision - self._offset)

    def theirs(self, revision: Revision) -> int:
        """Return a revision of the store as etcd counts."""
        return revision + self._offset

    def key_of(self, key: bytes) -> str | None:
        """Return a key as the store's users know it; None for the store's own."""
        key = key[len(self._prefix) :]
        return None if key.startswith(_OWN) else key.decode()

    def entry_of(self, kv: Any, key: str) -> Entry:
        """Return what etcd has at a key."""
        return Entry(key, kv.value, self.ours(kv.create_revision), self.ours(kv.mod_revision))

    def _key(self, key: str) -> bytes:
        if not key.startswith("/"):
            raise ValueError(f"{key!r} is not a key of a store in etcd: it must begin with a slash")
        return self._prefix + key.encode()

    # Reading

    async def get(self, key: str) -> Entry | None:
        """Return the key's latest entry, or None."""
        self._require_open()
        found = await self.connection.call(RANGE, message("RangeRequest")(key=self._key(key)))
        return self.entry_of(found.kvs[0], key) if found.kvs else None

    async def list(self, prefix: str, *, limit: int = 0, start: str = "", at: Revision | None = None) -> Page:
        """Return a page of entries; see `kubelib.store.base.Store`."""
        self._require_open()
        first = self._key(prefix or "/")
        end = _after(first)
        if start > prefix:
            first = self._key(start)
        revision = 0 if at is None else self.theirs(at)
        entries: list[Entry] = []
        while True:
            part = min(PART, limit - len(entries)) if limit else PART
            try:
                found = await self.connection.call(
                    RANGE, message("RangeRequest")(key=first, range_end=end, limit=part, revision=revision)
                )
            except Compacted:
                raise RevisionCompacted(self.ours(revision), None) from None
            except InFuture:
                raise RevisionInFuture(self.ours(revision), await self.revision()) from None
            revision = revision or found.header.revision
            skip = len(self._prefix)
            entries += [self.entry_of(kv, kv.key[skip:].decode()) for kv in found.kvs]
            if not found.more:
                return Page(tuple(entries), self.ours(revision), "", 0)
            first = found.kvs[-1].key + b"\0"
            if limit and len(entries) == limit:
                # etcd's next key is the first after this one; a NUL cannot be in a key of ours.
                return Page(
                    tuple(entries),
                    self.ours(revision),
                    first[skip:].decode(),
                    found.count - len(found.kvs),
                )

    async def revision(self) -> Revision:
        """Return the revision of the latest commit. All who ask at the same time share one question to etcd."""
        self._require_open()
        shared = self._queued
        if shared is None:
            shared = self._queued = _Shared()
            self._group.start_soon(self._read_revision, shared)
        await shared.done.wait()
        if shared.error is not None:
            raise type(shared.error)(str(shared.error))
        return shared.revision

    async def _read_revision(self, shared: _Shared) -> None:
        async with self._reading:
            self._queued = None  # who asks from here on might have seen something that this answer does not
            try:
                found = await self.connection.call(
                    RANGE, message("RangeRequest")(key=self._prefix + _OWN + b"store", keys_only=True)
                )
                shared.revision = self.ours(found.header.revision)
                self._expect(shared.revision)
            except StoreError as error:
                shared.error = error
            finally:
                shared.done.set()

    @asynccontextmanager
    async def watch(self, prefix: str, *, since: Revision) -> AsyncIterator[EtcdWatch]:
        """Report every change after `since`; see `kubelib.store.base.Store`."""
        self._require_open()
        watch = EtcdWatch(self, prefix, since)
        self._watches.add(watch)
        self._group.start_soon(watch.run)
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            watch.stop()

    def _expect(self, revision: Revision) -> None:
        """See to it that watches come as far as `revision`, although what was written there may not be ours.

        Others may use the same etcd, and only what is written within reach of a watch tells it how far it is.
        """
        self._expected = max(self._expected, revision)
        if not self._ringing and self._is_behind():
            self._ringing = True
            self._group.start_soon(self._ring)

    def _is_behind(self) -> bool:
        return any(watch.progress < self._expected for watch in self._watches)

    async def _ring(self) -> None:
        try:
            await anyio.sleep(BELL_AFTER)
            if self._is_behind():
                request = message("TxnRequest")(success=[_put(self._prefix + _OWN + b"bell", b"")])
                await self.connection.call(TXN, request)
        except StoreError:
            pass  # whoever waits will ask again
        finally:
            self._ringing = False

    # Writing

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none, in one transaction of etcd; see `kubelib.store.base.Store`.

        When a member fails in the middle, the transaction is sent to another one. It says what it expects to find, so it
        cannot be carried out twice; and if it had been carried out already, that is seen from what is there.
        """
        self._require_open()
        keys = [self._key(operation.key) for operation in operations]
        if len(set(keys)) < len(keys):
            twice = next(o.key for n, o in enumerate(operations) if keys[n] in keys[:n])
            raise ValueError(f"one commit cannot name {twice} twice")
        request = message("TxnRequest")()
        for key, operation in zip(keys, operations, strict=True):
            expect = self.theirs(operation.expect) if operation.expect else 0
            if isinstance(operation, Delete) and not expect:
                entry = await self.get(operation.key)
                raise RevisionMismatch(operation.key, ABSENT, entry.modified if entry else ABSENT)
            request.compare.add(key=key, target=_MOD, mod_revision=expect)
            request.failure.add().request_range.key = key
            if isinstance(operation, Put):
                put = request.success.add().request_put
                put.key, put.value = key, operation.value
                if operation.lease is not None:
                    put.lease = await self._grant(operation.lease.ttl)
            elif isinstance(operation, Delete):
                request.success.add().request_delete_range.key = key
        doubt = Doubt()
        try:
            done = await self.connection.call(TXN, request, doubt=doubt)
        except CommitTooLarge as error:
            if len(operations) == 1:
                raise ValueTooLarge(str(error)) from None
            raise
        except StoreFull:
            nevertheless = await self._carried_out_nevertheless(keys, operations)
            if nevertheless is None:
                raise
            return nevertheless
        if not done.succeeded:
            found = [response.response_range.kvs for response in done.responses]
            earlier = (
                self._carried_out(operations, found, self.ours(done.header.revision)) if doubt.any else None
            )
            if earlier is None:
                raise self._mismatch(operations, found)
            self._expect(earlier)
            return earlier
        revision = self.ours(done.header.revision)
        if not request.success:
            self._expect(revision)
        return revision

    def _carried_out(
        self, operations: tuple[Operation, ...], found: Sequence[Any], current: Revision
    ) -> Revision | None:
        """Return the revision at which an earlier attempt made what is there; None if none did."""
        written = set()
        for operation, kvs in zip(operations, found, strict=True):
            if isinstance(operation, Put):
                if not kvs or kvs[0].value != operation.value:
                    return None
                written.add(kvs[0].mod_revision)
            elif isinstance(operation, Delete) and kvs:
                return None
        if not written:
            return current if any(isinstance(operation, Delete) for operation in operations) else None
        return self.ours(written.pop()) if len(written) == 1 else None

    async def _carried_out_nevertheless(
        self, keys: Sequence[bytes], operations: tuple[Operation, ...]
    ) -> Revision | None:
        """Return the revision of a commit that etcd says it had no space for; None if it has not been carried out.

        The commit with which etcd finds that its quota is used up is applied, and still answered with that error.
        """
        request = message("TxnRequest")()
        for key in keys:
            request.success.add().request_range.key = key
        read = await self.connection.call(TXN, request)
        found = [response.response_range.kvs for response in read.responses]
        for operation, kvs in zip(operations, found, strict=True):
            actual = self.ours(kvs[0].mod_revision) if kvs else ABSENT
            if not isinstance(operation, Check) and actual == operation.expect:
                return None
        revision = self._carried_out(operations, found, self.ours(read.header.revision))
        if revision is not None:
            self._expect(revision)
        return revision

    def _mismatch(self, operations: tuple[Operation, ...], found: Sequence[Any]) -> StoreError:
        for operation, kvs in zip(operations, found, strict=True):
            actual = self.ours(kvs[0].mod_revision) if kvs else ABSENT
            if actual != operation.expect:
                return RevisionMismatch(operation.key, operation.expect, actual)
        return StoreUnavailable(f"{self.address} refused a commit whose expectations hold: try again")

    async def _grant(self, ttl: float) -> int:
        granted = await self.connection.call(GRANT, message("LeaseGrantRequest")(TTL=max(1, math.ceil(ttl))))
        return int(granted.ID)

    # Compacting

    async def compact(self, before: Revision) -> None:
        """Forget the history before revision `before`."""
        self._require_open()
        current = await self.revision()
        if before > current + 1:
            raise RevisionInFuture(before, current)
        await self._compact(self.theirs(Revision(before - 1)))

    async def _compact(self, revision: int) -> None:
        if revision > 0:
            try:
                await self.connection.call(COMPACT, message("CompactionRequest")(revision=revision))
            except Compacted:
                return  # further than this already

    async def _compact_regularly(self) -> None:
        """Every so often, forget what is older. Of the processes that share the store one does it each time."""
        key = self._prefix + _OWN + b"compaction"
        while True:
            try:
                before = await self.connection.call(RANGE, message("RangeRequest")(key=key))
                await anyio.sleep(self._keep)
                seen = before.kvs[0] if before.kvs else None
                mine = await self.connection.call(
                    TXN,
                    message("TxnRequest")(
                        compare=[
                            message("Compare")(
                                key=key, target=_MOD, mod_revision=seen.mod_revision if seen else 0
                            )
                        ],
                        success=[_put(key, str(before.header.revision).encode())],
                    ),
                )
                if mine.succeeded:
                    await self._compact(before.header.revision)
            except StoreError:
                await anyio.sleep(self._keep / 10)

    def _require_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the store has been closed")


def _put(key: bytes, value: bytes) -> Any:
    return message("RequestOp")(request_put=message("PutRequest")(key=key, value=value))


def _after(prefix: bytes) -> bytes:
    """Return the smallest key greater than every key that begins with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
