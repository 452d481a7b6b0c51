"""The node agent in virtual time: how Pods end, and what their hooks may do."""

from math import inf
from typing import Any

import anyio
import pytest

from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import ExecAction, Lifecycle, LifecycleHandler, SleepAction
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.runtime.abilities import ExecResult
from kubelib.runtime.fake import Life
from tests.runtime.agent.watching import gone, is_ready, starts
from tests.runtime.conftest import SimNode, container


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
    assert event.message == "PostStartHook failed", "what the hook said may be secret"
    [event] = await node.events("Killing")
    assert event.message == "FailedPostStartHook"


async def test_what_waits_for_a_hook_that_failed_says_so_in_its_pod(node: SimNode) -> None:
    async def command(words: Any, given: bytes, age: float) -> ExecResult:
        return ExecResult(1, b"no", b"refused")

    node.images(run=Life(command=command))
    hook = Lifecycle(post_start=LifecycleHandler(exec=ExecAction(command=("register", "me"))))
    pod = await node.run(containers=(container(lifecycle=hook),))
    async with node.client.resource(Pod).watch(since=pod.metadata.resource_version) as events:
        async for event in events:
            pod = event.object
            if waits_for(pod) == "PostStartHookError":
                break
    status = pod.status.container_statuses[0]
    assert status.state.waiting is not None and status.last_state.terminated is not None
    assert status.state.waiting.message == (
        f'Exec lifecycle hook ([register me]) for Container "main" in Pod "a_default({pod.metadata.uid})" failed'
        " - error: command 'register me' exited with 1: refused, message: \"norefused\""
    )
    await node.until(lambda p: waits_for(p) == "CrashLoopBackOff")


def waits_for(pod: Pod) -> str:
    waiting = pod.status.container_statuses[0].state.waiting if pod.status.container_statuses else None
    return waiting.reason if waiting is not None else ""


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
