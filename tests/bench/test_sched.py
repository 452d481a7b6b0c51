"""Scheduling: decisions of the engine alone, and Pods from created to bound through the API in process."""

from collections.abc import Sequence
from random import Random
from typing import Any

import anyio
import attrs
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.node import Node, NodeStatus
from kubelib.api.core.pod import Pod, PodSpec
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.registry.registries import ResourceRegistries
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.sched.preemption import Plan, Preemption
from kubelib.sched.scheduler import Scheduler
from kubelib.store import MemoryStore

PODS = 2000


def machine(number: int) -> Node:
    labels = {"kubernetes.io/hostname": f"node-{number}", "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    return Node(
        metadata=ObjectMeta(name=f"node-{number}", labels=labels),
        status=NodeStatus(allocatable={"cpu": "32", "memory": "128Gi", "pods": "110"}),
    )


def pod(number: int, cpu: str = "100m") -> Pod:
    requests = {"cpu": cpu, "memory": "128Mi"}
    return Pod(
        metadata=ObjectMeta(name=f"pod-{number}", namespace="default", uid=f"uid-{number}"),
        spec=PodSpec(
            containers=(Container(name="c", image="x", resources=ResourceRequirements(requests=requests)),)
        ),
    )


@pytest.mark.parametrize("shapes", ["identical", "distinct"])
@pytest.mark.parametrize("nodes", [1000, 5000])
def test_decisions_per_second(benchmark: Any, nodes: int, shapes: str) -> None:
    count = PODS if shapes == "identical" else PODS // 4
    infos = [PodInfo.of(pod(n, "100m" if shapes == "identical" else f"{100 + n}m")) for n in range(count)]

    def empty() -> tuple[Any, ...]:
        table = NodeTable()
        for number in range(nodes):
            table.put_node(machine(number))
        return (Cycle(table, default_policy(), Random(1)),), {}

    def run(cycle: Cycle) -> int:
        return place(cycle, infos)

    assert benchmark.pedantic(run, setup=empty, rounds=3) == count
    benchmark.extra_info["pods"] = count


def place(cycle: Cycle, infos: Sequence[PodInfo]) -> int:
    placed = 0
    for info in infos:
        node = cycle.decide(info).node
        if node:
            cycle.table.put_pod(info, node)
            placed += 1
    return placed


@pytest.mark.parametrize("shapes", ["identical", "distinct"])
def test_preemptions_per_second_at_5000_nodes(benchmark: Any, shapes: str) -> None:
    count, nodes = 200, 5000
    there = [PodInfo.of(pod(0, "4")) for _ in range(3)]
    urgent = []
    for number in range(count):
        wanted = pod(10**6 + number, "8" if shapes == "identical" else f"{8000 + number}m")
        urgent.append(PodInfo.of(replace(wanted, spec=replace(wanted.spec, priority=1000))))

    def full() -> tuple[Any, ...]:
        table = NodeTable()
        for number in range(nodes):
            table.put_node(machine(number))
            for part in range(8):
                rank = part % 3
                uid = f"uid-{number * 8 + part}"
                table.put_pod(attrs.evolve(there[rank], uid=uid, priority=10 * rank), f"node-{number}")
        cycle = Cycle(table, default_policy(), Random(1))
        return (cycle, Preemption(cycle, Budgets(), started=lambda _: 0.0, random=Random(1))), {}

    def run(cycle: Cycle, preemption: Preemption) -> int:
        done = 0
        for info in urgent:
            assert not cycle.decide(info).node
            plan = preemption.plan(info)
            assert isinstance(plan, Plan)
            cycle.table.nominate(info, plan.node)
            for victim in plan.victims:
                cycle.table.remove_pod(victim.uid)
            verdict = cycle.decide(info)
            assert verdict.node == plan.node
            cycle.table.put_pod(info, verdict.node)
            done += 1
        return done

    assert benchmark.pedantic(run, setup=full, rounds=1) == count
    benchmark.extra_info["pods"] = count


@pytest.mark.parametrize("nodes", [1000, 5000])
def test_pods_from_created_to_bound(benchmark: Any, nodes: int) -> None:
    async def run() -> float:
        async with ResourceRegistries(MemoryStore(), random=Random(1)) as registries:
            await registries.bootstrap()
            client = LocalClient(registries)
            for number in range(nodes):
                node = machine(number)
                created = await client.resource(Node).create(node)
                await client.resource(Node).update(replace(created, status=node.status), subresource="status")
            scheduler = Scheduler(client, random=Random(1))
            async with anyio.create_task_group() as tasks:
                await tasks.start(scheduler.run)
                began = anyio.current_time()
                for number in range(PODS):
                    await client.resource(Pod).create(pod(number))
                while True:
                    await anyio.sleep(0.01)
                    table = scheduler.table
                    if not len(scheduler.queue) and int(table.used["pods"].sum()) == PODS:
                        break
                took = anyio.current_time() - began
                tasks.cancel_scope.cancel()
            return took

    benchmark.extra_info["pods per second"] = PODS / benchmark.pedantic(anyio.run, args=(run,), rounds=1)
