"""What the registry keeps of workloads beyond their documents."""

from copy import deepcopy
from typing import Any

import pytest

from kubelib.api.apps_sets import DaemonSet
from kubelib.api.errors import BadRequest
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
