"""The scheduler as a daemon: one of several architectures, and a server for its figures."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kubelib.client.http import HttpClient
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.election import LeaderElection, Timing
from kubelib.controllers.events import EventRecorder
from kubelib.exposition import text
from kubelib.informers import Component
from reference_cluster.daemon import Anew, connected, elected, running
from reference_cluster.monitoring import daemon_families, monitored

if TYPE_CHECKING:
    from kubelib.sched.architectures import Architecture
    from kubelib.sched.base import Policy
    from kubelib.sched.policies.configuration import Configuration

NAME = "kube-scheduler"
DEFAULT_SCHEDULER = "default-scheduler"


@attrs.frozen(kw_only=True)
class SchedulerSettings:
    """How a scheduler daemon is run."""

    architecture: "Architecture"
    elect: Timing | None
    """How one of several is elected; None: it works whatever others do."""
    address: tuple[str, int] | None = None
    """Where it shows its figures; None: nowhere."""
    lease: str = ""
    """The lease that copies compete for, if not that of `lease_of`."""


def policy_named(name: str, scheduler: str = DEFAULT_SCHEDULER) -> "Policy":
    """Return a policy, ours, one that is installed, or that of a file for Pods of `scheduler`. Raises ValueError that says what is wrong."""
    from kubelib.sched.policies import load_policy

    if name.endswith((".yaml", ".yml", ".json")):
        return profile_of(name, scheduler)
    try:
        return load_policy(name)
    except LookupError as error:
        raise ValueError(str(error.args[0])) from None


def profile_of(file: str, scheduler: str) -> "Policy":
    """Return the policy of a file's profile for Pods of `scheduler`. Raises ValueError that says what is wrong."""
    from kubelib.sched.policies import default_policy
    from kubelib.sched.policies.configuration import read_configuration

    with _named(file) as text:
        return read_configuration(text, default_policy(), scheduler)


def configuration_of(file: str) -> "Configuration":
    """Return what a file says of a scheduler and its profiles. Raises ValueError that says what is wrong."""
    from kubelib.sched.policies import default_policy
    from kubelib.sched.policies.configuration import read_profiles

    with _named(file) as text:
        return read_profiles(text, default_policy())


@contextmanager
def _named(file: str) -> Iterator[str]:
    """Give what a file says; what is wrong with it is said with its name."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {file}: {error}") from None
    try:
        yield text
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def lease_of(architecture: "Architecture") -> str:
    """Return the name of the lease that copies of a scheduler compete for."""
    usual = DEFAULT_SCHEDULER in (architecture.name, *architecture.profiles)
    name = NAME if usual else f"{NAME}-{architecture.name}"
    return name if architecture.only is None else f"{name}-{architecture.only}"


@asynccontextmanager
async def run_scheduler(kubeconfig: Path, settings: SchedulerSettings) -> AsyncIterator[str]:
    """Schedule while the context is open, and, if so wanted, while leading; yields the line that says so."""
    from kubelib.sched.architectures import assemble
    from kubelib.sched.figures import Figures

    architecture, clock, random = settings.architecture, SYSTEM_CLOCK, system_random()
    # Refused now, and not when this one is elected.
    for make in (architecture.policy, architecture.batch_policy, *architecture.profiles.values()):
        make()
    shown: list[Figures] = []
    async with connected(kubeconfig, NAME) as client:
        events = EventRecorder(client, clock=clock, random=random)

        def components(client: HttpClient) -> Sequence[Component]:
            recorder = events.source(architecture.name)
            recorders = {name: events.source(name) for name in architecture.profiles}
            assembly = assemble(
                architecture, client, random=random, clock=clock, recorder=recorder, recorders=recorders
            )
            shown[:] = [Figures(assembly)]
            return assembly.components

        def figures() -> bytes:
            election = component if isinstance(component, LeaderElection) else None
            own = shown[0].exposition() if shown else b""
            return own + text(*daemon_families(client, election))

        name = settings.lease or lease_of(architecture)
        component: Component = (
            elected(name, components, client, settings.elect, events=events, clock=clock, random=random)
            if settings.elect is not None
            else Anew(name, lambda: components(client))
        )
        async with (
            monitored(NAME, client, figures, settings.address, clock) as where,
            running(NAME, [events, component]),
        ):
            at = f", with figures at {where}" if where else ""
            yield f"{NAME} is ready for {client.connection.server}{at}"
