"""Watches of an etcd store: a stream that is opened again, on another member if need be, where it broke off."""

from collections import deque
from typing import TYPE_CHECKING, Any

import anyio

from kubelib.store.base import (
    Change,
    Entry,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    StoreError,
    WatchLagged,
)
from kubelib.store.etcd.connection import PAUSE, WATCH, Compacted
from kubelib.store.etcd.messages import message
from kubelib.store.etcd.rpc import MessageStream, RpcError

if TYPE_CHECKING:
    from kubelib.store.etcd.store import EtcdStore

HEARTBEAT = 2.0
"""Seconds of silence after which a watch asks its member whether it still lives; as long again it waits for the answer."""
BUFFER = 10_000
"""How many changes wait for a slow reader before the stream is read no further and etcd has to keep them."""

_DELETE = 1


class EtcdWatch:
    """A running watch; see `kubelib.store.base.Watch`. `run` feeds it for as long as it is open."""

    def __init__(self, store: "EtcdStore", prefix: str, since: Revision) -> None:
        self._store = store
        self._prefix = prefix
        self._since = since
        self._seen = since
        """Everything up to here has been put into the buffer."""
        self._buffer: deque[tuple[Change, ...]] = deque()
        self._buffered = 0
        self._error: StoreError | None = None
        self._news = anyio.Event()
        self._room = anyio.Event()
        self._heard = 0.0
        self._call: MessageStream | None = None
        self._stopped = False
        self.progress = since

    async def take(self) -> tuple[Change, ...]:
        """Return the next changes, or none where only `progress` has moved."""
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self.progress < self._seen:
                break
            self._news = anyio.Event()
            await self._news.wait()
        changes = tuple(change for batch in self._buffer for change in batch)
        self._buffer.clear()
        self._buffered = 0
        self._room.set()
        self.progress = self._seen
        return changes

    def end(self, error: StoreError) -> None:
        """Let `take` raise `error` once everything that came before has been taken."""
        if self._error is None:
            self._error = error
            self._news.set()

    def stop(self) -> None:
        """Close the stream: `run` then returns."""
        self._stopped = True
        self._room.set()
        if self._call is not None:
            self._call.hang_up()

    async def run(self) -> None:
        """Keep a stream open and read it until there is an error that no other member can help."""
        connection = self._store.connection
        try:
            current = await self._store.revision()
            if self._since > current:
                raise RevisionInFuture(self._since, current)
            while not self._stopped:
                member = connection.member
                try:
                    await self._stream()
                    connection.next_member(member)
                except RpcError as broken:
                    await connection.mend(broken, member)
                if not self._stopped:
                    await anyio.sleep(PAUSE)
        except Compacted:
            self.end(self._compacted(None))
        except StoreError as error:
            self.end(error)

    def _compacted(self, oldest: Revision | None) -> StoreError:
        if self._seen > self._since:
            return WatchLagged("the watch fell behind the history that is kept: list again")
        return RevisionCompacted(self._since, oldest)

    async def _stream(self) -> None:
        """Read one stream until it breaks or its member falls silent."""
        call = self._call = await self._store.connection.stream()
        broken: RpcError | None = None
        response: Any = None
        try:
            first, end = self._store.everything
            # From the revision itself, not the one after: so etcd tells when that one is gone.
            create = message("WatchCreateRequest")(
                key=first, range_end=end, start_revision=self._store.theirs(self._seen), prev_kv=True
            )
            call.write(message("WatchRequest")(create_request=create).SerializeToString())
            self._heard = anyio.current_time()
            decode = message(WATCH.response).FromString
            async with anyio.create_task_group() as group:
                group.start_soon(self._heartbeat, call)
                try:
                    while (answer := await call.read()) is not None:
                        response = decode(answer)
                        if response.canceled:
                            break
                        await self._take_in(response)
                except RpcError as error:
                    broken = error  # raised below: the group would wrap it
                group.cancel_scope.cancel()
        finally:
            call.hang_up()
        if broken is not None:
            raise broken
        if response is not None and response.compact_revision:
            raise self._compacted(self._store.ours(response.compact_revision))

    async def _heartbeat(self, call: MessageStream) -> None:
        """End the stream when its member does not even answer a question about progress."""
        # The package's descriptors are older than this message: field 3, empty.
        ask = b"\x1a\x00"
        while True:
            await anyio.sleep(HEARTBEAT)
            silent = anyio.current_time() - self._heard
            if self._buffered > BUFFER or silent < HEARTBEAT:
                continue
            if silent > 2 * HEARTBEAT:
                call.hang_up()
                return
            call.write(ask)

    async def _take_in(self, response: Any) -> None:
        """Put the changes of an answer into the buffer, and wait while the reader of the watch is slow."""
        self._heard = anyio.current_time()
        store, prefix, seen = self._store, self._prefix, self._seen
        changes = []
        for event in response.events:
            kv = event.kv
            revision = store.ours(kv.mod_revision)
            if revision <= seen:
                continue
            self._seen = revision
            key = store.key_of(kv.key)
            if key is None or not key.startswith(prefix):
                continue
            previous = store.entry_of(event.prev_kv, key) if event.prev_kv.mod_revision else None
            entry: Entry | None = store.entry_of(kv, key) if event.type != _DELETE else None
            changes.append(Change(key, revision, entry, previous))
        if changes:
            self._buffer.append(tuple(changes))
            self._buffered += len(changes)
        if self._seen > seen:
            self._news.set()
        while self._buffered > BUFFER and not self._stopped:
            self._room = anyio.Event()
            await self._room.wait()
            self._heard = anyio.current_time()
