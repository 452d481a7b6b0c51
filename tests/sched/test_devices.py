"""Pods with claims to devices: they wait until somebody has given them some, and go where these can be used."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import anyio
import pytest

from kubelib.api import codec
from kubelib.api.core.pod import Pod, PodResourceClaim, PodResourceClaimStatus, PodSchedulingGate
from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.document import Document
from kubelib.api.meta import Key, ObjectMeta, OwnerReference
from kubelib.api.model import replace
from kubelib.api.resource import (
    AllocationResult,
    DeviceClaim,
    DeviceClass,
    DeviceRequest,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimSpec,
    ResourceClaimStatus,
    ResourceSlice,
)
from kubelib.sched.committing import Committer
from kubelib.sched.cycle import Cycle
from kubelib.sched.devices import DeviceObject, Devices
from kubelib.sched.following import Following
from kubelib.sched.keeping import trimmed
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies import PrefersFirstChoices, default_policy
from kubelib.sched.snapshot import make_snapshot, take_snapshot
from kubelib.sim.hardship import Lossy
from kubelib.testing.objects import make_node, make_pod
from tests.sched.conftest import containers
from tests.sched.layouts import points
from tests.sched.test_allocating import CLASSES, at_least, claim, device, either, offer
from tests.sched.test_groups import add_group, bound
from tests.sched.test_groups import of as of_group

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLASS = DeviceClass(metadata=ObjectMeta(name="gpu"))
LACKING = "2 cannot allocate all claims"
ELSEWHERE = "resourceclaim not available on the node"


def on(*nodes: str) -> AllocationResult:
    """Return devices that can be used on some nodes; without names on all."""
    term = NodeSelectorTerm(
        match_expressions=(
            NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=nodes),
        )
    )
    return AllocationResult(node_selector=NodeSelector(node_selector_terms=(term,)) if nodes else None)


def make_claim(name: str, allocation: AllocationResult | None = None, **meta: Any) -> ResourceClaim:
    request = DeviceRequest(name="one", exactly=ExactDeviceRequest(device_class_name="gpu"))
    return ResourceClaim(
        metadata=ObjectMeta(name=name, namespace="default", **meta),
        spec=ResourceClaimSpec(devices=DeviceClaim(requests=(request,))),
        status=ResourceClaimStatus(allocation=allocation),
    )


def of(uid: str) -> dict[str, Any]:
    owner = OwnerReference(api_version="v1", kind="Pod", name="p", uid=uid, controller=True)
    return {"owner_references": (owner,)}


def using(*names: str, made: Sequence[tuple[str, str]] = ()) -> Pod:
    """Return a Pod that uses claims by their names, and some from templates: ``+`` before its own name for it."""
    claims = tuple(
        PodResourceClaim(name=name[1:], resource_claim_template_name="t")
        if name.startswith("+")
        else PodResourceClaim(name=name, resource_claim_name=name)
        for name in names
    )
    pod = make_pod("p", uid="1", resource_claims=claims)
    statuses = tuple(PodResourceClaimStatus(name=name, resource_claim_name=claim) for name, claim in made)
    return replace(pod, status=replace(pod.status, resource_claim_statuses=statuses))


CHOICE = DeviceRequest(name="any", first_available=(DeviceSubRequest(name="big", device_class_name="big"),))


@pytest.mark.parametrize(
    ("pod", "things", "found"),
    [
        (using("c"), [CLASS, make_claim("c", on())], "a b"),
        (using("c"), [make_claim("c", on("b"))], "b"),
        (using("c", "d"), [make_claim("c", on("b")), make_claim("d", on("a", "b"))], "b"),
        (using("c", "d"), [make_claim("c", on("b")), make_claim("d", on("a"))], f"2 {ELSEWHERE}"),
        (using("c"), [CLASS, make_claim("c")], LACKING),
        (using("c", "d"), [CLASS, make_claim("c", on("b")), make_claim("d")], LACKING),
        (using("c"), [make_claim("c")], "request one: device class gpu does not exist"),
        (
            using("c"),
            [replace(make_claim("c"), spec=ResourceClaimSpec(devices=DeviceClaim(requests=(CHOICE,))))],
            "request any/big: device class big does not exist",
        ),
        (using("c"), [], 'could not find ResourceClaim "default/c"'),
        (
            using("c"),
            [make_claim("c", on(), deletion_timestamp=NOW)],
            'resourceclaim "c" is being deleted',
        ),
        (using("+mine"), [], "Pod default/p: ResourceClaim not created yet"),
        (using("+mine", made=[("mine", "")]), [], "a b"),
        (using("+mine", made=[("mine", "c")]), [make_claim("c", on("a"), **of("1"))], "a"),
        (
            using("+mine", made=[("mine", "c")]),
            [make_claim("c", on("a"), **of("2"))],
            "ResourceClaim default/c was not created for Pod default/p (Pod is not owner)",
        ),
    ],
)
def test_pods_go_where_their_devices_can_be_used(
    pod: Pod, things: Sequence[DeviceObject], found: str
) -> None:
    snapshot = make_snapshot([make_node("a"), make_node("b")], [], now=NOW, devices=things)
    info = PodInfo.of(pod)
    cycle = Cycle(snapshot.table, default_policy(), Random(1))
    fitting = [name for name, row in snapshot.table.rows.items() if cycle.passes(info, row)]
    verdict = cycle.decide(info)
    if fitting:
        assert " ".join(fitting) == found and verdict.node in fitting
    else:
        assert verdict.message == f"0/2 nodes are available: {found}."


def test_what_is_kept_of_a_pod_says_which_claims_are_its_own() -> None:
    pod = using("c", "+mine", made=[("mine", "p-mine-x")])
    kept = trimmed(Document(codec.encode_json(pod))).view(Pod)
    assert PodInfo.of(kept).devices == (("c", False), ("p-mine-x", True))


async def allocate(world: Any, name: str, allocation: AllocationResult) -> None:
    claims = world.direct.resource(ResourceClaim)
    claim = await claims.get(Key("default", name))
    status = replace(claim.status, allocation=allocation)
    await claims.update(replace(claim, status=status), subresource="status")


async def users(world: Any, name: str = "c") -> list[str]:
    claim = await world.direct.resource(ResourceClaim).get(Key("default", name))
    return sorted(user.name for user in claim.status.reserved_for)


async def begin(world: Any, nodes: int = 2) -> Callable[..., Any]:
    """Make nodes, a class and an unallocated claim; return what makes Pods that use it."""
    await world.add_nodes(nodes)
    await world.direct.resource(DeviceClass).create(CLASS)
    await world.direct.resource(ResourceClaim).create(make_claim("c"))
    uses = (PodResourceClaim(name="c", resource_claim_name="c"),)

    async def add(name: str, **spec: Any) -> PodInfo:
        return PodInfo.of(await world.add_pod(name, resource_claims=uses, **spec))

    return add


async def test_a_pod_waits_for_its_devices_and_they_are_reserved_for_it(world: Any) -> None:
    add = await begin(world)
    async with world.running(world.scheduler()):
        await add("p")
        await add("q")
        await anyio.sleep(5)
        said = f"0/2 nodes are available: {LACKING}. still not schedulable, preemption: "
        assert (await world.refusal("p"))[1].startswith(said)
        assert "Preemption is not helpful for scheduling" in (await world.refusal("p"))[1]
        snapshot = await take_snapshot(world.direct, NOW)
        assert snapshot.table.devices.claim(Key("default", "c")) is not None
        await allocate(world, "c", on("node-1"))
        await anyio.sleep(15)
        assert await world.placed() == {"p": "node-1", "q": "node-1"}
        assert await users(world) == ["p", "q"]


async def offer_on(world: Any, node: str, *devices: str) -> None:
    await world.direct.resource(ResourceSlice).create(
        offer(*devices, name=f"slice-{node}", pool=node, node_name=node)
    )


async def allocated(world: Any, name: str) -> list[str]:
    claim = await world.direct.resource(ResourceClaim).get(Key("default", name))
    given = claim.status.allocation
    return [f"{result.pool}/{result.device}" for result in given.devices.results] if given is not None else []


async def test_a_pod_goes_where_its_claim_can_have_devices_and_the_claim_gets_them(world: Any) -> None:
    add = await begin(world)
    await offer_on(world, "node-1", "d")
    async with world.running(world.scheduler()):
        await add("p")
        await add("q")
        await anyio.sleep(15)
        # One claim for both: what one has got is the other's as well.
        assert await world.placed() == {"p": "node-1", "q": "node-1"}
    assert await users(world) == ["p", "q"]
    claim = await world.direct.resource(ResourceClaim).get(Key("default", "c"))
    assert await allocated(world, "c") == ["node-1/d"]
    assert claim.metadata.finalizers == ("resource.kubernetes.io/delete-protection",)
    assert claim.status.allocation.allocation_timestamp is not None


async def test_a_device_is_given_to_one_claim_and_to_another_when_it_is_free(world: Any) -> None:
    await begin(world)
    claims = world.direct.resource(ResourceClaim)
    await claims.create(make_claim("d"))
    async with world.running(world.scheduler()):
        for name in "cd":
            uses = (PodResourceClaim(name=name, resource_claim_name=name),)
            await world.add_pod(name, resource_claims=uses)
        await anyio.sleep(5)
        assert set((await world.placed()).values()) == {""}
        await offer_on(world, "node-0", "one")
        await anyio.sleep(30)
        placed = {name: node for name, node in (await world.placed()).items() if node}
        ((first, node),) = placed.items()
        assert node == "node-0" and await allocated(world, first) == ["node-0/one"]
        (other,) = {"c", "d"} - {first}
        assert LACKING in (await world.refusal(other))[1]
        # The first has ended, and somebody has taken its devices back.
        await world.pods.delete(Key("default", first), grace=0)
        claim = await claims.get(Key("default", first))
        status = replace(claim.status, allocation=None, reserved_for=())
        await claims.update(replace(claim, status=status), subresource="status")
        await anyio.sleep(30)
        assert (await world.placed())[other] == "node-0"
    assert await allocated(world, other) == ["node-0/one"]


async def test_devices_are_taken_back_where_their_node_is_full_and_nobody_uses_them(world: Any) -> None:
    add = await begin(world)
    await offer_on(world, "node-0", "d")
    await offer_on(world, "node-1", "e")
    claims = world.direct.resource(ResourceClaim)
    await claims.create(make_claim("mine"))
    await allocate(world, "mine", on("node-0"))
    await allocate(world, "c", on("node-0"))
    await world.add_pod("large", node="node-0", containers=containers(cpu="8"))
    async with world.running(world.scheduler()):
        uses = (PodResourceClaim(name="c", resource_claim_name="mine"),)
        await world.add_pod("moves", resource_claims=uses)
        await anyio.sleep(30)
        assert (await world.placed())["moves"] == "node-1"
        told = [message for reason, message in await world.events() if reason == "FailedScheduling"]
        assert "node. deallocation of ResourceClaim completed, preemption: " in told[0]
        assert await allocated(world, "mine") == ["node-1/e"]
        # What another Pod uses is not taken from it.
        claim = await claims.get(Key("default", "c"))
        user = ResourceClaimConsumerReference(resource="pods", name="other", uid="other")
        status = replace(claim.status, reserved_for=(user,))
        await claims.update(replace(claim, status=status), subresource="status")
        await add("stays")
        await anyio.sleep(30)
        assert (await world.placed())["stays"] == ""
        assert (await world.refusal("stays"))[1].startswith(
            "0/2 nodes are available: 1 Insufficient cpu, 1 resourceclaim not available on the node."
            " still not schedulable, preemption: "
        )
        assert (await claims.get(Key("default", "c"))).status.allocation == on("node-0")


@pytest.mark.seeds(10)
async def test_no_device_is_given_twice_under_hardship(make_world: Callable[..., Any]) -> None:
    random = Random(8)
    world = make_world(lambda client: Lossy(client, random, rate=0.1))
    await world.add_nodes(3)
    await world.direct.resource(DeviceClass).create(CLASS)
    for number in range(3):
        await offer_on(world, f"node-{number}", *(f"d{n}" for n in range(4)))
    names = [f"p{number}" for number in range(14)]
    async with world.running(world.scheduler()):
        for name in names:
            await world.direct.resource(ResourceClaim).create(make_claim(name))
            await world.add_pod(name, resource_claims=(PodResourceClaim(name="c", resource_claim_name=name),))
        await anyio.sleep(400)
        placed = await world.placed()
    given = {name: await allocated(world, name) for name in names if placed[name]}
    devices = [device for found in given.values() for device in found]
    assert len(devices) == len(set(devices)) == len(given)
    assert all(found[0].startswith(placed[name]) for name, found in given.items())


async def test_shares_of_a_device_have_identities(world: Any) -> None:
    add = await begin(world)
    shared = device("d", "8Gi", allow_multiple_allocations=True)
    await world.direct.resource(ResourceSlice).create(offer(shared, node_name="node-0"))
    async with world.running(world.scheduler()):
        await add("p")
        await anyio.sleep(10)
    claim = await world.direct.resource(ResourceClaim).get(Key("default", "c"))
    (result,) = claim.status.allocation.devices.results
    assert UUID(result.share_id).version == 4
    assert result.consumed_capacity == {"memory": "8Gi"}


def test_nodes_are_better_where_claims_get_what_they_would_rather_have() -> None:
    big, small = device("big", "8Gi"), device("small", "4Gi")
    choice = claim(either("r", ("one", at_least("8Gi"), 1), ("two", "", 1)), either("q", ("one", "", 1)))
    things = (
        *CLASSES,
        choice,
        offer(big, small, name="a", pool="a", node_name="a"),
        offer(small, device("other", "1Gi"), name="b", pool="b", node_name="b"),
        offer(small, name="c", pool="c", node_name="c"),
    )
    nodes = [make_node(name) for name in "abc"]
    table = make_snapshot(nodes, [], now=NOW, devices=things).table
    pod = using("c0")
    assert points(PrefersFirstChoices(), pod, table) == {"a": 100, "b": 93, "c": 0}
    assert Cycle(table, default_policy(), Random(1)).decide(PodInfo.of(pod)).node == "a"
    table.devices.put(make_claim("c"))
    assert not PrefersFirstChoices().concerns(PodInfo.of(using("c")), table)


def test_what_is_known_of_a_claim_is_not_forgotten_for_what_was_known_before() -> None:
    devices = Devices()
    older, newer = (
        make_claim("c", given, resource_version=at) for given, at in ((None, "9"), (on("a"), "10"))
    )
    assert devices.put(older) and devices.put(newer)
    assert not devices.put(older)
    assert devices.claim(Key("default", "c")) is newer
    assert devices.put(replace(older, metadata=replace(older.metadata, uid="another")))


def test_what_was_promised_to_a_pod_that_could_not_be_bound_is_free_again() -> None:
    devices = (CLASS, make_claim("c"), make_claim("d"), offer("one", node_name="a"))
    table = make_snapshot([make_node("a"), make_node("b")], [], now=NOW, devices=devices).table
    cycle = Cycle(table, default_policy(), Random(1))
    first = PodInfo.of(using("c"))
    second = PodInfo.of(replace(using("d"), metadata=replace(using("d").metadata, uid="2", name="q")))
    assert [cycle.decide(pod).node for pod in (first, second)] == ["a", "a"]
    table.put_pod(first, "a")
    assert cycle.decide(second).message == f"0/2 nodes are available: {LACKING}."
    table.remove_pod(first.uid)
    assert cycle.decide(second).node == "a"
    table.put_pod(second, "a")
    # What the claim has got in the end is what counts.
    table.devices.put(replace(make_claim("d", on("b")), metadata=make_claim("d").metadata))
    table.remove_pod(second.uid)
    assert cycle.decide(first).node == "a"


@pytest.mark.seeds(3)
async def test_many_pods_share_one_claim_under_hardship(make_world: Callable[..., Any]) -> None:
    random = Random(8)
    world = make_world(lambda client: Lossy(client, random, rate=0.1))
    add = await begin(world, 3)
    await allocate(world, "c", on())
    names = [f"p{number}" for number in range(12)]
    async with world.running(world.scheduler()):
        for name in names:
            await add(name)
        await anyio.sleep(400)
        assert all((await world.placed()).values())
        assert await users(world) == sorted(names)


async def test_devices_are_given_back_by_pods_that_could_not_be_bound(world: Any) -> None:
    add = await begin(world)
    await allocate(world, "c", on())
    following = Following(world.direct, queues=(), route=lambda pod: None, random=Random(1))
    committer = Committer("s", world.direct, following, random=Random(1), limit=anyio.CapacityLimiter(4))
    gated, ready = await add("gated", scheduling_gates=(PodSchedulingGate(name="g"),)), await add("ready")
    placed = [(gated, "node-0"), (ready, "node-0")]
    fates = await committer.commit(placed, seen=0)
    assert {fate.pod.key.name: (fate.on, fate.cause) for fate in fates} == {
        "gated": ("", "Refused"),
        "ready": ("node-0", ""),
    }
    assert await users(world) == ["ready"]


async def test_a_group_is_not_bound_if_one_of_it_cannot_have_its_devices(world: Any) -> None:
    add = await begin(world)
    await allocate(world, "c", on())
    following = Following(world.direct, queues=(), route=lambda pod: None, random=Random(1))
    committer = Committer("s", world.direct, following, random=Random(1), limit=anyio.CapacityLimiter(4))
    other = PodResourceClaim(name="d", resource_claim_name="d")
    placed = [
        (await add("one"), "node-0"),
        (PodInfo.of(await world.add_pod("two", resource_claims=(other,))), "node-0"),
    ]
    fates = await committer.commit(placed, seen=0, together=True)
    assert {fate.pod.key.name: fate.cause for fate in fates} == {"one": "Together", "two": ""}
    assert await users(world) == [] and set((await world.placed()).values()) == {""}
    alone = await committer.commit(placed, seen=0)
    assert {fate.pod.key.name: fate.on for fate in alone} == {"one": "node-0", "two": ""}
    assert await users(world) == ["one"]


async def test_a_gang_gets_devices_for_all_that_it_must_have_or_none(world: Any) -> None:
    await world.add_nodes(2)
    await world.direct.resource(DeviceClass).create(CLASS)
    await offer_on(world, "node-0", "one")
    async with world.running(world.scheduler()):
        await add_group(world, "train", 2)
        for number in range(2):
            await world.direct.resource(ResourceClaim).create(make_claim(f"c{number}"))
            uses = (PodResourceClaim(name="c", resource_claim_name=f"c{number}"),)
            await world.add_pod(f"train-{number}", resource_claims=uses, scheduling_group=of_group("train"))
        await anyio.sleep(20)
        assert await bound(world, "train") == 0
        assert [await allocated(world, f"c{number}") for number in range(2)] == [[], []]
        # What the gang has not got, others may have.
        await world.direct.resource(ResourceClaim).create(make_claim("alone"))
        await world.add_pod(
            "alone", resource_claims=(PodResourceClaim(name="c", resource_claim_name="alone"),)
        )
        await anyio.sleep(20)
        assert await allocated(world, "alone") == ["node-0/one"]
        await offer_on(world, "node-1", "two", "three")
        await anyio.sleep(30)
        assert await bound(world, "train") == 2
    given = [await allocated(world, f"c{number}") for number in range(2)]
    assert sorted(device for found in given for device in found) == ["node-1/three", "node-1/two"]
