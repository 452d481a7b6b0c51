"""Several profiles in one scheduler: each Pod by the policy that it names, all on one table and in one queue."""

from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.scheduling import PriorityClass
from kubelib.clock import LoopClock
from kubelib.sched.architectures import Architecture, assemble
from kubelib.sched.policies import default_policy
from kubelib.sched.policies.configuration import read_profiles
from kubelib.sched.scheduler import Scheduler
from kubelib.testing.objects import make_node
from tests.sched.conftest import containers
from tests.sched.test_groups import add_group, bound, of

SMALL = {"cpu": "2", "memory": "4Gi", "pods": "10"}
TEXT = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
podInitialBackoffSeconds: 20
podMaxBackoffSeconds: 20
profiles:
- schedulerName: spread
- schedulerName: pack
  plugins:
    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit}]}
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}
- schedulerName: polite
  plugins:
    postFilter: {disabled: [{name: DefaultPreemption}]}
"""


def architecture(sharing: Any = "monolithic", **options: Any) -> Architecture:
    found = read_profiles(TEXT, default_policy())
    makers = {name: (lambda policy=policy: policy) for name, policy in found.policies.items()}
    return Architecture(
        sharing=sharing,
        name="spread",
        policy=makers.pop("spread"),
        profiles=makers,
        first_backoff=found.first_backoff,
        longest_backoff=found.longest_backoff,
        **options,
    )


@pytest.mark.parametrize(
    ("sharing", "count"), [("monolithic", 1), ("multipath", 1), ("partitioned", 2), ("shared-state", 2)]
)
async def test_each_pod_is_placed_by_the_profile_that_it_names(world: Any, sharing: str, count: int) -> None:
    await world.add_nodes(8, allocatable={**SMALL, "cpu": "4"})
    recorders = {name: world.recorder.source(name) for name in ("pack", "polite")}
    assembly = assemble(
        architecture(sharing, schedulers=count),
        world.client,
        random=Random(1),
        clock=LoopClock(),
        recorders=recorders,
    )
    assert len(assembly.tables) == count, "one table for all profiles of a scheduler"
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.recorder.run)
        for component in assembly.components:
            await tasks.start(component.run)
        for number in range(4):
            for name in ("spread", "pack", "nobody"):
                await world.add_pod(
                    f"{name}-{number}", scheduler_name=name, containers=containers(cpu="500m")
                )
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    placed = await world.placed()
    packed = {placed[f"pack-{number}"] for number in range(4)}
    assert "" not in packed and len(packed) <= count
    assert all(placed[f"spread-{number}"] for number in range(4))
    if sharing == "monolithic":
        assert len({placed[f"spread-{number}"] for number in range(4)}) == 4
    assert not any(placed[f"nobody-{number}"] for number in range(4))
    assert sum(reason == "Scheduled" for reason, _ in await world.events()) == 4, (
        "those of pack: only they have a recorder"
    )


async def test_profiles_share_room_order_and_back_off_and_one_may_never_preempt(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    assembly = assemble(architecture(), world.client, random=Random(1), clock=LoopClock())
    (scheduler,) = assembly.components
    async with anyio.create_task_group() as tasks:
        for name, value in (("high", 5), ("highest", 9)):
            await world.direct.resource(PriorityClass).create(
                PriorityClass(metadata=ObjectMeta(name=name), value=value)
            )
        whole = containers(cpu="2")
        await world.add_pod("low", scheduler_name="pack", containers=whole)
        await world.add_pod("high", scheduler_name="spread", containers=whole, priority_class_name="high")
        await tasks.start(scheduler.run)
        await anyio.sleep(5)
        assert await world.placed() == {"low": "", "high": "node-0"}, "the order is that of one queue"
        await world.pods.delete(Key("default", "low"), grace=0)
        await world.add_pod(
            "polite", scheduler_name="polite", containers=whole, priority_class_name="highest"
        )
        await anyio.sleep(5)
        why = "0/1 nodes are available: 1 Insufficient cpu."
        assert await world.refusal("polite") == ("Unschedulable", why)
        await world.add_node(make_node("node-1", allocatable=SMALL))
        await anyio.sleep(5)
        assert await world.placed() == {"high": "node-0", "polite": "node-1"}, "nothing else is to be tried"
        assert isinstance(scheduler, Scheduler) and scheduler.queue.first_backoff == 20
        tasks.cancel_scope.cancel()


async def test_the_pods_of_a_group_name_one_profile(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    assembly = assemble(architecture(), world.client, random=Random(1), clock=LoopClock())
    (scheduler,) = assembly.components
    async with anyio.create_task_group() as tasks:
        await tasks.start(scheduler.run)
        await add_group(world, "mixed", 2)
        for number, name in enumerate(("spread", "pack")):
            await world.add_pod(f"mixed-{number}", scheduler_name=name, scheduling_group=of("mixed"))
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    assert await bound(world, "mixed") == 0
    assert await world.refusal("mixed-0") == (
        "SchedulerError",
        'all pods in a single pod group should have the same .spec.schedulerName set, got: "pack" and "spread"',
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"sharing": "two-level"}, "have one profile"),
        ({"name": "pack"}, "two profiles for pack"),
    ],
)
def test_profiles_that_cannot_be_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Architecture(profiles={"pack": default_policy}, **options)
