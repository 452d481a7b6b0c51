"""A cluster in virtual time: production components and controllers under test, under one seed, days in milliseconds.

    async def test_my_controller_survives_a_lost_node(sim):
        await sim.start(nodes=3, controllers=[my_controller])
        await sim.client.resource(Deployment).create(...)
        await sim.until(three_pods_are_ready, within=60)  # virtual seconds
        await sim.lose_node("node-1")
        await sim.until(three_pods_are_ready, within=600)

Everything lives on one virtual-time loop (`kubelib.sim.loop`): the store is in memory, containers live by a rule, and there is
no way to hand in what works in threads or over sockets, as time would run on without it.
"""

import inspect
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.client import Client, LocalClient
from kubelib.clock import LoopClock
from kubelib.informers import Component, SharedInformers
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import default_admission
from kubelib.runtime.fake import FakeRuntime, Rule, lives_on
from kubelib.sim.trace import Trace
from kubelib.store import MemoryStore

MakeController = Callable[[SharedInformers], Component]
"""What makes a controller under test: a class or a function that is given the informers, and through them the client."""
Hardship = Callable[[Client, Random], Client]
"""What wraps the client of the controllers under test: ``partial(Lossy, rate=0.2)``."""

CAPACITY = {"cpu": "32", "memory": "256Gi", "pods": "250"}
SHOWN = 30
"""How many lines of the trace the failure of `SimCluster.until` shows."""


class NotReached(AssertionError):
    """What a simulation waited for has not come about in its time; the message has the seed and the end of the trace."""


class SimCluster:
    """An async context manager, on a loop of `kubelib.sim.simulate`. All chance comes from `seed`."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.clock = LoopClock()
        self.trace = Trace()
        """Every change of every object so far."""
        self.client: LocalClient
        """The API as its administrator, who meets no hardship."""
        self._stack = AsyncExitStack()
        self._store = MemoryStore(clock=self.clock)
        self._group: TaskGroup
        self._running: list[_Running] = []
        self._nodes: dict[str, tuple[FakeRuntime, _Running | None]] = {}
        self._under_test: tuple[Sequence[MakeController], Hardship | None] = ((), None)
        self._news = anyio.Event()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        directory = tempfile.mkdtemp(prefix="kubelib-sim-")
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        self._directory = Path(directory)
        await self._stack.enter_async_context(self._store)
        self.registries = ResourceRegistries(
            self._store,
            clock=self.clock,
            random=self.random,
            admission=default_admission(mount_tokens=False),
        )
        await self._stack.enter_async_context(self.registries)
        await self.registries.bootstrap()
        self.client = LocalClient(self.registries)
        self.trace.follow(self._store, self._hear)
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with anyio.CancelScope(shield=True):
            # One at a time: the order in which siblings see a cancellation is not ours to choose.
            for running in reversed(self._running):
                await running.stop()
            self.trace.stop()
        self._group.cancel_scope.cancel()
        return await self._stack.__aexit__(kind, error, trace)

    def _hear(self) -> None:
        self._news.set()

    # Starting

    async def start(
        self,
        *,
        nodes: int = 0,
        controllers: Sequence[MakeController] = (),
        builtin: bool = True,
        rule: Rule = lives_on,
        hardship: Hardship | None = None,
    ) -> None:
        """Run Kubernetes' controllers (unless not `builtin`), a scheduler and nodes, and the controllers under test.

        Nodes are ``node-1``, ``node-2`` and so on, their containers live by `rule`. `hardship` is met by the controllers under
        test alone. Returns when all of them have started.
        """
        if builtin:
            await self._start_builtin()
        if nodes:
            await self._start_scheduler()
            for number in range(1, nodes + 1):
                await self._start_node(f"node-{number}", rule)
        self._under_test = (controllers, hardship)
        await self._start_controllers()

    async def run(self, component: Component) -> None:
        """Run a component beside all others; return once it has started."""
        await self._run(component)

    async def _run(self, component: Component) -> "_Running":
        running = _Running(component)
        self._running.append(running)
        await self._group.start(running.run)
        return running

    async def _start_builtin(self) -> None:
        from kubelib.controllers.builtin import builtin_controllers
        from kubelib.controllers.manager import Manager

        components = builtin_controllers(
            self.client, clock=self.clock, random=self.random, scheme=self.registries.scheme
        )
        await self._run(Manager(components, name="controller-manager"))

    async def _start_scheduler(self) -> None:
        from kubelib.controllers.events import EventRecorder
        from kubelib.sched.scheduler import Scheduler

        self._events = EventRecorder(self.client, clock=self.clock, random=self.random)
        await self._run(self._events)
        recorder = self._events.source("default-scheduler")
        await self._run(Scheduler(self.client, random=self.random, clock=self.clock, recorder=recorder))

    async def _start_node(self, name: str, rule: Rule) -> None:
        runtime = FakeRuntime(rule, random=self.random, clock=self.clock)
        await self._stack.enter_async_context(runtime)
        self._nodes[name] = (runtime, await self._run(self._agent(name, runtime)))

    def _agent(self, name: str, runtime: FakeRuntime) -> Component:
        from kubelib.runtime.agent import NodeAgent
        from kubelib.runtime.settings import NodeSettings

        return NodeAgent(
            self.client,
            runtime,
            NodeSettings(name=name, capacity=CAPACITY),
            self._directory / name,
            random=self.random,
            clock=self.clock,
            recorder=self._events.source("kubelet", name),
        )

    async def _start_controllers(self) -> None:
        from kubelib.controllers.manager import Manager

        makers, hardship = self._under_test
        if not makers:
            return
        client: Client = self.client if hardship is None else hardship(self.client, self.random)
        informers = SharedInformers(client, random=self.random)
        made = [make(informers) for make in makers]
        self._controllers = await self._run(Manager([informers, *made], name="under test"))

    # What happens to it

    async def restart_controllers(self) -> None:
        """End the controllers under test where they are, as a crash would, and start them anew: they know nothing any more."""
        await self._stop(self._controllers)
        await self._start_controllers()

    async def lose_node(self, name: str) -> None:
        """Cut a node off: its agent reports nothing and hears nothing, its containers go on."""
        runtime, agent = self._node(name)
        if agent is not None:
            await self._stop(agent)
        self._nodes[name] = (runtime, None)

    async def return_node(self, name: str) -> None:
        """Let a lost node come back: it finds what ran meanwhile."""
        runtime, agent = self._node(name)
        if agent is None:
            self._nodes[name] = (runtime, await self._run(self._agent(name, runtime)))

    def runtime(self, node: str) -> FakeRuntime:
        """Return what runs the containers of a node: its rule can be changed, and containers ended."""
        return self._node(node)[0]

    def _node(self, name: str) -> "tuple[FakeRuntime, _Running | None]":
        try:
            return self._nodes[name]
        except KeyError:
            raise KeyError(
                f"there is no node {name!r}: there are {', '.join(self._nodes) or 'none'}"
            ) from None

    async def _stop(self, running: "_Running") -> None:
        await running.stop()
        self._running.remove(running)

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await anyio.sleep(seconds)

    async def until(
        self, check: Callable[[LocalClient], Any], *, within: float = 60.0, every: float = 1.0
    ) -> Any:
        """Wait, in virtual time, until `check` of the client, asynchronous or not, returns something true, and return that.

        It is asked after every change, and `every` so many seconds where none happens; an AssertionError means "not yet".
        Raises `NotReached`.
        """
        end = anyio.current_time() + within
        while True:
            failure: AssertionError | None = None
            self._news = anyio.Event()
            try:
                result = check(self.client)
                if inspect.isawaitable(result):
                    result = await result
                if result:
                    return result
            except AssertionError as error:
                failure = error
            left = end - anyio.current_time()
            if left <= 0:
                raise NotReached(self._complaint(within, failure)) from failure
            with anyio.move_on_after(min(every, left)):
                await self._news.wait()

    def _complaint(self, within: float, failure: AssertionError | None) -> str:
        last = "\n".join(map(str, self.trace.lines[-SHOWN:]))
        why = f": {failure}" if failure is not None and str(failure) else ""
        return (
            f"not so after {within:g} virtual seconds, with seed {self.seed}{why}\nthe last changes:\n{last}"
        )


@attrs.define(eq=False)
class _Running:
    """A component that can be ended by itself."""

    component: Component
    scope: anyio.CancelScope = attrs.Factory(anyio.CancelScope)
    ended: anyio.Event = attrs.Factory(anyio.Event)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        try:
            with self.scope:
                await self.component.run(task_status=task_status)
        finally:
            self.ended.set()

    async def stop(self) -> None:
        self.scope.cancel()
        await self.ended.wait()
