"""The node agent in virtual time: one exit code starts all containers of a Pod anew, in its sandbox."""

from itertools import pairwise
from typing import Any

import anyio

from kubelib.api.core.container import ContainerRestartRule, ContainerRestartRuleOnExitCodes
from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import ExecAction, Lifecycle, LifecycleHandler
from kubelib.api.meta import Key
from kubelib.registry.base import Patch
from kubelib.runtime.fake import Life
from tests.runtime.agent.watching import condition, is_ready, starts
from tests.runtime.conftest import SimNode, container

RULE = ContainerRestartRule(
    action="RestartAllContainers",
    exit_codes=ContainerRestartRuleOnExitCodes(operator="In", values=(88,)),
)
WATCHER = container("watcher", "watcher", restart_policy="Always", restart_policy_rules=(RULE,))
HOOK = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=("slowly",))))
SPEC: dict[str, Any] = {
    "restart_policy": "Never",
    "init": (container("setup", "setup"), WATCHER),
    "containers": (container("work", "work", lifecycle=HOOK), container("once", "once")),
}


def counts(pod: Pod) -> dict[str, int]:
    return {
        s.name: s.restart_count for s in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    }


async def test_all_containers_are_started_anew_in_the_same_sandbox(node: SimNode) -> None:
    node.images(
        setup=Life(run_for=2),
        watcher=[Life(run_for=20, exit_code=88), Life()],
        work=Life(stop_delay=15),
        once=[Life(run_for=1), Life()],
    )
    await node.run(**SPEC)
    before = await node.until(lambda p: counts(p).get("work") == 0 and is_ready_but_once(p))
    told: list[tuple[str, str]] = []
    async with node.client.resource(Pod).watch(since=before.metadata.resource_version) as events:
        async for event in events:
            pod = event.object
            assert pod is not None
            told.append((pod.status.phase, condition(pod, "AllContainersRestarting")))
            if is_ready(pod) and set(counts(pod).values()) == {1}:
                break
    assert [said for at, said in enumerate(told) if at == 0 or said != told[at - 1]] == [
        ("Running", "False"),
        ("Running", "True"),
        ("Pending", "False"),
        ("Running", "False"),
    ]
    after = await node.pod()
    assert condition(after, "AllContainersRestarting") == "False"
    assert (after.metadata.uid, after.status.pod_ip) == (before.metadata.uid, before.status.pod_ip)
    ended = {s.name: s.last_state.terminated for s in after.status.container_statuses}
    assert {name: end.exit_code for name, end in ended.items() if end is not None} == {"work": 137, "once": 0}
    watcher = after.status.init_container_statuses[1].last_state.terminated
    assert watcher is not None and watcher.exit_code == 88
    assert not await node.events("FailedPreStopHook")


def is_ready_but_once(pod: Pod) -> bool:
    return any(s.name == "work" and s.ready for s in pod.status.container_statuses)


async def test_a_pod_that_is_started_anew_again_and_again_waits_ever_longer(node: SimNode) -> None:
    node.images(run=Life(run_for=1, exit_code=88))
    await node.run(
        restart_policy="Never", containers=(container(restart_policy="Never", restart_policy_rules=(RULE,)),)
    )
    began = await starts(node, until=200)
    assert [round(b - a - 1) for a, b in pairwise(began)][:5] == [0, 10, 20, 40, 80]
    assert (await node.pod()).status.phase == "Running"


async def test_an_agent_that_stops_while_containers_are_ended_is_followed_by_one_that_goes_on(
    idle: SimNode,
) -> None:
    idle.images(setup=Life(run_for=2), watcher=Life(), work=Life(), once=Life())
    async with idle.running():
        await idle.run(**SPEC)
        await idle.until(is_ready)
    begun = {"type": "AllContainersRestarting", "status": "True"}
    status = {"status": {"conditions": [begun]}}
    await idle.client.resource(Pod).patch(Key("default", "a"), Patch("merge", status), subresource="status")
    async with idle.running():
        await idle.until(lambda p: is_ready(p) and set(counts(p).values()) == {1}, within=20)
        assert condition(await idle.pod(), "AllContainersRestarting") == "False"
        await anyio.sleep(30)
        assert set(counts(await idle.pod()).values()) == {1}


async def test_an_agent_knows_of_a_pod_s_status_how_often_its_containers_were_started(idle: SimNode) -> None:
    idle.images(
        setup=Life(run_for=2), watcher=[Life(run_for=5, exit_code=88), Life()], work=Life(), once=Life()
    )
    async with idle.running():
        await idle.run(**SPEC)
        await idle.until(lambda p: counts(p).get("setup") == 1 and not is_ready(p))
    async with idle.running():
        await idle.until(lambda p: is_ready(p) and set(counts(p).values()) == {1}, within=20)


async def test_a_failed_init_container_of_the_new_life_fails_a_pod_that_is_not_restarted(
    node: SimNode,
) -> None:
    node.images(
        setup=[Life(run_for=1), Life(run_for=1, exit_code=3)],
        watcher=Life(run_for=5, exit_code=88),
        work=Life(),
        once=Life(),
    )
    await node.run(**SPEC)
    pod = await node.until(lambda p: p.status.phase == "Failed")
    assert counts(pod)["setup"] == 1
    assert next(c for c in pod.status.conditions if c.type == "AllContainersRestarting").reason == "PodFailed"
