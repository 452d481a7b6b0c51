"""Groups of Pods: bound together, or not at all."""

from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ResourceRequirements
from kubelib.api.core.pod import PodSchedulingGate, PodSchedulingGroup
from kubelib.api.errors import Forbidden, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.scheduling import PriorityClass
from kubelib.api.scheduling_v1beta1 import (
    BasicSchedulingPolicy,
    GangSchedulingPolicy,
    PodGroup,
    PodGroupSchedulingPolicy,
    PodGroupSpec,
)
from kubelib.clock import LoopClock
from kubelib.registry.base import Patch, Query
from kubelib.sched.architectures import SHARINGS, Architecture, Assembly, assemble
from kubelib.sched.base import Policy
from kubelib.sched.policies import FILTERS, Best, per_node
from kubelib.testing.objects import make_node
from kubelib.transactions.base import DecisionTime
from tests.sched.test_architectures import Forgetful, random_architecture
from tests.sched.test_storage import SELECTED, add, binding, claim_of, claim_volume, make_claim, make_class

SMALL = {"cpu": "2", "memory": "4Gi", "pods": "10"}


def cpu(amount: str) -> tuple[Container, ...]:
    return (
        Container(name="main", image="process", resources=ResourceRequirements(requests={"cpu": amount})),
    )


def of(group: str) -> PodSchedulingGroup:
    return PodSchedulingGroup(pod_group_name=group)


async def add_group(world: Any, name: str, minimum: int, **spec: Any) -> None:
    """Make a gang; one of 0 is a basic group."""
    policy = PodGroupSchedulingPolicy(basic=BasicSchedulingPolicy())
    if minimum:
        policy = PodGroupSchedulingPolicy(gang=GangSchedulingPolicy(min_count=minimum))
    meta = ObjectMeta(name=name, namespace="default")
    await world.direct.resource(PodGroup).create(
        PodGroup(metadata=meta, spec=PodGroupSpec(scheduling_policy=policy, **spec))
    )


async def add_members(world: Any, group: str, count: int, **spec: Any) -> None:
    for number in range(count):
        await world.add_pod(f"{group}-{number}", scheduling_group=of(group), **spec)


async def bound(world: Any, group: str) -> int:
    found = await world.placed()
    return sum(bool(node) for name, node in found.items() if name.startswith(f"{group}-"))


async def verdict(world: Any, group: str) -> tuple[str, str, str]:
    found = await world.direct.resource(PodGroup).get(Key("default", group))
    (condition,) = found.status.conditions
    assert condition.type == "PodGroupInitiallyScheduled"
    return condition.status, condition.reason, condition.message


def assembled(world: Any, client: Any = None, seed: int = 1, **options: Any) -> Assembly:
    return assemble(
        Architecture(**options), client or world.client, random=Random(seed), clock=LoopClock()
    )  # fmt: skip


@pytest.mark.parametrize("sharing", SHARINGS)
async def test_in_each_architecture_a_gang_is_placed_as_a_whole_or_not_at_all(
    world: Any, sharing: str
) -> None:
    count = 2 if sharing in ("partitioned", "shared-state") else 1
    await world.add_nodes(12, allocatable=SMALL)
    assembly = assembled(world, sharing=sharing, schedulers=count)
    async with anyio.create_task_group() as tasks:
        for component in assembly.components:
            await tasks.start(component.run)
        for group, minimum, size in (("fits", 4, 4), ("huge", 40, 40)):
            await add_group(world, group, minimum)
            await add_members(world, group, size)
        await anyio.sleep(60)
        assert (await bound(world, "fits"), await bound(world, "huge")) == (4, 0)
        await world.add_pod("alone")
        await anyio.sleep(20)
        tasks.cancel_scope.cancel()
    assert (await world.placed())["alone"], "a gang that does not fit keeps no room"
    assert (await verdict(world, "fits"))[:2] == ("True", "Scheduled")
    status, reason, message = await verdict(world, "huge")
    assert (status, reason) == ("False", "Unschedulable")
    assert message.startswith('pod group "huge": minCount (40) cannot be satisfied: ')


async def test_too_few_nodes_are_said_with_the_numbers_and_more_wake_the_gang(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await add_group(world, "train", 3)
        await add_members(world, "train", 4)
        await anyio.sleep(20)
        assert await bound(world, "train") == 0
        why = 'pod group "train": minCount (3) cannot be satisfied: 2 scheduled, 0 remaining'
        assert await verdict(world, "train") == ("False", "Unschedulable", why)
        assert await world.refusal("train-0") == ("Unschedulable", why)
        unfit = f"0/1 nodes are available: 1 Insufficient cpu. {why}"
        assert await world.refusal("train-2") == ("Unschedulable", unfit)
        assert ("FailedScheduling", unfit) in await world.events()
        await world.add_pod("alone", containers=cpu("2"))
        await anyio.sleep(5)
        assert (await world.placed())["alone"] == "node-0"
        await world.add_node(make_node("node-1", allocatable={**SMALL, "cpu": "3"}))
        await anyio.sleep(15)
        assert await bound(world, "train") == 3
        # The fourth comes when there is room for it alone: enough of its group are there.
        await world.pods.delete(Key("default", "alone"), grace=0)
        await anyio.sleep(15)
    assert await bound(world, "train") == 4
    assert await verdict(world, "train") == ("True", "Scheduled", "")


async def test_a_gang_waits_for_its_group_and_for_enough_pods(world: Any) -> None:
    await world.add_nodes(3, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await add_members(world, "late", 2)
        await anyio.sleep(10)
        assert await world.refusal("late-0") == (
            "Unschedulable",
            'waiting for pod\'s pod group "late" to appear in scheduling queue',
        )
        await add_group(world, "late", 3)
        await anyio.sleep(10)
        assert await bound(world, "late") == 0
        await world.add_pod("late-2", scheduling_group=of("late"))
        await anyio.sleep(1)
        assert await bound(world, "late") == 3


async def test_who_lacks_others_says_how_many_and_gated_pods_do_not_count(world: Any) -> None:
    await world.add_nodes(3, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await add_group(world, "few", 3)
        await add_members(world, "few", 2)
        await world.add_pod(
            "few-9", scheduling_group=of("few"), scheduling_gates=(PodSchedulingGate(name="x"),)
        )
        await anyio.sleep(10)
        why = "waiting for minCount pods from a gang to appear in scheduling queue: 2 of 3"
        assert await world.refusal("few-1") == ("Unschedulable", why)
        assert await verdict(world, "few") == ("False", "Unschedulable", why)
        await world.pods.patch(Key("default", "few-9"), Patch("merge", {"spec": {"schedulingGates": None}}))
        await anyio.sleep(2)
        assert await bound(world, "few") == 3


async def test_members_with_a_node_count_and_a_smaller_minimum_wakes(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await add_group(world, "mixed", 3)
        await world.add_pod("mixed-8", scheduling_group=of("mixed"), node="node-0")
        await add_members(world, "mixed", 1)
        await anyio.sleep(10)
        assert await bound(world, "mixed") == 1
        await world.add_pod("mixed-9", scheduling_group=of("mixed"), node="node-1")
        await anyio.sleep(5)
        assert await bound(world, "mixed") == 3
        await add_group(world, "shrinks", 5)
        await add_members(world, "shrinks", 1)
        await anyio.sleep(10)
        assert await bound(world, "shrinks") == 0
        smaller = {"spec": {"schedulingPolicy": {"gang": {"minCount": 1}}}}
        await world.direct.resource(PodGroup).patch(Key("default", "shrinks"), Patch("merge", smaller))
        await anyio.sleep(5)
    assert await bound(world, "shrinks") == 1


async def test_pods_of_a_basic_group_are_placed_one_by_one(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await add_group(world, "basic", 0)
        await add_members(world, "basic", 3)
        await anyio.sleep(5)
    assert await bound(world, "basic") == 2


async def test_a_gang_that_does_not_fit_starves_nobody_and_goes_first_when_it_can(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await add_group(world, "big", 5)
        await add_members(world, "big", 5, priority=0)
        for number in range(3):
            await world.add_pod(f"small-{number}")
        await anyio.sleep(10)
        placed = await world.placed()
        assert all(placed[f"small-{number}"] for number in range(3))
        await world.add_node(make_node("more", allocatable={**SMALL, "cpu": "4"}))
        await anyio.sleep(20)
    assert await bound(world, "big") == 5


async def test_a_plugin_that_raises_in_the_middle_of_a_gang_leaves_nothing_behind(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)

    def fussy(pod: Any, node: Any) -> float:
        if pod.key.name == "odd-2":
            raise RuntimeError("no")
        return 1.0

    policy = Policy(filters=(*FILTERS, per_node(fussy, name="fussy")), choose=Best())
    scheduler = world.scheduler(policy)
    async with world.running(scheduler):
        await add_group(world, "odd", 3)
        await add_members(world, "odd", 2)
        await world.add_pod("odd-2", scheduling_group=of("odd"), containers=cpu("300m"))
        await anyio.sleep(15)
        assert await bound(world, "odd") == 0
        assert await world.refusal("odd-0") == (
            "SchedulerError",
            "BadPlugin: the filter fussy raised RuntimeError: no",
        )
        assert int(scheduler.table.used["pods"].sum()) == 0


async def test_when_another_takes_the_room_the_whole_gang_tries_again(world: Any) -> None:
    """Two gangs of two schedulers look at the same room; one of them gets it, the other has to wait."""
    await world.add_nodes(2, allocatable=SMALL)
    assemblies = [
        assembled(world, sharing="shared-state", name=name, time=DecisionTime(1.0, 0.0)) for name in "ab"
    ]
    async with anyio.create_task_group() as tasks:
        for assembly in assemblies:
            for component in assembly.components:
                await tasks.start(component.run)
        for name in "ab":
            await add_group(world, name, 3)
            await add_members(world, name, 3, scheduler_name=name)
        await anyio.sleep(60)
        counts = {name: await bound(world, name) for name in "ab"}
        assert sorted(counts.values()) == [0, 3]
        loser, winner = sorted("ab", key=lambda name: counts[name])
        for number in range(3):
            await world.pods.delete(Key("default", f"{winner}-{number}"), grace=0)
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()
    assert await bound(world, loser) == 3


@pytest.mark.seeds(8)
async def test_under_concurrency_no_group_is_ever_bound_in_part(world: Any, request: Any) -> None:
    """Each commit is one revision: the first that binds any Pod of a gang binds as many as it needs."""
    seed = request.node.callspec.params["anyio_backend"]
    random = Random(seed)
    for number in range(random.randint(3, 6)):
        await world.add_node(make_node(f"node-{number}", allocatable=SMALL))
    names = [f"s{number}" for number in range(random.randint(3, 4))]
    assemblies = []
    for name in names:
        client = random.choice((world.direct, Forgetful(world.direct, Random(random.random()))))
        options = random_architecture(random, name)
        options["time"] = DecisionTime(random.choice((0.0, 0.5, 1.5)), 0.1)
        assemblies.append(assembled(world, client, seed=random.randrange(1000), **options))
    minima: dict[str, int] = {}
    at: dict[str, Counter[str]] = {}
    homes: dict[str, str] = {}

    async def note() -> None:
        found = await world.pods.list(Query("default"))
        async with world.pods.watch(Query("default"), since=found.resource_version) as events:
            async for event in events:
                pod = event.object
                group = pod.spec.scheduling_group
                if not pod.spec.node_name or group is None:
                    continue
                if pod.metadata.uid not in homes:
                    homes[pod.metadata.uid] = pod.spec.node_name
                    revision = pod.metadata.resource_version
                    at.setdefault(group.pod_group_name, Counter())[revision] += 1
                assert homes[pod.metadata.uid] == pod.spec.node_name

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note)
        await anyio.sleep(0.1)
        for assembly in assemblies:
            for component in assembly.components:
                await tasks.start(component.run)
        for number in range(random.randint(6, 12)):
            group, scheduler = f"g{number}", random.choice(names)
            kind = random.choice(("Always", "Never"))
            minima[group] = random.randint(1, 5)
            await add_group(world, group, minima[group])
            for member in range(minima[group] + random.randint(0, 2)):
                await world.add_pod(
                    f"{group}-{member}",
                    scheduling_group=of(group),
                    scheduler_name=scheduler,
                    restart_policy=kind,
                    containers=cpu(random.choice(("300m", "700m", "1200m"))),
                )
                if random.random() < 0.2:
                    await anyio.sleep(random.random())
            await world.add_pod(f"alone-{number}", scheduler_name=random.choice(names))
            if random.random() < 0.3:
                with suppress(NotFound):
                    await world.pods.delete(
                        Key("default", f"g{random.randint(0, number)}-{random.randint(0, 4)}"), grace=0
                    )
            await anyio.sleep(random.random())
            if random.random() < 0.3:
                await world.add_node(make_node(f"more-{number}", allocatable=SMALL))
        await anyio.sleep(200)
        tasks.cancel_scope.cancel()
    for group, revisions in at.items():
        first = min(revisions, key=int)
        assert revisions[first] >= minima[group], f"{group} was bound in part: {revisions}"
    assert at, "nothing was bound"


async def test_a_gang_waits_until_all_its_claims_have_volumes_and_lands_as_a_whole(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    await add(world, make_class("late"), *(make_claim(f"c{number}") for number in range(2)))
    async with world.running(world.scheduler()):
        await add_group(world, "keeps", 4)
        for number in range(2):
            await world.add_pod(
                f"keeps-{number}", scheduling_group=of("keeps"), volumes=(claim_volume(f"c{number}"),)
            )
        await world.add_pod("keeps-2", scheduling_group=of("keeps"), containers=cpu("2"))
        await world.add_pod("keeps-3", scheduling_group=of("keeps"), containers=cpu("1"))
        await anyio.sleep(10)
        assert SELECTED not in (await claim_of(world, "c0")).metadata.annotations, "three fit, not four"
        await world.add_node(make_node("more", allocatable=SMALL))
        await anyio.sleep(20)
        assert SELECTED in (await claim_of(world, "c0")).metadata.annotations
        assert await bound(world, "keeps") == 0
        async with binding(world):
            await anyio.sleep(20)
    assert await bound(world, "keeps") == 4


async def test_a_group_of_higher_priority_is_placed_first_whatever_its_pods_say(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    classes = world.direct.resource(PriorityClass)
    for name, value in (("low", 10), ("high", 1000)):
        await classes.create(PriorityClass(metadata=ObjectMeta(name=name), value=value))
    groups = {"none": "", "late": "low", "first": "high"}
    for group, named in groups.items():
        await add_group(world, group, 3, priority_class_name=named)
        found = await world.direct.resource(PodGroup).get(Key("default", group))
        assert found.spec.priority == {"": 0, "low": 10, "high": 1000}[named]
        await add_members(world, group, 3, containers=cpu("1"))
    async with world.running(world.scheduler()):
        await anyio.sleep(20)
        assert [await bound(world, group) for group in groups] == [0, 0, 3]
        for number in range(3):
            await world.pods.delete(Key("default", f"first-{number}"), grace=0)
        await anyio.sleep(20)
        assert [await bound(world, group) for group in groups] == [0, 3, 0]


async def test_the_priority_of_a_group_is_that_of_its_class_and_no_other(world: Any) -> None:
    classes = world.direct.resource(PriorityClass)
    await classes.create(PriorityClass(metadata=ObjectMeta(name="high"), value=1000))
    with pytest.raises(Forbidden, match="no PriorityClass with name nope was found"):
        await add_group(world, "a", 3, priority_class_name="nope")
    with pytest.raises(
        Forbidden, match=r"the integer value of priority \(5\) must not be provided in pod group spec"
    ):
        await add_group(world, "b", 3, priority_class_name="high", priority=5)


async def test_a_group_without_a_class_has_the_priority_of_the_default_class_or_none(world: Any) -> None:
    groups, classes = world.direct.resource(PodGroup), world.direct.resource(PriorityClass)
    await add_group(world, "before", 3)
    usual = PriorityClass(
        metadata=ObjectMeta(name="usual"), value=7, global_default=True, preemption_policy="Never"
    )
    await classes.create(usual)
    await add_group(world, "after", 3)
    specs = [(await groups.get(Key("default", name))).spec for name in ("before", "after")]
    assert [(s.priority_class_name, s.priority, s.preemption_policy) for s in specs] == [
        ("", 0, "PreemptLowerPriority"),
        ("usual", 7, "Never"),
    ]
