"""What the registry says of claims and volumes beyond their documents."""

from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.store import MemoryStore

OTHER = {"kind": "PersistentVolumeClaim", "name": "other"}
FILLER = {"apiGroup": "example.com", "kind": "Filler", "name": "f"}
SHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, (None, None)),
        ({"dataSource": OTHER}, (OTHER, OTHER)),
        ({"dataSourceRef": SHOT}, (SHOT, SHOT)),
        ({"dataSource": FILLER}, (None, None)),
        ({"dataSourceRef": {**FILLER, "namespace": "elsewhere"}}, (FILLER, FILLER)),
    ],
)
async def test_what_a_claim_is_filled_from_is_said_in_both_fields(
    given: dict[str, Any], kept: tuple[Any, Any]
) -> None:
    claim: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **deepcopy(given),
        },
    }
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        registry = registries.of(registries.scheme.of(PersistentVolumeClaim))
        spec = (await registry.create(claim, namespace="default")).tree()["spec"]
        assert (spec.get("dataSource"), spec.get("dataSourceRef")) == kept
        labelled, _ = await registry.patch(
            Key("default", "c"), Patch("merge", {"metadata": {"labels": {"a": "b"}}})
        )
        assert labelled.tree()["spec"] == spec


async def test_a_volume_tells_since_when_it_is_in_its_phase() -> None:
    volume: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "v"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/v"},
        },
    }
    own, key = "2026-01-01T00:00:00Z", Key("", "v")
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        registry = registries.of(registries.scheme.of(PersistentVolume))

        async def said(**status: Any) -> dict[str, Any]:
            document, _ = await registry.patch(key, Patch("merge", {"status": status}), subresource="status")
            found: dict[str, Any] = document.tree()["status"]
            return found

        made = (await registry.create(volume)).tree()
        assert made["status"] == {
            "phase": "Pending",
            "lastPhaseTransitionTime": made["metadata"]["creationTimestamp"],
        }
        assert (await said(phase="Available", lastPhaseTransitionTime=own))["lastPhaseTransitionTime"] == own
        assert (await said(message="m", lastPhaseTransitionTime=None))["lastPhaseTransitionTime"] == own
        assert (await said(phase="Bound"))["lastPhaseTransitionTime"] > own
