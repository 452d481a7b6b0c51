"""The node agent in virtual time: init containers and sidecars."""

import anyio

from kubelib.api.core.pod import Pod
from kubelib.api.core.probes import ExecAction, Probe
from kubelib.api.meta import Key
from kubelib.runtime.base import SandboxId
from kubelib.runtime.fake import Life
from tests.runtime.agent.watching import is_ready
from tests.runtime.conftest import SimNode, container


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


async def test_init_containers_run_again_in_a_new_sandbox(node: SimNode) -> None:
    node.images(step=Life(run_for=10))
    pod = await node.run(init=(container("first", "step"), container("second", "step")))
    await node.until(is_ready)
    await node.runtime.stop_sandbox(SandboxId(pod.metadata.uid))
    await node.until(lambda p: not is_ready(p))
    await node.until(lambda p: p.status.init_container_statuses[0].state.running is not None)
    assert node.running_containers() == ["first"]
    began = anyio.current_time()
    await node.until(is_ready)
    assert anyio.current_time() - began >= 19
    assert (await node.status()).restart_count == 1
    [event] = await node.events("SandboxChanged")
    assert event.message == "Pod sandbox changed, it will be killed and re-created."


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
