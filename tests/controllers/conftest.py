"""A cluster without machines: an API in memory, informers, and pods that run because somebody says so."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random
from typing import Any, TypeVar

import anyio
import pytest
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.event import Event
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError, ServiceUnavailable
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.client.local import LocalClient
from kubelib.client.update import update_with
from kubelib.clock import LoopClock
from kubelib.controllers import EventRecorder, Manager
from kubelib.informers import Component, SharedInformers
from kubelib.registry.base import Query
from kubelib.registry.registries import ResourceRegistries
from kubelib.sim import sim_backend
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_pod_status

R = TypeVar("R", bound=Object)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None:
        seeds = range(marker.args[0])
        metafunc.parametrize("anyio_backend", seeds, indirect=True, ids=[f"seed{seed}" for seed in seeds])


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return sim_backend(getattr(request, "param", None))


class Part:
    """A component that notes when it starts and stops."""

    def __init__(self, name: str, log: list[str], *, slow: float = 0.0, dies_after: float = 0.0) -> None:
        self.name = name
        self.running = False
        self._log, self._slow, self._dies_after = log, slow, dies_after

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        await anyio.sleep(self._slow)
        self._log.append(f"+{self.name}")
        self.running = True
        task_status.started()
        try:
            if self._dies_after:
                await anyio.sleep(self._dies_after)
                raise ServiceUnavailable(f"{self.name} died")
            await anyio.sleep_forever()
        finally:
            self.running = False
            self._log.append(f"-{self.name}")


class World:
    def __init__(self, registries: ResourceRegistries, client: Client, seed: int) -> None:
        self.registries = registries
        self.clock = LoopClock()
        self.random = Random(seed)
        self.direct = LocalClient(registries)
        """The API as it is; `client` may be a worse line to it."""
        self.client = client
        self.informers = SharedInformers(client, random=self.random)
        self.recorder = EventRecorder(client, clock=self.clock, random=self.random)

    @asynccontextmanager
    async def running(self, *components: Component) -> AsyncIterator[None]:
        manager = Manager([self.informers, self.recorder, *components])
        async with anyio.create_task_group() as tasks:
            await tasks.start(manager.run)
            yield
            tasks.cancel_scope.cancel()

    async def create(self, obj: R) -> R:
        return await self.direct.resource(type(obj)).create(obj)

    async def get(self, kind: type[R], name: str, namespace: str = "default") -> R:
        return await self.direct.resource(kind).get(Key(namespace, name))

    async def all(self, kind: type[R], namespace: str = "default") -> Sequence[R]:
        return (await self.direct.resource(kind).list(Query(namespace))).items

    async def names(self, kind: type[R], namespace: str = "default") -> list[str]:
        return [obj.metadata.name for obj in await self.all(kind, namespace)]

    async def change(
        self,
        kind: type[R],
        name: str,
        change: Callable[[R], R],
        *,
        namespace: str = "default",
        subresource: str = "",
    ) -> R:
        return await update_with(self.direct, kind, Key(namespace, name), change, subresource=subresource)

    async def delete(self, kind: type[R], name: str, namespace: str = "default", **how: Any) -> None:
        await self.direct.resource(kind).delete(Key(namespace, name), **how)

    async def events(self) -> list[tuple[str, str]]:
        return [(event.reason, event.message) for event in await self.all(Event, "")]

    async def until(self, holds: Callable[[], Awaitable[Any]], *, within: float = 60.0) -> None:
        """Wait until something holds; check ten times a second."""
        deadline = anyio.current_time() + within
        while True:
            try:
                if await holds():
                    return
            except ApiError:
                pass
            if anyio.current_time() > deadline:
                raise TimeoutError(f"still not so after {within} s")
            await anyio.sleep(0.1)

    async def settled(self, seconds: float = 30.0) -> None:
        await anyio.sleep(seconds)


class RunningPods:
    """A `Component` in the place of scheduler and node agents: pods run and get ready, deleted pods go."""

    name = "running pods"

    def __init__(self, world: World, *, delay: float = 1.0, broken: Sequence[str] = ()) -> None:
        self._world = world
        self._delay = delay
        self._broken = broken
        self.addresses = 0

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        informer = SharedInformers(self._world.direct, random=Random(1)).of(Pod)
        async with anyio.create_task_group() as tasks:

            def changed(old: Any, new: Any) -> None:
                if old is None and new is not None:
                    tasks.start_soon(self._start, new.key)
                elif new is not None and new.meta.deletion_timestamp:
                    tasks.start_soon(self._end, new.key)

            informer.subscribe(changed)
            await tasks.start(informer.run)
            task_status.started()

    async def _start(self, key: Key) -> None:
        await anyio.sleep(self._delay)
        self.addresses += 1
        address = f"127.244.{self.addresses // 250}.{self.addresses % 250 + 1}"

        def ready(pod: Pod) -> Pod:
            image = pod.spec.containers[0].image
            now = self._world.clock.now()
            status = make_pod_status("Running", ready=image not in self._broken, ip=address, since=now)
            return replace(pod, status=replace(status, start_time=now))

        with suppress(ApiError):
            await update_with(self._world.direct, Pod, key, ready, subresource="status")

    async def _end(self, key: Key) -> None:
        with suppress(ApiError):
            await self._world.direct.resource(Pod).delete(key, grace=0)


MakeWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def make_world() -> MakeWorld:
    @asynccontextmanager
    async def make(
        line: Callable[[LocalClient], Client] = lambda client: client, seed: int = 1
    ) -> AsyncIterator[World]:
        async with ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(seed)) as registries:
            await registries.bootstrap()
            yield World(registries, line(LocalClient(registries)), seed)

    return make


@pytest.fixture
async def world(make_world: MakeWorld) -> AsyncIterator[World]:
    async with make_world() as world:
        yield world


@pytest.fixture
def running_pods() -> type[RunningPods]:
    return RunningPods
