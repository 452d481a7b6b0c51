"""One look of the planner at Jobs in many states, as a table."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubelib.api.batch import Job, JobCondition, JobStatus
from kubelib.api.core.container_status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
)
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.model import replace
from kubelib.controllers.jobs.planning import Backoffs, Plan, plan
from kubelib.controllers.jobs.pods import finished_at, new_pod
from kubelib.testing.objects import CONTAINER, make_pod, make_pod_status
from tests.controllers.jobs.workers import INDEX, ended, index_of, make_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)


def pods(job: Job, text: str) -> list[Pod]:
    """Pods by phase, of a Job with indexes with theirs before it, `x` for none: "RRF", "0S 1F xR". T is terminating."""
    words = text.split() if job.spec.completion_mode == "Indexed" else list(text)
    return [_pod(job, number, word[:-1], word[-1]) for number, word in enumerate(words)]


def _pod(job: Job, number: int, index: str, phase: str) -> Pod:
    pod = new_pod(job, int(index) if index.isdecimal() else None)
    meta = replace(pod.metadata, name=f"p{number}", uid=f"p{number}", creation_timestamp=LONG_AGO)
    if index == "x":
        meta = replace(meta, annotations={INDEX: "invalid"})
    status = {
        "P": make_pod_status("Pending"),
        "R": make_pod_status("Running"),
        "T": make_pod_status("Running"),
        "S": ended(0, LONG_AGO),
        "F": ended(1, LONG_AGO),
    }[phase]
    if phase == "T":
        meta = replace(meta, deletion_timestamp=LONG_AGO)
    return replace(pod, metadata=meta, status=status)


def look(text: str, parallelism: int, completions: int | None, **how: Any) -> tuple[Plan, list[Pod]]:
    acting, backoffs = how.pop("acting", True), how.pop("backoffs", Backoffs())
    conditions, deleting = how.pop("conditions", ()), how.pop("deleting", False)
    job = make_job(parallelism=parallelism, completions=completions, **{"backoff_limit": 6, **how})
    job = replace(job, status=JobStatus(conditions=conditions))
    if deleting:
        job = replace(job, metadata=replace(job.metadata, deletion_timestamp=NOW))
    there = pods(job, text)
    return plan(job, there, backoffs, NOW, acting=acting), there


def true_conditions(step: Plan) -> dict[str, str]:
    return {c.type: c.reason for c in step.status.conditions if c.status == "True"}


BACKING_OFF = Backoffs(1, NOW)
ONLY_FAILED = {"pod_replacement_policy": "Failed"}
ANYWAY = {"pod_replacement_policy": "TerminatingOrFailed"}
REACHED = {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
EXCEEDED = "BackoffLimitExceeded"
SUSPENDED = {"Suspended": "JobSuspended"}


@pytest.mark.parametrize(
    ("text", "parallelism", "completions", "how", "creates", "deletes", "conditions"),
    [
        ("", 2, 5, {}, 2, 0, {}),
        ("", 2, None, {}, 2, 0, {}),
        ("PR", 2, 5, {}, 0, 0, {}),
        ("RR", 2, None, {}, 0, 0, {}),
        ("RS", 2, 5, {}, 1, 0, {}),
        ("R", 2, None, {}, 1, 0, {}),
        ("", 1, 1, {"backoffs": BACKING_OFF}, 0, 0, {}),
        ("", 1, 1, {"backoffs": Backoffs(0, NOW)}, 1, 0, {}),
        ("RTTTT", 2, 5, ONLY_FAILED, 0, 0, {}),
        ("RT", 2, 5, ANYWAY, 1, 0, {}),
        ("RRTTTT", 1, 1, ONLY_FAILED, 0, 1, {}),
        ("RRR", 2, 5, {}, 0, 1, {}),
        ("R" * 10, 2, 5, {}, 0, 8, {}),
        ("RRRSS", 3, 4, {}, 0, 1, {}),
        ("RRSS", 2, 5, {}, 0, 0, {}),
        ("RSF", 2, 5, {}, 1, 0, {}),
        ("RF", 2, 5, {}, 1, 0, {}),
        ("RS", 2, None, {}, 0, 0, {}),
        ("RRF", 2, 3, {"backoff_limit": 0}, 0, 2, {"FailureTarget": EXCEEDED}),
        ("PRS", 2, 5, {"deleting": True}, 0, 0, {}),
        ("F", 2, 5, {"deleting": True, "backoff_limit": 0}, 0, 0, {"FailureTarget": EXCEEDED}),
        ("F", 2, 5, {"deleting": True, "backoff_limit": 0, "acting": False}, 0, 0, {}),
        ("RR", 2, 4, {"suspend": True}, 0, 2, SUSPENDED),
        ("RRR", 2, 4, {"suspend": True, "acting": False}, 0, 0, {}),
        ("RR", 2, 4, {"suspend": True, "deleting": True}, 0, 0, {}),
        ("", 2, 4, {"conditions": (JobCondition(type="Suspended", status="True"),)}, 2, 0, {}),
        ("R", 1, 1, {"conditions": (JobCondition(type="FailureTarget", status="False"),)}, 0, 0, {}),
        ("R", 1, 1, {"conditions": (JobCondition(type="SuccessCriteriaMet", status="False"),)}, 0, 0, {}),
    ],
)
def test_what_one_look_does(
    text: str,
    parallelism: int,
    completions: int | None,
    how: dict[str, Any],
    creates: int,
    deletes: int,
    conditions: dict[str, str],
) -> None:
    step, _ = look(text, parallelism, completions, **how)
    assert (len(step.create), len(step.remove) + len(step.end)) == (creates, deletes)
    assert true_conditions(step) == conditions


@pytest.mark.parametrize(
    ("text", "parallelism", "completions"),
    [("SSSSS", 2, 5), ("SS", 2, None), ("SF", 2, None), ("0S 1F 1S 2S", 2, 3)],
)
def test_a_job_that_has_enough_is_complete_once_all_are_counted(
    text: str, parallelism: int, completions: int | None
) -> None:
    mode = {"completion_mode": "Indexed"} if " " in text else {}
    step, there = look(text, parallelism, completions, **mode)
    assert (step.create, step.remove, step.end) == ((), (), ())
    assert true_conditions(step) == {"SuccessCriteriaMet": "CompletionsReached"}
    job = replace(make_job(parallelism=parallelism, completions=completions, **mode), status=step.status)
    free = [replace(pod, metadata=replace(pod.metadata, finalizers=())) for pod in there]
    after = plan(job, free, step.backoffs, NOW).status
    assert {c.type: c.reason for c in after.conditions} == REACHED
    assert (after.succeeded, after.failed) == (text.count("S"), text.count("F"))


@pytest.mark.parametrize(
    ("text", "parallelism", "completions", "how", "creates", "deletes", "completed"),
    [
        ("", 2, 5, {}, [0, 1], [], ""),
        ("0T", 2, 5, ONLY_FAILED, [1], [], ""),
        ("0T", 2, 5, ANYWAY, [0, 1], [], ""),
        ("0S 1S 1S", 2, 3, {}, [2], [], "0,1"),
        ("0R 2S 3P 4S 5S 7S 8S 9S", 8, 20, {}, [1, 6, 10, 11, 12, 13], [], "2,4,5,7-9"),
        ("0F 1P 2F", 3, 4, {}, [0, 2], [], ""),
        ("xR xS xF xP 0S 1R 2R", 2, 5, {}, [], ["p0", "p3"], "0"),
        ("xR 0S 1R 2R 2P", 5, 5, {}, [], ["p0", "p4"], "0"),
        ("0S 5R 6S 7P 8F", 2, 5, {}, [], ["p1", "p3"], "0"),
        ("0S 1F 2R", 2, 3, {"backoff_limit": 0}, [], ["p2"], "0"),
        ("0P 1R 2R 3P", 4, 4, {}, [], [], ""),
        ("5P 0R 3P 0R 3R 0P 6R 6P", 6, 6, {}, [], ["p2", "p5", "p6", "p7", "one of 0"], ""),
    ],
)
def test_which_indexes_one_look_makes_and_takes_away(
    text: str,
    parallelism: int,
    completions: int,
    how: dict[str, Any],
    creates: list[int],
    deletes: list[str],
    completed: str,
) -> None:
    step, _ = look(text, parallelism, completions, completion_mode="Indexed", **how)
    assert [index_of(pod) for pod in step.create] == creates
    gone = {pod.metadata.name for pod in (*step.remove, *step.end)}
    if "one of 0" in deletes:
        assert len(gone & {"p1", "p3"}) == 1
        gone, deletes = gone - {"p1", "p3"}, deletes[:-1]
    assert gone == set(deletes)
    assert step.status.completed_indexes == completed


def ran(*ends: datetime | None, **of: Any) -> dict[str, Any]:
    """Containers that have ended, of None it is not known when; `running` adds one that has not."""
    states = [
        ContainerState(terminated=ContainerStateTerminated(exit_code=1, finished_at=end)) for end in ends
    ]
    states += [ContainerState(running=ContainerStateRunning())] if of.get("running") else []
    return {
        "container_statuses": tuple(
            ContainerStatus(name=f"c{number}", state=state) for number, state in enumerate(states)
        )
    }


def ready(status: str, since: datetime) -> dict[str, Any]:
    return {"conditions": (PodCondition(type="Ready", status=status, last_transition_time=since),)}


THEN, BEFORE = NOW - timedelta(minutes=5), NOW - timedelta(minutes=6)


@pytest.mark.parametrize(
    ("status", "metadata"),
    [
        (ran(BEFORE, THEN), {}),
        (ran(BEFORE, running=True), {"deletion_timestamp": THEN}),
        (
            ran(running=True),
            {"deletion_timestamp": THEN + timedelta(seconds=30), "deletion_grace_period_seconds": 30},
        ),
        ({**ran(None), **ready("False", THEN)}, {}),
        ({**ran(None), **ready("True", BEFORE)}, {"deletion_timestamp": THEN}),
        (ran(None), {"creation_timestamp": THEN}),
        (
            {
                **ran(BEFORE),
                "init_container_statuses": (replace(ran(THEN)["container_statuses"][0], name="sidecar"),),
            },
            {},
        ),
    ],
)
def test_a_pod_has_ended_with_its_last_container_or_when_it_was_deleted(
    status: dict[str, Any], metadata: dict[str, Any]
) -> None:
    sidecar = replace(CONTAINER, name="sidecar", restart_policy="Always")
    pod = make_pod("a", init_containers=(sidecar,), metadata={"creation_timestamp": LONG_AGO, **metadata})
    assert finished_at(replace(pod, status=replace(pod.status, phase="Failed", **status)), NOW) == THEN
