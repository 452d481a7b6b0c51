"""What every daemon does: components on a connection, leadership, one line when ready, a clean stop."""

import gc
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
import anyio.to_thread
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.clock import Clock
from kubelib.controllers.election import Fence, LeaderElection, Timing
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.manager import Manager
from kubelib.informers import Component

log = logging.getLogger("kubelib")

WAIT = 0.5


@asynccontextmanager
async def connected(kubeconfig: Path, name: str, *, wait: bool = True) -> AsyncIterator[HttpClient]:
    """Open a client as a kubeconfig says, once the API server answers unless `wait` is false. Raises `KubeconfigError`."""
    async with HttpClient(load_connection([kubeconfig]), manager=name) as client:
        said = False
        while wait:
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


class Later:
    """A component that is started once the ones before it run, and whose modules a thread loads meanwhile: it keeps nobody waiting."""

    def __init__(self, name: str, load: Callable[[], object], make: Callable[[], Component]) -> None:
        self.name = name
        self._load = load
        self._make = make

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        task_status.started()
        await anyio.to_thread.run_sync(self._load)
        await self._make().run()


def elected(
    name: str,
    make: Callable[[HttpClient], Sequence[Component]],
    client: HttpClient,
    timing: Timing,
    *,
    events: EventRecorder,
    clock: Clock,
    random: Random,
) -> LeaderElection:
    """Return a component that runs others, made anew each time, while it holds the lease `name` in ``kube-system``.

    They are made with a client through which they write while they lead, and not a moment longer.
    """
    identity = f"{platform.node()}_{os.getpid()}_{random.getrandbits(48):012x}"
    fence = Fence()
    guarded = client.guarded(fence.check)
    return LeaderElection(
        Anew(name, lambda: make(guarded)),
        client,
        lease=Key("kube-system", name),
        identity=identity,
        clock=clock,
        random=random,
        timing=timing,
        recorder=events.source(name),
        fence=fence,
    )


@asynccontextmanager
async def running(name: str, components: Sequence[Component]) -> AsyncIterator[None]:
    """Run components while the context is open."""
    async with anyio.create_task_group() as group:
        await group.start(Manager(components, name=name).run)
        yield
        group.cancel_scope.cancel()


async def serve_until_signalled(daemon: AbstractAsyncContextManager[str]) -> None:
    """Open a daemon, print the line that it yields, and close it on SIGINT or SIGTERM, even while it starts.

    The second signal ends the process at once, with 1, whatever it waits for: as it ends Kubernetes' daemons.
    """
    stop = anyio.Event()
    ready = False
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                told = False
                async for _ in signals:
                    if told:
                        os._exit(1)
                    told = True
                    if ready:
                        stop.set()
                    else:
                        group.cancel_scope.cancel()

            group.start_soon(listen)
            async with daemon as line:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
                ready = True
                freeze_after_start()
                await stop.wait()
            group.cancel_scope.cancel()


def freeze_after_start() -> None:
    """Take what start-up has made out of the garbage collector's sight: it stays anyway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
