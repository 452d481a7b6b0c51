"""A ReplicationController from nothing to a thousand pods, in process: 0.35 s is the budget."""

import time
from random import Random
from typing import Any

import anyio

from kubelib.api.core.pod import Pod
from kubelib.api.core.replication import ReplicationController
from kubelib.client.local import LocalClient
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers import EventRecorder, Manager
from kubelib.controllers.builtin.replicationcontroller import replication_controller
from kubelib.informers import SharedInformers
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_replication_controller

PODS = 1000


async def fill() -> tuple[float, float]:
    """Return the wall-clock and processor seconds until the status says that all pods are there."""
    random = Random(1)
    async with ResourceRegistries(MemoryStore(), random=random) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        informers = SharedInformers(client, random=random)
        recorder = EventRecorder(client, clock=SYSTEM_CLOCK, random=random)
        controller = replication_controller(informers, clock=SYSTEM_CLOCK, recorder=recorder)
        async with anyio.create_task_group() as tasks:
            await tasks.start(Manager([recorder, informers, controller]).run)
            wall, processor = time.perf_counter(), time.process_time()
            rc = make_replication_controller("big", replicas=PODS)
            made = await client.resource(ReplicationController).create(rc)
            while (await client.resource(ReplicationController).get(made.key)).status.replicas < PODS:
                await anyio.sleep(0.005)
            spent = time.perf_counter() - wall, time.process_time() - processor
            assert len((await client.resource(Pod).list()).items) == PODS
            tasks.cancel_scope.cancel()
    return spent


def test_a_replication_controller_makes_a_thousand_pods(benchmark: Any) -> None:
    wall, processor = benchmark.pedantic(lambda: anyio.run(fill), rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(
        wall_seconds=round(wall, 3), processor_seconds=round(processor, 3), budget_seconds=0.35
    )
