"""What must hold of every store on several servers, whatever is done to them."""

import contextlib
import resource
import signal
from collections.abc import Awaitable, Callable, Iterator

import anyio

from kubelib.store import (
    ABSENT,
    Change,
    Put,
    Revision,
    RevisionMismatch,
    Store,
    StoreUnavailable,
    open_store,
)


class SmallDisk:
    """How far files of this process may grow: beyond that the kernel refuses, as a full disk does."""

    def __init__(self, limits: tuple[int, int]) -> None:
        self._limits = limits

    def grow(self) -> None:
        """Let files grow as far as before."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[SmallDisk]:
    """Let no file of this process grow beyond a size, in bytes."""
    disk = SmallDisk(limits := resource.getrlimit(resource.RLIMIT_FSIZE))
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield disk
    finally:
        disk.grow()
        signal.signal(signal.SIGXFSZ, previous)


async def nothing_is_lost(url: str, strike: Callable[[], Awaitable[None]]) -> None:
    """Write from two processes' connections, compact, and watch from a third while servers are struck; then compare.

    Every acknowledged write was reported, at the revision that was acknowledged; revisions come in order, none twice, none left
    out, each with what was there before it.
    """
    acknowledged: dict[tuple[str, Revision], bytes] = {}
    stop = anyio.Event()
    seen: list[Change] = []

    async def write(store: Store, name: str) -> None:
        revision, count = ABSENT, 0
        while not stop.is_set():
            value = f"{name} {count}".encode()
            try:
                revision = await store.commit(Put(f"/{name}", value, revision))
                acknowledged[f"/{name}", revision] = value
            except (StoreUnavailable, RevisionMismatch):
                try:  # an answer that was lost: see what became of it
                    entry = await store.get(f"/{name}")
                except StoreUnavailable:
                    continue
                revision = entry.modified if entry else ABSENT
            count += 1

    async def compact(store: Store) -> None:
        """Forget what the watch has seen: it must not hurt it, wherever it is just then."""
        while not stop.is_set():
            await anyio.sleep(0.1)
            if seen:
                with contextlib.suppress(StoreUnavailable):
                    await store.compact(seen[-1].revision)

    async def follow(store: Store) -> None:
        async with store.watch("/", since=Revision(0)) as watch:
            while True:
                seen.extend(await watch.take())

    async with (
        open_store(url) as one,
        open_store(url) as two,
        open_store(url) as other,
        anyio.create_task_group() as group,
    ):
        group.start_soon(follow, other)
        async with anyio.create_task_group() as writers:
            for n in range(4):
                writers.start_soon(write, (one, two)[n % 2], f"w{n}")
            writers.start_soon(compact, one)
            await anyio.sleep(0.3)
            await strike()
            before = len(acknowledged)
            with anyio.fail_after(60):
                while len(acknowledged) < before + 100:
                    await anyio.sleep(0.05)
            stop.set()
        last = max(revision for _, revision in acknowledged)
        with anyio.fail_after(60):
            while not seen or seen[-1].revision < last:
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    assert [change.revision for change in seen] == list(range(1, len(seen) + 1)), (
        "in order, and none left out"
    )
    reported = {(change.key, change.revision): change.entry.value for change in seen if change.entry}
    lost = {at: value for at, value in acknowledged.items() if reported.get(at) != value}
    assert not lost
    known: dict[str, bytes] = {}
    for change in seen:
        assert (change.previous.value if change.previous else None) == known.get(change.key)
        if change.entry is not None:
            known[change.key] = change.entry.value
