"""The node agent in virtual time: what it does when probes succeed and fail."""

from math import inf
from typing import Any

import anyio
import pytest

from kubelib.api.core.probes import HTTPGetAction, Probe, TCPSocketAction
from kubelib.runtime.fake import Life
from tests.runtime.agent.watching import exec_probe, is_ready, is_running
from tests.runtime.conftest import SimNode, container


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


async def test_a_probe_that_cannot_be_made_is_told_and_decides_nothing(node: SimNode) -> None:
    probe = Probe(period_seconds=1, failure_threshold=1, tcp_socket=TCPSocketAction(port="nope"))
    await node.run(containers=(container(liveness_probe=probe),))
    await node.until(is_ready)
    await anyio.sleep(5)
    assert (await node.status()).restart_count == 0
    [event] = await node.events("Unhealthy")
    assert event.message == (
        'Liveness probe errored and resulted in unknown state: strconv.Atoi: parsing "nope": invalid syntax'
    )


async def test_a_container_that_is_being_ended_for_its_probe_is_asked_no_more(node: SimNode) -> None:
    node.images(run=[Life(sick_after=4, stop_delay=20), Life()])
    await node.run(containers=(container(liveness_probe=exec_probe(period_seconds=1, failure_threshold=1)),))
    await node.until(
        lambda p: bool(p.status.container_statuses and p.status.container_statuses[0].restart_count)
    )
    await anyio.sleep(1)
    [event] = await node.events("Unhealthy")
    assert event.count == 1


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
