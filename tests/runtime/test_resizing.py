"""Pods that are resized while they run: what their node allocates, what it says, and what containers get."""

import json
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import ContainerResizePolicy, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import ExecAction, Probe
from kubelib.api.errors import Forbidden
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.scheduling import PriorityClass
from kubelib.registry.base import Patch
from kubelib.runtime.base import Resources
from kubelib.runtime.fake import Life
from tests.runtime.conftest import SimNode, container

MI = 1 << 20


def sized(
    name: str = "main",
    cpu: str = "1",
    memory: str = "100Mi",
    limits: dict[str, str] | None = None,
    **more: Any,
) -> Any:
    resources = ResourceRequirements(requests={"cpu": cpu, "memory": memory}, limits=limits or {})
    return container(name, resources=resources, **more)


async def resize(node: SimNode, name: str = "a", which: str = "main", **resources: dict[str, str]) -> Pod:
    wanted = {"spec": {"containers": [{"name": which, "resources": resources}]}}
    return await node.client.resource(Pod).patch(
        Key("default", name), Patch("strategic", wanted), subresource="resize"
    )


def condition(pod: Pod, kind: str) -> Any:
    return next((c for c in pod.status.conditions if c.type == kind), None)


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


def settled(pod: Pod) -> bool:
    status = pod.status.container_statuses[0]
    return (
        status.resources == pod.spec.containers[0].resources
        and status.allocated_resources == pod.spec.containers[0].resources.requests
        and condition(pod, "PodResizePending") is None
        and condition(pod, "PodResizeInProgress") is None
    )


def limits(node: SimNode, name: str = "main") -> Resources:
    [found] = [
        c.id
        for c in (r.container for r in node.runtime._containers.values())
        if c.name == name and c.state == "running"
    ]
    return node.runtime.limits(found)


async def test_a_pod_says_what_it_has_been_allocated_and_has(node: SimNode) -> None:
    await node.run(containers=(sized(limits={"cpu": "2"}), container("plain")))
    pod = await node.until(is_running)
    main, plain = pod.status.container_statuses
    assert main.resources == pod.spec.containers[0].resources
    assert main.allocated_resources == {"cpu": "1", "memory": "100Mi"}
    assert (plain.resources, plain.allocated_resources) == (ResourceRequirements(), {})


async def test_a_container_gets_other_limits_while_it_runs(node: SimNode) -> None:
    await node.run(containers=(sized(limits={"cpu": "1", "memory": "200Mi"}),))
    before = await node.until(is_running)
    assert limits(node).cpu == 1
    await resize(node, requests={"cpu": "2"}, limits={"cpu": "3", "memory": "300Mi"})
    pod = await node.until(settled)
    assert limits(node) == Resources(cpu=3, cpu_request=2, memory=300 * MI)
    status, was = pod.status.container_statuses[0], before.status.container_statuses[0]
    assert (status.restart_count, status.container_id) == (0, was.container_id)
    started, completed = [e for r in ("ResizeStarted", "ResizeCompleted") for e in await node.events(r)]
    told = started.message.removeprefix("Pod resize started: ")
    assert completed.message == f"Pod resize completed: {told}"
    assert json.loads(told) == {
        "containers": [
            {
                "name": "main",
                "resources": {
                    "limits": {"cpu": "3", "memory": "300Mi"},
                    "requests": {"cpu": "2", "memory": "100Mi"},
                },
            }
        ],
        "generation": 2,
    }


async def test_the_same_size_in_other_words_changes_nothing(node: SimNode) -> None:
    await node.run(containers=(sized(),))
    await node.until(is_running)
    await resize(node, requests={"cpu": "1000m"})
    await anyio.sleep(5)
    assert await node.events("ResizeStarted") == []
    assert condition(await node.pod(), "PodResizePending") is None


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
async def test_a_container_whose_policy_says_so_is_started_again_at_once(node: SimNode, policy: str) -> None:
    rule = ContainerResizePolicy(resource_name="memory", restart_policy="RestartContainer")
    main = sized(limits={"memory": "200Mi"}, resize_policy=(rule,))
    await node.run(containers=(main,), restart_policy=policy)
    await node.until(is_running)
    await resize(node, requests={"cpu": "2"})  # of this the policy says nothing
    await node.until(settled)
    assert (await node.status()).restart_count == 0
    before = anyio.current_time()
    await resize(node, limits={"memory": "150Mi"})
    pod = await node.until(lambda p: settled(p) and p.status.container_statuses[0].restart_count == 1)
    assert anyio.current_time() - before < 9  # there is no back-off
    assert pod.status.phase == "Running"
    assert limits(node).memory == 150 * MI
    [killing] = await node.events("Killing")
    assert killing.message == "Container main resize requires restart"
    ended = pod.status.container_statuses[0].last_state.terminated
    assert ended is not None
    assert ended.exit_code == 0


async def test_what_no_node_of_this_size_has_is_infeasible(node: SimNode) -> None:
    await node.run(containers=(sized(),))
    await node.until(is_running)
    with pytest.raises(Forbidden, match="Node didn't have enough allocatable resources"):
        await resize(node, requests={"cpu": "5"})
    larger = Patch(
        "merge", {"status": {"allocatable": {"cpu": "8"}}}
    )  # the API server has not heard of it yet
    await node.client.resource(Node).patch(Key("", "node-1"), larger, subresource="status")
    await resize(node, requests={"cpu": "5"})
    pod = await node.until(lambda p: condition(p, "PodResizePending") is not None)
    pending = condition(pod, "PodResizePending")
    assert (pending.status, pending.reason) == ("True", "Infeasible")
    assert pending.message == "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
    assert pending.observed_generation == 2
    assert pod.status.container_statuses[0].allocated_resources == {"cpu": "1", "memory": "100Mi"}
    [event] = await node.events("ResizeInfeasible")
    assert event.message.startswith('Pod resize Infeasible: {"containers":')
    await resize(node, requests={"cpu": "1"})  # somebody has thought better of it
    await node.until(settled)
    assert await node.events("ResizeStarted") == []


async def test_who_grows_waits_until_there_is_room_the_most_important_first(node: SimNode) -> None:
    high = PriorityClass(metadata=ObjectMeta(name="high"), value=10)
    await node.client.resource(PriorityClass).create(high)
    for name, of in (("a", ""), ("low", ""), ("high", "high")):
        await node.run(name, containers=(sized(),), priority_class_name=of)
        await node.until(is_running, name=name)
    for name in ("low", "high"):
        await resize(node, name, requests={"cpu": "2500m"})
        pod = await node.until(lambda p: condition(p, "PodResizePending") is not None, name=name)
    pending = condition(pod, "PodResizePending")
    assert pending.reason == "Deferred"
    message = "Node didn't have enough resource: cpu, requested: 2500, used: 2000, capacity: 4000"
    assert pending.message == message
    await node.client.resource(Pod).delete(Key("default", "a"), grace=0)
    await node.until(settled, name="high")
    assert condition(await node.pod("low"), "PodResizePending").reason == "Deferred"
    await resize(node, "high", requests={"cpu": "1500m"})
    await node.until(settled, name="low")
    await node.run("new", containers=(sized(cpu="100m"),))
    refused = await node.until(lambda p: p.status.phase == "Failed", name="new")
    assert refused.status.reason == "OutOfcpu"


async def test_a_limit_below_what_is_used_waits_until_less_is_used(node: SimNode) -> None:
    node.images(run=Life(memory=150 * MI))
    await node.run(containers=(sized(limits={"memory": "200Mi"}),))
    await node.until(is_running)
    await resize(node, limits={"memory": "120Mi"})
    pod = await node.until(lambda p: getattr(condition(p, "PodResizeInProgress"), "reason", "") == "Error")
    told = condition(pod, "PodResizeInProgress")
    assert told.message == (
        f'attempting to set container "main" memory limit ({120 * MI}) below current usage ({150 * MI})'
    )
    has = pod.status.container_statuses[0].resources
    assert has is not None
    assert has.limits == {"memory": "200Mi"}
    assert limits(node).memory == 200 * MI
    assert len(await node.events("ResizeError")) == 1
    await resize(node, limits={"memory": "160Mi"})
    await node.until(settled)
    assert limits(node).memory == 160 * MI


async def test_what_a_runtime_refuses_is_said_and_tried_again(node: SimNode) -> None:
    node.images(run=Life(fixed="device or resource busy"))
    await node.run(containers=(sized(),))
    await node.until(is_running)
    await resize(node, requests={"cpu": "2"})
    pod = await node.until(lambda p: getattr(condition(p, "PodResizeInProgress"), "reason", "") == "Error")
    assert condition(pod, "PodResizeInProgress").message == "device or resource busy"
    assert pod.status.container_statuses[0].allocated_resources["cpu"] == "2"
    has = pod.status.container_statuses[0].resources
    assert has is not None
    assert has.requests["cpu"] == "1"
    [running] = node.runtime._containers.values()
    running.life = Life()
    await node.until(settled)


async def test_an_agent_that_is_started_again_goes_on_with_what_was_allocated(idle: SimNode) -> None:
    async with idle.running():
        await idle.run(containers=(sized(),))
        await idle.run("b", containers=(sized("other"),))
        for name in "ab":
            await idle.until(is_running, name=name)
        await resize(idle, requests={"cpu": "2"})
        await idle.until(settled)
    await resize(idle, requests={"cpu": "3500m"})
    await resize(idle, "b", "other", requests={"cpu": "500m"})
    async with idle.running():  # of the one there is a file, of the other its status alone
        await idle.until(settled, name="b")
        pod = await idle.until(settled)
        assert pod.status.container_statuses[0].restart_count == 0
        assert limits(idle).cpu_request == 3.5


async def test_a_sidecar_is_resized_and_what_it_starts_with_later_is_what_was_allocated(
    node: SimNode,
) -> None:
    node.images(side=[Life(run_for=30), Life()])
    side = sized("side", image="side", restart_policy="Always", limits={"cpu": "1"})
    await node.run(init=(side,))
    await node.until(is_running)
    wanted = {"spec": {"initContainers": [{"name": "side", "resources": {"limits": {"cpu": "2"}}}]}}
    await node.client.resource(Pod).patch(
        Key("default", "a"), Patch("strategic", wanted), subresource="resize"
    )
    await node.until(
        lambda p: getattr(p.status.init_container_statuses[0].resources, "limits", {}) == {"cpu": "2"}
    )
    await node.until(lambda p: p.status.init_container_statuses[0].restart_count == 1)
    await node.until(is_running)
    assert limits(node, "side").cpu == 2


async def test_a_probe_goes_on_over_a_resize(node: SimNode) -> None:
    probe = Probe(exec=ExecAction(command=("check",)), period_seconds=1)
    await node.run(containers=(sized(readiness_probe=probe),))
    await node.until(lambda p: p.status.container_statuses[0].ready if p.status.container_statuses else False)
    await resize(node, requests={"cpu": "2"})
    pod = await node.until(settled)
    assert pod.status.container_statuses[0].ready
