"""A hundred thousand objects, ten thousand watchers: memory, and what a selector and a write cost then.

As a test each runs with a hundredth of that; ``scripts/bench`` runs the whole. ``rss_mb`` and ``bytes_per_object`` in the extra
information are the memory of a process of its own; ``ratio`` is to one watcher.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.api.codec import encode_tree
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.labels import parse_field_selector, parse_selector
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch, Query
from kubelib.registry.keys import store_key
from kubelib.registry.watchers import Watcher
from kubelib.store import ABSENT, MemoryStore, Put
from tests.bench.budgets import best_within, within
from tests.bench.test_server import Server, line

OBJECTS, WATCHERS, SMALLER = 100_000, 10_000, 100
KILOBYTES = 2

FILL = """
import asyncio, json, sys
from pathlib import Path
from kubelib.registry import ResourceRegistries
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.pod import Pod
from kubelib.store.sqlite import SqliteStore

def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024

async def main(path, count, size):
    async with SqliteStore(path) as store, ResourceRegistries(store, check_namespaces=False) as registries:
        maps = registries.of(registries.scheme.of(ConfigMap))
        before = resident()
        async def fill(first):
            for number in range(first, count, 64):
                labels = {"app": f"app-{number % 100}", "rare": f"r{number // 10}"}
                meta = {"name": f"map-{number}", "labels": labels}
                await maps.create({"metadata": meta, "data": {"text": "x" * size}}, namespace="default")
        await asyncio.gather(*map(fill, range(64)))
        sizes = [len(document.raw) for document in maps.cache.all()]
        print(json.dumps({"before": before, "after": resident(), "count": len(sizes), "bytes": sum(sizes)}))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


def scaled(benchmark: BenchmarkFixture, number: int) -> int:
    return number // SMALLER if benchmark.disabled else number


def test_memory_of_a_hundred_thousand_objects_of_two_kilobytes(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """Budget: 1 GB while they are made, and in an API server that has them, of which a list of ten costs 1,000 us."""
    count = scaled(benchmark, OBJECTS)
    path = tmp_path / "store"

    def fill() -> dict[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", FILL, str(path), str(count), str(KILOBYTES * 1024 - 500)],
            capture_output=True,
            check=True,
        )
        found: dict[str, int] = json.loads(done.stdout)
        return found

    found = benchmark.pedantic(fill, rounds=1)  # type: ignore[no-untyped-call]
    assert found["count"] == count
    within(benchmark, "rss_mb", found["after"] / 1e6, 1000)
    benchmark.extra_info["object_bytes"] = round(found["bytes"] / count)
    benchmark.extra_info["bytes_per_object"] = round((found["after"] - found["before"]) / count)
    server = Server(tmp_path / "data", "--store", f"sqlite://{path}")

    async def ask(requests: int) -> None:
        admin = await line(server, admin=True)
        selected = "/api/v1/namespaces/default/configmaps?labelSelector=rare%3Dr7"
        assert (await admin.ask("GET", selected)).count(b'"name":"map-7') == 10
        within(benchmark, "server_rss_mb", server.resident() / 1e6, 1000)
        before = server.cpu()
        for _ in range(requests):
            await admin.ask("GET", selected)
        within(benchmark, "selected_cpu_us", (server.cpu() - before) / requests * 1e6, 1000)
        await admin.close()

    try:
        anyio.run(ask, 500 if benchmark.enabled else 1)
    finally:
        server.stop()


class Cluster:
    """Registries in a loop of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._open, self._closing = asyncio.Event(), asyncio.Event()
        self._task = self.loop.create_task(self._stay())
        self.run(self._open.wait())

    async def _stay(self) -> None:
        """Open and close everything in one task, as task groups want it."""
        async with MemoryStore() as store, ResourceRegistries(store, check_namespaces=False) as registries:
            self.maps = registries.of(registries.scheme.of(ConfigMap))
            self.pods = registries.of(registries.scheme.of(Pod))
            async with self._stack:
                self._open.set()
                await self._closing.wait()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def fill(self, count: int) -> None:
        for number in range(count):
            labels = {"app": f"app-{number % 100}", "rare": f"r{number // 10}"}
            meta = {"name": f"map-{number}", "labels": labels}
            await self.maps.create({"metadata": meta, "data": {"k": "v"}}, namespace="default")

    async def fill_nodes(self, count: int) -> None:
        """Store Pods as they are, ten on each node."""
        for number in range(count):
            key, node = Key("default", f"pod-{number}"), f"node-{number // 10}"
            tree = {"metadata": {"name": key.name, "namespace": key.namespace}, "spec": {"nodeName": node}}
            put = Put(store_key(self.pods.prefix, key), encode_tree(tree, self.pods.resource), ABSENT)
            await self.pods.store.commit(put)

    async def watch(self, selectors: list[str]) -> list[Watcher]:
        found = []
        for text in selectors:
            query = Query("default", parse_selector(text))
            opened = self.maps.watch(query, since=str(self.maps.cache.revision))
            found.append(await self._stack.enter_async_context(opened))
        return found

    def close(self) -> None:
        self._closing.set()
        self.run(self._task)
        self.loop.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.mark.parametrize("limit", [0, 500], ids=["whole", "first page"])
@pytest.mark.parametrize(
    ("labels", "fields", "matching"),
    [("rare=r7", "", 10), ("", "metadata.name=map-7", 1)],
    ids=["labels", "name"],
)
def test_a_selector_that_matches_few_of_a_hundred_thousand(
    benchmark: BenchmarkFixture, cluster: Cluster, labels: str, fields: str, matching: int, limit: int
) -> None:
    cluster.run(cluster.fill(scaled(benchmark, OBJECTS)))
    query = Query("default", parse_selector(labels), parse_field_selector(fields))
    found = benchmark(lambda: cluster.run(cluster.maps.list(query, limit=limit)))
    assert len(found.documents) == matching
    best_within(benchmark, 0.001)


def test_the_pods_of_one_of_ten_thousand_nodes(benchmark: BenchmarkFixture, cluster: Cluster) -> None:
    """What a kubelet lists and watches. The first of all looks at every Pod once; ``watch_us`` is to go on from 1,000 changes ago."""
    count = scaled(benchmark, OBJECTS)
    cluster.run(cluster.fill_nodes(count))
    since, query = str(count - 1000), Query(fields=parse_field_selector("spec.nodeName=node-7"))
    cluster.run(cluster.pods.list(query))

    async def watch() -> None:
        async with cluster.pods.watch(query, since=since) as watcher:
            assert not watcher.behind

    def seconds() -> float:
        began = time.process_time()
        cluster.run(watch())
        return time.process_time() - began

    found = benchmark(lambda: cluster.run(cluster.pods.list(query, limit=500)))
    assert len(found.documents) == 10
    if count > 1000:
        seconds()
        benchmark.extra_info["watch_us"] = round(min(seconds() for _ in range(5)) * 1e6)
    best_within(benchmark, 0.001)


@pytest.mark.parametrize(
    ("odd", "even"),
    [
        ("app=app-{0},rare!=r{0}", "team in (t{0},u{0})"),
        ("k{0}", "k{0}>{0}"),
        ("rare=r0,k{0}", "rare=r0,app=app-{0}"),
        ("app!=app-7,k{0}!=v", "!app,k{0} notin (a,b)"),
    ],
    ids=["values", "any value", "a common value", "exclusions"],
)
def test_a_write_that_one_of_ten_thousand_different_watchers_sees(
    benchmark: BenchmarkFixture, cluster: Cluster, odd: str, even: str
) -> None:
    count = scaled(benchmark, WATCHERS)
    cluster.run(cluster.fill(100))
    number = 0

    async def writes() -> None:
        nonlocal number
        for _ in range(50):
            number += 1
            patch = Patch("merge", {"data": {"k": str(number)}})
            await cluster.maps.patch(Key("default", "map-7"), patch)

    def seconds() -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            cluster.run(writes())
            best = min(best, time.process_time() - began)
        return best

    [one] = cluster.run(cluster.watch(["app=app-7"]))
    alone = seconds()
    others = [(odd if n % 2 else even).format(n) for n in range(1000, 1000 + count)]
    everybody = cluster.run(cluster.watch(others))
    benchmark.pedantic(lambda: cluster.run(writes()), rounds=5)  # type: ignore[no-untyped-call]
    within(benchmark, "ratio", seconds() / alone, 2.0)
    assert len(one.take_nowait()) == number
    assert not any(watcher.behind for watcher in everybody)
