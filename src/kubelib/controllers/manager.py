"""Runs components: starts them in order, each once the one before is ready, and stops them one by one in reverse."""

from collections.abc import Sequence

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.informers import Component


class Manager:
    """Components as one `Component`. When one of them fails, the others are stopped and the error is raised."""

    def __init__(self, components: Sequence[Component], *, name: str = "manager") -> None:
        self.name = name
        self.components = tuple(components)
        self.running: list[str] = []
        """The names of the components that have started, in that order."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started means that all components have."""
        # Each component lives in a scope that outer cancellation does not reach: they end only in their turn.
        hosts: list[_Host] = []
        async with anyio.create_task_group() as tasks:
            try:
                for component in self.components:
                    host = _Host(component)
                    hosts.append(host)
                    tasks.start_soon(host.run)
                    await host.ready.wait()
                    self.running.append(component.name)
                task_status.started()
                await anyio.sleep_forever()
            finally:
                for host in reversed(hosts):
                    host.scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await host.ended.wait()
                    if host.component.name in self.running:
                        self.running.remove(host.component.name)


class _Host:
    """Runs one component. Is its own `TaskStatus`: ``TaskGroup.start`` could not be left while it waits."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.scope = anyio.CancelScope(shield=True)
        self.ready = anyio.Event()
        self.ended = anyio.Event()

    def started(self, value: None = None) -> None:
        self.ready.set()

    async def run(self) -> None:
        try:
            with self.scope:
                await self.component.run(task_status=self)
            if not self.scope.cancel_called:
                raise RuntimeError(f"{self.component.name} ended by itself")
        finally:
            self.ended.set()
