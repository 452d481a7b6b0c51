"""What makes the scheduler look anew at Pods that fitted nowhere, as kube-scheduler has it, and at which it does not look any more."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from kubelib.api.core.affinity import Toleration
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.node import Node
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.storage import CSINode
from kubelib.client.update import update_with
from kubelib.registry.base import Patch
from kubelib.sched.pods import PodInfo
from kubelib.testing.objects import make_node, make_pod
from tests.sched.conftest import containers
from tests.sched.layouts import HOST, constraint, social, with_labels, with_taints
from tests.sched.test_storage import ZONE, claim_volume, make_claim, make_class, make_limits, make_volume

Change = Callable[[Any], Awaitable[object]]
SMALL = {"cpu": "2", "memory": "4Gi", "pods": "10"}
OTHER = replace(with_taints(make_node("other"), "k v NoSchedule"), status=make_node(allocatable=SMALL).status)


def patch(name: str, change: dict[str, object], kind: Any = Pod, part: str = "") -> Change:
    key = Key("default" if kind in (Pod, PersistentVolumeClaim) else "", name)

    def apply(world: Any) -> Awaitable[object]:
        found: Awaitable[object] = world.direct.resource(kind).patch(
            key, Patch("merge", change), subresource=part
        )
        return found

    return apply


def create(*objects: Any) -> Change:
    async def apply(world: Any) -> None:
        for one in objects:
            await world.direct.resource(type(one)).create(one)

    return apply


def delete(name: str, kind: Any = Pod) -> Change:
    def apply(world: Any) -> Awaitable[object]:
        found: Awaitable[object] = world.direct.resource(kind).delete(
            Key("default" if kind is Pod else "", name), grace=0
        )
        return found

    return apply


def retaint(text: str) -> Change:
    def apply(world: Any) -> Awaitable[object]:
        found: Awaitable[object] = update_with(
            world.direct, Node, Key("", "other"), lambda node: with_taints(node, text)
        )
        return found

    return apply


async def add_toleration(world: Any) -> None:
    def tolerate(pod: Pod) -> Pod:
        more = (*pod.spec.tolerations, Toleration(key="k", operator="Exists"))
        return replace(pod, spec=replace(pod.spec, tolerations=more))

    await update_with(world.direct, Pod, Key("default", "waits"), tolerate)


async def resize(world: Any) -> None:
    wanted = {"containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]}
    change = Patch("strategic", {"spec": wanted})
    await world.pods.patch(Key("default", "waits"), change, subresource="resize")


BIG = {"containers": containers(cpu="3")}
LARGER = {"cpu": "4", "memory": "4Gi", "pods": "10"}
ON = {"labels": {"foo": ""}}
HERE = {"node": "small"}
BOUND = make_claim("c", "now", volume_name="v")
CLAIMING = {"volumes": (claim_volume("c"),)}
CASES: dict[str, tuple[dict[str, Any], list[Change], dict[str, Any], Change]] = {
    "a toleration of the Pod": ({}, [create(OTHER)], {"node_selector": {HOST: "other"}}, add_toleration),
    "another taint": (
        {},
        [create(OTHER)],
        {"node_selector": {HOST: "other"}, "tolerations": (Toleration(key="l", operator="Exists"),)},
        retaint("l v NoSchedule"),
    ),
    "a Pod that asks for less": ({}, [], BIG, resize),
    "a node": ({}, [], BIG, create(make_node("large"))),
    "more on a node": ({}, [], BIG, patch("small", {"status": {"allocatable": LARGER}}, Node, "status")),
    "a place more for Pods": (
        {"allocatable": {**SMALL, "pods": "0"}},
        [],
        {},
        patch("small", {"status": {"allocatable": SMALL}}, Node, "status"),
    ),
    "a label of a node": (
        {},
        [],
        {"node_selector": {"disk": "fast"}},
        patch("small", {"metadata": {"labels": {"disk": "fast"}}}, Node),
    ),
    "a Pod that is gone": (
        ON,
        [],
        {**ON, "affinity": social(away=[f"foo @{HOST}"])},
        delete("there"),
    ),
    "a label less that one must be away from": (
        ON,
        [],
        {"affinity": social(away=[f"foo @{HOST}"])},
        patch("there", {"metadata": {"labels": {"foo": None}}}),
    ),
    "a Pod that one must be near": (
        {},
        [],
        {"affinity": social(near=[f"foo @{HOST}"])},
        create(make_pod("new", node="small", labels={"foo": ""})),
    ),
    "a label that one must be near": (
        {},
        [],
        {"affinity": social(near=[f"foo @{HOST}"])},
        patch("there", {"metadata": {"labels": {"foo": ""}}}),
    ),
    "one gone who wants to be away": (
        {"affinity": social(away=[f"foo @{HOST}"])},
        [],
        ON,
        delete("there"),
    ),
    "a topology key of a node": (
        {},
        [],
        {**ON, "affinity": social(near=["foo @row"])},
        patch("small", {"metadata": {"labels": {"row": "1"}}}, Node),
    ),
    "a label less among those that are spread": (
        ON,
        [create(with_labels(OTHER, {HOST: "other"}))],
        {**ON, "topology_spread_constraints": (constraint(HOST, node_taints_policy="Ignore", unsatisfiable="DoNotSchedule"),)},
        patch("there", {"metadata": {"labels": {"foo": None}}}),
    ),
    "a domain that is no more": (
        ON,
        [create(with_labels(OTHER, {HOST: "other"}))],
        {**ON, "topology_spread_constraints": (constraint(HOST, node_taints_policy="Ignore", unsatisfiable="DoNotSchedule"),)},
        delete("other", Node),
    ),
    "a volume": ({}, [create(make_class("now", "Immediate"), BOUND)], CLAIMING, create(make_volume("v", cls="now"))),
    "a claim": ({}, [create(make_class("now", "Immediate"), make_volume("v", cls="now"))], CLAIMING, create(BOUND)),
    "a claim that is bound": (
        {},
        [create(make_class("now", "Immediate"), make_volume("v", cls="now"), make_claim("c", "now"))],
        CLAIMING,
        patch("c", {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}, PersistentVolumeClaim),
    ),
    "another zone of a volume": (
        {"labels": {}},
        [create(make_class("now", "Immediate"), make_volume("v", cls="now", label="b"), BOUND), patch("small", {"metadata": {"labels": {ZONE: "a"}}}, Node)],
        CLAIMING,
        patch("v", {"metadata": {"labels": {ZONE: "a"}}}, PersistentVolume),
    ),
    "a storage class": (
        {},
        [create(make_volume("v"), make_claim("c"))],
        CLAIMING,
        create(make_class("late")),
    ),
    "a higher limit of volumes": (
        {},
        [create(make_class("now", "Immediate"), make_volume("v", cls="now"), BOUND, make_limits("small", 0))],
        CLAIMING,
        patch("small", {"spec": {"drivers": [{"name": "disk.example", "nodeID": "small", "allocatable": {"count": 1}}]}}, CSINode),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_a_pod_is_placed_soon_after_what_kube_scheduler_wakes_it_for(world: Any, case: str) -> None:
    there, before, waits, change = CASES[case]
    there = dict(there)
    await world.add_node(make_node("small", allocatable=there.pop("allocatable", SMALL)))
    await world.add_pod("there", **{"containers": containers(cpu="0"), **HERE, **there})
    for one in before:
        await one(world)
    async with world.running(world.scheduler()):
        await world.add_pod("waits", **{"containers": containers(cpu="1"), **waits})
        await anyio.sleep(60)
        assert (await world.placed())["waits"] == "", "it fits before anything happens"
        await change(world)
        await anyio.sleep(15)
        pod = await world.pod("waits")
        # Where a claim must be bound first, the node is promised until somebody does that.
        assert pod.spec.node_name or pod.status.nominated_node_name


@pytest.mark.parametrize("before", [True, False], ids=["never tried", "tried before"])
async def test_a_pod_that_is_being_deleted_gets_no_node_and_an_event_says_so(
    world: Any, before: bool
) -> None:
    await world.add_pod("held", metadata={"finalizers": ("example.com/hold",)})
    if before:
        await world.pods.delete(Key("default", "held"))
    async with world.running(scheduler := world.scheduler()):
        await anyio.sleep(3)
        if not before:
            await world.pods.delete(Key("default", "held"))
        await world.add_nodes(1)
        await anyio.sleep(20)
        assert len(scheduler.queue) == 0
    assert await world.placed() == {"held": ""}
    assert ("FailedScheduling", "skip schedule deleting pod: default/held") in await world.events()


async def tries(world: Any, waits: dict[str, Any], labels: dict[str, str], zone: str) -> int:
    """Return how often a Pod that fits nowhere is tried while others with these labels are placed, one after the other.

    In a zone, these get a label for that as they are bound.
    """
    await world.add_node(
        with_labels(make_node("small"), {"topology.kubernetes.io/zone": zone} if zone else {})
    )
    scheduler = world.scheduler()
    async with world.running(scheduler):
        waiting = PodInfo.of(await world.add_pod("waits", labels={"me": ""}, **waits))
        await anyio.sleep(60)
        for number in range(5):
            await world.add_pod(f"p{number}", labels=labels)
            await anyio.sleep(30)
        return int(scheduler.queue.history(waiting)[1])


NEAR = {"affinity": social(near=["foo @row"])}
EVEN = {"topology_spread_constraints": (constraint("row", unsatisfiable="DoNotSchedule"),)}


@pytest.mark.parametrize(
    ("waits", "labels", "tried"),
    [
        (NEAR, {"bar": ""}, 1),
        (NEAR, {"foo": ""}, 6),
        ({"affinity": social(near=["foo @row", "bar @row"])}, {"foo": ""}, 1),
        ({"affinity": social(away=["foo @row"], near=["baz @row"])}, {"foo": ""}, 1),
        (EVEN, {"bar": ""}, 1),
        (EVEN, {"foo": ""}, 6),
        ({**NEAR, **EVEN}, {"foo": ""}, 6),
    ],
)
@pytest.mark.parametrize("zone", ["", "z"], ids=["nowhere", "in a zone"])
async def test_a_pod_that_looks_for_company_is_tried_again_only_for_such_as_it_means(
    world: Any, waits: dict[str, Any], labels: dict[str, str], tried: int, zone: str
) -> None:
    assert await tries(world, waits, labels, zone) == tried


KEPT = ObjectReference(namespace="default", name="other")


@pytest.mark.parametrize(
    ("change", "tried"),
    [
        (create(make_claim("other", volume_name="v")), 1),
        (create(make_volume("kept", claim_ref=KEPT)), 1),
        (create(make_volume("free")), 2),
        (create(make_claim("c")), 2),
        (create(make_volume("own", claim_ref=replace(KEPT, name="c"))), 2),
        (create(make_class("late")), 2),
        (create(make_limits("small", 1)), 2),
    ],
    ids=[
        "another claim",
        "another's volume",
        "a volume for all",
        "its claim",
        "its volume",
        "a class",
        "limits",
    ],
)
async def test_a_pod_that_waits_for_its_claim_is_tried_again_for_no_news_of_others(
    world: Any, change: Change, tried: int
) -> None:
    await world.add_node(make_node("small"))
    scheduler = world.scheduler()
    async with world.running(scheduler):
        waiting = PodInfo.of(await world.add_pod("waits", volumes=(claim_volume("c"),)))
        await anyio.sleep(60)
        await change(world)
        await anyio.sleep(30)
        assert scheduler.queue.history(waiting)[1] == tried


@pytest.mark.parametrize(
    ("waits", "changes"),
    [
        ({"containers": containers(cpu="99")}, "room"),
        ({"node_selector": {"no": "where"}}, "labels"),
        ({"tolerations": (Toleration(key="else", operator="Exists"),)}, "taints"),
        ({"affinity": social(near=["foo @zone"])}, "labels"),
        (
            {"topology_spread_constraints": (constraint("zone", unsatisfiable="DoNotSchedule"),)},
            "labels taints",
        ),
        ({"volumes": (claim_volume("c"),)}, "labels"),
    ],
    ids=["room", "labels", "taints", "near", "spread", "storage"],
)
async def test_a_pod_is_tried_again_only_for_what_its_filters_look_at_in_nodes(
    world: Any, waits: dict[str, Any], changes: str
) -> None:
    tainted = "taints" in changes and "labels" not in changes
    await world.add_node(with_taints(make_node("other"), "k v NoSchedule" if tainted else ""))
    scheduler = world.scheduler()
    apply: dict[str, Change] = {
        "room": patch("other", {"status": {"allocatable": {**SMALL, "cpu": "3"}}}, Node, "status"),
        "labels": patch("other", {"metadata": {"labels": {"row": "1"}}}, Node),
        "taints": patch(
            "other", {"spec": {"taints": [{"key": "l", "value": "v", "effect": "NoSchedule"}]}}, Node
        ),
        "features": patch("other", {"status": {"declaredFeatures": ["Some"]}}, Node, "status"),
    }
    async with world.running(scheduler):
        waiting = PodInfo.of(await world.add_pod("waits", **waits))
        for what, change in apply.items():
            await anyio.sleep(60)
            before = scheduler.queue.history(waiting)[1]
            await change(world)
            await anyio.sleep(20)
            tried = scheduler.queue.history(waiting)[1] - before
            assert tried == (what in changes.split()), what
