"""What creating and patching an object cost, in process, with the plug-ins of admission that an API server has.

``us`` in the extra information is microseconds of processor time per write. `tests/bench/test_server.py` has the same over TLS.
"""

import gc
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.api import codec
from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import default_admission
from kubelib.registry.base import Patch, User, WriteOptions
from kubelib.registry.generic import GenericRegistry
from kubelib.store import MemoryStore
from kubelib.store.sqlite import SqliteStore
from tests.bench.test_custom_kinds import CONFIG_MAP, SPEC, WIDGET
from tests.bench.test_server import POD
from tests.server.definitions import definition

COUNT, ROUNDS, WRITERS = 160, 5, 16
USER = User("jane", ("system:authenticated",))

Write = Callable[[int], Awaitable[object]]


def _pod(number: int, *, alike: bool) -> dict[str, Any]:
    """Return a Pod like the others, as a workload makes them, or one that is like no other."""
    pod: dict[str, Any] = json.loads(json.dumps(POD))
    if not alike:
        pod["spec"]["containers"][0]["env"][0]["value"] = f"value {number}"
    return pod


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "Pods of a workload": lambda number: _pod(number, alike=True),
    "distinct Pods": lambda number: _pod(number, alike=False),
    "Widgets": lambda number: WIDGET,
    "ConfigMaps": lambda number: CONFIG_MAP,
}


def _patch(kind: str, number: int) -> tuple[Patch, str]:
    match kind:
        case "Widget":
            return Patch("merge", {"spec": {"texts": {"key-1": str(number)}}}, "python"), ""
        case "ConfigMap":
            return Patch("strategic", {"data": {"key-1": str(number)}}, "python"), ""
    status = {"phase": "Running", "podIP": f"10.0.{number // 250}.{number % 250}"}
    return Patch("strategic", {"status": status}, "python"), "status"


async def _spent(write: Write, numbers: range) -> float:
    """Return the microseconds that a write takes when some writers are at it."""

    async def work(first: int) -> None:
        for number in numbers[first::WRITERS]:
            await write(number)

    gc.collect()
    began = time.process_time()
    async with anyio.create_task_group() as group:
        for first in range(WRITERS):
            group.start_soon(work, first)
    return (time.process_time() - began) / len(numbers) * 1e6


async def _measured(
    registry: GenericRegistry, make: Callable[[int], dict[str, Any]], rounds: int
) -> tuple[float, float]:
    """Return what it costs to create, and to patch, in the best round."""
    kind, best = registry.resource.kind, (float("inf"), float("inf"))
    for round_ in range(rounds):
        numbers = range(round_ * COUNT, (round_ + 1) * COUNT)
        trees = {}
        for number in numbers:
            sample = make(number)
            labels = {"app": "web", "group": "made"}
            meta = {**sample["metadata"], "name": f"made-{number}", "labels": labels}
            trees[number] = codec.copied({**sample, "metadata": meta})

        async def create(number: int, trees: dict[int, dict[str, Any]] = trees) -> object:
            options = WriteOptions(user=USER, manager="python", warn=[].append)
            return await registry.create(trees[number], namespace="default", options=options)

        async def patch(number: int) -> object:
            options = WriteOptions(user=USER, manager="python", warn=[].append)
            change, subresource = _patch(kind, number)
            key = Key("default", f"made-{number}")
            return await registry.patch(key, change, subresource=subresource, options=options)

        spent = await _spent(create, numbers), await _spent(patch, numbers)
        best = min(best[0], spent[0]), min(best[1], spent[1])
    return best


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_writes(benchmark: BenchmarkFixture, tmp_path: Path, engine: str, what: str) -> None:
    """The status of Pods is patched, of Widgets, which a definition defines, and of ConfigMaps the content."""

    async def main() -> None:
        store = MemoryStore() if engine == "memory" else SqliteStore(tmp_path / "store")
        async with store, ResourceRegistries(store, admission=default_admission()) as registries:
            await registries.bootstrap()
            definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
            await definitions.create(definition("widgets", "Widget", SPEC))
            accounts = registries.of(registries.scheme.kind("v1", "ServiceAccount"))
            account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
            await accounts.create(account, namespace="default")
            sample = KINDS[what](0)
            registry = registries.of(registries.scheme.kind(sample["apiVersion"], sample["kind"]))
            create, patch = await _measured(registry, KINDS[what], ROUNDS if benchmark.enabled else 1)
            benchmark.extra_info["create us"], benchmark.extra_info["patch us"] = round(create), round(patch)

    benchmark.pedantic(lambda: anyio.run(main, backend_options={"use_uvloop": True}), rounds=1)  # type: ignore[no-untyped-call]
