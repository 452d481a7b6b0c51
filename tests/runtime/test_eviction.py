"""What a node does when something runs out, and which Pods it does not take."""

from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, EphemeralContainer, ResourceRequirements
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.volumes import EmptyDirVolumeSource, Volume
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.scheduling import PriorityClass
from kubelib.registry.base import Patch
from kubelib.runtime import eviction
from kubelib.runtime.abilities import ContainerStats
from kubelib.runtime.base import Container as RuntimeContainer
from kubelib.runtime.base import ContainerId
from kubelib.runtime.eviction import Observation, Threshold, met, over_local_limits, parse_thresholds, ranked
from kubelib.runtime.fake import Life
from kubelib.runtime.pressure import TRANSITION
from kubelib.runtime.stats.node import ContainerFigures, Disk, PodFigures
from kubelib.testing.objects import make_pod
from tests.runtime.conftest import SimNode, container

MB = 1 << 20
PLENTY = {
    "memory.available": Observation(4096 * MB, 8192 * MB),
    "nodefs.available": Observation(50, 100),
    "pid.available": Observation(1000, 2000),
}


@pytest.fixture
async def low(idle: SimNode) -> SimNode:
    """A node that ends Pods when less than 100 MiB of memory, a tenth of its disk or 100 processes are left."""
    idle.settings = {
        "eviction_hard": {"memory.available": "100Mi", "nodefs.available": "10%", "pid.available": "100"}
    }
    return idle


def observed(node: SimNode, **seen: Observation) -> None:
    found = {**PLENTY, **{name.replace("_", "."): value for name, value in seen.items()}}
    node.agent.eviction.observe = lambda: found


def sized(name: str = "main", image: str = "run", **requests: str) -> Container:
    return container(name, image, resources=ResourceRequirements(requests=requests))


async def conditions(node: SimNode) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in (await node.node()).status.conditions}


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


async def evicted(node: SimNode, name: str) -> Pod:
    return await node.until(lambda p: p.status.phase == "Failed", name=name)


async def test_of_pods_that_use_more_than_they_asked_for_the_largest_is_ended_when_memory_runs_out(
    low: SimNode,
) -> None:
    low.images(small=Life(memory=50 * MB), large=Life(memory=200 * MB), asked=Life(memory=300 * MB))
    async with low.running():
        observed(low)
        await low.run("small", containers=(sized(image="small"),))
        await low.run("large", containers=(sized(image="large", memory="64Mi"),))
        await low.run("asked", containers=(sized(image="asked", memory="400Mi"),))
        for name in ("small", "large", "asked"):
            await low.until(is_running, name=name)
        observed(low, memory_available=Observation(50 * MB, 8192 * MB))
        pod = await evicted(low, "large")
        assert pod.status.reason == "Evicted"
        assert pod.status.message == (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
            "Container main was using 200Mi, request is 64Mi, has larger consumption of memory. "
        )
        target = next(c for c in pod.status.conditions if c.type == "DisruptionTarget")
        assert (target.status, target.reason) == ("True", "TerminationByKubelet")
        assert (await conditions(low))["MemoryPressure"] == ("True", "KubeletHasInsufficientMemory")
        observed(low)
        await anyio.sleep(60)
        assert is_running(await low.pod("small")) and is_running(await low.pod("asked"))
        assert (await conditions(low))["MemoryPressure"][0] == "True", "it lasts for a while"
        # Who asks for nothing is not taken meanwhile, who asks for memory is.
        await low.run("guest")
        refused = await evicted(low, "guest")
        assert refused.status.message == "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert refused.status.reason == "Evicted"
        await low.run("burst", containers=(sized(memory="1Mi"),))
        await low.until(is_running, name="burst")
        await anyio.sleep(TRANSITION)
        assert (await conditions(low))["MemoryPressure"] == ("False", "KubeletHasSufficientMemory")
        assert pod.status.message in [e.message for e in await low.events("Evicted")]
        nodes = {e.reason for e in await low.events() if e.involved_object.kind == "Node"}
        assert {"EvictionThresholdMet", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"} <= nodes


@pytest.mark.parametrize(
    ("seen", "condition", "reason", "message"),
    [
        ({"nodefs_available": Observation(5, 100)}, "DiskPressure", "KubeletHasDiskPressure", "low on resource: ephemeral-storage. Threshold quantity: 10, available: 5"),
        ({"pid_available": Observation(99, 2000)}, "PIDPressure", "KubeletHasInsufficientPID", "low on resource: pids. Threshold quantity: 100, available: 99"),
    ],
)  # fmt: skip
async def test_low_priority_goes_first_when_disk_or_processes_run_out(
    low: SimNode, seen: dict[str, Observation], condition: str, reason: str, message: str
) -> None:
    async with low.running():
        observed(low)
        for name, value in (("high", 1000), ("low", 10)):
            await low.client.resource(PriorityClass).create(
                PriorityClass(metadata=ObjectMeta(name=name), value=value)
            )
        await low.run("a", priority_class_name="high")
        await low.run("b", priority_class_name="low")
        await low.until(is_running, name="a")
        await low.until(is_running, name="b")
        observed(low, **seen)
        assert message in (await evicted(low, "b")).status.message
        observed(low)
        await anyio.sleep(30)
        assert is_running(await low.pod("a"))
        assert (await conditions(low))[condition] == ("True", reason)


async def test_a_volume_that_grows_beyond_its_limit_ends_its_pod(low: SimNode) -> None:
    async with low.running():
        observed(low)
        volumes = (Volume(name="v", empty_dir=EmptyDirVolumeSource(size_limit="1Mi")),)
        await low.run("a", volumes=volumes)
        pod = await low.until(is_running)
        (low.agent.volumes.directory(pod, "v") / "file").write_bytes(b"x" * 500_000)
        await anyio.sleep(30)
        assert is_running(await low.pod("a"))
        (low.agent.volumes.directory(pod, "v") / "file").write_bytes(b"x" * 2_000_000)
        pod = await evicted(low, "a")
        assert (pod.status.reason, pod.status.message) == (
            "Evicted",
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        )


def using(disk: int, *, memory: int = 0, **spec: Any) -> PodFigures:
    """Return what a Pod uses that has a volume on the node's disk."""
    made = make_pod("a", **spec)
    stats = ContainerStats(cpu_seconds=0, memory=memory, processes=1)
    definition = made.spec.containers[0].name
    found = RuntimeContainer(
        id=ContainerId("c"), name=definition, image="i", image_id="", attempt=0, state="running"
    )
    one = ContainerFigures(container=found, stats=stats, cores=None)
    return PodFigures(pod=made, containers=(one,), volumes={"v": Disk(used=disk, inodes=1)})


def test_a_limit_of_one_container_is_one_for_the_disk_that_its_pod_takes() -> None:
    limited = container(resources=ResourceRequirements(limits={"ephemeral-storage": "1Mi"}))
    both = (limited, container("other"))
    assert over_local_limits(using(MB, containers=both)) is None
    found = over_local_limits(using(MB + 1, containers=both))
    assert found is not None
    assert found.message == "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
    assert over_local_limits(using(MB + 1, containers=(container(),))) is None


def test_pods_have_asked_for_what_they_ask_for_as_a_whole_or_begin_with() -> None:
    first = sized("first", memory="64Mi")
    whole = ResourceRequirements(requests={"memory": "64Mi"})
    plain = using(0, memory=32 * MB, containers=(sized(memory="16Mi"),))
    for within in (
        using(0, memory=60 * MB, containers=(sized(memory="16Mi"),), init_containers=(first,)),
        using(0, memory=60 * MB, containers=(sized(memory="16Mi"),), resources=whole),
    ):
        assert ranked([within, plain], "memory") == [plain, within]


def test_thresholds_are_quantities_or_parts_of_the_whole() -> None:
    found = parse_thresholds({"nodefs.available": "10%", "memory.available": "100Mi"})
    assert found == (
        Threshold("memory.available", quantity=100 * MB),
        Threshold("nodefs.available", percentage=10),
    )
    assert [t.signal for t in met(found, {"nodefs.available": Observation(9, 100)})] == ["nodefs.available"]
    assert met(found, {"nodefs.available": Observation(10, 100)}) == ()
    assert met(found, {"nodefs.available": Observation(0, 0)}) == (), (
        "a file system without inodes has none to run out"
    )
    for bad in ({"swap.available": "1"}, {"memory.available": "120%"}, {"memory.available": "lots"}):
        with pytest.raises(ValueError, match=r"."):
            parse_thresholds(bad)
    assert set(eviction.DEFAULT_HARD) <= set(eviction.CONDITIONS)


# What a node does not take


async def refused(node: SimNode, name: str, **spec: Any) -> tuple[str, str]:
    await node.run(name, **spec)
    status = (await evicted(node, name)).status
    return status.reason, status.message


async def test_pods_for_which_the_node_is_too_small_are_turned_away(node: SimNode) -> None:
    await node.run("a", containers=(sized(cpu="3"),))
    await node.until(is_running)
    assert await refused(node, "b", containers=(sized(cpu="1500m"),)) == (
        "OutOfcpu",
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000",
    )
    assert (await refused(node, "c", containers=(sized(memory="9Gi"),)))[0] == "OutOfmemory"
    assert await refused(node, "d", node_selector={"disk": "ssd"}) == (
        "NodeAffinity",
        "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    )
    await node.client.resource(Node).patch(
        Key("", "node-1"), Patch("merge", {"metadata": {"labels": {"disk": "ssd"}}})
    )
    await node.run("e", node_selector={"disk": "ssd"}, containers=(sized(cpu="1"),))
    await node.until(is_running, name="e")


async def test_what_has_ended_makes_room(node: SimNode) -> None:
    node.images(run=Life(run_for=5))
    await node.run("a", restart_policy="Never", containers=(sized(cpu="4"),))
    await node.until(lambda p: p.status.phase == "Succeeded")
    await node.run("b", restart_policy="Never", containers=(sized(cpu="4"),))
    await node.until(lambda p: p.status.phase == "Succeeded", name="b")


# Debugging


async def debug(node: SimNode, *containers: EphemeralContainer) -> None:
    pod = await node.pod()
    await node.client.resource(Pod).update(
        replace(pod, spec=replace(pod.spec, ephemeral_containers=containers)),
        subresource="ephemeralcontainers",
    )


async def test_an_ephemeral_container_runs_once_in_a_pod_that_runs(node: SimNode) -> None:
    node.images(run=Life(), look=Life(run_for=3, exit_code=1))
    await node.run()
    await node.until(is_running)
    await debug(node, EphemeralContainer(name="debugger", image="look", target_container_name="main"))
    pod = await node.until(lambda p: any(s.state.terminated for s in p.status.ephemeral_container_statuses))
    (status,) = pod.status.ephemeral_container_statuses
    assert status.state.terminated is not None and status.state.terminated.exit_code == 1
    main = node.runtime._containers
    target = next(r.container.id for r in main.values() if r.container.name == "main")
    assert node.spec_of("debugger").target == target
    await anyio.sleep(60)
    pod = await node.pod()
    assert pod.status.ephemeral_container_statuses[0].restart_count == 0
    assert is_running(pod) and pod.status.container_statuses[0].ready
    await node.client.resource(Pod).delete(pod.key)
    with anyio.fail_after(60):
        while True:
            try:
                await node.pod()
            except NotFound:
                break
            await anyio.sleep(0.5)


async def test_one_that_looks_into_a_container_which_does_not_run_waits(node: SimNode) -> None:
    node.images(run=Life(), short=Life(run_for=1))
    await node.run(restart_policy="Never", containers=(container(), container("ended", "short")))
    await node.until(lambda p: any(s.state.terminated for s in p.status.container_statuses))
    await debug(node, EphemeralContainer(name="debugger", image="run", target_container_name="ended"))
    pod = await node.until(lambda p: bool(p.status.ephemeral_container_statuses))
    await anyio.sleep(5)
    (status,) = (await node.pod()).status.ephemeral_container_statuses
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "CreateContainerError"
    assert "ended" in status.state.waiting.message
    assert is_running(pod)
