"""The life of a Pod as pure functions: what to do next, and how far it is. No I/O, no awaiting, no clock.

The rules are the kubelet's: init containers one after the other, sidecars (init containers that always restart) beside what
follows them, then all main containers; restarts by policy with a back-off that doubles; phases and conditions from what runs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import attrs

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Pod
from kubelib.api.scheme import Tree
from kubelib.runtime.base import Container
from kubelib.runtime.restarts import is_sidecar, policy_of_init, restarts, sources
from kubelib.runtime.sizes import changed, needs_restart

FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 300.0
RESET_AFTER = timedelta(minutes=10)
"""A container that ran for so long starts over with its back-off."""
BACKOFF = "kubelib.dev/restart-backoff"
"""The annotation by which the runtime remembers a container's back-off for an agent that is started again."""


@attrs.frozen
class Condemnation:
    """Why a container has to be restarted: a probe's verdict, or another size that it can only have from its start."""

    kind: Literal["liveness", "startup", "resize"]
    message: str
    """What the probe has found; of a resize nothing."""

    def told(self, name: str) -> str:
        """Return what is said of the end of a container of that name."""
        if self.kind == "resize":
            return f"Container {name} resize requires restart"
        return f"Container {name} failed {self.kind} probe, will be restarted"


@attrs.frozen
class Start:
    """Start a container."""

    container: ContainerDefinition
    attempt: int
    backoff: float
    """Seconds to wait after this attempt's end before the next."""


@attrs.frozen
class Kill:
    """End a container; its restart policy decides what follows."""

    container: Container
    reason: Condemnation


@attrs.frozen
class Resize:
    """Let a container that runs have other limits."""

    container: Container
    definition: ContainerDefinition
    """What it is to have."""


@attrs.frozen
class RestartAll:
    """End every container at once and remove it, so that the Pod begins anew in its sandbox, from the first init container on."""


@attrs.frozen
class StopAll:
    """End every container gracefully: the Pod is being deleted, or is over."""


@attrs.frozen
class Forget:
    """Remove what is left of the Pod from the node and, if it is being deleted, its object."""


Step = Start | Kill | Resize | RestartAll | StopAll | Forget


@attrs.frozen
class Decision:
    """What to do now, and when to look again even if nothing happens."""

    steps: tuple[Step, ...] = ()
    look_again: float | None = None


@attrs.frozen
class Past:
    """What is known of a container that was removed when all of its Pod's were started anew."""

    attempt: int
    ended: Tree
    """How it ended, as a status says it."""
    backoff: float = 0.0
    """The back-off of the attempt that follows."""


@attrs.define
class Memory:
    """What the agent knows of a Pod beyond what runs: results of probes, and why something does not start."""

    ready: dict[str, bool] = attrs.Factory(dict)
    """By container identity: the last verdict of its readiness probe."""
    started: dict[str, bool] = attrs.Factory(dict)
    """By container identity: whether its startup probe has succeeded."""
    condemned: dict[str, Condemnation] = attrs.Factory(dict)
    """By container identity: why it has to be restarted."""
    actual: dict[str, ResourceRequirements] = attrs.Factory(dict)
    """By container identity: what it runs with, where that may not be what its Pod says."""
    resizing: tuple[Tree, ...] = ()
    """The conditions that tell how far a change of the Pod's size has come."""
    waiting: dict[str, tuple[str, str]] = attrs.Factory(dict)
    """By container name: reason and message of what keeps it from starting."""
    restarting: bool = False
    """Whether all containers are being ended, to be started anew."""
    past: dict[str, Past] = attrs.Factory(dict)
    """By container name: the last attempt before all were started anew."""
    deadline_exceeded: bool = False
    evicted: str | None = None
    """Why the node has ended the Pod for its own sake."""
    runtime: str = "process"
    """The runtime's name, with which containers' identities begin."""

    @property
    def over(self) -> bool:
        """Whether the node has ended the Pod, whatever its containers do."""
        return self.deadline_exceeded or self.evicted is not None


def latest(containers: Sequence[Container]) -> dict[str, Container]:
    """Return the last attempt of each container by name."""
    found: dict[str, Container] = {}
    for container in containers:
        if container.name not in found or container.attempt > found[container.name].attempt:
            found[container.name] = container
    return found


def previous(containers: Sequence[Container]) -> dict[str, Container]:
    """Return the attempt before the last one of each container by name, where there is one."""
    last = latest(containers)
    found: dict[str, Container] = {}
    for container in containers:
        if container.attempt < last[container.name].attempt:
            known = found.get(container.name)
            if known is None or container.attempt > known.attempt:
                found[container.name] = container
    return found


def superfluous(containers: Sequence[Container]) -> tuple[Container, ...]:
    """Return the attempts that have ended and that no status and no log is asked of: all but the last two of each container."""
    last, before = latest(containers), previous(containers)
    return tuple(
        c
        for c in containers
        if c.state == "exited"
        and c.id not in (last[c.name].id, before[c.name].id if c.name in before else "")
    )


def backoff_of(container: Container) -> float:
    """Return how many seconds after its end a container is started again: none after a long life."""
    if container.started and container.finished and container.finished - container.started > RESET_AFTER:
        return 0.0
    return float(container.annotations.get(BACKOFF, "0"))


def next_backoff(container: Container) -> float:
    """Return the back-off of the attempt that follows `container`."""
    return min(max(FIRST_BACKOFF, backoff_of(container) * 2), LONGEST_BACKOFF)


def wait_left(container: Container, now: datetime) -> float:
    """Return how many seconds there are until a container that has ended is started again."""
    if container.finished is None:
        return 0.0
    return max(0.0, backoff_of(container) - (now - container.finished).total_seconds())


def is_resized(container: Container, memory: Memory) -> bool:
    """Return whether a container was ended only in order to be started again at once, with another size."""
    return container.id in memory.condemned and memory.condemned[container.id].kind == "resize"


def is_started(definition: ContainerDefinition, container: Container | None, memory: Memory) -> bool:
    """Return whether a container runs and its startup probe, if it has one, has succeeded."""
    if container is None or container.state != "running":
        return False
    return definition.startup_probe is None or memory.started.get(container.id, False)


def next_step(pod: Pod, containers: Sequence[Container], memory: Memory, now: datetime) -> Decision:
    """Return what to do for a Pod, given the containers that its sandbox has."""
    last = latest(containers)
    alive = [c for c in last.values() if c.state == "running"]
    if pod.metadata.deletion_timestamp is not None:
        return Decision((StopAll(),)) if alive else Decision((Forget(),))
    if is_over(pod, containers, memory):
        return Decision((StopAll(),)) if alive else Decision()
    steps: list[Step] = []
    anew = {source.id: wait_left(source, now) for source in sources(pod, last)}
    if memory.restarting or 0 in anew.values():
        return Decision((RestartAll(),))
    waits = list(anew.values())

    def keep_running(definition: ContainerDefinition, policy: str) -> None:
        container = last.get(definition.name)
        if container is None:
            if definition.name not in memory.waiting:
                past = memory.past.get(definition.name)
                steps.append(
                    Start(definition, 0, 0.0)
                    if past is None
                    else Start(definition, past.attempt + 1, past.backoff)
                )
        elif container.state == "running":
            if container.id in memory.condemned:
                steps.append(Kill(container, memory.condemned[container.id]))
            elif other := changed(definition.resources, memory.actual.get(container.id)):
                if needs_restart(definition, other):
                    steps.append(Kill(container, Condemnation("resize", "")))
                else:
                    steps.append(Resize(container, definition))
        elif container.id in anew or container.state != "exited":
            return
        elif is_resized(container, memory) or restarts(definition, container, policy):
            left = 0.0 if is_resized(container, memory) else wait_left(container, now)
            if left > 0:
                waits.append(left)
            else:
                steps.append(Start(definition, container.attempt + 1, next_backoff(container)))

    policy = pod.spec.restart_policy or "Always"
    for ephemeral in pod.spec.ephemeral_containers:
        keep_running(ephemeral, "Never")
    done = _initialized_up_to(pod, last, memory)
    for place, definition in enumerate(pod.spec.init_containers[: done + 1]):
        if is_sidecar(definition):
            keep_running(definition, "Always")
        elif place == done:
            keep_running(definition, policy_of_init(definition, policy))
    if done < len(pod.spec.init_containers):
        return Decision(tuple(steps), min(waits, default=None))
    for definition in pod.spec.containers:
        keep_running(definition, policy)
    if pod.spec.active_deadline_seconds is not None and pod.status.start_time is not None:
        age = (now - pod.status.start_time).total_seconds()
        waits.append(max(0.0, pod.spec.active_deadline_seconds - age))
    return Decision(tuple(steps), min(waits, default=None))


# How far it is


def is_over(pod: Pod, containers: Sequence[Container], memory: Memory) -> bool:
    """Return whether none of the Pod's containers is to be started again, though some may still run."""
    return phase_of(pod, latest(containers), memory) in ("Succeeded", "Failed")


def _initialized_up_to(pod: Pod, last: Mapping[str, Container], memory: Memory) -> int:
    """Return how many of the init containers, from the first one, nothing waits for any more.

    The last one of which there is a container tells it: what ran before may have been removed, and what runs beside may be started again.
    """
    definitions = pod.spec.init_containers
    mains = [last.get(definition.name) for definition in pod.spec.containers]
    if any(main is not None and main.state != "exited" for main in mains):
        return len(definitions)
    for place in reversed(range(len(definitions))):
        definition, container = definitions[place], last.get(definitions[place].name)
        if container is None:
            continue
        if is_sidecar(definition):
            return place + is_started(definition, container, memory)
        return place + (container.state == "exited" and container.exit_code == 0)
    return 0


def initialized(pod: Pod, last: Mapping[str, Container], memory: Memory) -> bool:
    """Return whether all init containers are done, and all sidecars have been up."""
    return _initialized_up_to(pod, last, memory) == len(pod.spec.init_containers)


def phase_of(pod: Pod, last: Mapping[str, Container], memory: Memory) -> str:
    """Return the Pod's phase."""
    if memory.over:
        return "Failed"
    policy = pod.spec.restart_policy or "Always"
    if pod.status.phase in ("Succeeded", "Failed"):
        return pod.status.phase
    mains = [last.get(definition.name) for definition in pod.spec.containers]
    if memory.restarting:
        return "Running" if any(mains) else "Pending"
    for definition in pod.spec.init_containers:
        container = last.get(definition.name)
        if is_sidecar(definition) or container is None or container.state != "exited":
            continue
        if container.exit_code != 0 and not restarts(
            definition, container, policy_of_init(definition, policy)
        ):
            return "Failed"
    if not initialized(pod, last, memory) and not any(mains):
        return "Pending"
    if any(container is None or container.state == "created" for container in mains):
        # Pending until all of them have begun; one that has to be made anew later does not take it back.
        begun = any(c is not None and c.state == "running" for c in mains)
        return "Running" if begun and pod.status.phase == "Running" else "Pending"
    if any(is_resized(container, memory) for container in mains if container is not None):
        return "Running"
    ended = [
        (definition, container)
        for definition, container in zip(pod.spec.containers, mains, strict=True)
        if container is not None and container.state == "exited"
    ]
    goes = (
        pod.metadata.deletion_timestamp is not None
    )  # then nothing is started again, whatever the policy is
    if len(ended) < len(mains) or (not goes and any(restarts(d, c, policy) for d, c in ended)):
        return "Running"
    return "Succeeded" if all(container.exit_code == 0 for _, container in ended) else "Failed"
