"""A Pod or workload whose status is patched is written without reading or encoding again what stays: nothing else may come of it."""

import re
from copy import deepcopy
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from kubelib.api.codec import encode_tree
from kubelib.api.document import Document
from kubelib.api.errors import Invalid
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch, WriteOptions
from kubelib.registry.changing import ChangingRegistry
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.keys import store_key
from kubelib.store import MemoryStore

KEY = Key("default", "p")
CONTAINER = {"name": "c", "image": "i", "env": [{"name": "A", "value": '"managedFields":[{}]'}]}
META: dict[str, Any] = {"name": "p", "labels": {"app": "web"}}
SPEC: dict[str, Any] = {"containers": [CONTAINER], "terminationGracePeriodSeconds": 1}
TEMPLATE = {"metadata": META, "spec": SPEC}
WORKLOAD: dict[str, Any] = {"selector": {"matchLabels": META["labels"]}, "template": TEMPLATE}
JOB = {"spec": {"template": {"spec": {**SPEC, "restartPolicy": "Never"}}}}
SPECS = {
    ("v1", "Pod"): SPEC,
    **{("apps/v1", kind): WORKLOAD for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")},
    ("batch/v1", "CronJob"): {"schedule": "* * * * *", "jobTemplate": JOB},
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


async def made(version: str, kind: str, patches: list[tuple[str, Patch]]) -> list[bytes]:
    """Return what the store has after each patch, or why it was refused."""
    async with (
        MemoryStore() as store,
        ResourceRegistries(store, clock=Still(), random=Random(1)) as registries,
    ):
        await registries.bootstrap()
        registry: GenericRegistry = registries.of(registries.scheme.kind(version, kind))
        tree = {"kind": kind, "apiVersion": version, "metadata": META, "spec": SPECS[version, kind]}
        await registry.create(deepcopy(tree), namespace="default")
        found = []
        for manager, patch in patches:
            options = WriteOptions(manager=manager)
            try:
                shown, _ = await registry.patch(KEY, patch, subresource="status", options=options)
            except Invalid as error:
                found.append(str(error).encode())
                continue
            entry = await store.get(store_key(registry.prefix, KEY))
            assert entry is not None
            assert shown.raw == Document.stored(entry.value, entry.modified).raw
            assert entry.value == encode_tree(Document(entry.value).tree(), registry.resource), (
                "as ever encoded"
            )
            found.append(re.sub(rb'"uid":"[^"]*"', b'"uid":""', entry.value))
        return found


@pytest.mark.parametrize(("version", "kind"), SPECS)
async def test_sharing_makes_no_difference(version: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(7)
    patches = [a_patch(random) for _ in range(200)]
    shares, used = ChangingRegistry._shares, []

    def noted(self: ChangingRegistry, patch: Patch, subresource: str) -> bool:
        used.append(shares(self, patch, subresource))
        return used[-1]

    monkeypatch.setattr(ChangingRegistry, "_shares", noted)
    shared = await made(version, kind, patches)
    assert used.count(True) == len(patches)
    monkeypatch.setattr(ChangingRegistry, "_shares", lambda self, patch, subresource: False)
    apart = await made(version, kind, patches)

    assert shared == apart
    assert len(set(shared)) > 60, "and most patches change something"
