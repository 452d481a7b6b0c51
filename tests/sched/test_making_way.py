"""Groups for which Pods of lower priority leave: as a whole, or not at all."""

from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.scheduling import PriorityClass
from kubelib.api.scheduling_v1beta1 import (
    AllDisruptionMode,
    DisruptionMode,
    GangSchedulingPolicy,
    PodGroup,
    PodGroupSchedulingPolicy,
    PodGroupSpec,
    SingleDisruptionMode,
)
from kubelib.registry.base import Query
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle
from kubelib.sched.groups import Groups
from kubelib.sched.makingway import find_way
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import default_policy
from kubelib.testing.objects import make_node, make_pod
from tests.sched.test_groups import SMALL, add_group, add_members, bound, cpu, of


async def fill(world: Any, *names: str, **spec: Any) -> None:
    for name in names:
        await world.add_pod(name, containers=cpu("1"), termination_grace_period_seconds=0, **spec)
    await anyio.sleep(10)
    placed = await world.placed()
    assert all(placed[name] for name in names)


@pytest.mark.parametrize("fits", [True, False])
async def test_pods_of_lower_priority_leave_for_a_group_as_a_whole_or_not_at_all(
    world: Any, fits: bool
) -> None:
    """Four processors: three of four Pods have to go for a group of three, and none for one of five."""
    await world.add_nodes(2, allocatable=SMALL)
    await world.direct.resource(PriorityClass).create(
        PriorityClass(metadata=ObjectMeta(name="high"), value=1000)
    )
    size = 3 if fits else 5
    async with world.running(world.scheduler()):
        await fill(world, "a", "b", "c", "d")
        await add_group(world, "big", size, priority_class_name="high")
        await add_members(world, "big", size, containers=cpu("1"))
        await anyio.sleep(40)
        left = [name for name in await world.placed() if len(name) == 1]
        assert await bound(world, "big") == (3 if fits else 0)
        assert len(left) == (1 if fits else 4)


async def test_nobody_leaves_for_a_group_of_no_higher_priority(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await fill(world, "a", "b", "c", "d")
        await add_group(world, "big", 2)
        await add_members(world, "big", 2, containers=cpu("1"))
        await anyio.sleep(30)
        assert await bound(world, "big") == 0
        placed = await world.placed()
        assert all(placed[name] for name in "abcd")


@pytest.mark.parametrize("whole", [True, False])
async def test_a_group_that_is_disrupted_as_a_whole_leaves_as_a_whole(world: Any, whole: bool) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    await world.direct.resource(PriorityClass).create(
        PriorityClass(metadata=ObjectMeta(name="high"), value=1000)
    )
    mode = DisruptionMode(all=AllDisruptionMode()) if whole else DisruptionMode(single=SingleDisruptionMode())
    async with world.running(world.scheduler()):
        await add_group(world, "old", 4, disruption_mode=mode)
        await add_members(world, "old", 4, containers=cpu("1"), termination_grace_period_seconds=0)
        await anyio.sleep(10)
        assert await bound(world, "old") == 4
        await add_group(world, "new", 2, priority_class_name="high")
        await add_members(world, "new", 2, containers=cpu("1"))
        await anyio.sleep(40)
        assert await bound(world, "new") == 2
        left = [name for name in await world.placed() if name.startswith("old-")]
        assert len(left) == (0 if whole else 2)


async def test_a_group_waits_for_those_who_leave_for_it_and_makes_no_others_leave(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    await world.direct.resource(PriorityClass).create(
        PriorityClass(metadata=ObjectMeta(name="high"), value=1000)
    )
    async with world.running(world.scheduler()):
        for name in "abcd":
            await world.add_pod(name, containers=cpu("1"))
        await anyio.sleep(10)
        await add_group(world, "big", 2, priority_class_name="high")
        await add_members(world, "big", 2, containers=cpu("1"))
        await anyio.sleep(60)
        found = (await world.pods.list(Query("default"))).items
        leaving = [pod.metadata.name for pod in found if pod.metadata.deletion_timestamp is not None]
        assert len(leaving) == 2
        assert await bound(world, "big") == 0
        # What they leave is the group's, and nobody else's.
        await world.add_pod("other", containers=cpu("1"))
        for name in leaving:
            await world.pods.delete(Key("default", name), grace=0)
        await anyio.sleep(20)
        assert await bound(world, "big") == 2
        assert not (await world.pod("other")).spec.node_name


@pytest.mark.parametrize("seed", range(20))
def test_a_way_for_a_group_is_one_and_finding_it_changes_nothing(seed: int) -> None:
    random = Random(seed)
    table, groups = NodeTable(), Groups()
    cycle = Cycle(table, default_policy(), Random(seed))
    for number in range(random.randint(2, 5)):
        table.put_node(make_node(f"n{number}", allocatable=SMALL))
    for name, mode in (("whole", DisruptionMode(all=AllDisruptionMode())), ("loose", None)):
        spec = PodGroupSpec(
            scheduling_policy=PodGroupSchedulingPolicy(gang=GangSchedulingPolicy(min_count=1)),
            disruption_mode=mode,
            priority=random.choice([0, 5, 50]),
        )
        groups.put(Key("default", name), PodGroup(spec=spec))
    for number in range(30):
        asked: dict[str, Any] = {
            "containers": cpu(random.choice(["300m", "500m", "1"])),
            "priority": random.choice([0, 5, 50]),
        }
        named = random.choice(["", "", "whole", "loose"])
        pod = PodInfo.of(
            make_pod(f"p{number}", uid=f"u{number}", scheduling_group=of(named) if named else None, **asked)
        )
        if chosen := cycle.decide(pod).node:
            table.put_pod(pod, chosen)
    size = random.randint(1, 6)
    wanted = [
        PodInfo.of(make_pod(f"w{n}", uid=f"w{n}", priority=10, containers=cpu("1"))) for n in range(size)
    ]
    before = {name: table.node(row) for name, row in table.rows.items()}
    way = find_way(cycle, groups, Budgets(), wanted, minimum=size, bound=0, started=lambda pod: 0.0)
    after = {name: table.node(row) for name, row in table.rows.items()}
    for name, node in before.items():
        assert node.used == after[name].used
        assert {p.uid for p in node.pods} == {p.uid for p in after[name].pods}
    if way is None:
        return
    victims = list(way.victims)
    assert all(groups.precedence(victim) < 10 for victim in victims)
    whole = {p.uid for node in before.values() for p in node.pods if p.group == Key("default", "whole")}
    assert not whole & {v.uid for v in victims} or whole <= {v.uid for v in victims}
    for victim in victims:
        table.remove_pod(victim.uid)
    for pod, node_name in way.placed:
        assert cycle.passes(pod, table.rows[node_name])
        table.put_pod(pod, node_name)
    assert len(way.placed) == size
