"""The decisions about a Pod, as tables and as promises about all histories."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api import codec
from kubelib.api.core.pod import Pod, PodCondition, PodReadinessGate, PodStatus
from kubelib.api.core.probes import ExecAction, Probe
from kubelib.api.model import replace
from kubelib.runtime.base import Container, ContainerId
from kubelib.runtime.lifecycle import (
    BACKOFF,
    Condemnation,
    Forget,
    Kill,
    Memory,
    Start,
    StopAll,
    backoff_of,
    latest,
    next_step,
    phase_of,
    previous,
)
from kubelib.runtime.statuses import pod_status
from kubelib.testing.objects import make_pod
from tests.runtime.conftest import container

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def running(name: str = "main", attempt: int = 0) -> Container:
    return Container(
        id=ContainerId(f"{name}-{attempt}"),
        name=name,
        image="run",
        attempt=attempt,
        state="running",
        started=NOW - timedelta(seconds=60),
    )


def exited(
    name: str = "main",
    code: int = 0,
    attempt: int = 0,
    ago: float = 0.0,
    ran: float = 60.0,
    backoff: float = 0.0,
) -> Container:
    finished = NOW - timedelta(seconds=ago)
    return attrs.evolve(
        running(name, attempt),
        state="exited",
        exit_code=code,
        reason="Completed" if code == 0 else "Error",
        started=finished - timedelta(seconds=ran),
        finished=finished,
        annotations={BACKOFF: f"{backoff:g}"},
    )


def pod(policy: str = "Always", **spec: Any) -> Pod:
    spec.setdefault("containers", (container(),))
    return make_pod("a", uid="uid", restart_policy=policy, **spec)


def steps(pod: Pod, *containers: Container, memory: Memory | None = None) -> list[str]:
    """Return what would be done, shortly."""
    found = []
    for step in next_step(pod, containers, memory or Memory(), NOW).steps:
        match step:
            case Start(definition, attempt):
                found.append(f"start {definition.name} {attempt}")
            case Kill(container):
                found.append(f"kill {container.name}")
            case StopAll():
                found.append("stop all")
            case Forget():
                found.append("forget")
    return found


SIDECAR = {"restart_policy": "Always"}
STARTUP = Probe(exec=ExecAction(command=("up",)))


@pytest.mark.parametrize(
    ("policy", "containers", "expected"),
    [
        ("Always", [], ["start main 0"]),
        ("Always", [running()], []),
        ("Always", [exited(code=0)], ["start main 1"]),
        ("Always", [exited(code=1)], ["start main 1"]),
        ("Always", [exited(code=1, attempt=3, backoff=40, ago=39)], []),
        ("Always", [exited(code=1, attempt=3, backoff=40, ago=40)], ["start main 4"]),
        ("OnFailure", [exited(code=0)], []),
        ("OnFailure", [exited(code=1)], ["start main 1"]),
        ("Never", [exited(code=1)], []),
        ("Never", [exited(code=0)], []),
        ("Always", [exited(code=1), running(attempt=1)], []),
    ],
)
def test_restart_policies(policy: str, containers: list[Container], expected: list[str]) -> None:
    assert steps(pod(policy), *containers) == expected


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([], ["start one 0"]),
        ([running("one")], []),
        ([exited("one", 1)], ["start one 1"]),
        ([exited("one")], ["start side 0"]),
        ([exited("one"), running("side")], ["start two 0"]),
        ([exited("one"), exited("side", 1)], ["start side 1"]),
        ([exited("one"), running("side"), running("two")], []),
        ([exited("one"), running("side"), exited("two")], ["start main 0", "start other 0"]),
        ([exited("one"), running("side"), exited("two"), running("main")], ["start other 0"]),
        (
            [exited("one"), running("side"), exited("two"), exited("main", 1), running("other")],
            ["start main 1"],
        ),
        # What is known of the last one is known of all before it: they may have been removed.
        ([running("two")], ["start side 0"]),
        ([running("side"), exited("two")], ["start main 0", "start other 0"]),
        ([exited("two"), exited("main", 1)], ["start side 0", "start main 1", "start other 0"]),
        ([running("side"), running("main"), running("other")], []),
        ([running("main")], ["start side 0", "start other 0"]),
        # Once there is something to run beside, a sidecar holds up nothing, also while it waits to be started again.
        (
            [
                exited("one"),
                exited("side", 1, backoff=40, ago=1),
                exited("two"),
                exited("main"),
                running("other"),
            ],
            ["start main 1"],
        ),
        (
            [exited("one"), exited("side", 1), exited("two", 1)],
            ["start side 1", "start two 1"],
        ),
    ],
)
def test_init_containers_and_sidecars_come_in_order(containers: list[Container], expected: list[str]) -> None:
    init = (container("one"), container("side", **SIDECAR), container("two"))
    made = pod(init_containers=init, containers=(container("main"), container("other")))
    assert steps(made, *containers) == expected


def test_a_sidecar_that_keeps_failing_keeps_no_probe_from_having_other_containers_restarted() -> None:
    made = pod(init_containers=(container("side", **SIDECAR),))
    memory = Memory(condemned={ContainerId("main-0"): Condemnation("liveness", "no answer")})
    failed = exited("side", 1, backoff=300, ago=1)
    assert steps(made, failed, running(), memory=memory) == ["kill main"]


def test_an_init_container_that_was_removed_is_told_as_it_was_or_as_one_that_has_succeeded() -> None:
    made = pod(init_containers=(container("one"), container("two")))
    told = pod_status(made, [running()], Memory(), address="", host="", now=NOW)
    for one in told["initContainerStatuses"]:
        assert one["ready"] is True
        assert one["state"]["terminated"] == {
            "exitCode": 0,
            "reason": "Completed",
            "message": "Unable to get init container status from container runtime and pod has been initialized,"
            " treat it as exited normally",
        }
    before = pod_status(
        made, [exited("one", attempt=1), exited("two"), running()], Memory(), address="", host="", now=NOW
    )
    known = codec.decode(Pod, json.dumps(codec.to_tree(made) | {"status": before}).encode())
    after = pod_status(known, [exited("two"), running()], Memory(), address="", host="", now=NOW)
    assert after["initContainerStatuses"][0]["state"] == before["initContainerStatuses"][0]["state"]
    assert after["initContainerStatuses"][0]["restartCount"] == 1


def test_a_sidecar_with_a_startup_probe_holds_up_what_follows_until_it_has_started() -> None:
    made = pod(init_containers=(container("side", **SIDECAR, startup_probe=STARTUP),))
    assert steps(made, running("side")) == []
    memory = Memory(started={"side-0": True})
    assert steps(made, running("side"), memory=memory) == ["start main 0"]


def test_a_condemned_container_is_killed_and_a_healthy_one_is_not() -> None:
    made = pod(containers=(container("main"), container("other")))
    memory = Memory(condemned={"main-0": Condemnation("liveness", "dead")})
    assert steps(made, running("main"), running("other"), memory=memory) == ["kill main"]
    assert steps(made, exited("main", 137), running("main", 1), running("other"), memory=memory) == []


def test_a_pod_that_is_deleted_or_over_stops_and_a_deleted_one_is_forgotten() -> None:
    deleted = pod()
    deleted = replace(deleted, metadata=replace(deleted.metadata, deletion_timestamp=NOW))
    assert steps(deleted, running()) == ["stop all"]
    assert steps(deleted, exited()) == ["forget"]
    assert steps(deleted) == ["forget"]
    sidecar = pod("Never", init_containers=(container("side", **SIDECAR),))
    assert steps(sidecar, running("side"), exited("main")) == ["stop all"]
    assert steps(sidecar, exited("side", 137), exited("main")) == []
    assert steps(pod(), running(), memory=Memory(deadline_exceeded=True)) == ["stop all"]


def test_a_pod_that_has_ended_never_starts_again() -> None:
    for phase in ("Succeeded", "Failed"):
        over = replace(pod(), status=PodStatus(phase=phase))
        assert steps(over) == []
        assert steps(over, exited(code=1)) == []


@pytest.mark.parametrize(
    ("policy", "containers", "phase"),
    [
        ("Always", [], "Pending"),
        ("Always", [running("main")], "Pending"),
        ("Always", [running("main"), running("other")], "Running"),
        ("Always", [running("main"), exited("other")], "Running"),
        ("Always", [exited("main"), exited("other")], "Running"),
        ("Never", [exited("main"), running("other")], "Running"),
        ("Never", [exited("main", 1), running("other")], "Running"),
        ("Never", [exited("main"), exited("other")], "Succeeded"),
        ("Never", [exited("main", 1), exited("other")], "Failed"),
        ("OnFailure", [exited("main", 1), exited("other")], "Running"),
        ("OnFailure", [exited("main"), exited("other")], "Succeeded"),
    ],
)
def test_phases(policy: str, containers: list[Container], phase: str) -> None:
    made = pod(policy, containers=(container("main"), container("other")))
    assert phase_of(made, latest(containers), Memory()) == phase


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
@pytest.mark.parametrize(
    ("containers", "phase"),
    [
        ([exited("main"), running("other")], "Running"),
        ([exited("main"), exited("other")], "Succeeded"),
        ([exited("main", 137), exited("other")], "Failed"),
        ([], "Pending"),
    ],
)
def test_a_pod_that_is_deleted_has_ended_as_its_containers_did(
    policy: str, containers: list[Container], phase: str
) -> None:
    made = pod(policy, containers=(container("main"), container("other")))
    goes = replace(made, metadata=replace(made.metadata, deletion_timestamp=NOW))
    assert phase_of(goes, latest(containers), Memory()) == phase


def test_a_pod_that_has_run_is_not_pending_again_when_a_container_has_to_be_made_anew() -> None:
    made = replace(pod(containers=(container("main"), container("other"))), status=PodStatus(phase="Running"))
    assert phase_of(made, latest([running("main")]), Memory()) == "Running"


def conditions_of(made: Pod, *containers: Container) -> dict[str, tuple[str, str, str]]:
    """Return the conditions of a Pod's status, by type: status, reason and message."""
    status = pod_status(made, containers, Memory(), address="10.0.0.1", host="10.0.0.2", now=NOW)
    return {c["type"]: (c["status"], c.get("reason", ""), c.get("message", "")) for c in status["conditions"]}


def test_sidecars_count_for_readiness_and_a_pod_that_has_begun_stays_initialized() -> None:
    probe = Probe(exec=ExecAction(command=("check",)))
    made = pod(init_containers=(container("one"), container("side", readiness_probe=probe, **SIDECAR)))
    unready = ("False", "ContainersNotReady", "containers with unready status: [side main]")
    found = conditions_of(made, exited("one"), running("side"))
    assert found["Ready"] == found["ContainersReady"] == unready
    assert found["Initialized"] == ("True", "", "")
    found = conditions_of(made, exited("one"), running("side"), running("main"))
    assert found["Ready"] == ("False", "ContainersNotReady", "containers with unready status: [side]")
    again = conditions_of(made, exited("one"), exited("side"), running("main"))
    assert again["Initialized"] == ("True", "", "")
    waits = conditions_of(made, running("one"))
    why = "containers with incomplete status: [one side]"
    assert waits["Initialized"] == ("False", "ContainersNotInitialized", why)


def test_a_pod_whose_init_container_failed_for_good_is_not_initialized() -> None:
    made = pod("Never", init_containers=(container("one"), container("two")))
    found = conditions_of(made, exited("one", 1))
    why = "containers with incomplete status: [one two]"
    assert found["Initialized"] == ("False", "ContainersNotInitialized", why)
    assert found["Ready"] == found["ContainersReady"] == ("False", "PodFailed", "")


def test_gates_say_which_of_them_are_shut_and_why() -> None:
    gates = tuple(PodReadinessGate(condition_type=f"example.com/{name}") for name in ("a", "b", "c"))
    said = (("a", "True"), ("c", "False"))
    known = tuple(PodCondition(type=f"example.com/{name}", status=status) for name, status in said)
    made = replace(pod(readiness_gates=gates), status=PodStatus(conditions=known))
    found = conditions_of(made, running())
    assert found["ContainersReady"] == ("True", "", "")
    missing = 'corresponding condition of pod readiness gate "example.com/b" does not exist.'
    shut = 'the status of pod readiness gate "example.com/c" is not "True", but False'
    assert found["Ready"] == ("False", "ReadinessGatesNotReady", f"{missing}, {shut}")


def test_a_running_init_container_is_started_and_not_ready() -> None:
    made = pod(init_containers=(container("one"),))
    status = pod_status(made, [running("one")], Memory(), address="", host="", now=NOW)
    [one] = status["initContainerStatuses"]
    assert (one["started"], one["ready"]) == (True, False)


def test_the_end_of_a_back_off_is_when_to_look_again() -> None:
    decision = next_step(pod(), [exited(code=1, attempt=2, backoff=20, ago=5)], Memory(), NOW)
    assert decision.steps == ()
    assert decision.look_again == pytest.approx(15)


@given(st.lists(st.tuples(st.floats(0.1, 2000), st.integers(0, 1)), min_size=2, max_size=20))
def test_back_offs_double_from_10_to_300_and_start_over_after_a_long_life(
    lives: list[tuple[float, int]],
) -> None:
    waits: list[tuple[float, Container]] = []
    containers: list[Container] = []
    now = NOW
    made = pod()
    for ran, code in lives:
        decision = next_step(made, containers, Memory(), now)
        if containers:
            assert (decision.look_again or 0.0) == pytest.approx(backoff_of(containers[-1]), abs=1e-3)
            waits.append((backoff_of(containers[-1]), containers[-1]))
            now += timedelta(seconds=decision.look_again or 0.0)
            decision = next_step(made, containers, Memory(), now)
        [step] = decision.steps
        assert isinstance(step, Start)
        assert step.attempt == len(containers)
        finished = now + timedelta(seconds=ran)
        containers.append(
            attrs.evolve(
                exited(code=code, attempt=step.attempt, backoff=step.backoff), started=now, finished=finished
            )
        )
        now = finished
    for (before, _), (after, last) in pairwise(waits):
        assert last.started is not None and last.finished is not None
        if last.finished - last.started > timedelta(minutes=10):
            assert after == 0
        else:
            assert after == min(300, max(10, before * 2))


histories = st.lists(
    st.tuples(
        st.sampled_from(["one", "side", "main", "other"]),
        st.sampled_from(["running", "ended", "failed"]),
        st.integers(0, 2),
    ),
    unique_by=lambda entry: (entry[0], entry[2]),
)


@given(histories, st.sampled_from(["Always", "OnFailure", "Never"]), st.booleans())
def test_whatever_has_happened_decisions_and_status_agree(
    history: list[tuple[str, str, int]], policy: str, deleted: bool
) -> None:
    def made(name: str, state: str, attempt: int) -> Container:
        return running(name, attempt) if state == "running" else exited(name, int(state == "failed"), attempt)

    containers = [made(*entry) for entry in history]
    init = (container("one"), container("side", **SIDECAR))
    subject = pod(policy, init_containers=init, containers=(container("main"), container("other")))
    if deleted:
        subject = replace(subject, metadata=replace(subject.metadata, deletion_timestamp=NOW))
    last = latest(containers)
    decision = next_step(subject, containers, Memory(), NOW)
    starting = [step for step in decision.steps if isinstance(step, Start)]
    assert not (deleted and starting)
    for step in starting:
        current = last.get(step.container.name)
        assert current is None or current.state != "running"
        assert step.attempt == (0 if current is None else current.attempt + 1)
    phase = phase_of(subject, last, Memory())
    if phase in ("Succeeded", "Failed"):
        assert not starting
    status = pod_status(subject, containers, Memory(), address="127.244.0.2", host="127.0.0.1", now=NOW)
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    [_, side] = status["initContainerStatuses"]
    ready = all(s["ready"] for s in (side, *status["containerStatuses"]))
    assert (conditions["ContainersReady"] == "True") == (ready and phase not in ("Succeeded", "Failed"))
    assert status["phase"] == phase
    for each in (*status["initContainerStatuses"], *status["containerStatuses"]):
        assert len(each["state"]) == 1
        assert each["restartCount"] == (last[each["name"]].attempt if each["name"] in last else 0)


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = pod_status(pod(), [running()], Memory(), address="1", host="2", now=NOW)
    assert {c["lastTransitionTime"] for c in first["conditions"]} == {"2026-01-01T12:00:00Z"}
    tree = codec.to_tree(pod()) | {"status": first}
    later = pod_status(
        codec.decode(Pod, json.dumps(tree).encode()),
        [exited(code=1, ago=1)],
        Memory(),
        address="1",
        host="2",
        now=NOW + timedelta(hours=1),
    )
    times = {c["type"]: c["lastTransitionTime"] for c in later["conditions"]}
    assert times["Ready"] == "2026-01-01T13:00:00Z"
    assert times["Initialized"] == "2026-01-01T12:00:00Z"


def test_a_status_says_of_which_generation_it_is_and_keeps_the_conditions_of_others() -> None:
    own = {
        "type": "example.com/seen",
        "status": "True",
        "observedGeneration": 3,
        "lastProbeTime": "2026-01-01T11:00:00Z",
        "lastTransitionTime": "2026-01-01T11:00:01Z",
    }
    tree = codec.to_tree(pod()) | {"status": {"conditions": [own]}}
    tree["metadata"]["generation"] = 7
    made = codec.decode(Pod, json.dumps(tree).encode())
    status = pod_status(made, [running()], Memory(), address="127.0.0.2", host="", now=NOW)
    assert status["observedGeneration"] == 7
    *ours, other = status["conditions"]
    assert {condition["observedGeneration"] for condition in ours} == {7}
    assert other == own


def test_attempts_are_told_apart() -> None:
    containers = [running(attempt=2), exited(attempt=0), exited(code=1, attempt=1)]
    assert latest(containers)["main"].attempt == 2
    assert previous(containers)["main"].attempt == 1
