"""What the embedded stores carry: commits by few and many writers, delivery to watchers, pages, memory."""

import gc
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.store import ABSENT, MemoryStore, Put, Revision, Store
from kubelib.store.sqlite import SqliteStore

VALUE = b"x" * 2048
COMMITS = 6400


def memory(directory: Path) -> Any:
    return MemoryStore()


def sqlite(directory: Path) -> Any:
    return SqliteStore(directory / "store.sqlite")


def run(make: Callable[[Path], Any], work: Callable[[Store], Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:

        async def main() -> None:
            async with make(Path(directory)) as store:
                await work(store)

        anyio.run(main, backend_options={"use_uvloop": True})


@pytest.mark.parametrize("writers", [1, 64])
@pytest.mark.parametrize("make", [memory, sqlite])
def test_commits(benchmark: BenchmarkFixture, make: Callable[[Path], Any], writers: int) -> None:
    """Rounds of 6,400 commits of 2 KB each: divide by the time."""

    async def work(store: Store) -> None:
        async def write(worker: int) -> None:
            for number in range(COMMITS // writers):
                await store.commit(Put(f"/registry/pods/default/{worker}-{number}", VALUE, ABSENT))

        async with anyio.create_task_group() as group:
            for worker in range(writers):
                group.start_soon(write, worker)

    benchmark.pedantic(run, args=(make, work), rounds=3)  # type: ignore[no-untyped-call]


def test_one_change_to_a_thousand_watchers(benchmark: BenchmarkFixture) -> None:
    """Rounds of 100 changes to 1,000 watchers, one at a time: 100,000 deliveries."""

    async def work(store: Store) -> None:
        seen = 0

        async def watch() -> None:
            nonlocal seen
            async with store.watch("/", since=Revision(0)) as watch:
                mine = 0
                while mine < 100:
                    mine += len(await watch.take())
                seen += mine

        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(watch)
            await anyio.sleep(0)
            for number in range(100):
                await store.commit(Put(f"/k{number}", VALUE, ABSENT))
                await anyio.sleep(0)
        assert seen == 100_000

    benchmark.pedantic(run, args=(memory, work), rounds=3)  # type: ignore[no-untyped-call]


def test_pages_of_an_earlier_revision(benchmark: BenchmarkFixture) -> None:
    """One round lists 10,000 entries in pages of 500, 2,000 changes back."""

    async def work(store: Store) -> None:
        for number in range(10_000):
            await store.commit(Put(f"/k{number:05}", b"x", ABSENT))
        at = await store.revision()
        for number in range(2000):
            entry = await store.get(f"/k{number:05}")
            assert entry is not None
            await store.commit(Put(entry.key, b"y", entry.modified))

        async def pages() -> int:
            start, count = "", 0
            while True:
                page = await store.list("/", limit=500, start=start, at=at)
                count += len(page.entries)
                start = page.next_key
                if not start:
                    return count

        begun = anyio.current_time()
        assert await pages() == 10_000
        benchmark.extra_info["seconds"] = anyio.current_time() - begun

    benchmark.pedantic(run, args=(memory, work), rounds=1)  # type: ignore[no-untyped-call]


def test_memory_for_a_stored_object(benchmark: BenchmarkFixture) -> None:
    """The bytes that one object of 2 KB costs beyond the value itself go into the benchmark's extra information."""

    async def work(store: Store) -> None:
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(10_000):
            value = VALUE + str(number).encode()
            await store.commit(Put(f"/registry/pods/default/{number}", value, ABSENT))
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        benchmark.extra_info["bytes"] = (after - before) // 10_000

    benchmark.pedantic(run, args=(memory, work), rounds=1)  # type: ignore[no-untyped-call]
