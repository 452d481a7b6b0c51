"""How soon a store that holds much can be used: opened, and everything in it listed once, as an API server does at its start."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.store import ABSENT, Put, Store, open_store
from tests.engines import Etcd, ZooKeeper

pytestmark = pytest.mark.external

OBJECTS, FEW = 100_000, 500
"""How many objects of 2 KB there are when measured, and when run as an ordinary test."""
WRITERS = 64


def values(count: int) -> Iterator[bytes]:
    """Return documents of 2 KB each: three quarters of it as alike as objects of one kind are, the rest of its own."""
    random = Random(0)
    alike = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"namespace":"default"},"data":{"text":"'
    alike += bytes(random.choices(b"abcdefgh,.: ", k=1536 - len(alike)))
    for _ in range(count):
        yield alike + random.randbytes(252).hex().encode() + b'"}}'


async def _fill(store: Store, count: int) -> None:
    waiting = enumerate(values(count))

    async def write() -> None:
        for number, value in waiting:
            await store.commit(Put(f"/registry/configmaps/default/settings-{number:06}", value, ABSENT))

    async with anyio.create_task_group() as group:
        for _ in range(WRITERS):
            group.start_soon(write)


@pytest.mark.parametrize("kind", ["sqlite", "etcd", "zookeeper"])
def test_opening_and_listing(benchmark: BenchmarkFixture, kind: str, tmp_path: Path) -> None:
    """Rounds of opening a store of 100,000 objects of 2 KB and listing all of them."""
    count = FEW if benchmark.disabled else OBJECTS

    async def prepare(url: str) -> None:
        async with open_store(url) as store:
            await _fill(store, count)

    async def recover(url: str) -> None:
        async with open_store(url) as store:
            page = await store.list("/")
            assert len(page.entries) == count

    def measure(url: str) -> None:
        anyio.run(prepare, url, backend_options={"use_uvloop": True})

        def once() -> None:
            anyio.run(recover, url, backend_options={"use_uvloop": True})

        benchmark.pedantic(once, rounds=3)  # type: ignore[no-untyped-call]

    if kind == "sqlite":
        measure(f"sqlite://{tmp_path}/store.sqlite")
    elif kind == "etcd":
        with Etcd(tmp_path / "etcd") as etcd:
            measure(etcd.url())
    else:
        with ZooKeeper(tmp_path / "zookeeper", heap="1g") as zookeeper:
            measure(zookeeper.url())
