"""An API in memory, on virtual time, for a scheduler to work on."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.event import Event
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.controllers import EventRecorder
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.sched.base import Policy
from kubelib.sched.scheduler import Scheduler
from kubelib.sim import sim_backend
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_node, make_pod


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None:
        seeds = range(marker.args[0])
        metafunc.parametrize("anyio_backend", seeds, indirect=True, ids=[f"seed{seed}" for seed in seeds])


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return sim_backend(getattr(request, "param", None))


def containers(**requests: str) -> tuple[Container, ...]:
    return (Container(name="main", image="process", resources=ResourceRequirements(requests=requests)),)


class World:
    def __init__(self, registries: ResourceRegistries, line: Callable[[LocalClient], Client]) -> None:
        self.registries = registries
        self.direct = LocalClient(registries)
        self.client = line(self.direct)
        self.pods = self.direct.resource(Pod)
        self.nodes = self.direct.resource(Node)
        self.clock = LoopClock()
        self.recorder = EventRecorder(self.direct, clock=self.clock, random=Random(2))

    def scheduler(self, policy: Policy | None = None, *, seed: int = 1, **options: Any) -> Scheduler:
        return Scheduler(
            self.client,
            random=Random(seed),
            policy=policy,
            clock=LoopClock(),
            recorder=self.recorder.source("default-scheduler"),
            **options,
        )

    @asynccontextmanager
    async def running(self, *schedulers: Scheduler) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.recorder.run)
            for scheduler in schedulers:
                await tasks.start(scheduler.run)
            yield
            tasks.cancel_scope.cancel()

    async def add_node(self, node: Node) -> None:
        created = await self.nodes.create(node)
        await self.nodes.update(replace(created, status=node.status), subresource="status")

    async def add_nodes(self, count: int, **status: Any) -> None:
        for number in range(count):
            await self.add_node(make_node(f"node-{number}", **status))

    async def add_pod(self, name: str, *, metadata: dict[str, Any] | None = None, **spec: Any) -> Pod:
        spec.setdefault("containers", containers(cpu="1"))
        return await self.pods.create(make_pod(name, metadata=metadata, **spec))

    async def pod(self, name: str) -> Pod:
        return await self.pods.get(Key("default", name))

    async def placed(self) -> dict[str, str]:
        found = await self.pods.list(Query("default"))
        return {pod.metadata.name: pod.spec.node_name for pod in found.items}

    async def events(self) -> list[tuple[str, str]]:
        found = await self.direct.resource(Event).list()
        return [(event.reason, event.message) for event in found.items]

    async def refusal(self, name: str) -> tuple[str, str]:
        conditions = (await self.pod(name)).status.conditions
        found = next(c for c in conditions if c.type == "PodScheduled" and c.status == "False")
        return found.reason, found.message


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[[Callable[[LocalClient], Client]], World]]:
    async with ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(1)) as registries:
        await registries.bootstrap()
        yield lambda line: World(registries, line)


@pytest.fixture
def world(make_world: Callable[[Callable[[LocalClient], Client]], World]) -> World:
    return make_world(lambda client: client)
