"""Many kubelets that register at the same instant, over lines of different lengths: each gets addresses that no other has."""

from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.node import Node
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.agent import NodeAgent, NodeSettings
from kubelib.runtime.fake import FakeRuntime
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
