"""The node agent in virtual time: which container of a Pod its Events are about, and how long pulling took."""

from pathlib import Path

import anyio

from kubelib.api.core.pod import Pod
from kubelib.api.meta import Key
from kubelib.runtime.fake import Life
from tests.runtime.agent.watching import exec_probe, is_ready, is_running
from tests.runtime.conftest import SimNode, container, sim_node


async def test_events_about_containers_say_which_one_they_mean(node: SimNode) -> None:
    node.images(run=Life(sick_after=4), first=Life(run_for=1))
    probed = container(readiness_probe=exec_probe(period_seconds=5, failure_threshold=1))
    await node.run(init=(container("early", "first"),), containers=(probed, container("other")))
    await node.until(is_running)
    await anyio.sleep(12)
    told = {(e.reason, e.involved_object.field_path) for e in await node.events()}
    early, main, other = "spec.initContainers{early}", "spec.containers{main}", "spec.containers{other}"
    for path in (early, main, other):
        assert {("Created", path), ("Started", path)} <= told
        assert any(reason in ("Pulled", "Pulling") and where == path for reason, where in told)
    assert ("Unhealthy", main) in told
    assert ("Unhealthy", other) not in told


async def test_the_same_said_of_two_containers_is_two_events(node: SimNode) -> None:
    await node.run(containers=(container("one"), container("two")))
    await node.until(is_ready)
    await anyio.sleep(1)
    pulled = [e for e in await node.events() if e.reason in ("Pulled", "Pulling")]
    assert {e.involved_object.field_path for e in pulled} == {"spec.containers{one}", "spec.containers{two}"}
    await node.client.resource(Pod).delete(Key("default", "a"))
    await anyio.sleep(5)
    killed = sorted(e.involved_object.field_path for e in await node.events("Killing"))
    assert killed == ["spec.containers{one}", "spec.containers{two}"]


async def test_how_long_an_image_was_pulled_is_told_as_the_kubelet_tells_it(tmp_path: Path) -> None:
    async with sim_node(tmp_path, pull_delay=62.5) as node, node.running():
        await node.run(containers=(container(image="far", image_pull_policy="Always"),))
        await node.until(is_ready, within=120)
        await anyio.sleep(1)
        [event] = await node.events("Pulled")
    assert event.message == 'Successfully pulled image "far" in 1m2.5s (1m2.5s including waiting)'
