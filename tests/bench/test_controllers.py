"""Controllers from nothing to a thousand pods, in process: 0.35 s is the budget of a ReplicationController."""

import time
from collections.abc import Callable
from random import Random
from typing import Any

import anyio

from kubelib.api.apps_sets import DaemonSet, DaemonSetSpec, StatefulSet, StatefulSetSpec
from kubelib.api.batch import Job, JobSpec
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Object
from kubelib.client.local import LocalClient
from kubelib.clock import SYSTEM_CLOCK
from kubelib.controllers import EventRecorder, Manager
from kubelib.controllers.builtin.daemonset import daemon_set_controller
from kubelib.controllers.builtin.job import job_controller
from kubelib.controllers.builtin.replicationcontroller import replication_controller
from kubelib.controllers.builtin.statefulset import stateful_set_controller
from kubelib.informers import Component, SharedInformers
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_meta, make_node, make_replication_controller, make_template

PODS = 1000


Made = Callable[[Any], bool]


async def fill(
    make: Callable[..., Component], wanted: Object, made: Made, nodes: int = 0
) -> tuple[float, float]:
    """Return the wall-clock and processor seconds until the status says that all pods are there."""
    random = Random(1)
    async with ResourceRegistries(MemoryStore(), random=random) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        for number in range(nodes):
            await client.resource(Node).create(make_node(f"n{number}"))
        informers = SharedInformers(client, random=random)
        recorder = EventRecorder(client, clock=SYSTEM_CLOCK, random=random)
        controller = make(informers, clock=SYSTEM_CLOCK, recorder=recorder)
        async with anyio.create_task_group() as tasks:
            await tasks.start(Manager([recorder, informers, controller]).run)
            wall, processor = time.perf_counter(), time.process_time()
            kind = client.resource(type(wanted))
            created = await kind.create(wanted)
            while not made((await kind.get(created.key)).status):  # type: ignore[attr-defined]
                await anyio.sleep(0.005)
            spent = time.perf_counter() - wall, time.process_time() - processor
            assert len((await client.resource(Pod).list()).items) == PODS
            tasks.cancel_scope.cancel()
    return spent


def measure(benchmark: Any, *arguments: Any) -> None:
    wall, processor = benchmark.pedantic(lambda: anyio.run(fill, *arguments), rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(
        wall_seconds=round(wall, 3), processor_seconds=round(processor, 3), budget_seconds=0.35
    )


def test_a_replication_controller_makes_a_thousand_pods(benchmark: Any) -> None:
    rc = make_replication_controller("big", replicas=PODS)
    measure(benchmark, replication_controller, rc, lambda status: status.replicas == PODS)


def test_a_daemon_set_makes_a_pod_on_each_of_a_thousand_nodes(benchmark: Any) -> None:
    labels = {"app": "big"}
    spec = DaemonSetSpec(selector=LabelSelector(match_labels=labels), template=make_template(labels))
    owner = DaemonSet(metadata=make_meta("big"), spec=spec)
    measure(
        benchmark, daemon_set_controller, owner, lambda status: status.current_number_scheduled == PODS, PODS
    )


def test_a_job_makes_a_thousand_pods(benchmark: Any) -> None:
    template = make_template({}, restart_policy="Never")
    job = Job(metadata=make_meta("big"), spec=JobSpec(parallelism=PODS, completions=PODS, template=template))
    measure(benchmark, job_controller, job, lambda status: status.active == PODS)


def test_a_stateful_set_makes_a_thousand_pods(benchmark: Any) -> None:
    labels = {"app": "big"}
    spec = StatefulSetSpec(
        replicas=PODS,
        pod_management_policy="Parallel",
        selector=LabelSelector(match_labels=labels),
        template=make_template(labels),
    )
    owner = StatefulSet(metadata=make_meta("big"), spec=spec)
    measure(benchmark, stateful_set_controller, owner, lambda status: status.replicas == PODS)
