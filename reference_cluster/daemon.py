"""What every daemon does: components on a connection, leadership, one line when ready, a clean stop."""

import logging
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.client.base import Client
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.clock import Clock
from kubelib.controllers.election import LeaderElection
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.manager import Manager
from kubelib.informers import Component

log = logging.getLogger("kubelib")

WAIT = 0.5


@asynccontextmanager
async def connected(kubeconfig: Path, name: str) -> AsyncIterator[HttpClient]:
    """Open a client as a kubeconfig says, once the API server answers. Raises `KubeconfigError`."""
    async with HttpClient(load_connection([kubeconfig]), manager=name) as client:
        said = False
        while True:
            try:
                await client.request("GET", "/readyz", accept="*/*")
                break
            except ApiError as error:
                if not said:
                    log.warning("%s waits for the API server: %s", name, error)
                    said = True
            await anyio.sleep(WAIT)
        yield client


class Anew:
    """A component made of others, built again each time that it is run: after a lost election nothing old is used."""

    def __init__(self, name: str, make: Callable[[], Sequence[Component]]) -> None:
        self.name = name
        self._make = make

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        await Manager(self._make(), name=self.name).run(task_status=task_status)


def elected(
    component: Component, client: Client, *, events: EventRecorder, clock: Clock, random: Random
) -> LeaderElection:
    """Return a component that runs `component` while it holds the lease of that name in ``kube-system``."""
    identity = f"{platform.node()}_{os.getpid()}_{random.getrandbits(48):012x}"
    return LeaderElection(
        component,
        client,
        lease=Key("kube-system", component.name),
        identity=identity,
        clock=clock,
        random=random,
        recorder=events.source(component.name),
    )


@asynccontextmanager
async def running(name: str, components: Sequence[Component]) -> AsyncIterator[None]:
    """Run components while the context is open."""
    async with anyio.create_task_group() as group:
        await group.start(Manager(components, name=name).run)
        yield
        group.cancel_scope.cancel()


async def serve_until_signalled(daemon: AbstractAsyncContextManager[str]) -> None:
    """Open a daemon, print the line that it yields, and close it on SIGINT or SIGTERM, even while it starts."""
    stop = anyio.Event()
    ready = False
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                async for _ in signals:
                    if ready:
                        stop.set()
                    else:
                        group.cancel_scope.cancel()

            group.start_soon(listen)
            async with daemon as line:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
                ready = True
                await stop.wait()
            group.cancel_scope.cancel()
