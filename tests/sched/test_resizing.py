"""Pods that are resized in place: what a Pod still has is nobody else's."""

from typing import Any

import anyio
import pytest

from kubelib.api.core.pod import Binding
from kubelib.api.core.references import ObjectReference
from kubelib.api.errors import Conflict
from kubelib.api.meta import Key, ObjectMeta
from kubelib.registry.base import Patch
from tests.sched.conftest import containers

BIG = Key("default", "big")


async def resize(world: Any, cpu: str) -> None:
    wanted = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}}
    await world.pods.patch(BIG, Patch("strategic", wanted), subresource="resize")


async def say(world: Any, allocated: str, actual: str, reason: str = "") -> None:
    """Say what the node has made of it."""
    resources = {"requests": {"cpu": actual}}
    status: dict[str, Any] = {
        "containerStatuses": [
            {"name": "main", "allocatedResources": {"cpu": allocated}, "resources": resources,
             "ready": True, "restartCount": 0, "image": "x", "imageID": "x"}
        ]
    }  # fmt: skip
    if reason:
        status["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": reason}]
    await world.pods.patch(BIG, Patch("merge", {"status": status}), subresource="status")


async def settle() -> None:
    await anyio.sleep(20)


async def bind(world: Any, pod: str) -> None:
    meta = ObjectMeta(name=pod, namespace="default")
    target = ObjectReference(api_version="v1", kind="Node", name="node-0")
    await world.direct.resource(Binding).create(Binding(metadata=meta, target=target))


async def test_what_a_pod_gives_back_is_free_once_it_has_given_it_back(world: Any) -> None:
    await world.add_nodes(1, allocatable={"cpu": "4", "memory": "8Gi", "pods": "10"})
    async with world.running(world.scheduler()):
        await world.add_pod("big", containers=containers(cpu="3"))
        await settle()
        await say(world, "3", "3")
        await resize(world, "1")
        await world.add_pod("next", containers=containers(cpu="2"))
        for allocated, actual in (("3", "3"), ("1", "3")):
            await say(world, allocated, actual)
            await settle()
            assert not (await world.pod("next")).spec.node_name
            assert "Insufficient cpu" in (await world.refusal("next"))[1]
            with pytest.raises(Conflict, match="cpu"):
                await bind(world, "next")
        await say(world, "1", "1")
        await settle()
        assert (await world.pod("next")).spec.node_name == "node-0"


@pytest.mark.parametrize(("reason", "fits"), [("Deferred", False), ("Infeasible", True)])
async def test_what_a_pod_asks_for_in_vain_is_kept_for_it_only_if_it_may_get_it(
    world: Any, reason: str, fits: bool
) -> None:
    await world.add_nodes(1, allocatable={"cpu": "4", "memory": "8Gi", "pods": "10"})
    async with world.running(world.scheduler()):
        await world.add_pod("big", containers=containers(cpu="1"))
        await settle()
        await say(world, "1", "1")
        await resize(world, "3")
        await say(world, "1", "1", reason)
        await settle()
        await world.add_pod("next", containers=containers(cpu="2"))
        await settle()
        assert bool((await world.pod("next")).spec.node_name) == fits
        if not fits:
            # It is given up: the condition says so, and nobody asks for the room any more.
            await resize(world, "1")
            await settle()
            assert (await world.pod("next")).spec.node_name == "node-0"


async def test_a_pod_may_ask_for_all_its_containers_together(world: Any) -> None:
    await world.add_nodes(1, allocatable={"cpu": "4", "memory": "8Gi", "pods": "10"})
    whole = {"resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}
    async with world.running(world.scheduler()):
        await world.add_pod("big", containers=containers(cpu="1"), **whole)
        await world.add_pod("next", containers=containers(cpu="2"))
        await settle()
        placed = await world.placed()
        assert sorted(placed.values()) == ["", "node-0"]
        (left,) = (name for name, node in placed.items() if not node)
        with pytest.raises(Conflict, match="cpu"):
            await bind(world, left)
