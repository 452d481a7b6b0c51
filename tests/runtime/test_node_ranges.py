"""Many kubelets that register at the same instant, over lines of different lengths: each gets addresses that no other has."""

from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.coordination import Lease
from kubelib.api.core.event import Event
from kubelib.api.core.node import Node
from kubelib.api.meta import Key
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.controllers import EventRecorder
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.fake import FakeRuntime
from kubelib.runtime.settings import NodeSettings
from kubelib.sim import Lossy, sim_backend
from kubelib.store import MemoryStore


@pytest.fixture(params=range(6))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return sim_backend(request.param)


async def test_kubelets_that_register_at_once_get_ranges_of_their_own_and_none_ends(tmp_path: Path) -> None:
    async with (
        ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(1)) as registries,
        FakeRuntime(random=Random(1)) as runtime,
        anyio.create_task_group() as group,
    ):
        await registries.bootstrap()
        near = LocalClient(registries)
        agents = [
            NodeAgent(
                Lossy(near, Random(number), rate=0.0, latency=0.2),
                runtime,
                NodeSettings(name=f"node-{number}"),
                tmp_path / str(number),
                random=Random(number),
                clock=LoopClock(),
            )
            for number in range(25)
        ]
        async with anyio.create_task_group() as starting:
            for agent in agents:
                starting.start_soon(group.start, agent.run)
        found = {node.metadata.name: node.spec.pod_cidr for node in (await near.resource(Node).list()).items}
        assert len(set(found.values()) - {""}) == len(agents)
        assert {agent.settings.name: agent.node.pod_cidr for agent in agents} == found
        group.cancel_scope.cancel()


async def test_a_kubelet_for_which_no_range_is_left_says_so_and_is_ready_once_one_is_free(
    tmp_path: Path,
) -> None:
    async with (
        ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(1)) as registries,
        FakeRuntime(random=Random(1)) as runtime,
        anyio.create_task_group() as group,
    ):
        await registries.bootstrap()
        client = LocalClient(registries)
        events = EventRecorder(client, clock=LoopClock(), random=Random(1))
        await group.start(events.run)

        def agent(name: str) -> NodeAgent:
            return NodeAgent(
                client,
                runtime,
                NodeSettings(name=name, pod_network="10.244.0.0/24"),
                tmp_path / name,
                random=Random(1),
                clock=LoopClock(),
                recorder=events.source("kubelet", name),
            )

        async def ready(name: str) -> tuple[str, str]:
            conditions = (await client.resource(Node).get(Key("", name))).status.conditions
            return next((c.status, c.message) for c in conditions if c.type == "Ready")

        await group.start(agent("first").run)
        second = agent("second")
        group.start_soon(second.run)
        await anyio.sleep(120)
        network = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
        why = f"{network} message:no range of 10.244.0.0/24 is left for node second"
        assert await ready("second") == ("False", why)
        said = [e for e in (await client.resource(Event).list()).items if e.reason == "CIDRNotAvailable"]
        assert [(e.involved_object.name, e.count) for e in said] == [("second", 1)]
        lease = await client.resource(Lease).get(Key("kube-node-lease", "second"))
        assert lease.spec.renew_time is not None
        assert second.node.pod_cidr == ""
        await client.resource(Node).delete(Key("", "first"))
        with anyio.fail_after(60):
            while (await ready("second"))[0] != "True":
                await anyio.sleep(1)
        assert second.node.pod_cidr == "10.244.0.0/24"
        group.cancel_scope.cancel()
