"""A node in virtual time: the real agent, containers that live by a rule, and an API in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.config import ConfigMap, Secret
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.event import Event
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.controllers import EventRecorder
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.base import DeviceDriver
from kubelib.runtime.environment import ConfigMissing
from kubelib.runtime.fake import FakeRuntime, Life, Rule, by_image
from kubelib.runtime.settings import NodeSettings
from kubelib.sim import sim_backend
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_pod


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return sim_backend()


def container(name: str = "main", image: str = "run", **more: Any) -> ContainerDefinition:
    return ContainerDefinition(name=name, image=image, **more)


class SimNode:
    """One simulated node; `images` says how containers of an image live."""

    def __init__(self, client: LocalClient, runtime: FakeRuntime, root: Path) -> None:
        self.client = client
        self.runtime = runtime
        self.clock = LoopClock()
        self.root = root
        self.settings: dict[str, Any] = {}
        """What the next agent is told beside its name and capacity."""
        self.device_drivers: tuple[DeviceDriver, ...] = ()
        """Those of the next agent."""
        self.agent = self._new_agent()
        self.recorder: EventRecorder

    def _new_agent(self) -> NodeAgent:
        random = Random(1)
        self.recorder = EventRecorder(self.client, clock=self.clock, random=random)
        return NodeAgent(
            self.client,
            self.runtime,
            NodeSettings(name="node-1", capacity={"cpu": "4", "memory": "8Gi"}, **self.settings),
            self.root,
            random=random,
            clock=self.clock,
            recorder=self.recorder.source("kubelet", "node-1"),
            device_drivers=self.device_drivers,
        )

    @property
    def lives(self) -> Rule:
        return self.runtime.rule

    def images(self, **lives: Life | list[Life]) -> None:
        self.runtime.rule = by_image(lives)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run an agent: each time a new one, on the runtime as it is."""
        self.agent = self._new_agent()
        async with anyio.create_task_group() as group:
            await group.start(self.recorder.run)
            await group.start(self.agent.run)
            yield
            group.cancel_scope.cancel()

    async def run(self, name: str = "a", *, init: tuple[ContainerDefinition, ...] = (), **spec: Any) -> Pod:
        """Create a Pod that is bound to the node."""
        spec.setdefault("containers", (container(),))
        pod = make_pod(name, node="node-1", init_containers=init, **spec)
        return await self.client.resource(Pod).create(pod)

    async def pod(self, name: str = "a") -> Pod:
        return await self.client.resource(Pod).get(Key("default", name))

    async def status(self, name: str = "a", which: str = "main") -> ContainerStatus:
        status = (await self.pod(name)).status
        return next(
            s for s in (*status.init_container_statuses, *status.container_statuses) if s.name == which
        )

    async def until(self, promise: Callable[[Pod], bool], *, name: str = "a", within: float = 60.0) -> Pod:
        """Wait for a Pod to be as promised; fail, showing it, when virtual time runs out."""
        pod = None
        with anyio.move_on_after(within):
            while True:
                pod = await self.pod(name)
                if promise(pod):
                    return pod
                await anyio.sleep(0.05)
        raise AssertionError(f"not within {within} s: {pod.status if pod else None}")

    async def events(self, reason: str = "") -> list[Event]:
        found = (await self.client.resource(Event).list(Query("default"))).items
        return [e for e in found if reason in ("", e.reason)]

    async def node(self) -> Node:
        return await self.client.resource(Node).get(Key("", "node-1"))

    def running_containers(self) -> list[str]:
        """Return the names of the containers that run now, in the order of their starts."""
        return [r.container.name for r in self.runtime._containers.values() if r.container.state == "running"]

    def spec_of(self, name: str) -> Any:
        """Return the specification with which the runtime last started a container of that name."""
        return [r.spec for r in self.runtime._containers.values() if r.spec.name == name][-1]


Cluster = Callable[[], AbstractAsyncContextManager[SimNode]]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SimNode]:
    """A simulated node with its agent running."""
    async with sim_node(tmp_path) as node, node.running():
        yield node


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[SimNode]:
    """A simulated node whose agent is started by the test."""
    async with sim_node(tmp_path) as node:
        yield node


@asynccontextmanager
async def sim_node(root: Path, *, pull_delay: float = 0.0) -> AsyncIterator[SimNode]:
    async with ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(1)) as registries:
        await registries.bootstrap()
        async with FakeRuntime(random=Random(1), pull_delay=pull_delay) as runtime:
            yield SimNode(LocalClient(registries), runtime, root)


class Configuration:
    """ConfigMaps and Secrets from a dictionary."""

    def __init__(self) -> None:
        self.config_maps: dict[str, ConfigMap] = {}
        self.secrets: dict[str, Secret] = {}

    async def config_map(self, namespace: str, name: str) -> ConfigMap:
        if name not in self.config_maps:
            raise ConfigMissing(f'configmap "{name}" not found')
        return self.config_maps[name]

    async def secret(self, namespace: str, name: str) -> Secret:
        if name not in self.secrets:
            raise ConfigMissing(f'secret "{name}" not found')
        return self.secrets[name]


@pytest.fixture
def configuration() -> Configuration:
    return Configuration()
