"""Rules and policies of containers' own: who is started again after which exit code, and how far the Pod is meanwhile."""

import json
from typing import Any

import pytest

from kubelib.api import codec
from kubelib.api.core.container import ContainerRestartRule, ContainerRestartRuleOnExitCodes
from kubelib.api.core.pod import Pod, PodCondition, PodStatus
from kubelib.api.model import replace
from kubelib.runtime.anew import is_restarting, pasts, told_before
from kubelib.runtime.base import Container
from kubelib.runtime.lifecycle import Memory, Past, RestartAll, Start, latest, next_step, phase_of
from kubelib.runtime.statuses import pod_status
from tests.runtime.conftest import container
from tests.runtime.test_lifecycle import NOW, exited, pod, running


def rule(action: str, *codes: int, operator: str = "In") -> ContainerRestartRule:
    return ContainerRestartRule(
        action=action, exit_codes=ContainerRestartRuleOnExitCodes(operator=operator, values=codes)
    )


def own(policy: str = "", *rules: ContainerRestartRule) -> dict[str, Any]:
    return {"restart_policy": policy, "restart_policy_rules": rules}


AGAIN = rule("Restart", 42)
ALL = rule("RestartAllContainers", 88)


def steps(pod: Any, *containers: Container, memory: Memory | None = None) -> list[str]:
    found = next_step(pod, containers, memory or Memory(), NOW).steps
    return [f"{s.container.name} {s.attempt}" if isinstance(s, Start) else type(s).__name__ for s in found]


@pytest.mark.parametrize(
    ("policy", "definition", "code", "step", "phase"),
    [
        ("Never", own("Always"), 0, "main 1", "Running"),
        ("Never", own("OnFailure"), 1, "main 1", "Running"),
        ("Never", own("OnFailure"), 0, None, "Succeeded"),
        ("Always", own("Never"), 1, None, "Failed"),
        ("Always", own("Never"), 0, None, "Succeeded"),
        ("Always", own("OnFailure"), 0, None, "Succeeded"),
        ("OnFailure", own("Never"), 1, None, "Failed"),
        ("Never", own("Never", AGAIN), 42, "main 1", "Running"),
        ("Never", own("Never", AGAIN), 1, None, "Failed"),
        ("Never", own("Never", AGAIN), 0, None, "Succeeded"),
        ("Never", own("OnFailure", AGAIN), 1, "main 1", "Running"),
        ("Never", own("Never", rule("Restart", 0, operator="NotIn")), 3, "main 1", "Running"),
        ("Never", own("Never", rule("Restart", 0, operator="NotIn")), 0, None, "Succeeded"),
        ("Never", own("Never", rule("Restart", 1), AGAIN), 42, "main 1", "Running"),
        ("Never", own("Never", ALL), 88, "RestartAll", "Running"),
        ("Never", own("Never", rule("Restart", 88), ALL), 88, "main 1", "Running"),
    ],
)  # fmt: skip
def test_rules_go_before_the_container_s_policy_and_that_before_the_pod_s(
    policy: str, definition: dict[str, Any], code: int, step: str | None, phase: str
) -> None:
    given = pod(policy, containers=(container(**definition),))
    assert steps(given, exited(code=code)) == ([step] if step is not None and phase == "Running" else [])
    assert phase_of(given, latest([exited(code=code)]), Memory()) == phase


@pytest.mark.parametrize(
    ("policy", "definition", "code", "step", "phase"),
    [
        ("Never", own("OnFailure"), 1, "one 1", "Pending"),
        ("Always", own("Never"), 1, None, "Failed"),
        ("Never", own("Never", AGAIN), 42, "one 1", "Pending"),
        ("Never", own("Never", AGAIN), 1, None, "Failed"),
        ("Never", own("Never", ALL), 88, "RestartAll", "Pending"),
        ("Never", own("Never", AGAIN), 0, "main 0", "Pending"),
    ],
)
def test_init_containers_have_policies_and_rules_too(
    policy: str, definition: dict[str, Any], code: int, step: str | None, phase: str
) -> None:
    given = pod(policy, init_containers=(container("one", **definition),))
    assert steps(given, exited("one", code)) == ([step] if step is not None else [])
    assert phase_of(given, latest([exited("one", code)]), Memory()) == phase


def test_a_pod_of_which_one_container_will_be_started_again_is_not_over() -> None:
    given = pod("Never", containers=(container("a"), container("b", **own("Never", AGAIN))))
    ended = (exited("a", 1), exited("b", 42, ago=1, backoff=10))
    assert phase_of(given, latest(ended), Memory()) == "Running"
    assert next_step(given, ended, Memory(), NOW).look_again == 9
    assert phase_of(given, latest((exited("a", 1), exited("b", 1))), Memory()) == "Failed"


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_one_exit_code_starts_all_containers_anew_whatever_the_others_did(policy: str) -> None:
    side = container("side", **own("Always", ALL))
    given = pod(policy, init_containers=(container("one"), side))
    assert steps(given, exited("one"), exited("side", 88), running()) == ["RestartAll"]
    assert steps(given, exited("one"), exited("side", 1), running()) == ["side 1"]


def test_all_containers_are_started_anew_with_the_back_off_of_the_one_that_asks_for_it() -> None:
    given = pod("Never", containers=(container(**own("Never", ALL)), container("other")))
    ended = exited(code=88, attempt=2, ago=6, backoff=20)
    decision = next_step(given, (ended, running("other", attempt=2)), Memory(), NOW)
    assert (decision.steps, decision.look_again) == ((), 14)
    known = pasts(given, (ended, exited("other", 137, attempt=2, backoff=10)), Memory())
    assert {name: (past.attempt, past.backoff) for name, past in known.items()} == {
        "main": (2, 40),
        "other": (2, 10),
    }
    begun = next_step(given, (), Memory(past=dict(known)), NOW).steps
    assert [(s.container.name, s.attempt, s.backoff) for s in begun if isinstance(s, Start)] == [
        ("main", 3, 40),
        ("other", 3, 10),
    ]


def test_a_pod_that_is_over_is_not_started_anew_by_a_sidecar_that_is_stopped() -> None:
    side = container("side", **own("Always", rule("RestartAllContainers", 0, operator="NotIn")))
    given = pod("Never", init_containers=(side,))
    assert steps(given, exited("side", 143), exited(code=1)) == []
    assert phase_of(given, latest((exited("side", 143), exited(code=1))), Memory()) == "Failed"


def test_containers_that_are_started_anew_keep_their_count_and_their_last_state() -> None:
    given = pod("Never", containers=(container(**own("Never", ALL)),), init_containers=(container("one"),))
    ended = {"terminated": {"exitCode": 88, "reason": "Error"}}
    memory = Memory(past={"main": Past(2, ended), "one": Past(2, ended)})
    told = pod_status(given, (), memory, address="", host="", now=NOW)
    [status] = told["containerStatuses"]
    assert (status["restartCount"], status["lastState"]) == (2, ended)
    assert status["state"] == {"waiting": {"reason": "PodInitializing"}}
    conditions = {c["type"]: c for c in told["conditions"]}
    assert told["phase"] == "Pending"
    assert conditions["Initialized"]["status"] == "True"
    assert conditions["AllContainersRestarting"]["status"] == "False"


@pytest.mark.parametrize(
    ("containers", "memory", "expected"),
    [
        ((running(),), Memory(), ("False", None)),
        ((exited(code=88),), Memory(restarting=True), ("True", "RestartAllContainersStarted")),
        ((exited(),), Memory(), ("False", "PodCompleted")),
        ((exited(code=1),), Memory(), ("False", "PodFailed")),
    ],
)
def test_a_condition_says_that_all_containers_are_being_started_anew(
    containers: tuple[Container, ...], memory: Memory, expected: tuple[str, str | None]
) -> None:
    given = pod("Never", containers=(container(**own("Never", ALL)),))
    told = pod_status(given, containers, memory, address="", host="", now=NOW)
    found = next(c for c in told["conditions"] if c["type"] == "AllContainersRestarting")
    assert (found["status"], found.get("reason")) == expected
    assert found.get("message") == (
        "container exited with restart policy rule" if memory.restarting else None
    )
    plain = pod_status(pod("Never"), containers, Memory(), address="", host="", now=NOW)
    assert "AllContainersRestarting" not in {c["type"] for c in plain["conditions"]}


def test_an_agent_that_is_started_again_goes_on_where_the_last_one_was() -> None:
    given = pod("Never", containers=(container(**own("Never", ALL)), container("other")))
    ended = (exited(code=88, attempt=1), exited("other", 137, attempt=1))
    told = pod_status(given, ended, Memory(restarting=True), address="", host="", now=NOW)
    seen = codec.decode(Pod, json.dumps({**codec.to_tree(given), "status": told}).encode())
    assert is_restarting(seen)
    assert {name: past.attempt for name, past in told_before(seen, (ended[0],)).items()} == {"other": 1}
    assert steps(seen, *ended, memory=Memory(restarting=True)) == [RestartAll.__name__]
    done = replace(
        seen, status=PodStatus(conditions=(PodCondition(type="AllContainersRestarting", status="False"),))
    )
    assert not is_restarting(done)
