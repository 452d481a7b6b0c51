"""Providers without a cloud: one that makes nothing but the objects, and one that runs an agent for each node in this process."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import anyio
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.core.node import Node
from kubelib.api.errors import AlreadyExists, NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.informers import Component
from kubelib.sched.elastic.base import NodeTemplate, ProvidedNode, ProviderError

log = logging.getLogger("kubelib.sched.elastic")

RESTART = 1.0
"""Seconds until a node whose agent has failed is started again."""

OpenNode = Callable[[str, NodeTemplate], AbstractAsyncContextManager[Component]]
"""Opens what a node needs, and yields the component that is the node."""


@attrs.define(eq=False)
class _Running:
    template: str
    scope: anyio.CancelScope = attrs.Factory(anyio.CancelScope)
    ended: anyio.Event = attrs.Factory(anyio.Event)


class LocalProvider:
    """Runs each node as a component of this process. Itself a `Component`: nodes end with it."""

    name = "local nodes"

    def __init__(
        self,
        templates: Sequence[NodeTemplate],
        open_node: OpenNode,
        *,
        delay: float = 0.0,
        resume: Sequence[ProvidedNode] = (),
        dispose: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Make one whose nodes take `delay` seconds, by the loop's clock, until they begin to start.

        Nodes to `resume` are started at once: those of an earlier life. `dispose` clears away what a node that was taken back leaves.
        """
        self._templates = {template.name: template for template in templates}
        self._open_node = open_node
        self._delay = delay
        self._resume = resume
        self._starting = anyio.Lock()
        self._dispose = dispose
        self._running: dict[str, _Running] = {}
        self._group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        async with anyio.create_task_group() as self._group:
            for node in self._resume:
                if node.template in self._templates:
                    await self.add(node.template, [node.name])
            task_status.started()
            await anyio.sleep_forever()

    async def templates(self) -> Sequence[NodeTemplate]:
        """Return what can be had."""
        return tuple(self._templates.values())

    async def nodes(self) -> Sequence[ProvidedNode]:
        """Return the nodes that run, start or end."""
        return tuple(ProvidedNode(name, node.template) for name, node in self._running.items())

    async def add(self, template: str, names: Sequence[str]) -> Sequence[str]:
        """Begin to start nodes, as many as the template allows."""
        found = self._templates.get(template)
        if found is None:
            raise ProviderError(
                f"there is no template {template!r}: there are {', '.join(self._templates) or 'none'}"
            )
        if self._group is None:
            raise ProviderError("the provider of local nodes is not running")
        given = []
        for name in names:
            if name not in self._running:
                if sum(node.template == template for node in self._running.values()) >= found.maximum:
                    continue
                running = self._running[name] = _Running(template)
                self._group.start_soon(self._live, name, found, running)
            given.append(name)
        return given

    async def remove(self, name: str) -> None:
        """End a node; return when it has ended."""
        running = self._running.get(name)
        if running is not None:
            running.scope.cancel()
            await running.ended.wait()
            if self._dispose is not None:
                await self._dispose(name)

    async def _live(self, name: str, template: NodeTemplate, running: _Running) -> None:
        try:
            with running.scope:
                await anyio.sleep(self._delay)
                while True:
                    try:
                        await self._run_node(name, template)
                    except Exception:
                        # One node's failure is not the end of the others.
                        log.exception("node %s is started again", name)
                    await anyio.sleep(RESTART)
        finally:
            self._running.pop(name, None)
            running.ended.set()

    async def _run_node(self, name: str, template: NodeTemplate) -> None:
        # One starts at a time: nodes that register together may choose the same range of addresses.
        async with (
            self._open_node(name, template) as component,
            anyio.create_task_group() as tasks,
            self._starting,
        ):
            await tasks.start(component.run)


class FakeProvider:
    """Makes Node objects that are ready after a delay, and nothing that would run Pods; fails as it is told to.

    ``failures`` are raised by the next calls of `add`, one each, before anything is done; ``lost`` answers are lost after everything is done.
    """

    def __init__(self, client: Client, templates: Sequence[NodeTemplate], *, delay: float = 0.0) -> None:
        self._client = client
        self._local = LocalProvider(templates, self._open, delay=delay)
        self.name = "fake nodes"
        self.failures: list[Exception] = []
        self.lost: list[Exception] = []
        self.fewer = 0
        """How many nodes less than it is asked for it makes, each time."""
        self.answer_after = 0.0
        """How long it takes to answer, in seconds."""
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        """What `add` was asked for."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        await self._local.run(task_status=task_status)

    async def templates(self) -> Sequence[NodeTemplate]:
        """Return what can be had."""
        return await self._local.templates()

    async def nodes(self) -> Sequence[ProvidedNode]:
        """Return the nodes that are there or on their way."""
        return await self._local.nodes()

    async def add(self, template: str, names: Sequence[str]) -> Sequence[str]:
        """Begin to make nodes, unless it is told to fail."""
        self.asked.append((template, tuple(names)))
        if self.failures:
            raise self.failures.pop(0)
        given = await self._local.add(template, names[: max(0, len(names) - self.fewer)])
        await anyio.sleep(self.answer_after)
        if self.lost:
            raise self.lost.pop(0)
        return given

    async def remove(self, name: str) -> None:
        """Take a node back, and its object with it."""
        await self._local.remove(name)

    def _open(self, name: str, template: NodeTemplate) -> "_FakeNode":
        return _FakeNode(self._client, template.node(name))


class _FakeNode:
    """A Node object for as long as it is open."""

    def __init__(self, client: Client, node: Node) -> None:
        self.name = f"node {node.metadata.name}"
        self._nodes = client.resource(Node)
        self._node = node

    async def __aenter__(self) -> Component:
        try:
            made = await self._nodes.create(self._node)
        except AlreadyExists:
            made = await self._nodes.get(self._node.key)
        await self._nodes.update(replace(made, status=self._node.status), subresource="status")
        return self

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await anyio.sleep_forever()

    async def __aexit__(self, *exception: object) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._nodes.delete(Key("", self._node.metadata.name))
            except NotFound:
                return
