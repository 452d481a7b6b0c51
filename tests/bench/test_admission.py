"""What admission costs a write, in process: ``us`` in the extra information is microseconds for a Pod."""

import time
from copy import deepcopy
from typing import Any

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import NEED_CONTROLLERS, default_admission
from kubelib.registry.base import WriteOptions
from kubelib.store import MemoryStore

COUNT, ROUNDS = 400, 5
POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"generateName": "p-"},
    "spec": {
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]
    },
}
HARD = {"pods": "1000000", "requests.cpu": "1000000"}
QUOTA: dict[str, Any] = {
    "kind": "ResourceQuota",
    "apiVersion": "v1",
    "metadata": {"name": "q"},
    "spec": {"hard": HARD},
}
LIMITS: dict[str, Any] = {
    "kind": "LimitRange",
    "apiVersion": "v1",
    "metadata": {"name": "l"},
    "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "10m"}}]},
}


@pytest.mark.parametrize("what", ["none", "usual", "limits", "quota"])
def test_create_pod(benchmark: BenchmarkFixture, what: str) -> None:
    """A Pod without admission, with what is on by default, and where a LimitRange or a quota has a say."""

    async def main() -> None:
        admission = () if what == "none" else default_admission(disable=NEED_CONTROLLERS)
        async with MemoryStore() as store, ResourceRegistries(store, admission=admission) as registries:
            await registries.bootstrap()
            options = WriteOptions(trusted=True)
            if what in ("limits", "quota"):
                tree = deepcopy(LIMITS if what == "limits" else QUOTA)
                registry = registries.of(registries.scheme.kind("v1", tree["kind"]))
                made = (await registry.create(tree, namespace="default", options=options)).tree()
                if what == "quota":
                    made["status"] = {"hard": HARD, "used": dict.fromkeys(HARD, "0")}
                    key = (await registry.list()).documents[0].key
                    await registry.update(key, made, subresource="status", options=options)
            pods = registries.of(registries.scheme.kind("v1", "Pod"))
            spent = []
            for _ in range(ROUNDS):
                trees = [deepcopy(POD) for _ in range(COUNT)]
                begun = time.process_time()
                for tree in trees:
                    await pods.create(tree, namespace="default", options=options)
                spent.append((time.process_time() - begun) / COUNT * 1e6)
            benchmark.extra_info["us"] = round(min(spent), 1)

    benchmark.pedantic(anyio.run, args=(main,), rounds=1)  # type: ignore[no-untyped-call]
