"""Pods that have ended keep their status and their logs, and nothing that another Pod could need: addresses, networks, volumes."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

import anyio
import pytest

from kubelib.api.batch import Job, JobSpec
from kubelib.api.core.container import ContainerPort
from kubelib.api.core.node import Node, NodeSpec
from kubelib.api.core.pod import Pod, PodSpec, PodTemplateSpec
from kubelib.api.core.volumes import EmptyDirVolumeSource, Volume
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client.base import Client
from kubelib.client.local import LocalClient
from kubelib.clock import SYSTEM_CLOCK
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.fake import Life
from kubelib.runtime.lives import ends
from kubelib.runtime.process import ProcessRuntime
from kubelib.runtime.settings import NodeSettings
from kubelib.sim import SimCluster
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_pod
from tests.ownnetwork import networks_left, own_network, run
from tests.runtime.conftest import SimNode, container

RANGE = "10.244.9.0/29"
"""Of its six addresses the node has one: five are for Pods."""
ROOM = 5


async def has_range(client: Client, cidr: str = RANGE) -> None:
    """Give the node its range before it is there."""
    await client.resource(Node).create(
        Node(metadata=ObjectMeta(name="node-1"), spec=NodeSpec(pod_cidr=cidr, pod_cidrs=(cidr,)))
    )


def over(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


@pytest.fixture
async def small(idle: SimNode) -> AsyncIterator[SimNode]:
    """A node with few addresses, whose images `over` and `run` end after a second, and never."""
    await has_range(idle.client)
    idle.images(over=Life(run_for=1, output=(("stdout", "last words"),)), run=Life())
    async with idle.running():
        yield idle


async def fill(node: SimNode) -> set[str]:
    """Run as many Pods as the node has addresses; return these."""
    for number in range(ROOM):
        await node.run(f"full-{number}")
    pods = [await node.until(lambda p: p.status.phase == "Running", name=f"full-{n}") for n in range(ROOM)]
    return {pod.status.pod_ip for pod in pods}


async def test_more_pods_than_there_are_addresses_run_one_after_the_other_and_keep_what_they_had(
    small: SimNode,
) -> None:
    names = [f"job-{number}" for number in range(3 * ROOM)]
    for name in names:
        await small.run(name, containers=(container(image="over"),), restart_policy="Never")
    pods = [await small.until(over, name=name) for name in names]
    assert {pod.status.phase for pod in pods} == {"Succeeded"}
    assert all(ip_address(pod.status.pod_ip) in ip_network(RANGE) for pod in pods)
    assert len({pod.status.pod_ip for pod in pods}) <= ROOM
    assert len(await fill(small)) == ROOM
    for pod in pods:
        assert "last words" in small.agent.log_path(pod, "main", 0).read_text()
        assert (await small.pod(pod.metadata.name)).status == pod.status


async def test_a_pod_for_which_no_address_is_left_says_so_may_be_deleted_and_starts_when_there_is_one(
    small: SimNode,
) -> None:
    await fill(small)
    for name in ("late", "later"):
        await small.run(name)
    await anyio.sleep(10)
    assert (await small.pod("late")).status.phase == "Pending"
    [said] = {e.message for e in await small.events("FailedCreatePodSandBox")}
    assert said == f"Failed to create pod sandbox: no address of {RANGE} is left"
    pods = small.client.resource(Pod)
    await pods.delete(Key("default", "late"))
    await anyio.sleep(5)
    assert "late" not in {pod.metadata.name for pod in (await pods.list(Query("default"))).items}
    await pods.delete(Key("default", "full-1"))
    await small.until(lambda pod: pod.status.phase == "Running", name="later")


async def test_a_pod_that_its_node_has_ended_or_turned_away_has_no_address(small: SimNode) -> None:
    port = (ContainerPort(container_port=80, host_port=80),)
    await small.run("late", active_deadline_seconds=5)
    await small.run("evicted")
    await small.run("port", containers=(container(ports=port),))
    await small.until(lambda pod: pod.status.phase == "Running", name="evicted")
    await small.run("refused", containers=(container(ports=port),))
    await small.until(over, name="late")
    evicted = await small.pod("evicted")
    small.agent.workers[evicted.metadata.uid].evict("The node was low on resource: memory.")
    assert (await small.until(over, name="evicted")).status.pod_ip == evicted.status.pod_ip
    assert (await small.until(over, name="refused")).status.pod_ip == ""
    await small.client.resource(Pod).delete(Key("default", "port"))
    assert len(await fill(small)) == ROOM


async def test_an_agent_that_is_started_again_leaves_addresses_to_those_who_have_them_now(
    idle: SimNode,
) -> None:
    await has_range(idle.client)
    idle.images(over=Life(run_for=1), run=Life())
    async with idle.running():
        for name in ("one", "two"):
            await idle.run(name, containers=(container(image="over"),), restart_policy="Never")
        ended = [await idle.until(over, name=name) for name in ("one", "two")]
        await idle.client.resource(Pod).delete(Key("default", "two"))
        for number in range(ROOM - 1):
            await idle.run(f"full-{number}")
            await idle.until(lambda pod: pod.status.phase == "Running", name=f"full-{number}")
    async with idle.running():
        await idle.run("last")
        last = await idle.until(lambda pod: pod.status.phase == "Running", name="last")
        pods = {p.metadata.name: p for p in (await idle.client.resource(Pod).list(Query("default"))).items}
        assert pods["one"].status == ended[0].status
        running = [pod.status.pod_ip for name, pod in pods.items() if name != "one"]
        assert len(set(running)) == len(running) == ROOM
        assert last.status.pod_ip in running


async def test_volumes_of_a_pod_that_has_ended_are_removed_and_those_of_one_that_runs_are_not(
    small: SimNode,
) -> None:
    volumes = (Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),)
    await small.run("one", containers=(container(image="over"),), restart_policy="Never", volumes=volumes)
    await small.run("two", volumes=volumes)
    one = await small.until(over, name="one")
    two = await small.until(lambda pod: pod.status.phase == "Running", name="two")
    await anyio.sleep(120)  # over some looks at what they show
    assert not (small.root / "volumes" / one.metadata.uid).exists()
    assert (small.root / "volumes" / two.metadata.uid / "scratch").is_dir()


async def test_a_job_completes_more_often_than_its_node_has_addresses(sim: SimCluster) -> None:
    await has_range(sim.client)
    await sim.start(nodes=1, rule=lambda *_: ends(after=2))
    spec = PodSpec(containers=(container(),), restart_policy="Never")
    job = Job(
        metadata=ObjectMeta(name="many", namespace="default"),
        spec=JobSpec(completions=30, parallelism=10, template=PodTemplateSpec(spec=spec)),
    )
    await sim.client.resource(Job).create(job)

    async def complete(client: LocalClient) -> bool:
        found = await client.resource(Job).get(Key("default", "many"))
        return found.status.succeeded == 30

    await sim.until(complete, within=600)
    pods = (await sim.client.resource(Pod).list(Query("default"))).items
    assert {pod.status.phase for pod in pods} == {"Succeeded"}


class TestOnProcesses:
    """The same with processes, in the open and with networks of their own, across a restart of the agent."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.mark.parametrize(
        "isolated",
        [
            False,
            pytest.param(True, marks=pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")),
        ],
    )
    async def test_more_pods_than_there_are_addresses_run_one_after_the_other(
        self, tmp_path: Path, isolated: bool
    ) -> None:
        cidr = RANGE if isolated else "127.244.9.0/29"
        async with AsyncExitStack() as stack:
            if isolated:
                stack.enter_context(own_network())
            registries = await stack.enter_async_context(
                ResourceRegistries(MemoryStore(), clock=SYSTEM_CLOCK, random=Random(1))
            )
            await registries.bootstrap()
            client = LocalClient(registries)
            await has_range(client, cidr)
            pods = client.resource(Pod)

            async def agent_until(*names: str, phase: str = "Succeeded") -> None:
                """Run an agent until Pods have come to a phase."""
                runtime = ProcessRuntime(
                    tmp_path / "runtime",
                    isolation="pod" if isolated else "none",
                    network="10.244.0.0/16" if isolated else "",
                )
                async with runtime, anyio.create_task_group() as group:
                    settings = NodeSettings(name="node-1")
                    agent = NodeAgent(client, runtime, settings, tmp_path / "node", random=Random(1))
                    await group.start(agent.run)
                    with anyio.fail_after(60):
                        for name in names:
                            while (await pods.get(Key("default", name))).status.phase != phase:
                                await anyio.sleep(0.05)
                    group.cancel_scope.cancel()

            async def create(name: str, *words: str) -> None:
                main = container(image="process", command=words)
                await pods.create(make_pod(name, node="node-1", containers=(main,), restart_policy="Never"))

            names = [f"job-{number}" for number in range(ROOM + 2)]
            for name in names:
                await create(name, "sh", "-c", "echo last words")
            await agent_until(*names)
            if isolated:
                assert len(run("ip", "-brief", "link").splitlines()) == 1  # the loopback device
            full = [f"full-{number}" for number in range(ROOM)]
            for name in full:
                await create(name, "sleep", "1000")
            await agent_until(*full, phase="Running")
            found = {pod.metadata.name: pod for pod in (await pods.list(Query("default"))).items}
            assert len({found[name].status.pod_ip for name in full}) == ROOM
            for name in names:
                log = tmp_path / f"node/logs/default_{name}_{found[name].metadata.uid}/main/0.log"
                assert "last words" in log.read_text()
                assert found[name].status.pod_ip
            async with ProcessRuntime(
                tmp_path / "runtime",
                isolation="pod" if isolated else "none",
                network="10.244.0.0/16" if isolated else "",
            ) as runtime:
                for sandbox in await runtime.list_sandboxes():
                    await runtime.remove_sandbox(sandbox.id)
            assert not isolated or networks_left() == []
