from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.claims import (
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    VolumeResourceRequirements,
)
from kubelib.api.core.drivers import GCEPersistentDiskVolumeSource
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.persistentvolumes import (
    CSIPersistentVolumeSource,
    PersistentVolume,
    PersistentVolumeSource,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    ObjectReference,
    TopologySelectorLabelRequirement,
    TopologySelectorTerm,
)
from kubelib.api.core.volumes import PersistentVolumeClaimVolumeSource, Volume
from kubelib.api.machinery import LabelSelector, LabelSelectorRequirement
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.model import replace
from kubelib.api.storage import (
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    CSIStorageCapacity,
    StorageClass,
    VolumeNodeResources,
)
from kubelib.clock import LoopClock
from kubelib.controllers.builtin.persistentvolume import persistent_volume_controller
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch
from kubelib.sched.cycle import Cycle
from kubelib.sched.elastic.base import NodeTemplate
from kubelib.sched.elastic.planning import ClusterView, Offer, plan_growth
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import PrefersSpace, default_policy
from kubelib.sched.snapshot import take_snapshot
from kubelib.sim.hardship import Conflicting, Lossy
from kubelib.testing.objects import make_node, make_pod
from tests.sched import plain
from tests.sched.conftest import containers
from tests.sched.layouts import points
from tests.sched.test_engine import crowded_pod

ZONE = "topology.kubernetes.io/zone"
DRIVER = "disk.example"
SELECTED = "volume.kubernetes.io/selected-node"
BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def machine(name: str, labels: dict[str, str]) -> Node:
    node = make_node(name)
    return replace(node, metadata=replace(node.metadata, labels=labels))


def claim_volume(name: str) -> Volume:
    return Volume(name=name, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=name))


def make_claim(
    name: str, cls: str = "late", size: int = 1, modes: Sequence[str] = ("ReadWriteOnce",), **spec: Any
) -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=ObjectMeta(
            name=name, namespace="default", annotations=BOUND if "volume_name" in spec else {}
        ),
        spec=PersistentVolumeClaimSpec(
            access_modes=tuple(modes),
            storage_class_name=cls,
            resources=VolumeResourceRequirements(requests={"storage": str(size)}),
            **spec,
        ),
    )


def make_volume(
    name: str,
    *zones: str,
    cls: str = "late",
    size: int = 1,
    label: str = "",
    mode: str = "ReadWriteOnce",
    **spec: Any,
) -> PersistentVolume:
    term = NodeSelectorTerm(
        match_expressions=(NodeSelectorRequirement(key=ZONE, operator="In", values=zones),)
    )
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels={ZONE: label} if label else {}),
        spec=PersistentVolumeSpec(
            access_modes=(mode,),
            capacity={"storage": str(size)},
            storage_class_name=cls,
            csi=CSIPersistentVolumeSource(driver=DRIVER, volume_handle=name),
            node_affinity=VolumeNodeAffinity(required=NodeSelector(node_selector_terms=(term,)))
            if zones
            else None,
            **spec,
        ),
    )


def make_class(
    name: str, mode: str = "WaitForFirstConsumer", provisioner: str = DRIVER, *zones: str
) -> StorageClass:
    terms = (TopologySelectorTerm(match_label_expressions=(TopologySelectorLabelRequirement(key=ZONE, values=zones),)),)  # fmt: skip
    return StorageClass(
        metadata=ObjectMeta(name=name),
        provisioner=provisioner,
        volume_binding_mode=mode,
        allowed_topologies=terms if zones else (),
    )


def make_limits(node: str, count: int) -> CSINode:
    allocatable = VolumeNodeResources(count=count)
    return CSINode(
        metadata=ObjectMeta(name=node),
        spec=CSINodeSpec(drivers=(CSINodeDriver(name=DRIVER, node_id=node, allocatable=allocatable),)),
    )


def make_storage(random: Random, table: NodeTable) -> plain.Storage:
    storage, known = plain.Storage(), table.volumes
    none = "kubernetes.io/no-provisioner"
    classes = [make_class("now", "Immediate"), make_class("late"), make_class("made", "WaitForFirstConsumer", DRIVER, "a"),
               make_class("static", "WaitForFirstConsumer", none)]  # fmt: skip
    for storage_class in classes:
        storage.classes[storage_class.metadata.name] = storage_class
        known.put_class(storage_class.metadata.name, storage_class)
    for number in range(6):
        zones = random.sample("abc", random.randint(0, 2))
        label = random.choice(["", "", "a", "a__b"])
        cls, size = random.choice(["late", "static"]), random.randint(1, 3)
        volume = make_volume(
            f"v{number}",
            *zones,
            cls=cls,
            size=size,
            label=label,
            mode=random.choice(["ReadWriteOnce", "ReadWriteOnce", "ReadWriteOncePod"]),
        )
        storage.volumes[f"v{number}"] = volume
    for number in range(8):
        name, modes = f"c{number}", random.choice([("ReadWriteOnce",), ("ReadWriteOncePod",)])
        if random.random() < 0.5:
            to = f"v{random.randrange(7)}"
            claim = make_claim(name, modes=modes, volume_name=to)
            if to in storage.volumes:
                ref = plain_reference(claim)
                old = storage.volumes[to]
                storage.volumes[to] = replace(old, spec=replace(old.spec, claim_ref=ref))
        else:
            cls = random.choice(["now", "late", "made", "static", "static"])
            claim = make_claim(name, cls, random.randint(1, 3), modes)
            if random.random() < 0.2:
                meta = replace(claim.metadata, annotations={SELECTED: "n1"})
                claim = replace(claim, metadata=meta)
        storage.claims[name] = claim
        known.put_claim(Key("default", name), claim)
    for name, volume in storage.volumes.items():
        known.put_volume(name, volume)
    for number in range(3):
        limit = random.randint(1, 3)
        storage.limits[f"n{number}"] = {DRIVER: limit}
        storage.drivers[f"n{number}"] = {DRIVER}
        known.put_limits(f"n{number}", make_limits(f"n{number}", limit))
    counts, needed = random.random() < 0.5, storage.limits["n0"][DRIVER] == 3
    if counts:
        storage.counting.add(DRIVER)
    if needed:
        storage.indispensable.add(DRIVER)
    known.put(make_driver(counts=counts, needed=needed))
    for number in range(random.randint(0, 4)):
        storage.capacities.append(random_capacity(random, number))
        known.put(storage.capacities[-1])
    return storage


def make_capacity(name: str, cls: str, topology: LabelSelector | None, **amounts: str) -> CSIStorageCapacity:
    meta = ObjectMeta(name=name, namespace="drivers")
    return CSIStorageCapacity(metadata=meta, storage_class_name=cls, node_topology=topology, **amounts)


def make_driver(*, counts: bool = False, needed: bool = False) -> CSIDriver:
    spec = CSIDriverSpec(storage_capacity=counts, prevent_pod_scheduling_if_missing=needed)
    return CSIDriver(metadata=ObjectMeta(name=DRIVER), spec=spec)


def random_capacity(random: Random, number: int) -> CSIStorageCapacity:
    zone = random.choice("abc")
    topology = random.choice(
        (
            None,
            LabelSelector(),
            LabelSelector(match_labels={ZONE: zone}),
            LabelSelector(match_labels={ZONE: zone}),
            LabelSelector(
                match_expressions=(LabelSelectorRequirement(key=ZONE, operator="NotIn", values=(zone,)),)
            ),
        )
    )
    amounts = {"capacity": str(random.randint(0, 3))} if random.random() < 0.8 else {}
    if random.random() < 0.3:
        amounts["maximum_volume_size"] = str(random.randint(0, 3))
    return make_capacity(f"k{number}", random.choice(["late", "made"]), topology, **amounts)


def plain_reference(claim: PersistentVolumeClaim) -> Any:
    return ObjectReference(namespace="default", name=claim.metadata.name, uid="another")


def make_user(random: Random, number: int) -> Pod:
    names = random.sample([f"c{n}" for n in range(8)] + ["missing"], random.randint(0, 2))
    volumes = [claim_volume(name) for name in names]
    if random.random() < 0.2:
        disk = GCEPersistentDiskVolumeSource(pd_name=random.choice("xy"), read_only=random.random() < 0.5)
        volumes.append(Volume(name="disk", gce_persistent_disk=disk))
    # Half of them ask for nothing else, the others for neighbours, places, ports and room as well.
    pod = make_pod(f"p{number}", uid=f"u{number}") if random.random() < 0.5 else crowded_pod(random, number)
    return replace(pod, spec=replace(pod.spec, volumes=tuple(volumes)))


def judge_as_plain(seed: int) -> tuple[int, int]:
    """Hold the engine to a plain scheduler on a random cluster; return how many Pods with claims were placed, and how many not."""
    random = Random(seed)
    table, machines = NodeTable(), []
    for number in range(5):
        zone, host = random.choice("abc"), {"host": f"n{number}"}
        node = machine(f"n{number}", {ZONE: zone, "zone": zone, **host} if number else host)
        taints = (Taint(key="k", effect="NoSchedule"),) if random.random() < 0.2 else ()
        node = replace(node, spec=replace(node.spec, taints=taints))
        machines.append(node)
        table.put_node(node)
    storage = make_storage(random, table)
    placed: list[tuple[Pod, Node]] = []
    cycle, counts = Cycle(table, default_policy(), Random(1)), [0, 0]
    for number in range(20):
        pod = make_user(random, number)
        info = PodInfo.of(pod)
        expected = {n.metadata.name for n in machines if plain.fits(pod, n, machines, placed)
                    and plain.storage_fits(pod, n, placed, storage)}  # fmt: skip
        fitting = {name for name, row in table.rows.items() if cycle.passes(info, row)}
        assert fitting == expected, (seed, number)
        if fitting and info.claims:
            given = points(PrefersSpace(), pod, table)
            for node in machines:
                if node.metadata.name in fitting:
                    expected_points = plain.points_for_storage(pod, node, storage)
                    assert given[node.metadata.name] == expected_points, (seed, number)
        verdict = cycle.decide(info)
        assert (verdict.node in expected) if expected else not verdict.node
        if pod.spec.volumes:
            counts[not verdict.node] += 1
        if verdict.node:
            table.put_pod(info, verdict.node)
            placed.append((pod, next(n for n in machines if n.metadata.name == verdict.node)))
        else:
            assert verdict.outright or sum(verdict.reasons.values()) >= len(machines)
        if placed and random.random() < 0.2:
            gone, _ = placed.pop(random.randrange(len(placed)))
            table.remove_pod(gone.metadata.uid)
    return counts[0], counts[1]


def test_storage_is_judged_as_by_a_plain_scheduler_node_by_node() -> None:
    counts = [judge_as_plain(seed) for seed in range(60)]
    assert sum(placed for placed, _ in counts) > 50
    assert sum(refused for _, refused in counts) > 50


def refusal(pod: Pod, *objects: Any, nodes: Sequence[Node] = (), placed: Sequence[Pod] = ()) -> str:
    table = NodeTable()
    for node in nodes or (machine("n0", {ZONE: "a"}),):
        table.put_node(node)
    for thing in objects:
        table.volumes.put(thing)
    for other in placed:
        table.put_pod(PodInfo.of(other))
    return Cycle(table, default_policy(), Random(1)).decide(PodInfo.of(pod)).message


POD = make_pod("p", uid="p", volumes=(claim_volume("c"),))
HERE = make_pod("other", uid="other", node="n0", volumes=(claim_volume("c"),))


@pytest.mark.parametrize(
    ("objects", "placed", "why"),
    [
        ((), (), 'persistentvolumeclaim "c" not found'),
        ((make_claim("c", "now"), make_class("now", "Immediate")), (), "pod has unbound immediate PersistentVolumeClaims"),
        ((make_claim("c", volume_name="v"),), (), "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        ((make_claim("c", volume_name="v"), make_volume("v", "b")), (), "1 node(s) didn't match PersistentVolume's node affinity"),
        ((make_claim("c", volume_name="v"), make_volume("v", label="b__c")), (), "1 node(s) had no available volume zone"),
        ((make_claim("c", volume_name="v"), make_volume("v"), make_limits("n0", 0)), (), "1 node(s) exceed max volume count"),
        ((make_claim("c"), make_class("late", provisioner="kubernetes.io/no-provisioner")), (),
         "1 node(s) didn't find available persistent volumes to bind"),
        ((make_claim("c"), make_class("late"), make_driver(counts=True)), (), "1 node(s) did not have enough free storage"),
        ((make_claim("c", size=2), make_class("late"), make_driver(counts=True), make_capacity("k", "late", LabelSelector(), capacity="9", maximum_volume_size="1")),
         (), "1 node(s) did not have enough free storage"),
        ((make_claim("c", modes=["ReadWriteOncePod"], volume_name="v"), make_volume("v")), (HERE,),
         "1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"),
    ],
)  # fmt: skip
def test_refusals_are_worded_as_in_kubernetes(objects: Any, placed: Any, why: str) -> None:
    assert refusal(POD, *objects, placed=placed) == f"0/1 nodes are available: {why}."


class Shelf:
    """Makes storage at once, in memory."""

    name = DRIVER

    async def provision(self, volume: str, claim: Any, storage_class: Any) -> PersistentVolumeSource:
        return PersistentVolumeSource(csi=CSIPersistentVolumeSource(driver=DRIVER, volume_handle=volume))

    async def remove(self, volume: PersistentVolume) -> None:
        """Forget it."""


@asynccontextmanager
async def binding(world: Any) -> AsyncIterator[None]:
    """Let the controller of volumes and claims run."""
    informers = SharedInformers(world.direct, random=Random(3))
    controller = persistent_volume_controller(
        informers, clock=LoopClock(), recorder=world.recorder, provisioners=[Shelf()]
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(informers.run)
        await tasks.start(controller.run)
        yield
        tasks.cancel_scope.cancel()


async def claim_of(world: Any, name: str = "c") -> PersistentVolumeClaim:
    found: PersistentVolumeClaim = await world.direct.resource(PersistentVolumeClaim).get(
        Key("default", name)
    )
    return found


async def add(world: Any, *objects: Any) -> None:
    for thing in objects:
        await world.direct.resource(type(thing)).create(thing)


@pytest.mark.seeds(8)
async def test_a_claim_that_waits_for_a_consumer_is_told_the_node_and_the_pod_goes_there(world: Any) -> None:
    await world.add_nodes(3)
    await add(world, make_class("late"), make_claim("c"))
    async with world.running(world.scheduler()), binding(world):
        await world.add_pod("p", volumes=(claim_volume("c"),))
        await anyio.sleep(5)
    claim = await claim_of(world)
    assert claim.status.phase == "Bound"
    assert (await world.pod("p")).spec.node_name == claim.metadata.annotations[SELECTED]
    # It was never refused, though it had a claim before anybody knew its volume.
    assert "FailedScheduling" not in [reason for reason, _ in await world.events()]


@pytest.mark.seeds(3)
async def test_volumes_that_are_there_are_given_to_claims_each_to_one(world: Any) -> None:
    for number, zone in enumerate("abc"):
        await world.add_node(machine(f"node-{number}", {ZONE: zone}))
    await add(world, make_class("late", provisioner="kubernetes.io/no-provisioner"))
    await add(world, make_volume("v1", "b", size=2), make_volume("v2", "c", size=2))
    await add(world, *(make_claim(f"c{n}", size=2) for n in range(3)))
    async with world.running(world.scheduler()), binding(world):
        for number in range(3):
            await world.add_pod(f"p{number}", volumes=(claim_volume(f"c{number}"),))
        await anyio.sleep(5)
        placed = await world.placed()
        assert sorted(placed.values()) == ["", "node-1", "node-2"]
        loser = next(name for name, node in placed.items() if not node)
        reason = "3 node(s) didn't find available persistent volumes to bind"
        assert reason in (await world.refusal(loser))[1]
        await add(world, make_volume("v3", "a", size=2))
        await anyio.sleep(15)
        assert (await world.pod(loser)).spec.node_name == "node-0"
    for number in range(3):
        claim = await claim_of(world, f"c{number}")
        assert claim.status.phase == "Bound" and SELECTED not in claim.metadata.annotations


async def test_a_volume_that_is_kept_for_a_claim_but_does_not_fit_is_passed_over(world: Any) -> None:
    await world.add_node(machine("node-0", {ZONE: "a"}))
    await add(world, make_class("late", provisioner="kubernetes.io/no-provisioner"))
    ref = ObjectReference(namespace="default", name="c")
    await add(world, make_volume("kept", mode="ReadOnlyMany", claim_ref=ref), make_volume("free"))
    await add(world, make_claim("c"))
    async with world.running(world.scheduler()), binding(world):
        await world.add_pod("p", volumes=(claim_volume("c"),))
        await anyio.sleep(5)
        assert (await world.pod("p")).spec.node_name == "node-0"
    assert (await claim_of(world)).spec.volume_name == "free"


async def test_a_pod_that_waits_for_its_storage_says_where_it_will_go(world: Any) -> None:
    await world.add_nodes(3)
    await add(world, make_class("late"), make_claim("c"))
    async with world.running(world.scheduler()):
        await world.add_pod("p", volumes=(claim_volume("c"),))
        await anyio.sleep(1)
        waiting, claim = await world.pod("p"), await claim_of(world)
        assert not waiting.spec.node_name
        assert waiting.status.nominated_node_name == claim.metadata.annotations[SELECTED]
        async with binding(world):
            await anyio.sleep(5)
            assert (await world.pod("p")).status.nominated_node_name == ""


async def test_who_was_to_go_where_its_claims_were_not_told_of_is_promised_nothing(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(lambda client: Conflicting(client, every=2))  # the second write is to the claim
    await world.add_nodes(1)
    await add(world, make_class("late"), make_claim("c"))
    async with world.running(world.scheduler()):
        await world.add_pod("p", volumes=(claim_volume("c"),))
        await anyio.sleep(0.5)
        assert SELECTED not in (await claim_of(world)).metadata.annotations
        assert (await world.pod("p")).status.nominated_node_name == ""


async def test_room_is_kept_while_a_pod_waits_for_its_storage(world: Any) -> None:
    await world.add_nodes(1, allocatable={"cpu": "2", "memory": "4Gi", "pods": "10"})
    await add(world, make_class("late"), make_claim("c"))
    async with world.running(world.scheduler()):
        await world.add_pod("p", volumes=(claim_volume("c"),), containers=containers(cpu="2"))
        await anyio.sleep(1)
        await world.add_pod("greedy", containers=containers(cpu="1"))
        await anyio.sleep(30)
        assert await world.placed() == {"p": "", "greedy": ""}
        assert (await claim_of(world)).metadata.annotations[SELECTED] == "node-0"
        async with binding(world):
            await anyio.sleep(5)
        assert await world.placed() == {"p": "node-0", "greedy": ""}


async def test_a_pod_is_placed_once_its_claim_is_there(world: Any) -> None:
    await world.add_nodes(1)
    async with world.running(world.scheduler()), binding(world):
        await world.add_pod("p", volumes=(claim_volume("c"),))
        await anyio.sleep(1)
        found = await world.refusal("p")
        assert found[1].startswith(
            '0/1 nodes are available: persistentvolumeclaim "c" not found. preemption: '
        )
        await add(world, make_class("now", "Immediate"), make_claim("c", "now"))
        await anyio.sleep(15)
        assert (await world.pod("p")).spec.node_name == "node-0"


@pytest.mark.seeds(5)
async def test_pods_with_storage_are_placed_under_hardship(make_world: Callable[..., Any]) -> None:
    random = Random(8)
    world = make_world(lambda client: Lossy(client, random, rate=0.1))
    await world.add_nodes(3)
    await add(world, make_class("late"), make_volume("v", size=2))
    await add(world, *(make_claim(f"c{n}") for n in range(6)))
    async with world.running(world.scheduler()), binding(world):
        for number in range(6):
            await world.add_pod(f"p{number}", volumes=(claim_volume(f"c{number}"),))
        await anyio.sleep(400)
    assert all((await world.placed()).values())


async def test_pods_go_where_there_is_enough_storage_and_wait_for_it(world: Any) -> None:
    for number, zone in enumerate("abc"):
        await world.add_node(machine(f"node-{number}", {ZONE: zone}))
    in_b = LabelSelector(match_labels={ZONE: "b"})
    await add(
        world, make_driver(counts=True), make_class("late"), make_claim("c", size=2), make_claim("d", size=5)
    )
    await world.direct.resource(Namespace).create(Namespace(metadata=ObjectMeta(name="drivers")))
    await add(world, make_capacity("k", "late", in_b, capacity="3"))
    async with world.running(world.scheduler()), binding(world):
        await world.add_pod("p", volumes=(claim_volume("c"),))
        await world.add_pod("q", volumes=(claim_volume("d"),))
        await anyio.sleep(10)
        assert await world.placed() == {"p": "node-1", "q": ""}
        assert "3 node(s) did not have enough free storage" in (await world.refusal("q"))[1]
        more = Patch("merge", {"capacity": "6"})
        await world.direct.resource(CSIStorageCapacity).patch(Key("drivers", "k"), more)
        await anyio.sleep(20)
    assert (await world.placed())["q"] == "node-1"
    snapshot = await take_snapshot(world.direct, LoopClock().now())
    assert snapshot.table.volumes.capacities.offers(make_class("late"), 6) == [(in_b, 6)]


def test_nodes_are_asked_for_only_where_storage_lets_pods_use_them() -> None:
    template = NodeTemplate(name="t", capacity={"cpu": "4", "memory": "8Gi", "pods": "9"}, labels={ZONE: "a"})

    def wanted(*storage: Any) -> dict[str, int]:
        view = ClusterView(nodes=[], pods=[], storage=storage)
        growth = plan_growth(view, [PodInfo.of(POD)], [Offer(template, 3)], random=Random(1))
        return dict(growth.wanted)

    assert wanted() == {}
    assert wanted(make_claim("c"), make_class("late")) == {"t": 1}
    assert wanted(make_claim("c", volume_name="v"), make_volume("v", "a")) == {"t": 1}
    assert wanted(make_claim("c", volume_name="v"), make_volume("v", "b")) == {}


async def test_a_snapshot_knows_storage_too(world: Any) -> None:
    await world.add_nodes(2)
    await add(world, make_class("now", "Immediate"), make_claim("c", "now"), make_volume("v"))
    snapshot = await take_snapshot(world.direct, LoopClock().now())
    cycle = Cycle(snapshot.table, default_policy(), Random(1))
    verdict = cycle.decide(PodInfo.of(POD))
    assert verdict.message == "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
