"""What the registry keeps of workloads beyond their documents."""

from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.apps_sets import DaemonSet
from kubelib.api.batch import Job
from kubelib.api.core.pod import Pod
from kubelib.api.errors import BadRequest, Invalid
from kubelib.api.meta import Key
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Patch
from kubelib.store import MemoryStore

GENERATION = "deprecated.daemonset.template.generation"
SET: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "d", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    },
}


async def test_daemon_sets_count_the_changes_of_their_template() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        registry, key = registries.of(registries.scheme.of(DaemonSet)), Key("default", "d")

        async def patched(body: dict[str, Any], subresource: str = "") -> tuple[str, int]:
            document, _ = await registry.patch(key, Patch("merge", body), subresource=subresource)
            meta = document.tree()["metadata"]
            return meta["annotations"][GENERATION], meta["generation"]

        made = (await registry.create(deepcopy(SET), namespace="default")).tree()
        assert made["metadata"]["annotations"] == {GENERATION: "1"}
        # The same as it was first sent, without what has been filled in since, is no change of it.
        same, _ = await registry.update(key, deepcopy(SET))
        assert same.tree()["metadata"]["annotations"] == {GENERATION: "1"}
        assert await patched({"spec": {"minReadySeconds": 5}}) == ("1", 2)
        template = {"metadata": {"annotations": {"at": "now"}}}
        assert await patched({"spec": {"template": template}}) == ("2", 3)
        assert await patched({"metadata": {"annotations": {GENERATION: "7"}}}) == ("2", 3)
        assert await patched({"metadata": {"annotations": None}}) == ("2", 3)
        assert await patched({"status": {"numberReady": 1}}, "status") == ("2", 3)
        with pytest.raises(BadRequest, match=r'strconv\.ParseInt: parsing "many": invalid syntax'):
            await patched({"metadata": {"annotations": {GENERATION: "many"}}})


JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j", "namespace": "default"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
}


async def test_a_job_finds_its_pods_by_its_own_identity_and_by_nobody_elses() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        registry = registries.of(registries.scheme.of(Job))
        made = (await registry.create(deepcopy(JOB), namespace="default")).tree()
        uid = made["metadata"]["uid"]
        assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        copy = deepcopy(made)
        copy["metadata"] = {"name": "k", "namespace": "default"}
        with pytest.raises(Invalid) as refused:
            await registry.create(copy, namespace="default")
        assert [(cause.field, cause.message.rpartition(": ")[2]) for cause in refused.value.causes][-1] == (
            "spec.selector",
            "`selector` not auto-generated",
        )


async def test_the_affinity_of_a_new_pod_selects_those_that_are_like_it() -> None:
    term = {
        "topologyKey": "zone",
        "labelSelector": {},
        "matchLabelKeys": ["app", "none"],
        "mismatchLabelKeys": ["tier"],
    }
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "labels": {"app": "a", "tier": "b"}},
        "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "affinity": {"podAntiAffinity": {required: [term]}},
        },
    }
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        made = await registries.of(registries.scheme.of(Pod)).create(pod, namespace="default")
        (narrowed,) = made.tree()["spec"]["affinity"]["podAntiAffinity"][required]
        assert narrowed["labelSelector"] == {
            "matchExpressions": [
                {"key": "app", "operator": "In", "values": ["a"]},
                {"key": "tier", "operator": "NotIn", "values": ["b"]},
            ]
        }
