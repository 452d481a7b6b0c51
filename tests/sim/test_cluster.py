"""The cluster in virtual time: what test authors get, and that it is the same every time."""

import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from examples.controller.mirror import mirror_controller
from kubelib.api.apps import Deployment
from kubelib.api.core.config import ConfigMap
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client import Client, LocalClient
from kubelib.registry.base import Query
from kubelib.runtime.lives import ready_after
from kubelib.sim import Conflicting, Lossy, NotReached, SimCluster, simulate
from kubelib.testing.objects import make_config_map, make_deployment

MOTD = replace(make_config_map("motd", text="hello"))
LABELLED = replace(MOTD, metadata=replace(MOTD.metadata, labels={"mirror": "everywhere"}))


async def mirrored(client: LocalClient) -> bool:
    try:
        return (await client.resource(ConfigMap).get(Key("kube-public", "motd"))).data == {"text": "hello"}
    except NotFound:
        return False


def ready(count: int, *, elsewhere: str = "") -> Callable[[LocalClient], Awaitable[bool]]:
    async def check(client: LocalClient) -> bool:
        pods = (await client.resource(Pod).list(Query("default"))).items
        good = [
            pod
            for pod in pods
            if pod.spec.node_name != elsewhere
            and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
        ]
        return len(good) == count

    return check


@pytest.mark.seeds(10)
async def test_a_controller_converges_on_a_bad_line(sim: SimCluster) -> None:
    def line(client: Client, random: Random) -> Client:
        return Conflicting(Lossy(client, random, rate=0.2, latency=0.1), every=3)

    await sim.start(controllers=[mirror_controller], hardship=line)
    await sim.client.resource(ConfigMap).create(LABELLED)
    await sim.until(mirrored, within=1200)
    await sim.client.resource(ConfigMap).delete(Key("kube-public", "motd"))
    await sim.restart_controllers()
    await sim.until(mirrored, within=1200)


async def test_pods_move_from_a_lost_node_and_it_may_come_back(sim: SimCluster) -> None:
    begun = time.process_time()
    await sim.start(nodes=3, rule=lambda *_: ready_after(2))
    await sim.client.resource(Deployment).create(make_deployment("web", replicas=3))
    await sim.until(ready(3), within=60)
    lost = (await sim.client.resource(Pod).list(Query("default"))).items[0].spec.node_name
    await sim.lose_node(lost)
    await sim.until(ready(3, elsewhere=lost), within=600)

    async def node_is_ready(client: LocalClient) -> bool:
        node = await client.resource(Node).get(Key("", lost))
        return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)

    assert not await node_is_ready(sim.client)
    await sim.return_node(lost)
    await sim.until(node_is_ready, within=60)
    assert time.process_time() - begun < 20


def test_equal_seeds_give_equal_traces_and_others_differ() -> None:
    def run(seed: int) -> str:
        sim = SimCluster(seed=seed)

        async def main() -> None:
            async with sim:
                await sim.start(nodes=2, controllers=[mirror_controller], hardship=partial(Lossy, rate=0.1))
                await sim.client.resource(ConfigMap).create(LABELLED)
                await sim.client.resource(Deployment).create(make_deployment("web", replicas=2))
                await sim.until(mirrored, within=1200)
                await sim.until(ready(2), within=120)

        simulate(main, seed=seed)
        return str(sim.trace)

    first = run(1)
    assert "core/pods default/web-" in first
    assert run(1) == first
    assert run(2) != first


async def test_what_is_not_reached_says_when_with_which_seed_and_what_came_before(sim: SimCluster) -> None:
    await sim.start(builtin=False)
    await sim.client.resource(ConfigMap).create(LABELLED)

    def never(client: LocalClient) -> bool:
        raise AssertionError("it is still not there")

    with pytest.raises(NotReached) as caught:
        await sim.until(never, within=300)
    message = str(caught.value)
    assert "300 virtual seconds" in message
    assert "seed 0" in message
    assert "it is still not there" in message
    assert "ADDED    core/configmaps default/motd" in message


async def test_an_unknown_node_is_named_with_those_that_there_are(sim: SimCluster) -> None:
    await sim.start(nodes=1)
    with pytest.raises(KeyError, match="no node 'node-7': there are node-1"):
        await sim.lose_node("node-7")


PROBE = """
import pytest
from kubelib.api.core.config import ConfigMap
from kubelib.testing.objects import make_config_map

@pytest.mark.seeds(3)
async def test_fails_with_one_seed(sim):
    await sim.start(builtin=False)
    await sim.client.resource(ConfigMap).create(make_config_map("c"))
    assert sim.seed != 1

class TestInAClass:
    async def test_runs_once(self, sim):
        await sim.sleep(3600)

async def test_of_somebody_elses_sim_is_left_alone():
    pass
"""


def pytest_in(directory: Path, settings: str, source: str) -> str:
    (directory / "pytest.ini").write_text(f"[pytest]\n{settings}\n")
    (directory / "test_probe.py").write_text(source)
    words = ["-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, *words], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.parametrize("settings", ["", "anyio_mode = auto"])
def test_tests_of_it_run_once_whatever_runs_other_asynchronous_tests(tmp_path: Path, settings: str) -> None:
    shown = pytest_in(tmp_path, settings, PROBE)
    results = {
        line.split(" ")[0].partition("::")[2]: line.split()[1]
        for line in shown.splitlines()
        if line.startswith("test_probe.py::") and " " in line
    }
    assert {name: result for name, result in results.items() if "left_alone" not in name} == {
        "test_fails_with_one_seed[seed0]": "PASSED",
        "test_fails_with_one_seed[seed1]": "FAILED",
        "test_fails_with_one_seed[seed2]": "PASSED",
        "TestInAClass::test_runs_once": "PASSED",
    }
    # Where nothing runs asynchronous tests, pytest itself refuses those that are none of ours.
    assert any("left_alone" in name for name in results)
    assert "simulation with seed 1" in shown
    assert "ADDED    core/configmaps default/c" in shown
