"""A Pod whose status is patched is written without reading or encoding again what stays: nothing else may come of it."""

import re
from copy import deepcopy
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from kubelib.api.codec import encode_tree
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import Invalid
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch, WriteOptions
from kubelib.registry.changing import ChangingRegistry
from kubelib.registry.generic import GenericRegistry
from kubelib.store import MemoryStore

KEY = Key("default", "p")
CONTAINER = {"name": "c", "image": "i", "env": [{"name": "A", "value": '"managedFields":[{}]'}]}
POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p", "labels": {"app": "web"}},
    "spec": {"containers": [CONTAINER], "terminationGracePeriodSeconds": 1},
}


class Still:
    """A clock that has stopped."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def a_patch(random: Random) -> tuple[str, Patch]:
    """Return a patch to a status, sometimes with more in it than a status, and who sends it."""
    condition = {
        "type": random.choice(["Ready", "Initialized", "x"]),
        "status": random.choice(["True", "False"]),
    }
    status: dict[str, Any] = random.choice(
        [
            {"phase": random.choice(["Running", "Pending"])},
            {"conditions": [condition]},
            {"conditions": None},
            {"podIP": f"10.0.0.{random.randrange(9)}", "podIPs": None},
            {"message": random.choice(["", "a", None])},
            {"unknown": 1},
            {},
        ]
    )
    body: dict[str, Any] = {"status": status}
    if random.random() < 0.2:
        body["metadata"] = {"labels": {"l": random.choice("ab")}, "annotations": {"a": None}}
    if random.random() < 0.2:
        body["spec"] = {
            "terminationGracePeriodSeconds": random.randrange(9),
            "containers": [{"name": "c", "image": "j"}],
        }
    if random.random() < 0.1:
        body = {}
    return random.choice(["kubelet", "other"]), Patch(random.choice(["merge", "strategic"]), body)


async def made(patches: list[tuple[str, Patch]]) -> list[bytes]:
    """Return what the store has after each patch, or why it was refused."""
    async with (
        MemoryStore() as store,
        ResourceRegistries(store, clock=Still(), random=Random(1)) as registries,
    ):
        await registries.bootstrap()
        pods: GenericRegistry = registries.of(registries.scheme.of(Pod))
        await pods.create(deepcopy(POD), namespace="default")
        found = []
        for manager, patch in patches:
            options = WriteOptions(manager=manager)
            try:
                shown, _ = await pods.patch(KEY, patch, subresource="status", options=options)
            except Invalid as error:
                found.append(str(error).encode())
                continue
            entry = await store.get("/registry/core/pods/default/p")
            assert entry is not None
            assert shown.raw == Document.stored(entry.value, entry.modified).raw
            assert entry.value == encode_tree(Document(entry.value).tree(), pods.resource), "as ever encoded"
            found.append(re.sub(rb'"uid":"[^"]*"', b'"uid":""', entry.value))
        return found


async def test_sharing_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(7)
    patches = [a_patch(random) for _ in range(200)]
    shares, used = ChangingRegistry._shares, []

    def noted(self: ChangingRegistry, patch: Patch, subresource: str) -> bool:
        used.append(shares(self, patch, subresource))
        return used[-1]

    monkeypatch.setattr(ChangingRegistry, "_shares", noted)
    shared = await made(patches)
    assert used.count(True) == len(patches)
    monkeypatch.setattr(ChangingRegistry, "_shares", lambda self, patch, subresource: False)
    apart = await made(patches)

    assert shared == apart
    assert len(set(shared)) > 60, "and most patches change something"
