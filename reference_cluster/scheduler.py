"""The scheduler as a daemon."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.informers import Component
from reference_cluster.daemon import Anew, connected, elected, running

NAME = "kube-scheduler"


@asynccontextmanager
async def run_scheduler(kubeconfig: Path, *, policy: str, elect: bool) -> AsyncIterator[str]:
    """Schedule while the context is open, and, if `elect`, while leading; yields the line that says so."""
    from kubelib.sched.policies import POLICIES
    from kubelib.sched.scheduler import Scheduler

    if policy not in POLICIES:
        raise ValueError(f"there is no policy {policy!r}: choose one of {', '.join(sorted(POLICIES))}")
    clock, random = SYSTEM_CLOCK, system_random()
    async with connected(kubeconfig, NAME) as client:
        events = EventRecorder(client, clock=clock, random=random)

        def scheduler() -> Sequence[Component]:
            recorder = events.source("default-scheduler")
            return [
                Scheduler(client, random=random, clock=clock, policy=POLICIES[policy](), recorder=recorder)
            ]

        component: Component = Anew(NAME, scheduler)
        if elect:
            component = elected(component, client, events=events, clock=clock, random=random)
        async with running(NAME, [events, component]):
            yield f"{NAME} is ready for {client.connection.server}"
