"""The node agent in virtual time: its Node, its own restarts, and what it leaves behind."""

from datetime import timedelta
from pathlib import Path
from random import Random

import anyio
import pytest

from kubelib.api.coordination import Lease
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.volumes import EmptyDirVolumeSource, Volume
from kubelib.api.declaredfeatures import RESIZE_INIT, RESIZE_PODS, RESTART_ALL, WEBSOCKETS
from kubelib.api.meta import Key
from kubelib.api.times import parse_time
from kubelib.runtime.fake import Life
from kubelib.runtime.node import CLAIM, NodeReporter, known_range
from kubelib.runtime.settings import NodeSettings
from kubelib.testing.objects import make_meta
from tests.runtime.agent.watching import exec_probe, gone, is_ready, is_running
from tests.runtime.conftest import SimNode, container


async def test_an_agent_that_is_started_again_finds_what_runs_and_restarts_nothing(idle: SimNode) -> None:
    idle.images(run=Life(ready_after=1))
    probe = exec_probe(period_seconds=60)
    async with idle.running():
        await idle.run(containers=(container(readiness_probe=probe),))
        await idle.until(is_ready, within=100)
        before = await idle.status()
    await anyio.sleep(1000)
    async with idle.running():
        for _ in range(20):
            await anyio.sleep(0.1)
            assert is_ready(await idle.pod())
        after = await idle.status()
    assert (after.container_id, after.restart_count) == (before.container_id, 0)


async def test_a_container_that_ended_while_no_agent_was_there_is_restarted_with_the_back_off_it_had(
    idle: SimNode,
) -> None:
    crash = Life(run_for=1, exit_code=1)
    idle.images(run=[crash, crash, crash, Life(run_for=5, exit_code=1), Life()])
    async with idle.running():
        await idle.run()
        await idle.until(
            lambda p: bool(p.status.container_statuses and p.status.container_statuses[0].restart_count == 3)
        )
    await anyio.sleep(7)  # ended at about 5 of these; its back-off of 40 seconds runs
    began = anyio.current_time()
    async with idle.running():
        await idle.until(lambda p: p.status.container_statuses[0].restart_count == 4, within=100)
    assert 30 < anyio.current_time() - began < 40


async def test_what_runs_for_a_pod_that_went_while_no_agent_was_there_is_ended(idle: SimNode) -> None:
    async with idle.running():
        await idle.run()
        await idle.until(is_ready)
    await idle.client.resource(Pod).delete(Key("default", "a"), grace=0)
    assert len(await idle.runtime.list_sandboxes()) == 1
    async with idle.running():
        await anyio.sleep(1)
        assert await idle.runtime.list_sandboxes() == ()


async def test_the_node_registers_with_what_it_has_and_is_ready(node: SimNode) -> None:
    found = await node.node()
    assert found.status.capacity["cpu"] == "4"
    assert found.status.allocatable["memory"] == "8Gi"
    assert {c.type: c.status for c in found.status.conditions} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }
    assert [(a.type, a.address) for a in found.status.addresses] == [
        ("InternalIP", "127.0.0.1"),
        ("Hostname", "node-1"),
    ]
    assert found.metadata.labels["kubernetes.io/hostname"] == "node-1"
    assert found.status.declared_features == (WEBSOCKETS, RESIZE_PODS, RESIZE_INIT, RESTART_ALL)
    assert found.status.node_info.container_runtime_version.startswith("fake://")
    assert found.spec.pod_cidr


async def test_nodes_that_join_at_once_have_ranges_of_their_own(idle: SimNode) -> None:
    nodes = idle.client.resource(Node)
    claimed = make_meta("elsewhere", "", annotations={CLAIM: "127.244.0.0/24"})
    await nodes.create(Node(metadata=claimed))
    async with anyio.create_task_group() as group:
        for number in range(8):
            reporter = NodeReporter(
                idle.client,
                NodeSettings(name=f"node-{number}"),
                clock=idle.clock,
                random=Random(number),
                runtime="fake://",
                recorder=idle.agent.recorder,
                root=idle.root / str(number),
            )
            group.start_soon(reporter.register)
    found = {node.spec.pod_cidr for node in (await nodes.list()).items} - {""}
    assert len(found) == 8 and "127.244.0.0/24" not in found
    assert [CLAIM in node.metadata.annotations for node in (await nodes.list()).items].count(True) == 1


async def test_a_node_that_has_loopback_addresses_keeps_them_and_says_what_that_means(
    idle: SimNode, caplog: pytest.LogCaptureFixture
) -> None:
    for network in ("127.244.0.0/16", "10.244.0.0/16"):
        assert not caplog.records
        idle.settings["pod_network"] = network
        async with idle.running():
            assert (await idle.node()).spec.pod_cidr == known_range(idle.root) == "127.244.0.0/24"
    [record] = caplog.records
    assert "in which Pods share the host's network" in record.getMessage()


async def test_the_node_renews_its_lease_every_ten_seconds_and_reports_every_five_minutes(
    node: SimNode,
) -> None:
    async def lease() -> Lease:
        return await node.client.resource(Lease).get(Key("kube-node-lease", "node-1"))

    await anyio.sleep(1)
    first = await lease()
    assert (first.spec.holder_identity, first.spec.lease_duration_seconds) == ("node-1", 40)
    assert first.metadata.owner_references[0].uid == (await node.node()).metadata.uid
    await anyio.sleep(600)
    last = await lease()
    assert parse_time(last.spec.renew_time) - parse_time(first.spec.renew_time) == timedelta(seconds=600)
    versions = set()
    for _ in range(61):
        versions.add((await lease()).metadata.resource_version)
        await anyio.sleep(10)
    assert len(versions) == 61
    heartbeat = next(
        c for c in (await node.node()).status.conditions if c.type == "Ready"
    ).last_heartbeat_time
    assert heartbeat is not None
    assert node.clock.now() - heartbeat <= timedelta(seconds=301)


async def test_every_pod_has_an_address_of_its_own_which_is_used_again_later(node: SimNode) -> None:
    for number in range(5):
        await node.run(f"p{number}")
    addresses = {(await node.until(is_ready, name=f"p{n}")).status.pod_ip for n in range(5)}
    assert len(addresses) == 5
    await node.client.resource(Pod).delete(Key("default", "p2"))
    await gone(node, name="p2")
    await node.run("q")
    assert (await node.until(is_ready, name="q")).status.pod_ip in addresses


async def test_a_hundred_pods_of_all_kinds_end_as_they_should(node: SimNode, tmp_path: Path) -> None:
    node.images(job=Life(run_for=30), crash=Life(run_for=3, exit_code=1), run=Life())
    for number in range(100):
        image = ("job", "crash", "run")[number % 3]
        policy = ("Never", "Never", "Always")[number % 3]
        await node.run(f"p{number}", containers=(container(image=image),), restart_policy=policy)
    await anyio.sleep(60)
    wanted = {"job": "Succeeded", "crash": "Failed", "run": "Running"}
    for number in range(100):
        pod = await node.pod(f"p{number}")
        assert pod.status.phase == wanted[pod.spec.containers[0].image]
    for number in range(100):
        await node.client.resource(Pod).delete(Key("default", f"p{number}"))
    await anyio.sleep(40)
    assert await node.runtime.list_sandboxes() == ()
    assert node.agent.workers == {}


async def test_pods_that_have_come_and_gone_leave_nothing_in_the_nodes_directory(node: SimNode) -> None:
    def files() -> list[str]:
        return sorted(str(path.relative_to(node.root)) for path in node.root.rglob("*"))

    node.images(run=Life(output=(("stdout", "hello"),)))
    volumes = (Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),)
    await node.run("first", volumes=volumes)
    await node.until(is_running, name="first")
    during = files()
    assert any(path.startswith("logs/") for path in during)
    pods = node.client.resource(Pod)
    names = [f"pod-{number}" for number in range(20)]
    for name in names:
        await node.run(name, volumes=volumes)
    for name in names:
        await node.until(is_running, name=name)
    assert len(files()) > len(during)
    for name in names:
        await pods.delete(Key("default", name))
    with anyio.fail_after(120):
        while files() != during:
            await anyio.sleep(0.5)
