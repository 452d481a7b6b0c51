"""A real API server in the test's own process, ready in a fraction of a second."""

import secrets
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import anyio.from_thread
import attrs

from kubelib.api.core.node import Node, NodeCondition, NodeStatus
from kubelib.api.meta import ObjectMeta
from kubelib.client import LocalClient
from kubelib.clock import SYSTEM_CLOCK
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import ADMIN
from kubelib.runtime.agent import NodeAgent, NodeSettings
from kubelib.runtime.fake import FakeRuntime, Rule, lives_on
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.authz.bootstrap import ensure_policy
from kubelib.server.listener import bind, serve
from kubelib.store import MemoryStore

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class ClusterOptions:
    """What runs beside the API server."""

    controllers: bool = False
    """The built-in controllers."""
    scheduler: bool = False
    fake_nodes: int = 0
    """Nodes with the real agent on a fake runtime: Pods there become Running, and nothing runs."""
    rule: Rule = lives_on
    """How containers on the fake nodes live: how long they take to start, when they end, and how."""


class TestCluster:
    """An API server on a random port of the loopback interface, in a thread of its own, over a store of its own.

    A context manager. Plain HTTP with a bearer token: there is nothing to generate, and nobody else knows the token.
    """

    __test__ = False

    def __init__(self, directory: Path, options: ClusterOptions) -> None:
        self._nodes = directory / "nodes"
        self.kubeconfig = directory / "kubeconfig"
        """The path of a kubeconfig for the cluster's administrator."""
        self.url = ""
        self.token = secrets.token_urlsafe(24)
        self._options = options
        self._portal: Any = None
        self._client: LocalClient | None = None
        self._stop: anyio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="kubelib-test-cluster")
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._portal is not None and self._stop is not None:
            self._portal.call(self._stop.set)
        self._thread.join()

    @property
    def client(self) -> LocalClient:
        """The API in process. Its calls belong to the cluster's thread: make them through `call`."""
        assert self._client is not None, "the cluster is not running"
        return self._client

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run an async function in the cluster's thread, and return its result."""
        return self._portal.call(function, *arguments)

    def _main(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        options = self._options
        listening = bind("127.0.0.1", 0)
        random = Random(0)
        try:
            async with MemoryStore() as store, ResourceRegistries(store) as registries:
                await registries.bootstrap()
                await ensure_policy(registries)
                app = ApiServer(registries, authenticator=Authenticator([StaticTokens({self.token: ADMIN})]))
                self._client = LocalClient(registries)
                async with AsyncExitStack() as stack:
                    runtimes = [
                        await stack.enter_async_context(
                            FakeRuntime(options.rule, random=random, clock=SYSTEM_CLOCK)
                        )
                        for _ in range(options.fake_nodes)
                    ]
                    group = await stack.enter_async_context(anyio.create_task_group())
                    for number, runtime in enumerate(runtimes):
                        await group.start(self._agent(f"node-{number}", runtime, random).run)
                    if options.controllers:
                        from kubelib.controllers.builtin import builtin_controllers
                        from kubelib.controllers.manager import Manager

                        components = builtin_controllers(self._client, clock=SYSTEM_CLOCK, random=random)
                        await group.start(Manager(components).run)
                    if options.scheduler:
                        from kubelib.sched.scheduler import Scheduler

                        await group.start(Scheduler(self._client, random=random).run)
                    async with (
                        serve(app, listening, None, stop=app.stop_watches) as port,
                        anyio.from_thread.BlockingPortal() as portal,
                    ):
                        self.url = f"http://127.0.0.1:{port}"
                        self._write_kubeconfig()
                        self._portal = portal
                        self._stop = anyio.Event()
                        self._ready.set()
                        await self._stop.wait()
                    group.cancel_scope.cancel()
        finally:
            listening.close()

    def _agent(self, name: str, runtime: FakeRuntime, random: Random) -> NodeAgent:
        settings = NodeSettings(name=name, capacity=fake_node(name).status.capacity)
        return NodeAgent(self.client, runtime, settings, self._nodes / name, random=random)

    def _write_kubeconfig(self) -> None:
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(
            f"""apiVersion: v1
kind: Config
clusters:
- name: test
  cluster: {{server: "{self.url}"}}
users:
- name: admin
  user: {{token: "{self.token}"}}
contexts:
- name: test
  context: {{cluster: test, user: admin}}
current-context: test
"""
        )


def fake_node(name: str, *, cpu: str = "32", memory: str = "256Gi", pods: str = "250") -> Node:
    """Return a node that is Ready and has room."""
    room = {"cpu": cpu, "memory": memory, "pods": pods}
    return Node(
        metadata=ObjectMeta(name=name, labels={"kubernetes.io/hostname": name}),
        status=NodeStatus(
            capacity=room,
            allocatable=room,
            conditions=(NodeCondition(type="Ready", status="True", reason="Fake"),),
        ),
    )
