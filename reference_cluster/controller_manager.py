"""The controllers as a daemon."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.informers import Component
from reference_cluster.daemon import Anew, connected, elected, running

NAME = "kube-controller-manager"


@asynccontextmanager
async def run_controller_manager(kubeconfig: Path, *, elect: bool) -> AsyncIterator[str]:
    """Run the built-in controllers while the context is open, and, if `elect`, while leading."""
    from kubelib.controllers.builtin import builtin_controllers

    clock, random = SYSTEM_CLOCK, system_random()
    async with connected(kubeconfig, NAME) as client:
        events = EventRecorder(client, clock=clock, random=random)

        def controllers() -> Sequence[Component]:
            root_ca = client.connection.ca_data.decode()
            return builtin_controllers(client, clock=clock, random=random, root_ca=root_ca)

        component: Component = Anew(NAME, controllers)
        if elect:
            component = elected(component, client, events=events, clock=clock, random=random)
        async with running(NAME, [events, component]):
            yield f"{NAME} is ready for {client.connection.server}"
