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
        hosts: list[tuple[str, anyio.CancelScope, anyio.Event]] = []
        async with anyio.create_task_group() as tasks:
            try:
                for component in self.components:
                    scope, ended = anyio.CancelScope(shield=True), anyio.Event()
                    hosts.append((component.name, scope, ended))
                    await tasks.start(_host, component, scope, ended)
                    self.running.append(component.name)
                task_status.started()
                await anyio.sleep_forever()
            finally:
                for name, scope, ended in reversed(hosts):
                    scope.cancel()
                    if name in self.running:
                        with anyio.CancelScope(shield=True):
                            await ended.wait()
                        self.running.remove(name)


async def _host(
    component: Component, scope: anyio.CancelScope, ended: anyio.Event, *, task_status: TaskStatus[None]
) -> None:
    try:
        with scope:
            await component.run(task_status=task_status)
        if not scope.cancel_called:
            raise RuntimeError(f"{component.name} ended by itself")
    finally:
        ended.set()
