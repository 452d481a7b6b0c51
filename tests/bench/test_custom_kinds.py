"""What objects of a custom kind cost beside ConfigMaps of the same size, in process, and what a definition costs in memory.

``us`` in the extra information is microseconds per request.
"""

import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.api.apiextensions import CustomResourceDefinition
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.registry.generic import GenericRegistry
from kubelib.store import MemoryStore
from tests.server.definitions import definition

COUNT, ROUNDS = 300, 5
TEXTS = {f"key-{number}": "a text of some length, as there are many" for number in range(12)}
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["texts"],
    "properties": {
        "texts": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 100}},
        "size": {"type": "integer", "default": 3, "minimum": 0},
        "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port"],
            "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}}},
        },
    },
}
WIDGET: dict[str, Any] = {
    "kind": "Widget",
    "apiVersion": "example.com/v1",
    "metadata": {},
    "spec": {"texts": TEXTS, "ports": [{"port": 80}, {"port": 81}]},
}
CONFIG_MAP: dict[str, Any] = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}, "data": TEXTS}

Verb = Callable[[GenericRegistry, dict[str, Any], int], Awaitable[object]]


async def _create(registry: GenericRegistry, tree: dict[str, Any], number: int) -> object:
    return await registry.create(tree, namespace="default", name=f"made-{number}")


async def _get(registry: GenericRegistry, tree: dict[str, Any], number: int) -> object:
    return await registry.get(Key("default", "there"))


async def _list(registry: GenericRegistry, tree: dict[str, Any], number: int) -> object:
    return await registry.list()


async def _patch(registry: GenericRegistry, tree: dict[str, Any], number: int) -> object:
    part = "spec" if "spec" in tree else "data"
    change = {"texts": {"key-1": str(number)}} if part == "spec" else {"key-1": str(number)}
    return await registry.patch(Key("default", "there"), Patch("merge", {part: change}))


@pytest.mark.parametrize("kind", ["Widget", "ConfigMap"])
@pytest.mark.parametrize("verb", [_get, _list, _create, _patch], ids=["get", "list", "create", "patch"])
def test_verbs(benchmark: BenchmarkFixture, verb: Verb, kind: str) -> None:
    """The same verb on a custom object and on a ConfigMap."""

    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            definitions = registries.of(registries.scheme.of(CustomResourceDefinition))
            await definitions.create(definition("widgets", "Widget", SPEC))
            sample = WIDGET if kind == "Widget" else CONFIG_MAP
            registry = registries.of(registries.scheme.kind(sample["apiVersion"], kind))
            await registry.create(deepcopy(sample), namespace="default", name="there")
            spent = []
            for round_ in range(ROUNDS):
                trees = [deepcopy(sample) for _ in range(COUNT)]
                began = time.process_time()
                for number, tree in enumerate(trees):
                    await verb(registry, tree, round_ * COUNT + number)
                spent.append((time.process_time() - began) / COUNT * 1e6)
            benchmark.extra_info["us"] = round(min(spent), 1)

    benchmark.pedantic(lambda: anyio.run(main), rounds=1)  # type: ignore[no-untyped-call]


def test_memory_of_a_definition(benchmark: BenchmarkFixture) -> None:
    """A definition that is served, and whose schema has been compiled, takes at most 0.3 MB."""

    async def main() -> None:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            definitions = registries.of(registries.scheme.of(CustomResourceDefinition))

            async def define(number: int) -> None:
                await definitions.create(definition(f"widget{number}s", f"Widget{number}", SPEC))
                registry = registries.of(registries.scheme.kind("example.com/v1", f"Widget{number}"))
                tree = {**deepcopy(WIDGET), "kind": f"Widget{number}"}
                await registry.create(tree, namespace="default", name="there")

            await define(0)
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(1, 21):
                await define(number)
            gc.collect()
            each = (tracemalloc.get_traced_memory()[0] - before) / 20
            tracemalloc.stop()
            # What is counted here are bytes, not time: it holds also where the benchmarks run as plain tests.
            benchmark.extra_info["kb"] = round(each / 1000)
            assert each < 300_000

    benchmark.pedantic(lambda: anyio.run(main), rounds=1)  # type: ignore[no-untyped-call]
