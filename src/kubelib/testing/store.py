"""The definition of a store: inherit `StoreSuite`, give a fixture `store`, and every test must pass."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.lowlevel
import pytest

from kubelib.store import (
    ABSENT,
    Change,
    Check,
    Delete,
    Lease,
    Put,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    RevisionMismatch,
    Store,
    SupportsObserve,
    Watch,
    WatchLagged,
)

Open = Callable[[], AbstractAsyncContextManager[Store]]


async def put(store: Store, key: str, value: bytes = b"v") -> Revision:
    """Write a key whatever its revision, as a test's shorthand."""
    entry = await store.get(key)
    return await store.commit(Put(key, value, entry.modified if entry else ABSENT))


async def take(watch: Watch, count: int) -> list[Change]:
    """Take changes until there are `count`."""
    changes: list[Change] = []
    with anyio.fail_after(60):
        while len(changes) < count:
            changes += await watch.take()
    return changes


class StoreSuite:
    """Subclass it and override the fixture `open_store` with a function that opens a new, empty store.

    The function is called twice in the tests of durable stores (`durable = True`): the second call reopens the first.
    """

    durable = False
    remote = False
    """Whether commits are made durable elsewhere: what anybody sees there is durable, in whatever order answers arrive here."""
    history = 20_000
    """How many changes the store keeps: the test of slow watchers writes somewhat more than twice as many."""

    @pytest.fixture
    def open_store(self) -> Open:
        """Return a function that opens the store under test."""
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    async def store(self, open_store: Open) -> AsyncIterator[Store]:
        """An opened store."""
        async with open_store() as store:
            yield store

    async def test_revisions_begin_at_one_and_each_commit_is_the_next(self, store: Store) -> None:
        assert await store.revision() == 0
        assert [await put(store, f"/k{n}") for n in range(3)] == [1, 2, 3]
        assert await store.revision() == 3

    async def test_an_entry_remembers_when_it_was_created_and_modified(self, store: Store) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        entry = await store.get("/a")
        assert entry is not None
        assert (entry.key, entry.value, entry.created, entry.modified) == ("/a", b"2", first, second)
        await store.commit(Delete("/a", second))
        assert await store.get("/a") is None
        again = await put(store, "/a", b"3")
        entry = await store.get("/a")
        assert entry is not None and entry.created == again

    async def test_a_write_with_a_stale_expectation_is_refused_and_names_the_key(self, store: Store) -> None:
        revision = await put(store, "/a", b"1")
        for operation in (
            Put("/a", b"x", ABSENT),
            Put("/a", b"x", Revision(99)),
            Delete("/a", Revision(99)),
            Check("/a", ABSENT),
            Put("/b", b"x", revision),
            Delete("/b", ABSENT),
        ):
            with pytest.raises(RevisionMismatch) as caught:
                await store.commit(operation)
            assert caught.value.key == operation.key
        assert await store.revision() == revision

    async def test_a_commit_is_all_or_nothing(self, store: Store) -> None:
        revision = await put(store, "/a", b"1")
        with pytest.raises(RevisionMismatch):
            await store.commit(Put("/b", b"x", ABSENT), Put("/a", b"x", ABSENT))
        assert await store.get("/b") is None
        both = await store.commit(Put("/b", b"2", ABSENT), Delete("/a", revision), Check("/c", ABSENT))
        page = await store.list("/")
        assert [(e.key, e.modified) for e in page.entries] == [("/b", both)]

    async def test_naming_a_key_twice_in_one_commit_is_an_error(self, store: Store) -> None:
        with pytest.raises(ValueError, match="/a"):
            await store.commit(Put("/a", b"", ABSENT), Check("/a", ABSENT))
        assert await store.revision() == 0

    async def test_a_commit_of_checks_verifies_and_writes_nothing(self, store: Store) -> None:
        revision = await put(store, "/a")
        assert await store.commit(Check("/a", revision), Check("/b", ABSENT)) == revision
        assert await store.revision() == revision

    async def test_values_are_bytes_of_any_kind_and_size(self, store: Store) -> None:
        values = {"/empty": b"", "/binary": bytes(range(256)), "/large": b"x" * 1_000_000}
        for key, value in values.items():
            await put(store, key, value)
        page = await store.list("/")
        assert {e.key: e.value for e in page.entries} == values

    async def test_a_list_is_in_key_order_and_ends_at_its_prefix(self, store: Store) -> None:
        for key in ("/b/2", "/a/1", "/b", "/b/1", "/bb", "/b0", "/c"):
            await put(store, key)
        assert [e.key for e in (await store.list("/b/")).entries] == ["/b/1", "/b/2"]
        assert [e.key for e in (await store.list("/b")).entries] == ["/b", "/b/1", "/b/2", "/b0", "/bb"]
        assert (await store.list("/none")).entries == ()

    async def test_pages_are_of_one_revision_while_writes_go_on(self, store: Store) -> None:
        for n in range(10):
            await put(store, f"/k{n}", b"old")
        page = await store.list("/", limit=4)
        seen = [(e.key, e.value) for e in page.entries]
        first = page.revision
        while page.next_key:
            for n in range(0, 10, 3):
                await put(store, f"/k{n}", b"new")
            entry = await store.get("/k8")
            if entry is not None:
                await store.commit(Delete("/k8", entry.modified))
            await put(store, "/k55")
            page = await store.list("/", limit=4, start=page.next_key, at=first)
            assert page.revision == first
            seen += [(e.key, e.value) for e in page.entries]
        assert seen == [(f"/k{n}", b"old") for n in range(10)]

    async def test_a_list_of_the_future_is_refused(self, store: Store) -> None:
        await put(store, "/a")
        with pytest.raises(RevisionInFuture):
            await store.list("/", at=Revision(7))

    async def test_a_watch_from_the_future_is_refused(self, store: Store) -> None:
        revision = await put(store, "/a")
        with pytest.raises(RevisionInFuture):
            async with store.watch("/", since=Revision(revision + 7)) as watch:
                await take(watch, 1)

    async def test_what_is_checked_is_as_safe_as_what_is_written(self, store: Store) -> None:
        """A decision that rests on a write of somebody else must not be acknowledged before that write is."""
        order: list[str] = []

        async def write() -> None:
            await store.commit(Put("/a", b"1", ABSENT))
            order.append("written")

        async def check() -> None:
            while True:
                try:
                    await store.commit(Check("/a", Revision(1)))
                    break
                except RevisionMismatch:
                    await anyio.lowlevel.checkpoint()
            order.append("checked")

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            group.start_soon(check)
        assert order == ["written", "checked"] or (self.remote and sorted(order) == ["checked", "written"])

    async def test_an_observer_that_fails_fails_nobody_else(self, store: Store) -> None:
        if not isinstance(store, SupportsObserve):
            return
        seen: list[str] = []

        def broken(changes: tuple[Change, ...]) -> None:
            raise RuntimeError("not today")

        store.observe(broken)
        end = store.observe(lambda changes: seen.extend(change.key for change in changes))
        async with store.watch("/", since=Revision(0)) as watch:
            assert await put(store, "/a") == 1
            assert await put(store, "/b") == 2
            assert [change.key for change in await take(watch, 2)] == ["/a", "/b"]
        assert seen == ["/a", "/b"]
        end()
        await put(store, "/c")
        assert seen == ["/a", "/b"]

    async def test_a_watch_reports_every_change_after_its_start_once_in_order(self, store: Store) -> None:
        for n in range(5):
            await put(store, f"/k{n}")
        async with store.watch("/", since=Revision(2)) as watch:
            past = await take(watch, 3)
            for n in range(5):
                await put(store, f"/k{n}", b"again")
            news = await take(watch, 5)
        assert [c.revision for c in past + news] == list(range(3, 11))
        assert all(c.previous is None for c in past)
        assert [(c.previous.value, c.entry.value) for c in news if c.previous and c.entry] == [
            (b"v", b"again")
        ] * 5

    async def test_a_deletion_is_a_change_without_entry(self, store: Store) -> None:
        revision = await put(store, "/a", b"1")
        async with store.watch("/", since=revision) as watch:
            await store.commit(Delete("/a", revision))
            (change,) = await take(watch, 1)
        assert change.entry is None
        assert change.previous is not None and change.previous.value == b"1"

    async def test_all_changes_of_a_commit_arrive_together(self, store: Store) -> None:
        async with store.watch("/", since=Revision(0)) as watch, anyio.create_task_group() as group:
            group.start_soon(store.commit, *(Put(f"/k{n}", b"", ABSENT) for n in range(20)))
            with anyio.fail_after(60):
                changes = await watch.take()
        assert len(changes) == 20
        assert {c.revision for c in changes} == {1}

    async def test_a_watch_sees_only_its_prefix(self, store: Store) -> None:
        async with store.watch("/b/", since=Revision(0)) as watch:
            for key in ("/a/1", "/b/1", "/bb", "/b/2"):
                await put(store, key)
            assert [c.key for c in await take(watch, 2)] == ["/b/1", "/b/2"]

    async def test_a_cancelled_take_loses_nothing(self, store: Store) -> None:
        async with store.watch("/", since=Revision(0)) as watch:
            for n in range(3):
                with anyio.move_on_after(0.001):
                    await watch.take()
                await put(store, f"/k{n}")
                assert [c.key for c in await take(watch, 1)] == [f"/k{n}"]

    async def test_compaction_ends_what_was_before_and_keeps_the_present(self, store: Store) -> None:
        for n in range(6):
            await put(store, "/a", str(n).encode())
        await store.compact(Revision(5))
        for old in (0, 3):
            with pytest.raises(RevisionCompacted):
                async with store.watch("/", since=Revision(old)) as watch:
                    await take(watch, 1)
        with pytest.raises(RevisionCompacted):
            await store.list("/", at=Revision(3))
        async with store.watch("/", since=Revision(4)) as watch:
            assert [c.revision for c in await take(watch, 2)] == [5, 6]
        entry = await store.get("/a")
        assert entry is not None and entry.value == b"5"

    async def test_a_watcher_that_falls_behind_is_told_or_loses_nothing(self, store: Store) -> None:
        async with store.watch("/", since=Revision(0)) as watch:
            await put(store, "/a")
            await take(watch, 1)
            for n in range(5):
                await put(store, "/a", str(n).encode())
            await store.compact(Revision(5))
            try:
                changes = await take(watch, 5)
            except (WatchLagged, RevisionCompacted):
                return
            assert [change.revision for change in changes] == [2, 3, 4, 5, 6]  # it had them all already

    async def test_of_concurrent_writers_of_one_key_exactly_one_wins(self, store: Store) -> None:
        won: list[int] = []

        async def write(n: int) -> None:
            try:
                await store.commit(Put("/a", str(n).encode(), ABSENT))
                won.append(n)
            except RevisionMismatch:
                pass

        async with anyio.create_task_group() as group:
            for n in range(20):
                group.start_soon(write, n)
        entry = await store.get("/a")
        assert entry is not None and [entry.value] == [str(n).encode() for n in won]
        assert await store.revision() == 1

    async def test_concurrent_writers_lose_no_update(self, store: Store) -> None:
        await put(store, "/n", b"0")

        async def count() -> None:
            for _ in range(10):
                while True:
                    entry = await store.get("/n")
                    assert entry is not None
                    try:
                        await store.commit(Put("/n", str(int(entry.value) + 1).encode(), entry.modified))
                        break
                    except RevisionMismatch:
                        await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(count)
        entry = await store.get("/n")
        assert entry is not None and entry.value == b"50"

    async def test_a_cancelled_commit_leaves_the_store_consistent(self, store: Store) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.commit(Put("/a", b"1", ABSENT))
        await put(store, "/b")
        entry = await store.get("/a")
        page = await store.list("/")
        assert [e.key for e in page.entries] == (["/a", "/b"] if entry else ["/b"])
        assert await put(store, "/a") == await store.revision()

    async def test_a_lease_deletes_its_key_as_an_ordinary_change(self, store: Store) -> None:
        ttl = 0.05
        while True:
            await store.commit(Put("/kept", b"", ABSENT, Lease(ttl)))
            try:
                await put(store, "/kept", b"written again")
                break
            except RevisionMismatch:
                ttl *= 2  # a busy machine: it was gone before it could be written again
        revision = await store.commit(Put("/leased", b"", ABSENT, Lease(ttl)))
        async with store.watch("/", since=revision) as watch:
            (change,) = await take(watch, 1)
        assert (change.key, change.entry) == ("/leased", None)
        assert [e.key for e in (await store.list("/")).entries] == ["/kept"]

    async def test_a_durable_store_reopens_as_it_was(self, open_store: Open) -> None:
        async with open_store() as store:
            for n in range(20):
                await put(store, f"/k{n % 7}", str(n).encode())
            entry = await store.get("/k3")
            assert entry is not None
            await store.commit(Delete("/k3", entry.modified))
            await store.compact(Revision(10))
            before = await store.list("/")
        if not self.durable:
            return
        async with open_store() as store:
            assert await store.list("/") == before
            async with store.watch("/", since=Revision(15)) as watch:
                assert [c.revision for c in await take(watch, 6)] == list(range(16, 22))
            with pytest.raises(RevisionCompacted):
                await store.list("/", at=Revision(3))
            assert await put(store, "/new") == before.revision + 1
