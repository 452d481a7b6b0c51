"""The life of a Pod as pure functions: what to do next, and what its status is. No I/O, no awaiting, no clock.

The rules are the kubelet's: init containers one after the other, sidecars (init containers that always restart) beside what
follows them, then all main containers; restarts by policy with a back-off that doubles; phases and conditions from what runs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import attrs

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.runtime.base import Container

FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 300.0
RESET_AFTER = timedelta(minutes=10)
"""A container that ran for so long starts over with its back-off."""
BACKOFF = "kubelib.dev/restart-backoff"
"""The annotation by which the runtime remembers a container's back-off for an agent that is started again."""


@attrs.frozen
class Condemnation:
    """The verdict of a probe that a container has to be restarted."""

    kind: Literal["liveness", "startup"]
    message: str


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
class StopAll:
    """End every container gracefully: the Pod is being deleted, or is over."""


@attrs.frozen
class Forget:
    """Remove what is left of the Pod from the node and, if it is being deleted, its object."""


Step = Start | Kill | StopAll | Forget


@attrs.frozen
class Decision:
    """What to do now, and when to look again even if nothing happens."""

    steps: tuple[Step, ...] = ()
    look_again: float | None = None


@attrs.define
class Memory:
    """What the agent knows of a Pod beyond what runs: results of probes, and why something does not start."""

    ready: dict[str, bool] = attrs.Factory(dict)
    """By container identity: the last verdict of its readiness probe."""
    started: dict[str, bool] = attrs.Factory(dict)
    """By container identity: whether its startup probe has succeeded."""
    condemned: dict[str, Condemnation] = attrs.Factory(dict)
    """By container identity: the probe for which it has to be restarted."""
    waiting: dict[str, tuple[str, str]] = attrs.Factory(dict)
    """By container name: reason and message of what keeps it from starting."""
    deadline_exceeded: bool = False
    evicted: str | None = None
    """Why the node has ended the Pod for its own sake."""
    runtime: str = "process"
    """The runtime's name, with which containers' identities begin."""

    @property
    def over(self) -> bool:
        """Whether the node has ended the Pod, whatever its containers do."""
        return self.deadline_exceeded or self.evicted is not None


def is_sidecar(container: ContainerDefinition) -> bool:
    """Return whether an init container runs beside the main ones."""
    return container.restart_policy == "Always"


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


def _next_backoff(container: Container) -> float:
    """Return the back-off of the attempt that follows `container`."""
    return min(max(FIRST_BACKOFF, backoff_of(container) * 2), LONGEST_BACKOFF)


def _wait_left(container: Container, now: datetime) -> float:
    if container.finished is None:
        return 0.0
    return max(0.0, backoff_of(container) - (now - container.finished).total_seconds())


def restarts(container: Container, policy: str) -> bool:
    """Return whether a container that has ended is started again."""
    return policy == "Always" or (policy == "OnFailure" and container.exit_code != 0)


def _running_and_started(
    definition: ContainerDefinition, container: Container | None, memory: Memory
) -> bool:
    if container is None or container.state != "running":
        return False
    return definition.startup_probe is None or memory.started.get(container.id, False)


def next_step(pod: Pod, containers: Sequence[Container], memory: Memory, now: datetime) -> Decision:
    """Return what to do for a Pod, given the containers that its sandbox has."""
    last = latest(containers)
    alive = [c for c in last.values() if c.state == "running"]
    if pod.metadata.deletion_timestamp is not None:
        return Decision((StopAll(),)) if alive else Decision((Forget(),))
    if memory.over or phase_of(pod, last, memory) in ("Succeeded", "Failed"):
        return Decision((StopAll(),)) if alive else Decision()
    steps: list[Step] = []
    waits: list[float] = []

    def keep_running(definition: ContainerDefinition, policy: str) -> None:
        container = last.get(definition.name)
        if container is None:
            if definition.name not in memory.waiting:
                steps.append(Start(definition, 0, 0.0))
        elif container.state == "running":
            if container.id in memory.condemned:
                steps.append(Kill(container, memory.condemned[container.id]))
        elif container.state == "exited" and restarts(container, policy):
            left = _wait_left(container, now)
            if left > 0:
                waits.append(left)
            else:
                steps.append(Start(definition, container.attempt + 1, _next_backoff(container)))

    policy = pod.spec.restart_policy or "Always"
    for ephemeral in pod.spec.ephemeral_containers:
        keep_running(ephemeral, "Never")
    for definition in pod.spec.init_containers:
        container = last.get(definition.name)
        if is_sidecar(definition):
            keep_running(definition, "Always")
            if not _running_and_started(definition, container, memory):
                return Decision(tuple(steps), min(waits, default=None))
        elif container is None or container.state != "exited" or container.exit_code != 0:
            keep_running(definition, "OnFailure" if policy == "Always" else policy)
            return Decision(tuple(steps), min(waits, default=None))
    for definition in pod.spec.containers:
        keep_running(definition, policy)
    if pod.spec.active_deadline_seconds is not None and pod.status.start_time is not None:
        age = (now - pod.status.start_time).total_seconds()
        waits.append(max(0.0, pod.spec.active_deadline_seconds - age))
    return Decision(tuple(steps), min(waits, default=None))


# Status


def initialized(pod: Pod, last: Mapping[str, Container], memory: Memory) -> bool:
    """Return whether all init containers are done, and all sidecars up."""
    for definition in pod.spec.init_containers:
        container = last.get(definition.name)
        if is_sidecar(definition):
            if not _running_and_started(definition, container, memory):
                return False
        elif container is None or container.state != "exited" or container.exit_code != 0:
            return False
    return True


def phase_of(pod: Pod, last: Mapping[str, Container], memory: Memory) -> str:
    """Return the Pod's phase."""
    if memory.over:
        return "Failed"
    policy = pod.spec.restart_policy or "Always"
    if pod.status.phase in ("Succeeded", "Failed"):
        return pod.status.phase
    for definition in pod.spec.init_containers:
        container = last.get(definition.name)
        if is_sidecar(definition) or container is None or container.state != "exited":
            continue
        if container.exit_code != 0 and policy == "Never":
            return "Failed"
    mains = [last.get(definition.name) for definition in pod.spec.containers]
    if not initialized(pod, last, memory) and not any(mains):
        return "Pending"
    if any(container is None or container.state == "created" for container in mains):
        return "Running" if any(c is not None and c.state == "running" for c in mains) else "Pending"
    ended = [container for container in mains if container is not None and container.state == "exited"]
    if len(ended) < len(mains) or policy == "Always":
        return "Running"
    if all(container.exit_code == 0 for container in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def container_id(container: Container, memory: Memory) -> str:
    """Return a container's identity as a Pod's status has it."""
    return f"{memory.runtime}://{_short(container)}"


def _ended(container: Container, memory: Memory) -> Tree:
    state: Tree = {
        "exitCode": container.exit_code,
        "reason": container.reason or "Error",
        "containerID": container_id(container, memory),
    }
    if container.reason == "ContainerCannotRun":
        state["reason"] = "StartError"
    if container.message:
        state["message"] = container.message
    if container.started:
        state["startedAt"] = format_time(container.started)
    if container.finished:
        state["finishedAt"] = format_time(container.finished)
    return {"terminated": state}


def _short(container: Container) -> str:
    return "/".join(container.id.rstrip("/").split("/")[-3::2])


def container_status(
    pod: Pod,
    definition: ContainerDefinition,
    container: Container | None,
    before: Container | None,
    memory: Memory,
    *,
    begun: bool,
    now: datetime,
    init: bool = False,
    policy: str = "",
) -> Tree:
    """Return the status of one container; `policy` is its restart policy where that is not the Pod's."""
    status: Tree = {
        "name": definition.name,
        "image": definition.image,
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {},
        "lastState": {},
    }
    if container is None:
        reason, message = memory.waiting.get(
            definition.name, ("ContainerCreating" if begun else "PodInitializing", "")
        )
        status["state"] = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        return status
    status.update(
        imageID=container.image_id,
        restartCount=container.attempt,
        containerID=container_id(container, memory),
    )
    if before is not None:
        status["lastState"] = _ended(before, memory)
    if init and is_sidecar(definition):
        policy = "Always"
    policy = policy or pod.spec.restart_policy or "Always"
    if init and not is_sidecar(definition) and policy == "Always":
        policy = "OnFailure"
    match container.state:
        case "running":
            running = {"startedAt": format_time(container.started)} if container.started else {}
            status["state"] = {"running": running}
            started = _running_and_started(definition, container, memory)
            status["started"] = started
            status["ready"] = started and (
                definition.readiness_probe is None or memory.ready.get(container.id, False)
            )
        case "exited":
            waiting = memory.waiting.get(definition.name)
            over = pod.metadata.deletion_timestamp is not None or memory.over
            if not over and restarts(container, policy) and (waiting or _wait_left(container, now) > 0):
                where = f"pod={pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
                delay = _go_seconds(backoff_of(container))
                reason, message = waiting or (
                    "CrashLoopBackOff",
                    f"back-off {delay} restarting failed container={definition.name} {where}",
                )
                status["state"] = {"waiting": {"reason": reason, "message": message}}
                status["lastState"] = _ended(container, memory)
            else:
                status["state"] = _ended(container, memory)
            if init and container.exit_code == 0:
                status["ready"] = True
        case _:
            status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    return status


def _go_seconds(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def pod_status(
    pod: Pod, containers: Sequence[Container], memory: Memory, *, address: str, host: str, now: datetime
) -> Tree:
    """Return the status of a Pod."""
    last, before = latest(containers), previous(containers)
    done = initialized(pod, last, memory)
    phase = phase_of(pod, last, memory)
    status: Tree = {"phase": phase, "hostIP": host, "hostIPs": [{"ip": host}]}
    if address:
        status["podIP"] = address
        status["podIPs"] = [{"ip": address}]
    status["startTime"] = format_time(pod.status.start_time or now)
    if pod.spec.init_containers:
        status["initContainerStatuses"] = [
            container_status(
                pod, d, last.get(d.name), before.get(d.name), memory, begun=False, now=now, init=True
            )
            for d in pod.spec.init_containers
        ]
    status["containerStatuses"] = statuses = [
        container_status(pod, d, last.get(d.name), before.get(d.name), memory, begun=done, now=now)
        for d in pod.spec.containers
    ]
    if pod.spec.ephemeral_containers:
        status["ephemeralContainerStatuses"] = [
            container_status(pod, d, last.get(d.name), None, memory, begun=True, now=now, policy="Never")
            for d in pod.spec.ephemeral_containers
        ]
    if memory.evicted is not None:
        status["reason"], status["message"] = "Evicted", memory.evicted
    elif memory.deadline_exceeded:
        status["reason"] = "DeadlineExceeded"
        status["message"] = "Pod was active on the node longer than the specified deadline"
    over = phase in ("Succeeded", "Failed")
    unready = [s["name"] for s in statuses if not s["ready"]]
    if phase == "Succeeded":
        not_ready: Tree = {"status": "False", "reason": "PodCompleted"}
    elif over:
        not_ready = {"status": "False", "reason": "PodFailed"}
    elif unready:
        not_ready = {
            "status": "False",
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
    else:
        not_ready = {"status": "True"}
    init_condition: Tree = {"status": "True", **({"reason": "PodCompleted"} if phase == "Succeeded" else {})}
    if not done and not over:
        missing = [d.name for d in pod.spec.init_containers if not _init_done(d, last.get(d.name))]
        init_condition = {
            "status": "False",
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{' '.join(missing)}]",
        }
    wanted: dict[str, Tree] = {
        "PodReadyToStartContainers": {"status": "True" if address and not over else "False"},
        "Initialized": init_condition,
        "Ready": dict(not_ready),
        "ContainersReady": dict(not_ready),
        "PodScheduled": {"status": "True"},
    }
    if memory.evicted is not None:
        wanted["DisruptionTarget"] = {
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": memory.evicted,
        }
    for gate in pod.spec.readiness_gates:
        met = any(c.type == gate.condition_type and c.status == "True" for c in pod.status.conditions)
        if not met and wanted["Ready"]["status"] == "True":
            wanted["Ready"] = {
                "status": "False",
                "reason": "ReadinessGatesNotReady",
                "message": f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.',
            }
    status["conditions"] = _conditions(pod, wanted, now)
    return status


def _init_done(definition: ContainerDefinition, container: Container | None) -> bool:
    if is_sidecar(definition):
        return container is not None and container.state == "running"
    return container is not None and container.state == "exited" and container.exit_code == 0


def _conditions(pod: Pod, wanted: Mapping[str, Tree], now: datetime) -> list[Tree]:
    """Return the conditions; those whose status is as it was keep the time of their last transition."""
    known = {condition.type: condition for condition in pod.status.conditions}
    conditions: list[Tree] = []
    for kind, condition in wanted.items():
        old = known.pop(kind, None)
        since = old.last_transition_time if old is not None and old.status == condition["status"] else None
        conditions.append({"type": kind, **condition, "lastTransitionTime": format_time(since or now)})
    for kind, other in known.items():
        kept: dict[str, Any] = {"type": kind, "status": other.status}
        kept |= {n: v for n, v in (("reason", other.reason), ("message", other.message)) if v}
        if other.last_transition_time:
            kept["lastTransitionTime"] = format_time(other.last_transition_time)
        conditions.append(kept)
    return conditions
