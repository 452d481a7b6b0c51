"""The status of a Pod, from what runs and what its node knows of it: the kubelet's words. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from kubelib.api import codec
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ResourceRequirements
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.scheme import Tree
from kubelib.api.times import format_time
from kubelib.runtime.base import Container
from kubelib.runtime.lifecycle import (
    Memory,
    backoff_of,
    initialized,
    is_resized,
    is_started,
    latest,
    phase_of,
    previous,
    wait_left,
)
from kubelib.runtime.restarts import RESTARTING, could_restart_all, is_sidecar, policy_of_init, restarts
from kubelib.runtime.words import in_full

RESIZE_CONDITIONS = ("PodResizePending", "PodResizeInProgress")
"""The conditions that only the node says, and that are gone when it does not say them."""


def container_id(container: Container, memory: Memory) -> str:
    """Return a container's identity as a Pod's status has it."""
    return f"{memory.runtime}://{_short(container)}"


def how_it_ended(container: Container, memory: Memory) -> Tree:
    """Return the state of a container that has ended."""
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
        if (past := memory.past.get(definition.name)) is not None:
            status.update(restartCount=past.attempt, lastState=past.ended)
        return status
    status.update(
        imageID=container.image_id,
        restartCount=container.attempt,
        containerID=container_id(container, memory),
    )
    status["resources"] = _tree(
        memory.actual.get(container.id, definition.resources)
        if container.state == "running"
        else definition.resources
    )
    if definition.resources.requests:
        status["allocatedResources"] = dict(definition.resources.requests)
    if before is not None:
        status["lastState"] = how_it_ended(before, memory)
    elif (past := memory.past.get(definition.name)) is not None:
        status["lastState"] = past.ended
    policy = policy or pod.spec.restart_policy or "Always"
    if init:
        policy = policy_of_init(definition, policy)
    match container.state:
        case "running":
            running = {"startedAt": format_time(container.started)} if container.started else {}
            status["state"] = {"running": running}
            started = is_started(definition, container, memory)
            status["started"] = started
            status["ready"] = (
                started
                and not (init and not is_sidecar(definition))  # those are ready when they have succeeded
                and (definition.readiness_probe is None or memory.ready.get(container.id, False))
            )
        case "exited":
            waiting = memory.waiting.get(definition.name)
            over = pod.metadata.deletion_timestamp is not None or memory.over
            if not over and is_resized(container, memory):
                # As far as its Pod is concerned it has not ended: the policy may be not to start again what succeeds.
                reason, message = waiting or ("ContainerCreating", "")
                status["state"] = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
                status["lastState"] = how_it_ended(container, memory)
            elif (
                not over
                and restarts(definition, container, policy)
                and (waiting or wait_left(container, now) > 0)
            ):
                delay = _go_seconds(backoff_of(container))
                reason, message = waiting or (
                    "CrashLoopBackOff",
                    f"back-off {delay} restarting failed container={definition.name} pod={in_full(pod)}",
                )
                status["state"] = {"waiting": {"reason": reason, "message": message}}
                status["lastState"] = how_it_ended(container, memory)
            else:
                status["state"] = how_it_ended(container, memory)
            if init and container.exit_code == 0:
                status["ready"] = True
        case _:
            status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    return status


def _removed(pod: Pod, definition: ContainerDefinition) -> Tree:
    """Return the status of an init container that must have run, but of which the runtime knows no more."""
    told: Tree = codec.to_tree(pod).get("status", {})
    for known in told.get("initContainerStatuses", ()):
        if known["name"] == definition.name and "terminated" in known.get("state", {}):
            found: Tree = known
            return found
    ended = {
        "exitCode": 0,
        "reason": "Completed",
        "message": "Unable to get init container status from container runtime and pod has been initialized,"
        " treat it as exited normally",
    }
    return {
        "name": definition.name,
        "image": definition.image,
        "imageID": "",
        "ready": True,
        "started": False,
        "restartCount": 0,
        "state": {"terminated": ended},
        "lastState": {},
    }


def _go_seconds(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def pod_status(
    pod: Pod, containers: Sequence[Container], memory: Memory, *, address: str, host: str, now: datetime
) -> Tree:
    """Return the status of a Pod, whose containers ask for what the node has allocated."""
    last, before = latest(containers), previous(containers)
    done = initialized(pod, last, memory)
    phase = phase_of(pod, last, memory)
    status: Tree = {"phase": phase, "hostIP": host, "hostIPs": [{"ip": host}]}
    if address:
        status["podIP"] = address
        status["podIPs"] = [{"ip": address}]
    status["startTime"] = format_time(pod.status.start_time or now)
    inits: list[Tree] = []
    has_begun = any(d.name in last for d in pod.spec.containers)
    if pod.spec.init_containers:
        status["initContainerStatuses"] = inits = [
            _removed(pod, d)
            if d.name not in last and has_begun and not is_sidecar(d)
            else container_status(
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
    if pod.spec.resources is not None:
        status["resources"] = _tree(pod.spec.resources)
        status["allocatedResources"] = dict(pod.spec.resources.requests)
    if memory.evicted is not None:
        status["reason"], status["message"] = "Evicted", memory.evicted
    elif memory.deadline_exceeded:
        status["reason"] = "DeadlineExceeded"
        status["message"] = "Pod was active on the node longer than the specified deadline"
    over = phase in ("Succeeded", "Failed")
    sidecars = [s for d, s in zip(pod.spec.init_containers, inits, strict=True) if is_sidecar(d)]
    unready = [s["name"] for s in (*sidecars, *statuses) if not s["ready"]]
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
    # Sidecars that are started again take nothing back once what they are for has begun.
    begun_before = has_begun or any(d.name in memory.past for d in pod.spec.containers)
    if not done and not begun_before and phase != "Succeeded":
        missing = [
            s["name"]
            for d, s in zip(pod.spec.init_containers, inits, strict=True)
            if not s["started" if is_sidecar(d) else "ready"]
        ]
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
    if could_restart_all(pod):
        wanted[RESTARTING] = _restarting(phase, memory)
    if memory.evicted is not None:
        wanted["DisruptionTarget"] = {
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": memory.evicted,
        }
    shut = ", ".join(_shut_gates(pod))
    if shut and wanted["Ready"]["status"] == "True":
        wanted["Ready"] = {"status": "False", "reason": "ReadinessGatesNotReady", "message": shut}
    generation = pod.metadata.generation
    if generation:
        status["observedGeneration"] = generation
        wanted = {kind: {**condition, "observedGeneration": generation} for kind, condition in wanted.items()}
    wanted |= {condition["type"]: condition for condition in memory.resizing}
    status["conditions"] = _conditions(pod, wanted, now)
    return status


def _restarting(phase: str, memory: Memory) -> Tree:
    """Return the condition that tells whether all containers are being ended, to be started anew."""
    if over := {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase):
        return {"status": "False", "reason": over}
    if memory.restarting:
        return {
            "status": "True",
            "reason": "RestartAllContainersStarted",
            "message": "container exited with restart policy rule",
        }
    return {"status": "False"}


def _tree(model: ResourceRequirements | PodCondition) -> Tree:
    found: Tree = msgspec.to_builtins(model)
    return found


def _shut_gates(pod: Pod) -> Iterator[str]:
    """Yield what keeps a Pod from being ready beside its containers."""
    found = {condition.type: condition.status for condition in pod.status.conditions}
    for gate in pod.spec.readiness_gates:
        kind = gate.condition_type
        if kind not in found:
            yield f'corresponding condition of pod readiness gate "{kind}" does not exist.'
        elif found[kind] != "True":
            yield f'the status of pod readiness gate "{kind}" is not "True", but {found[kind]}'


def _conditions(pod: Pod, wanted: Mapping[str, Tree], now: datetime) -> list[Tree]:
    """Return the conditions; those whose status is as it was keep the time of their last transition."""
    known = {condition.type: condition for condition in pod.status.conditions}
    conditions: list[Tree] = []
    for kind, condition in wanted.items():
        old = known.pop(kind, None)
        since = old.last_transition_time if old is not None and old.status == condition["status"] else None
        conditions.append({"type": kind, **condition, "lastTransitionTime": format_time(since or now)})
    # Those of others stay as they are. Of a resize there are some only while it is under way.
    conditions += [_tree(other) for kind, other in known.items() if kind not in RESIZE_CONDITIONS]
    return conditions
