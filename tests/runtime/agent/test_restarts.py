"""The node agent in virtual time: phases of a Pod, restarts and their back-off."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container as ContainerDefinition
from kubelib.api.core.pod import Pod
from kubelib.runtime.fake import Life
from kubelib.testing.objects import make_meta
from tests.runtime.agent.watching import condition, is_ready, is_running, starts
from tests.runtime.conftest import SimNode, container


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
