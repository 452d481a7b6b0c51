"""A node whose engine hangs or goes away in the middle of a call: it says so, goes on, and loses and leaks nothing."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kubelib.api.coordination import Lease
from kubelib.api.core.event import Event
from kubelib.api.core.node import Node, NodeCondition
from kubelib.api.core.pod import Pod
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers.events import EventRecorder
from kubelib.registry.base import Query
from kubelib.runtime import health
from kubelib.runtime import node as reporting
from kubelib.runtime.agent import NodeAgent
from kubelib.runtime.enginecalls import THREADS
from kubelib.runtime.settings import NodeSettings
from kubelib.testing.cluster import Cluster
from tests.containers import BUSYBOX, Docker, Podman
from tests.kubelets import open_runtime

NODE = "node-1"


class Running:
    """A node agent in the test's own process, on a real engine and over HTTPS."""

    def __init__(self, engine: Docker | Podman, cluster: Cluster, client: Any, runtime: Any) -> None:
        self.engine, self.cluster, self.client, self.runtime = engine, cluster, client, runtime

    async def run(self, name: str) -> None:
        """Create a Pod on the node."""
        container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "100000"]}
        spec = {
            "nodeName": NODE,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        tree = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        await anyio.to_thread.run_sync(self.cluster.apply, tree)

    async def phase(self, name: str) -> str:
        return str((await self.client.resource(Pod).get(Key("default", name))).status.phase)

    async def is_running(self, name: str) -> bool:
        return await self.phase(name) == "Running"

    async def ready(self) -> NodeCondition:
        node: Node = await self.client.resource(Node).get(Key("", NODE))
        return next(c for c in node.status.conditions if c.type == "Ready")

    async def is_ready(self) -> bool:
        return (await self.ready()).status == "True"

    async def renewed(self) -> Any:
        lease = await self.client.resource(Lease).get(Key("kube-node-lease", NODE))
        return lease.spec.renew_time

    @property
    def busy(self) -> int:
        """How many calls are under way."""
        return int(self.runtime.engine._limiter.borrowed_tokens)

    async def end(self, *names: str) -> None:
        """Delete Pods, and wait until nothing is left of them."""
        for name in names:
            await self.client.resource(Pod).delete(Key("default", name))
        await until(lambda: to_bool(self.engine.containers() == []))
        await until(lambda: to_bool(self.busy == 0))


async def to_bool(found: bool) -> bool:
    return found


async def until(holds: Callable[[], Awaitable[bool]], within: float = 60) -> None:
    """Wait until something holds."""
    with anyio.fail_after(within):
        while True:
            try:
                if await holds():
                    return
            except ApiError:
                pass
            await anyio.sleep(0.05)


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue({"docker": "docker_engine", "podman": "podman_service"}[request.param])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def node(
    engine: Docker | Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    for name, value in (("PERIOD", 0.2), ("DOWN", 1.0), ("SILENT", 2.0)):
        monkeypatch.setattr(health, name, value)
    monkeypatch.setattr(reporting, "HEARTBEAT", 0.2)
    random = Random(1)
    async with (
        Cluster() as cluster,
        cluster.http_client() as client,
        open_runtime(engine.kind, engine.url, tmp_path / "node") as runtime,
        anyio.create_task_group() as group,
    ):
        events = EventRecorder(client, clock=SYSTEM_CLOCK, random=random)
        settings = NodeSettings(name=NODE, capacity={"pods": "50"})
        recorder = events.source("kubelet", NODE)
        agent = NodeAgent(client, runtime, settings, tmp_path / "node", random=random, recorder=recorder)
        await group.start(events.run)
        await group.start(agent.run)
        yield Running(engine, cluster, client, runtime)
        group.cancel_scope.cancel()


async def test_a_node_whose_engine_hangs_is_not_ready_and_goes_on_when_it_is_back(node: Running) -> None:
    await node.run("before")
    await until(lambda: node.is_running("before"))
    threads = threading.active_count()
    assert node.engine.server is not None
    node.engine.server.pause()
    try:
        await node.run("meanwhile")

        async def down() -> bool:
            found = await node.ready()
            return found.status == "False" and "PLEG is not healthy" in found.message

        await until(down)
        found = await node.ready()
        assert found.reason == "KubeletNotReady"
        assert found.message.startswith(
            "[container runtime is down, PLEG is not healthy: pleg was last seen active"
        )
        assert node.busy > 0, "a call is under way"
        renewed = await node.renewed()

        async def renewed_again() -> bool:
            return bool(await node.renewed() != renewed)

        await until(renewed_again)  # the node itself is there
        assert await node.phase("before") == "Running"
    finally:
        node.engine.server.resume()
    await until(node.is_ready)
    await until(lambda: node.is_running("meanwhile"))
    [sandbox] = [s for s in await node.runtime.list_sandboxes() if s.name == "before"]
    assert (await node.runtime.exec(sandbox.containers[0].id, ("echo", "well"))).stdout == b"well\n"

    async def told() -> bool:
        listed = (await node.client.resource(Event).list(Query("default"))).items
        return {"NodeNotReady", "NodeReady"} <= {event.reason for event in listed}

    await until(told)
    await node.end("before", "meanwhile")
    # Threads that have nothing to do wait for a while: there are no more than may be busy at once.
    assert threading.active_count() <= threads + THREADS


async def test_an_engine_that_goes_away_in_the_middle_of_a_call_is_waited_for(node: Running) -> None:
    await node.run("before")
    await until(lambda: node.is_running("before"))
    engine = node.engine
    assert engine.server is not None
    engine.server.pause()
    await node.run("meanwhile")
    await until(lambda: to_bool(node.busy > 0))
    engine.kill()
    await until(lambda: to_bool(node.busy == 0))

    async def down() -> bool:
        return not await node.is_ready()

    await until(down)
    await anyio.to_thread.run_sync(engine.start)
    await until(node.is_ready)
    await until(lambda: node.is_running("meanwhile"))
    if engine.kind == "docker":  # which ends what it finds

        async def restarted() -> bool:
            pod = await node.client.resource(Pod).get(Key("default", "before"))
            return [(s.restart_count, s.ready) for s in pod.status.container_statuses] == [(1, True)]

        await until(restarted)
    else:
        pod = await node.client.resource(Pod).get(Key("default", "before"))
        assert [(s.restart_count, s.ready) for s in pod.status.container_statuses] == [(0, True)]
    await node.end("before", "meanwhile")
