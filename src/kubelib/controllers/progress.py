"""How a rollout fares: the status of a Deployment and its conditions, pure."""

from collections.abc import Sequence
from datetime import datetime

from kubelib.api.apps import Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet
from kubelib.api.model import replace
from kubelib.api.times import later
from kubelib.controllers.rollout import NO_LIMIT, is_complete, max_unavailable, size_of, wanted_replicas

AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
CREATED, FOUND, CREATE_FAILED = "NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetCreateError"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"

Conditions = tuple[DeploymentCondition, ...]


def has_deadline(deployment: Deployment) -> bool:
    """Return whether a lack of progress is to be noticed."""
    return deployment.spec.progress_deadline_seconds not in (None, NO_LIMIT)


def find(conditions: Conditions, type: str) -> DeploymentCondition | None:
    """Return the condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type), None)


def drop(conditions: Conditions, type: str) -> Conditions:
    """Return the conditions without one type."""
    return tuple(condition for condition in conditions if condition.type != type)


def set_condition(
    conditions: Conditions, type: str, status: str, reason: str, message: str, now: datetime
) -> Conditions:
    """Return the conditions with one set; unchanged if status and reason are what they were."""
    current = find(conditions, type)
    if current is not None and current.status == status and current.reason == reason:
        return conditions
    now = now.replace(microsecond=0)
    same = current is not None and current.status == status
    condition = DeploymentCondition(
        type=type,
        status=status,
        reason=reason,
        message=message,
        last_update_time=now,
        last_transition_time=current.last_transition_time if same and current is not None else now,
    )
    return (*drop(conditions, type), condition)


def count(deployment: Deployment, sets: Sequence[ReplicaSet], new: ReplicaSet | None) -> DeploymentStatus:
    """Return the status' numbers; its conditions are those that the deployment has."""
    available = sum(s.status.available_replicas for s in sets)
    # One that has not been counted yet makes the sum unknown.
    terminating = [s.status.terminating_replicas for s in sets]
    return replace(
        deployment.status,
        observed_generation=deployment.metadata.generation,
        replicas=sum(s.status.replicas for s in sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(s.status.ready_replicas for s in sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(map(size_of, sets)) - available),
        terminating_replicas=None if None in terminating else sum(filter(None, terminating)),
    )


def status_of(
    deployment: Deployment,
    sets: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    now: datetime,
    *,
    rolling: bool,
) -> DeploymentStatus:
    """Return the status. While `rolling`, progress is judged too."""
    status = count(deployment, sets, new)
    conditions = status.conditions
    if status.available_replicas >= wanted_replicas(deployment) - max_unavailable(deployment):
        conditions = set_condition(
            conditions,
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        )
    else:
        conditions = set_condition(
            conditions,
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    status = replace(status, conditions=conditions)
    if rolling:
        conditions = _judge_progress(deployment, status, new, now)
        conditions = _with_failure(conditions, sets, new, now)
    return replace(status, conditions=conditions)


def _judge_progress(
    deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, now: datetime
) -> Conditions:
    conditions = status.conditions
    if not has_deadline(deployment):
        return drop(conditions, PROGRESSING)
    current = find(conditions, PROGRESSING)
    if (
        current is not None
        and current.reason == NEW_SET_AVAILABLE
        and status.replicas == status.updated_replicas
    ):
        return conditions  # was complete: losing a pod later is no rollout
    name = (
        f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    )
    if is_complete(deployment, status):
        message = f"{name} has successfully progressed."
        return set_condition(conditions, PROGRESSING, "True", NEW_SET_AVAILABLE, message, now)
    if _has_progressed(deployment.status, status):
        seconds = now.replace(microsecond=0)
        keep = current is not None and current.status == "True"
        condition = DeploymentCondition(
            type=PROGRESSING,
            status="True",
            reason="ReplicaSetUpdated",
            message=f"{name} is progressing.",
            last_update_time=seconds,
            last_transition_time=current.last_transition_time if keep and current is not None else seconds,
        )
        return (*drop(conditions, PROGRESSING), condition)
    if has_timed_out(deployment, conditions, now):
        message = f"{name} has timed out progressing."
        return set_condition(conditions, PROGRESSING, "False", TIMED_OUT, message, now)
    return conditions


def _has_progressed(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def has_timed_out(deployment: Deployment, conditions: Conditions, now: datetime) -> bool:
    """Return whether there has been no progress for longer than the deadline allows."""
    current, deadline = find(conditions, PROGRESSING), deployment.spec.progress_deadline_seconds
    if current is None or deadline is None or current.reason == NEW_SET_AVAILABLE:
        return False
    if current.reason == TIMED_OUT:
        return True
    since = current.last_update_time
    return since is not None and later(since, deadline) < now


def seconds_until_stuck(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Return when to look again, lest a stuck rollout go unnoticed; None if there is nothing to wait for."""
    current, deadline = find(status.conditions, PROGRESSING), deployment.spec.progress_deadline_seconds
    if current is None or deadline is None or not has_deadline(deployment):
        return None
    if is_complete(deployment, status) or current.reason in (TIMED_OUT, NEW_SET_AVAILABLE):
        return None
    if current.last_update_time is None:
        return None
    left = (later(current.last_update_time, deadline) - now).total_seconds()
    return max(left, 0) + 1


def _with_failure(
    conditions: Conditions, sets: Sequence[ReplicaSet], new: ReplicaSet | None, now: datetime
) -> Conditions:
    """Pass on that a ReplicaSet cannot make its pods, the new one's trouble first."""
    for replica_set in (*((new,) if new is not None else ()), *sets):
        for condition in replica_set.status.conditions:
            if condition.type == FAILURE and condition.status == "True":
                since = condition.last_transition_time or now
                return set_condition(conditions, FAILURE, "True", condition.reason, condition.message, since)
    return drop(conditions, FAILURE)


def paused_or_resumed(deployment: Deployment, now: datetime) -> Conditions:
    """Return the conditions, in which pausing and resuming stop the clock of the progress deadline."""
    conditions = deployment.status.conditions
    if not has_deadline(deployment):
        return conditions
    current = find(conditions, PROGRESSING)
    if current is not None and current.reason == TIMED_OUT:
        return conditions
    known = current is not None and current.reason == PAUSED
    if deployment.spec.paused and not known:
        return set_condition(conditions, PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now)
    if not deployment.spec.paused and known:
        return set_condition(conditions, PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now)
    return conditions
