"""The node agent on simulated containers in virtual time: what it does when, and what it says of it."""

from datetime import timedelta
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.coordination import Lease
from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.container import ContainerPort
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import (
    ExecAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    Probe,
    SleepAction,
    TCPSocketAction,
)
from kubelib.api.core.security import AppArmorProfile, SecurityContext
from kubelib.api.core.volumes import EmptyDirVolumeSource, Volume
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.times import parse_time
from kubelib.runtime.admittance import apparmor_refusal
from kubelib.runtime.agent import NodeSettings
from kubelib.runtime.base import ExecResult
from kubelib.runtime.fake import Life
from kubelib.runtime.node import CLAIM, NodeReporter, known_range
from kubelib.testing.objects import make_meta, make_pod
from tests.runtime.conftest import SimNode, container


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


def is_ready(pod: Pod) -> bool:
    return condition(pod, "Ready") == "True"


def condition(pod: Pod, kind: str) -> str:
    return next((c.status for c in pod.status.conditions if c.type == kind), "")


async def starts(node: SimNode, *, until: float, name: str = "main") -> list[float]:
    """Return at which seconds a container was started, watching until a moment of virtual time."""
    began = anyio.current_time()
    seen: dict[int, float] = {}
    async with node.runtime.events() as events:
        with anyio.move_on_after(until):
            async for event in events:
                if event.type == "started":
                    seen[len(seen)] = round(anyio.current_time() - began, 1)
    return list(seen.values())


# Phases and restarts


async def test_a_pod_is_pending_then_running_and_ready_with_an_address(node: SimNode) -> None:
    node.images(run=Life(start_delay=2))
    await node.run()
    pod = await node.until(
        lambda p: bool(p.status.phase == "Pending" and p.status.container_statuses) or is_running(p)
    )
    pod = await node.until(is_running)
    assert is_ready(pod)
    assert [condition(pod, kind) for kind in ("Initialized", "ContainersReady", "PodScheduled")] == [
        "True"
    ] * 3
    assert pod.status.pod_ip.startswith("127.244.")
    assert pod.status.host_ip == "127.0.0.1"
    status = await node.status()
    assert status.ready and status.started and status.restart_count == 0
    assert status.container_id.startswith("fake://")
    assert status.state.running is not None


@pytest.mark.parametrize(
    ("policy", "exit_code", "phase", "reason"),
    [
        ("Never", 0, "Succeeded", "Completed"),
        ("Never", 3, "Failed", "Error"),
        ("OnFailure", 0, "Succeeded", "Completed"),
    ],
)
async def test_a_pod_that_is_not_restarted_ends_as_its_containers_did(
    node: SimNode, policy: str, exit_code: int, phase: str, reason: str
) -> None:
    node.images(run=Life(run_for=5, exit_code=exit_code))
    await node.run(restart_policy=policy)
    pod = await node.until(lambda p: p.status.phase == phase)
    ended = (await node.status()).state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (exit_code, reason)
    assert ended.finished_at is not None and ended.started_at is not None
    assert ended.finished_at - ended.started_at == timedelta(seconds=5)
    ready = next(c for c in pod.status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "PodCompleted" if phase == "Succeeded" else "PodFailed")
    assert await starts(node, until=1000) == []


async def test_a_pod_of_which_one_container_failed_has_failed_once_all_have_ended(node: SimNode) -> None:
    node.images(good=Life(run_for=20), bad=Life(run_for=5, exit_code=1))
    both = (container("good", "good"), container("bad", "bad"))
    await node.run(restart_policy="Never", containers=both)
    await node.until(lambda p: any(s.state.terminated for s in p.status.container_statuses))
    assert (await node.pod()).status.phase == "Running"
    await node.until(lambda p: p.status.phase == "Failed")


@pytest.mark.parametrize("exit_code", [0, 1])
async def test_an_always_restarted_container_waits_10_seconds_doubling_to_300(
    node: SimNode, exit_code: int
) -> None:
    node.images(run=Life(run_for=1, exit_code=exit_code))
    await node.run()
    began = await starts(node, until=1500)
    waits = [round(b - a - 1) for a, b in pairwise(began)]
    assert waits[:8] == [0, 10, 20, 40, 80, 160, 300, 300]


async def test_a_container_that_ran_for_more_than_ten_minutes_starts_over_with_its_back_off(
    node: SimNode,
) -> None:
    crash = Life(run_for=1, exit_code=1)
    node.images(run=[crash, crash, crash, Life(run_for=601, exit_code=1), crash])
    await node.run()
    began = await starts(node, until=1200)
    lengths = [1, 1, 1, 601, 1, 1, 1]
    waits = [round(b - a - n) for a, b, n in zip(began, began[1:], lengths, strict=False)]
    assert waits[:6] == [0, 10, 20, 0, 10, 20]


async def test_a_crashing_container_shows_crash_loop_back_off_and_how_it_ended(node: SimNode) -> None:
    node.images(run=Life(run_for=1, exit_code=7))
    await node.run()

    def backs_off(pod: Pod) -> bool:
        return any(
            s.state.waiting is not None and s.state.waiting.reason == "CrashLoopBackOff"
            for s in pod.status.container_statuses
        )

    pod = await node.until(backs_off)
    assert pod.status.phase == "Running" and not is_ready(pod)
    status = await node.status()
    assert status.state.waiting is not None
    uid = pod.metadata.uid
    assert (
        status.state.waiting.message == f"back-off 10s restarting failed container=main pod=a_default({uid})"
    )
    assert status.restart_count == 1
    assert status.last_state.terminated is not None
    assert status.last_state.terminated.exit_code == 7
    await anyio.sleep(1)
    [event] = await node.events("BackOff")
    assert event.type == "Warning"
    assert event.message == f"Back-off restarting failed container main in pod a_default({uid})"


async def test_on_failure_restarts_until_it_succeeds(node: SimNode) -> None:
    crash = Life(run_for=1, exit_code=1)
    node.images(run=[crash, crash, Life(run_for=1)])
    await node.run(restart_policy="OnFailure")
    await node.until(lambda p: p.status.phase == "Succeeded")
    assert (await node.status()).restart_count == 2


async def test_a_container_that_cannot_be_started_is_tried_again_with_back_off(node: SimNode) -> None:
    node.images(run=Life(refusal="no such file or directory: /nope"))
    await node.run()
    await node.until(
        lambda p: bool(p.status.container_statuses and p.status.container_statuses[0].last_state.terminated)
    )
    ended = (await node.status()).last_state.terminated
    assert ended is not None
    assert (ended.reason, ended.exit_code) == ("StartError", 128)
    node.images(run=Life())
    await node.until(is_ready)


async def test_a_killed_container_shows_its_signal_and_reason(node: SimNode) -> None:
    await node.run(restart_policy="Never")
    await node.until(is_ready)
    [running] = node.runtime._containers
    node.runtime.end(running, 137, signal=9, reason="OOMKilled")
    await node.until(lambda p: p.status.phase == "Failed")
    ended = (await node.status()).state.terminated
    assert ended is not None
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)


# Images


async def test_an_image_that_cannot_be_had_is_tried_again_with_back_off(node: SimNode) -> None:
    node.runtime.missing_images.add("gone")
    await node.run(containers=(container(image="gone"),))

    def waits(reason: str) -> Any:
        return lambda p: any(
            s.state.waiting is not None and s.state.waiting.reason == reason
            for s in p.status.container_statuses
        )

    await node.until(waits("ErrImagePull"))
    pod = await node.until(waits("ImagePullBackOff"))
    assert pod.status.phase == "Pending"
    await anyio.sleep(100)
    assert (
        sum(e.count or 1 for e in await node.events("Pulling")) == 4
    )  # at 0, 10, 30 and 70 s, within the 2 s of a look
    node.runtime.missing_images.clear()
    await node.until(is_ready, within=100)
    assert await node.events("Pulled")


async def test_an_image_that_may_not_be_pulled_says_so(node: SimNode) -> None:
    await node.run(containers=(container(image="x", image_pull_policy="Never"),))
    await node.until(lambda p: bool(p.status.container_statuses))
    status = await node.status()
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "ErrImageNeverPull"


# Init containers and sidecars


async def test_init_containers_run_one_after_the_other_before_the_main_ones(node: SimNode) -> None:
    node.images(step=Life(run_for=10))
    await node.run(init=(container("first", "step"), container("second", "step")))
    await node.until(lambda p: bool(p.status.init_container_statuses))
    await node.until(lambda p: p.status.init_container_statuses[0].state.running is not None)
    main = await node.status()
    assert main.state.waiting is not None and main.state.waiting.reason == "PodInitializing"
    pod = await node.pod()
    assert pod.status.phase == "Pending"
    initialized = next(c for c in pod.status.conditions if c.type == "Initialized")
    assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
    assert initialized.message == "containers with incomplete status: [first second]"
    assert node.running_containers() == ["first"]
    await node.until(lambda p: p.status.init_container_statuses[0].state.terminated is not None)
    assert node.running_containers() == ["second"]
    pod = await node.until(is_ready)
    assert [s.state.terminated.reason for s in pod.status.init_container_statuses if s.state.terminated] == [
        "Completed",
        "Completed",
    ]
    assert all(s.ready for s in pod.status.init_container_statuses)
    assert node.running_containers() == ["main"]


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(node: SimNode) -> None:
    node.images(step=Life(run_for=1, exit_code=4))
    await node.run(init=(container("first", "step"),), restart_policy="Never")
    await node.until(lambda p: p.status.phase == "Failed")
    assert node.running_containers() == []


async def test_a_failed_init_container_is_tried_again_with_back_off(node: SimNode) -> None:
    node.images(step=[Life(run_for=1, exit_code=4), Life(run_for=1, exit_code=4), Life(run_for=1)])
    await node.run(init=(container("first", "step"),))
    await node.until(is_ready)
    assert (await node.status(which="first")).restart_count == 2


async def test_a_sidecar_starts_before_what_follows_it_and_runs_beside_it(node: SimNode) -> None:
    node.images(step=Life(run_for=5), slow=Life(ready_after=20))
    startup = Probe(exec=ExecAction(command=("up",)), period_seconds=1, failure_threshold=100)
    sidecar = container("proxy", "slow", restart_policy="Always", startup_probe=startup)
    await node.run(init=(sidecar, container("migrate", "step")))
    await anyio.sleep(10)
    assert node.running_containers() == ["proxy"]
    await anyio.sleep(12)
    assert node.running_containers() == ["proxy", "migrate"]
    pod = await node.until(is_ready)
    assert node.running_containers() == ["proxy", "main"]
    assert [s.ready for s in pod.status.init_container_statuses] == [True, True]


async def test_a_sidecar_is_restarted_even_if_the_pod_is_not_and_does_not_keep_it_from_ending(
    node: SimNode,
) -> None:
    node.images(side=[Life(run_for=5, exit_code=1), Life()], job=Life(run_for=60))
    sidecar = container("proxy", "side", restart_policy="Always")
    await node.run(init=(sidecar,), containers=(container("main", "job"),), restart_policy="Never")
    await anyio.sleep(30)
    assert (await node.status(which="proxy")).restart_count == 1
    await node.until(lambda p: p.status.phase == "Succeeded")
    await anyio.sleep(31)
    assert node.running_containers() == []


async def test_sidecars_end_after_the_main_containers_the_last_one_first(node: SimNode) -> None:
    node.images(run=Life(stop_delay=3))
    sidecars = tuple(container(name, "run", restart_policy="Always") for name in ("one", "two"))
    await node.run(init=sidecars)
    await node.until(is_ready)
    await node.client.resource(Pod).delete(Key("default", "a"))
    seen = []
    for _ in range(4):
        await anyio.sleep(0.5)
        seen.append(node.running_containers())
        await anyio.sleep(2.5)
    assert seen == [["one", "two", "main"], ["one", "two"], ["one"], []]


# Probes


def exec_probe(**more: Any) -> Probe:
    return Probe(exec=ExecAction(command=("check",)), **more)


async def test_a_pod_is_ready_only_once_its_readiness_probe_has_succeeded_often_enough(node: SimNode) -> None:
    node.images(run=Life(ready_after=12))
    probe = exec_probe(period_seconds=5, success_threshold=2)
    await node.run(containers=(container(readiness_probe=probe),))
    pod = await node.until(is_running)
    ready = next(c for c in pod.status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "ContainersNotReady")
    assert ready.message == "containers with unready status: [main]"
    began = anyio.current_time()
    await node.until(is_ready)
    assert 19 < anyio.current_time() - began < 21  # checks at 0, 5, 10, then good at 15 and 20
    assert (await node.status()).restart_count == 0


async def test_a_pod_becomes_unready_after_as_many_failures_as_the_threshold_says(node: SimNode) -> None:
    node.images(run=Life(sick_after=12))
    await node.run(containers=(container(readiness_probe=exec_probe(period_seconds=5, failure_threshold=3)),))
    await node.until(is_ready)
    began = anyio.current_time()
    await node.until(lambda p: not is_ready(p))
    assert 24 < anyio.current_time() - began < 26  # bad at 15, 20, 25
    await anyio.sleep(1)
    [event] = await node.events("Unhealthy")
    assert event.message == "Readiness probe failed: exit status 1"
    assert event.count == 3


async def test_a_failing_liveness_probe_restarts_the_container(node: SimNode) -> None:
    node.images(run=[Life(sick_after=20, stop_delay=1), Life()])
    probe = exec_probe(period_seconds=10, failure_threshold=2)
    await node.run(containers=(container(liveness_probe=probe),))
    await node.until(is_ready)
    await node.until(lambda p: p.status.container_statuses[0].restart_count == 1)
    assert 30 < anyio.current_time() < 33  # bad at 20 and 30, one second to stop
    await anyio.sleep(1)
    killing = await node.events("Killing")
    assert [e.message for e in killing] == ["Container main failed liveness probe, will be restarted"]
    await node.until(is_ready)


async def test_a_probe_may_give_its_victim_a_grace_of_its_own(node: SimNode) -> None:
    node.images(run=[Life(sick_after=4, stop_delay=inf), Life()])
    probe = exec_probe(period_seconds=5, failure_threshold=1, termination_grace_period_seconds=3)
    await node.run(containers=(container(liveness_probe=probe),))
    await node.until(
        lambda p: bool(p.status.container_statuses and p.status.container_statuses[0].restart_count == 1)
    )
    assert 8 <= anyio.current_time() < 10
    ended = (await node.status()).last_state.terminated
    assert ended is not None and ended.exit_code == 137


async def test_liveness_waits_for_the_startup_probe_and_its_initial_delay_counts_from_the_start(
    node: SimNode,
) -> None:
    node.images(run=Life(ready_after=28))
    spec = container(
        startup_probe=exec_probe(period_seconds=10, failure_threshold=10),
        liveness_probe=exec_probe(period_seconds=1, failure_threshold=1, initial_delay_seconds=20),
    )
    await node.run(containers=(spec,))
    pod = await node.until(is_running)
    status = await node.status()
    assert status.started is False and not is_ready(pod)
    await node.until(is_ready)
    assert 30 <= anyio.current_time() < 31
    await anyio.sleep(60)
    assert (await node.status()).restart_count == 0


async def test_a_container_whose_startup_probe_never_succeeds_is_restarted(node: SimNode) -> None:
    node.images(run=[Life(ready_after=inf), Life()])
    await node.run(containers=(container(startup_probe=exec_probe(period_seconds=10, failure_threshold=3)),))
    await node.until(is_ready, within=30)
    assert 20 <= anyio.current_time() < 25
    await anyio.sleep(1)
    assert [e.message for e in await node.events("Killing")] == [
        "Container main failed startup probe, will be restarted"
    ]


@pytest.mark.parametrize(
    "handler", [{"http_get": HTTPGetAction(port=80)}, {"tcp_socket": TCPSocketAction(port=80)}]
)
async def test_probes_over_the_network_go_by_the_rule_too(node: SimNode, handler: dict[str, Any]) -> None:
    node.images(run=Life(ready_after=5))
    await node.run(containers=(container(readiness_probe=Probe(period_seconds=1, **handler)),))
    await node.until(is_running)
    assert not is_ready(await node.pod())
    await node.until(is_ready)
    assert 5 <= anyio.current_time() < 7


# Ends


async def test_a_deleted_pod_has_its_grace_then_is_killed_then_its_object_goes(node: SimNode) -> None:
    node.images(run=Life(stop_delay=inf))
    await node.run(termination_grace_period_seconds=12)
    await node.until(is_ready)
    began = anyio.current_time()
    deleted = await node.client.resource(Pod).delete(Key("default", "a"))
    assert deleted.metadata.deletion_timestamp is not None
    await anyio.sleep(11)
    assert node.running_containers() == ["main"]
    await gone(node)
    assert 12 <= anyio.current_time() - began < 13
    assert await node.runtime.list_sandboxes() == ()
    await anyio.sleep(1)
    assert [e.message for e in await node.events("Killing")] == ["Stopping container main"]


async def gone(node: SimNode, *, name: str = "a", within: float = 60) -> None:
    with anyio.fail_after(within):
        while True:
            try:
                await node.pod(name)
            except NotFound:
                return
            await anyio.sleep(0.1)


async def test_a_container_that_ends_at_once_does_not_use_up_the_grace(node: SimNode) -> None:
    await node.run(termination_grace_period_seconds=1000)
    await node.until(is_ready)
    began = anyio.current_time()
    await node.client.resource(Pod).delete(Key("default", "a"))
    await gone(node)
    assert anyio.current_time() - began < 1


async def test_deleting_again_without_grace_hurries_a_slow_stop(node: SimNode) -> None:
    node.images(run=Life(stop_delay=inf))
    await node.run(termination_grace_period_seconds=1000)
    await node.until(is_ready)
    await node.client.resource(Pod).delete(Key("default", "a"))
    await anyio.sleep(5)
    assert node.running_containers() == ["main"]
    await node.client.resource(Pod).delete(Key("default", "a"), grace=0)
    await anyio.sleep(1)
    assert node.running_containers() == []
    await gone(node)


async def test_the_pre_stop_hook_runs_first_within_the_grace(node: SimNode) -> None:
    asked: list[tuple[float, tuple[str, ...]]] = []

    async def command(words: Any, given: bytes, age: float) -> ExecResult:
        asked.append((anyio.current_time(), tuple(words)))
        return ExecResult(0, b"", b"")

    node.images(run=Life(command=command))
    hook = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=("drain", "now"))))
    await node.run(containers=(container(lifecycle=hook),))
    await node.until(is_ready)
    await node.client.resource(Pod).delete(Key("default", "a"))
    await gone(node)
    assert [words for _, words in asked] == [("drain", "now")]


async def test_a_hook_that_uses_up_the_grace_leaves_the_container_two_seconds(node: SimNode) -> None:
    node.images(run=Life(stop_delay=1.5))
    hook = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=10)))
    await node.run(containers=(container(lifecycle=hook),), termination_grace_period_seconds=10)
    await node.until(is_ready)
    began = anyio.current_time()
    async with node.runtime.events() as events:
        await node.client.resource(Pod).delete(Key("default", "a"))
        async for event in events:
            if event.type == "exited":
                break
    assert 11 < anyio.current_time() - began < 11.9
    await gone(node)


async def test_a_failed_post_start_hook_is_reported_and_ends_the_container(node: SimNode) -> None:
    async def command(words: Any, given: bytes, age: float) -> ExecResult:
        return ExecResult(1, b"", b"refused")

    node.images(run=Life(command=command))
    hook = Lifecycle(post_start=LifecycleHandler(exec=ExecAction(command=("register",))))
    await node.run(containers=(container(lifecycle=hook),), restart_policy="Never")
    await node.until(lambda p: p.status.phase in ("Succeeded", "Failed"))
    await anyio.sleep(1)
    [event] = await node.events("FailedPostStartHook")
    assert event.message == "PostStartHook failed: refused"


async def test_a_pod_past_its_deadline_is_ended_and_has_failed(node: SimNode) -> None:
    await node.run(active_deadline_seconds=30)
    await node.until(is_ready)
    pod = await node.until(lambda p: p.status.phase == "Failed")
    assert 30 <= anyio.current_time() < 33
    assert pod.status.reason == "DeadlineExceeded"
    assert node.running_containers() == []
    assert await starts(node, until=1000) == []


async def test_a_pod_whose_object_vanished_is_ended(node: SimNode) -> None:
    await node.run()
    await node.until(is_ready)
    await node.client.resource(Pod).delete(Key("default", "a"), grace=0)
    await anyio.sleep(1)
    assert await node.runtime.list_sandboxes() == ()


# The agent's own life


async def test_an_agent_that_is_started_again_finds_what_runs_and_restarts_nothing(idle: SimNode) -> None:
    idle.images(run=Life(ready_after=1))
    probe = exec_probe(period_seconds=60)
    async with idle.running():
        await idle.run(containers=(container(readiness_probe=probe),))
        await idle.until(is_ready, within=100)
        before = await idle.status()
    await anyio.sleep(1000)
    async with idle.running():
        for _ in range(20):
            await anyio.sleep(0.1)
            assert is_ready(await idle.pod())
        after = await idle.status()
    assert (after.container_id, after.restart_count) == (before.container_id, 0)


async def test_a_container_that_ended_while_no_agent_was_there_is_restarted_with_the_back_off_it_had(
    idle: SimNode,
) -> None:
    crash = Life(run_for=1, exit_code=1)
    idle.images(run=[crash, crash, crash, Life(run_for=5, exit_code=1), Life()])
    async with idle.running():
        await idle.run()
        await idle.until(
            lambda p: bool(p.status.container_statuses and p.status.container_statuses[0].restart_count == 3)
        )
    await anyio.sleep(7)  # ended at about 5 of these; its back-off of 40 seconds runs
    began = anyio.current_time()
    async with idle.running():
        await idle.until(lambda p: p.status.container_statuses[0].restart_count == 4, within=100)
    assert 30 < anyio.current_time() - began < 40


async def test_what_runs_for_a_pod_that_went_while_no_agent_was_there_is_ended(idle: SimNode) -> None:
    async with idle.running():
        await idle.run()
        await idle.until(is_ready)
    await idle.client.resource(Pod).delete(Key("default", "a"), grace=0)
    assert len(await idle.runtime.list_sandboxes()) == 1
    async with idle.running():
        await anyio.sleep(1)
        assert await idle.runtime.list_sandboxes() == ()


async def test_the_node_registers_with_what_it_has_and_is_ready(node: SimNode) -> None:
    found = await node.node()
    assert found.status.capacity["cpu"] == "4"
    assert found.status.allocatable["memory"] == "8Gi"
    assert {c.type: c.status for c in found.status.conditions} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }
    assert [(a.type, a.address) for a in found.status.addresses] == [
        ("InternalIP", "127.0.0.1"),
        ("Hostname", "node-1"),
    ]
    assert found.metadata.labels["kubernetes.io/hostname"] == "node-1"
    assert found.status.node_info.container_runtime_version.startswith("fake://")
    assert found.spec.pod_cidr


async def test_nodes_that_join_at_once_have_ranges_of_their_own(idle: SimNode) -> None:
    nodes = idle.client.resource(Node)
    claimed = make_meta("elsewhere", "", annotations={CLAIM: "127.244.0.0/24"})
    await nodes.create(Node(metadata=claimed))
    async with anyio.create_task_group() as group:
        for number in range(8):
            reporter = NodeReporter(
                idle.client,
                NodeSettings(name=f"node-{number}"),
                clock=idle.clock,
                random=Random(number),
                runtime="fake://",
                recorder=idle.agent.recorder,
                root=idle.root / str(number),
            )
            group.start_soon(reporter.register)
    found = {node.spec.pod_cidr for node in (await nodes.list()).items} - {""}
    assert len(found) == 8 and "127.244.0.0/24" not in found
    assert [CLAIM in node.metadata.annotations for node in (await nodes.list()).items].count(True) == 1


async def test_a_node_that_has_loopback_addresses_keeps_them_and_says_what_that_means(
    idle: SimNode, caplog: pytest.LogCaptureFixture
) -> None:
    for network in ("127.244.0.0/16", "10.244.0.0/16"):
        assert not caplog.records
        idle.settings["pod_network"] = network
        async with idle.running():
            assert (await idle.node()).spec.pod_cidr == known_range(idle.root) == "127.244.0.0/24"
    [record] = caplog.records
    assert "in which Pods share the host's network" in record.getMessage()


async def test_the_node_renews_its_lease_every_ten_seconds_and_reports_every_five_minutes(
    node: SimNode,
) -> None:
    async def lease() -> Lease:
        return await node.client.resource(Lease).get(Key("kube-node-lease", "node-1"))

    await anyio.sleep(1)
    first = await lease()
    assert (first.spec.holder_identity, first.spec.lease_duration_seconds) == ("node-1", 40)
    assert first.metadata.owner_references[0].uid == (await node.node()).metadata.uid
    await anyio.sleep(600)
    last = await lease()
    assert parse_time(last.spec.renew_time) - parse_time(first.spec.renew_time) == timedelta(seconds=600)
    versions = set()
    for _ in range(61):
        versions.add((await lease()).metadata.resource_version)
        await anyio.sleep(10)
    assert len(versions) == 61
    heartbeat = next(
        c for c in (await node.node()).status.conditions if c.type == "Ready"
    ).last_heartbeat_time
    assert heartbeat is not None
    assert node.clock.now() - heartbeat <= timedelta(seconds=301)


async def test_every_pod_has_an_address_of_its_own_which_is_used_again_later(node: SimNode) -> None:
    for number in range(5):
        await node.run(f"p{number}")
    addresses = {(await node.until(is_ready, name=f"p{n}")).status.pod_ip for n in range(5)}
    assert len(addresses) == 5
    await node.client.resource(Pod).delete(Key("default", "p2"))
    await gone(node, name="p2")
    await node.run("q")
    assert (await node.until(is_ready, name="q")).status.pod_ip in addresses


async def test_what_is_missing_for_a_container_shows_and_it_starts_once_it_is_there(node: SimNode) -> None:
    from kubelib.api.core.config import ConfigMap
    from kubelib.api.core.environment import ConfigMapKeySelector, EnvVar, EnvVarSource

    source = EnvVarSource(config_map_key_ref=ConfigMapKeySelector(name="settings", key="colour"))
    spec: ContainerDefinition = container(env=(EnvVar(name="COLOUR", value_from=source),))
    await node.run(containers=(spec,))
    await node.until(lambda p: bool(p.status.container_statuses))
    status = await node.status()
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "CreateContainerConfigError"
    assert status.state.waiting.message == 'configmap "settings" not found'
    settings = ConfigMap(metadata=make_meta("settings", "default"), data={"colour": "blue"})
    await node.client.resource(ConfigMap).create(settings)
    await node.until(is_ready)
    assert node.spec_of("main").env["COLOUR"] == "blue"


async def test_a_hundred_pods_of_all_kinds_end_as_they_should(node: SimNode, tmp_path: Path) -> None:
    node.images(job=Life(run_for=30), crash=Life(run_for=3, exit_code=1), run=Life())
    for number in range(100):
        image = ("job", "crash", "run")[number % 3]
        policy = ("Never", "Never", "Always")[number % 3]
        await node.run(f"p{number}", containers=(container(image=image),), restart_policy=policy)
    await anyio.sleep(60)
    wanted = {"job": "Succeeded", "crash": "Failed", "run": "Running"}
    for number in range(100):
        pod = await node.pod(f"p{number}")
        assert pod.status.phase == wanted[pod.spec.containers[0].image]
    for number in range(100):
        await node.client.resource(Pod).delete(Key("default", f"p{number}"))
    await anyio.sleep(40)
    assert await node.runtime.list_sandboxes() == ()
    assert node.agent.workers == {}


# Turned away


async def test_a_pod_whose_host_port_is_taken_is_turned_away_for_good(node: SimNode) -> None:
    def with_port(address: str) -> tuple[ContainerDefinition, ...]:
        port = ContainerPort(container_port=80, host_port=8080, host_ip=address, protocol="TCP")
        return (replace(container(), ports=(port,)),)

    await node.run("first", containers=with_port("127.0.0.1"))
    await node.until(is_running, name="first")
    await node.run("beside", containers=with_port("127.0.0.2"))
    await node.until(is_running, name="beside")
    await node.run("second", containers=with_port(""))
    refused = await node.until(lambda p: p.status.phase == "Failed", name="second")
    await node.client.resource(Pod).delete(Key("default", "first"), grace=0)
    await node.client.resource(Pod).delete(Key("default", "beside"), grace=0)
    await anyio.sleep(30)
    refused = await node.pod("second")
    assert (refused.status.phase, refused.status.reason) == ("Failed", "NodePorts")
    assert refused.status.message == (
        "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    )
    assert await node.events("NodePorts")
    await node.run("third", containers=with_port(""))
    await node.until(is_running, name="third")


# Hooks that take their time


async def test_a_container_that_sleeps_after_its_start_is_reported_afterwards(node: SimNode) -> None:
    hooks = Lifecycle(post_start=LifecycleHandler(sleep=SleepAction(seconds=20)))
    began = anyio.current_time()
    await node.run(containers=(container(lifecycle=hooks),))
    await node.until(is_ready)
    assert anyio.current_time() - began >= 20


async def test_a_pod_that_is_deleted_does_not_wait_for_a_hook_that_does_not_end(node: SimNode) -> None:
    async def hangs(*_: object) -> ExecResult:
        await anyio.sleep(inf)
        raise AssertionError

    node.images(run=Life(command=hangs))
    hooks = Lifecycle(post_start=LifecycleHandler(exec=ExecAction(command=("hang",))))
    await node.run(containers=(container(lifecycle=hooks),), termination_grace_period_seconds=1)
    await anyio.sleep(60)
    assert node.running_containers() == ["main"]
    await node.client.resource(Pod).delete(Key("default", "a"))
    await anyio.sleep(10)
    with pytest.raises(NotFound):
        await node.pod()


async def test_pods_that_have_come_and_gone_leave_nothing_in_the_nodes_directory(node: SimNode) -> None:
    def files() -> list[str]:
        return sorted(str(path.relative_to(node.root)) for path in node.root.rglob("*"))

    node.images(run=Life(output=(("stdout", "hello"),)))
    volumes = (Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),)
    await node.run("first", volumes=volumes)
    await node.until(is_running, name="first")
    during = files()
    assert any(path.startswith("logs/") for path in during)
    pods = node.client.resource(Pod)
    names = [f"pod-{number}" for number in range(20)]
    for name in names:
        await node.run(name, volumes=volumes)
    for name in names:
        await node.until(is_running, name=name)
    assert len(files()) > len(during)
    for name in names:
        await pods.delete(Key("default", name))
    with anyio.fail_after(120):
        while files() != during:
            await anyio.sleep(0.5)


async def test_containers_may_have_as_many_processes_as_the_node_says(idle: SimNode) -> None:
    idle.settings["pids_limit"] = 64
    async with idle.running():
        await idle.run()
        await idle.until(is_running)
        assert idle.spec_of("main").resources.pids == 64


async def test_a_pod_that_wants_what_the_machine_or_its_runtime_has_not_is_told_so(
    idle: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle.runtime, "user_namespaces", False, raising=False)
    async with idle.running():
        await idle.run(host_users=False)
        with anyio.fail_after(60):
            while not await idle.events("FailedCreatePodSandBox"):
                await anyio.sleep(0.1)
        [event] = await idle.events("FailedCreatePodSandBox")
        why = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
        assert event.message == f"Failed to create pod sandbox: {why}"
        monkeypatch.setattr(idle.runtime, "user_namespaces", True)
        await idle.until(lambda pod: pod.status.phase == "Running")


@pytest.mark.parametrize(
    ("kind", "enabled", "refused"),
    [
        ("RuntimeDefault", False, True),
        ("RuntimeDefault", True, False),
        ("Unconfined", False, False),
    ],
)
def test_a_profile_of_apparmor_needs_a_machine_that_has_it(kind: str, enabled: bool, refused: bool) -> None:
    context = SecurityContext(app_armor_profile=AppArmorProfile(type=kind))
    pod = make_pod("a", containers=(container(security_context=context),))
    found = apparmor_refusal(pod, enabled=enabled)
    assert (found is not None) is refused
    if found is not None:
        assert found.status["reason"] == "AppArmor"
        assert found.message == "Cannot enforce AppArmor: AppArmor is not enabled on the host"
