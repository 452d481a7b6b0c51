"""Architectures in virtual time: alone, and several against each other on one cluster."""

from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.container import Container, ContainerPort, ResourceRequirements
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound, ServiceUnavailable
from kubelib.api.meta import Key, OwnerReference
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.registry.base import Patch, Query
from kubelib.sched.architectures import SHARINGS, Architecture, Assembly, assemble
from kubelib.sched.architectures.base import nodes_of
from kubelib.sched.figures import Figures
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import POLICIES
from kubelib.sim.hardship import Lossy
from kubelib.testing.objects import make_node
from kubelib.transactions import Result, Transaction
from kubelib.transactions.base import DecisionTime

SMALL = {"cpu": "2", "memory": "4Gi", "pods": "10"}
SEVERAL = ("partitioned", "shared-state")


def containers(**requests: str) -> tuple[Container, ...]:
    return (Container(name="main", image="process", resources=ResourceRequirements(requests=requests)),)


def owner(uid: str) -> OwnerReference:
    return OwnerReference(api_version="batch/v1", kind="Job", name=uid, uid=uid, controller=True)


def assembled(world: Any, client: Any = None, seed: int = 1, **options: Any) -> Assembly:
    return assemble(
        Architecture(**options), client or world.client, random=Random(seed), clock=LoopClock()
    )  # fmt: skip


def labelled(name: str, labels: dict[str, str], **status: Any) -> Node:
    node = make_node(name, **status)
    return replace(node, metadata=replace(node.metadata, labels=labels))


class Running:
    """Runs assemblies in a block."""

    def __init__(self, *assemblies: Assembly) -> None:
        self._assemblies = assemblies

    async def __aenter__(self) -> None:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        for assembly in self._assemblies:
            for component in assembly.components:
                await self._tasks.start(component.run)

    async def __aexit__(self, *error: Any) -> Any:
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(*error)


@pytest.mark.parametrize("sharing", SHARINGS)
async def test_each_architecture_places_what_fits_and_says_what_it_did(world: Any, sharing: str) -> None:
    await world.add_nodes(8, allocatable=SMALL)
    count = 2 if sharing in SEVERAL else 1
    assembly = assembled(world, sharing=sharing, schedulers=count)
    figures = Figures(assembly)
    async with Running(assembly):
        for number in range(10):
            await world.add_pod(f"p{number}", restart_policy="Never" if number % 2 else "Always")
        await anyio.sleep(15)
        now = figures.now()
    placed = await world.placed()
    assert "" not in placed.values()
    assert max(Counter(placed.values()).values()) <= 2
    assert sum(scheduler.claims_landed for scheduler in now.schedulers) == 10
    assert sum(scheduler.wait_until_placed.mean >= 0 for scheduler in now.schedulers) >= 1
    assert now.utilisation["cpu"] == pytest.approx(10 / 16)
    assert now.shares == {"default-scheduler": pytest.approx(10 / 16)}
    assert now.fairness == 1.0


async def test_partitions_keep_to_their_nodes(world: Any) -> None:
    await world.add_nodes(12)
    assembly = assembled(world, sharing="partitioned", schedulers=3)
    async with Running(assembly):
        for number in range(30):
            await world.add_pod(f"p{number}")
        await anyio.sleep(5)
    names = [set(table.rows) for table in assembly.tables]
    assert sum(map(len, names)) == 12 and len(set.union(*names)) == 12
    found = (await world.pods.list(Query("default"))).items
    for pod in found:
        ours = [number for number, part in enumerate(names) if pod.spec.node_name in part]
        assert len(ours) == 1


async def test_partitions_by_label_keep_pods_to_nodes_with_the_same_value(world: Any) -> None:
    for number in range(6):
        labels = {"team": "red" if number % 2 else "blue"}
        await world.add_node(labelled(f"node-{number}", labels))
    assembly = assembled(world, sharing="partitioned", schedulers=2, partition_label="team")
    first = nodes_of(0, 2, "team")
    assert first(labelled("x", {"team": "red"})) != first(labelled("y", {"team": "blue"}))
    async with Running(assembly):
        for number in range(10):
            await world.add_pod(f"p{number}", labels={"team": "red"})
        await anyio.sleep(5)
    assert {int(node[-1]) % 2 for node in (await world.placed()).values()} == {1}


async def test_batch_pods_of_a_multi_path_scheduler_still_wait_behind_service_pods(world: Any) -> None:
    await world.add_nodes(4)
    slow = DecisionTime(5.0, 0.0)
    assembly = assembled(world, sharing="multipath", time=slow, batch_time=DecisionTime(0.1, 0.0))
    async with Running(assembly):
        await world.add_pod("service")
        await anyio.sleep(0.01)
        await world.add_pod("batch", restart_policy="Never")
        await anyio.sleep(4)
        assert set((await world.placed()).values()) == {""}
        await anyio.sleep(1.05)
        placed = await world.placed()
        assert placed["service"] and not placed["batch"]
        await anyio.sleep(0.2)
        assert (await world.placed())["batch"]


async def test_schedulers_that_share_state_do_not_wait_for_each_other_but_conflict(world: Any) -> None:
    """Two look at the same room, think, and commit: one of them has to think again."""
    await world.add_nodes(1, allocatable=SMALL)
    assemblies = [
        assembled(world, sharing="shared-state", name=name, time=DecisionTime(1.0, 0.0)) for name in "ab"
    ]
    async with Running(*assemblies):
        for name in "ab":
            await world.add_pod(f"of-{name}", scheduler_name=name, containers=containers(cpu="1500m"))
        await anyio.sleep(20)
    books = [assembly.members[0].books for assembly in assemblies]
    assert sorted((book.succeeded, book.failed) for book in books) == [(0, 1), (1, 0)]
    assert Counter(bool(node) for node in (await world.placed()).values()) == {True: 1, False: 1}
    loser = next(book for book in books if book.failed)
    assert (loser.conflict_fraction, loser.wasted) == (float("inf"), 1.0)


async def test_coarse_detection_refuses_nodes_that_have_changed_and_the_retry_lands(world: Any) -> None:
    await world.add_nodes(1)
    assemblies = [
        assembled(world, sharing="shared-state", name=name, time=DecisionTime(1.0, 0.0), detection="coarse")
        for name in "ab"
    ]
    async with Running(*assemblies):
        for name in "ab":
            await world.add_pod(f"of-{name}", scheduler_name=name)
        await anyio.sleep(20)
        # Own claims are known, whether or not the informer has reported them.
        for number in range(5):
            await world.add_pod(f"more-{number}", scheduler_name="a")
        await anyio.sleep(20)
    books = [assembly.members[0].books for assembly in assemblies]
    assert sum(book.failed for book in books) == 1
    assert sum(book.retried for book in books) == 1
    assert "" not in (await world.placed()).values()


async def test_a_job_lands_as_a_whole_or_not_at_all(world: Any) -> None:
    await world.add_nodes(3, allocatable=SMALL)
    assembly = assembled(world, sharing="shared-state", commit="all-or-nothing")
    async with Running(assembly):
        for number in range(3):
            await world.add_pod(f"small-{number}", owners=(owner("small"),), containers=containers(cpu="1"))
        await anyio.sleep(1)
        for number in range(4):
            await world.add_pod(f"large-{number}", owners=(owner("large"),), containers=containers(cpu="1"))
        await anyio.sleep(20)
        placed = await world.placed()
        assert {bool(node) for name, node in placed.items() if name.startswith("large")} == {False}
        assert all(node for name, node in placed.items() if name.startswith("small"))
        await world.pods.delete(Key("default", "small-0"), grace=0)
        await anyio.sleep(20)
    assert "" not in (await world.placed()).values()


async def test_offers_go_to_the_framework_with_the_smallest_dominant_share(world: Any) -> None:
    """Both want more than there is: each ends with about half of it."""
    await world.add_nodes(10, allocatable=SMALL)
    assembly = assembled(world, sharing="two-level", offer_nodes=1, offer_interval=0.01)
    for number in range(40):
        kind = "Never" if number % 2 else "Always"
        await world.add_pod(f"p{number}", restart_policy=kind)
    async with Running(assembly):
        await anyio.sleep(120)
        services, batch = (member.books.claims_landed for member in assembly.members)
    assert services + batch == 20
    assert abs(services - batch) <= 4
    assert sum(member.books.failed for member in assembly.members) == 0


async def test_what_is_offered_is_locked_until_the_framework_has_answered(world: Any) -> None:
    await world.add_nodes(2)
    assembly = assembled(world, sharing="two-level", time=DecisionTime(5.0, 0.0))
    async with Running(assembly):
        await world.add_pod("service")
        await anyio.sleep(0.5)
        await world.add_pod("batch", restart_policy="Never")
        await anyio.sleep(4)
        assert set((await world.placed()).values()) == {""}
        await anyio.sleep(1.5)
        assert "" not in (await world.placed()).values()


@pytest.mark.parametrize(
    "options",
    [
        {"sharing": "monolithic", "schedulers": 2},
        {"sharing": "shared-state", "schedulers": 2, "only": 2},
        {"sharing": "shared-state", "schedulers": 0},
        {"sharing": "two-level", "detection": "coarse"},
        {"sharing": "monolithic", "partition_label": "zone"},
        {"sharing": "two-level", "offer_nodes": -1},
        {"sharing": "anarchy"},
    ],
)
def test_architectures_that_cannot_be_are_refused_with_a_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^.*\.$"):
        Architecture(**options)


class Forgetful:
    """A client whose transactions land, but whose answers are lost now and then."""

    def __init__(self, client: LocalClient, random: Random) -> None:
        self.resource = client.resource
        self._binder = client.binder
        self._random = random

    may_lose_answers = True

    @property
    def binder(self) -> "Forgetful":
        return self

    async def commit(self, transaction: Transaction) -> Result:
        await anyio.sleep(self._random.random() / 10)
        result = await self._binder.commit(transaction)
        for _ in range(3):
            if self._random.random() < 0.7:
                return result
            repeated = await self._binder.commit(transaction)
            assert said(repeated) == said(result) or not result.landed
            result = repeated
        raise ServiceUnavailable("the answer was lost")


def said(result: Result) -> list[tuple[str, str]]:
    return [(outcome.cause, str(outcome.error or "")) for outcome in result.outcomes]


def random_architecture(random: Random, name: str) -> dict[str, Any]:
    sharing = random.choice(SHARINGS)
    options: dict[str, Any] = {"sharing": sharing, "name": name}
    options["policy"] = POLICIES[random.choice(sorted(POLICIES))]
    options["time"] = DecisionTime(random.choice((0.0, 0.2, 1.0)), random.choice((0.0, 0.05)))
    if sharing in SEVERAL:
        options["schedulers"] = random.randint(1, 4)
    if sharing == "shared-state":
        options["detection"] = random.choice(("fine", "coarse"))
        options["commit"] = random.choice(("incremental", "all-or-nothing"))
    if sharing == "two-level":
        options["offer_nodes"] = random.choice((0, 2))
    return options


def random_node(random: Random, number: int) -> Node:
    amounts = {
        "cpu": str(random.randint(1, 4)),
        "memory": f"{random.randint(2, 8)}Gi",
        "pods": str(random.randint(2, 8)),
    }
    node = labelled(f"node-{number}", {"zone": random.choice("ab")}, allocatable=amounts)
    if random.random() < 0.2:
        taint = Taint(key="dedicated", value="x", effect="NoSchedule")
        node = replace(node, spec=replace(node.spec, taints=(taint,)))
    return node


def random_pod(random: Random) -> dict[str, Any]:
    asked = {"cpu": random.choice(("200m", "700m", "1500m")), "memory": random.choice(("256Mi", "1Gi"))}
    container = containers(**asked)[0]
    if random.random() < 0.2:
        container = replace(container, ports=(ContainerPort(container_port=80, host_port=8000),))
    spec: dict[str, Any] = {"containers": (container,)}
    if random.random() < 0.3:
        spec["node_selector"] = {"zone": random.choice("ab")}
    if random.random() < 0.5:
        spec["owners"] = (owner(random.choice(("one", "two"))),)
    spec["restart_policy"] = random.choice(("Always", "Never"))
    return spec


def check_feasible(nodes: list[Node], pods: list[Pod]) -> None:
    """Add up plainly what is on each node, and look at the conditions that its Pods make."""
    by_name = {node.metadata.name: node for node in nodes}
    for name, node in by_name.items():
        there = [
            PodInfo.of(pod)
            for pod in pods
            if pod.spec.node_name == name and pod.status.phase not in ("Succeeded", "Failed")
        ]
        offered = node.status.allocatable
        assert len(there) <= int(offered["pods"])
        assert sum(pod.requests["cpu"] for pod in there) <= 1000 * int(offered["cpu"])
        assert sum(pod.requests["memory"] for pod in there) <= int(offered["memory"][:-2]) << 30
        ports = [port for pod in there for port in pod.ports]
        assert len(ports) == len(set(ports))
        for pod in there:
            assert all(node.metadata.labels.get(key) == value for key, value in pod.node_selector.items())
            assert not node.spec.taints


@pytest.mark.seeds(8)
async def test_whatever_the_interleaving_every_assignment_is_feasible_and_final(
    world: Any, request: Any
) -> None:
    seed = request.node.callspec.params["anyio_backend"]
    random = Random(seed)
    nodes = [random_node(random, number) for number in range(random.randint(3, 8))]
    for node in nodes:
        await world.add_node(node)
    assemblies = []
    names = [f"s{number}" for number in range(random.randint(2, 4))]
    for name in names:
        client = random.choice(
            (
                world.direct,
                Forgetful(world.direct, Random(random.random())),
                Lossy(world.direct, random=Random(random.random()), rate=0.03),
            )
        )
        assemblies.append(
            assembled(world, client, seed=random.randrange(1000), **random_architecture(random, name))
        )
    homes: dict[str, set[str]] = {}

    async def note() -> None:
        found = await world.pods.list(Query("default"))
        async with world.pods.watch(Query("default"), since=found.resource_version) as events:
            async for event in events:
                pod = event.object
                if pod.spec.node_name:
                    homes.setdefault(pod.metadata.uid, set()).add(pod.spec.node_name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note)
        await anyio.sleep(0.1)
        async with Running(*assemblies):
            for number in range(random.randint(20, 40)):
                await world.add_pod(f"p{number}", scheduler_name=random.choice(names), **random_pod(random))
                if random.random() < 0.3:
                    await anyio.sleep(random.random())
                if random.random() < 0.1:
                    with suppress(NotFound):
                        await world.pods.delete(Key("default", f"p{random.randint(0, number)}"), grace=0)
                if random.random() < 0.15:
                    done = Patch("merge", {"status": {"phase": "Succeeded"}})
                    with suppress(NotFound):
                        await world.pods.patch(
                            Key("default", f"p{random.randint(0, number)}"), done, subresource="status"
                        )
                check_feasible(nodes, list((await world.pods.list(Query("default"))).items))
            await anyio.sleep(200)
        tasks.cancel_scope.cancel()
    pods = list((await world.pods.list(Query("default"))).items)
    check_feasible(nodes, pods)
    assert all(len(nodes) == 1 for nodes in homes.values()), "a pod was on two nodes"
    assert any(pod.spec.node_name for pod in pods)
    for pod in pods:
        if not pod.spec.node_name and pod.status.phase == "Pending":
            assert [c.status for c in pod.status.conditions if c.type == "PodScheduled"] == ["False"]
