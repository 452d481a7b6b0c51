from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.coordination import Lease, LeaseSpec
from kubelib.api.core.affinity import Toleration
from kubelib.api.core.node import Node, NodeCondition, NodeStatus, Taint
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.api.times import format_micro_time
from kubelib.api.tolerations import tolerates
from kubelib.controllers.builtin.nodelifecycle import (
    labels_of,
    node_lifecycle_controller,
    seconds_between_evictions,
    taint_eviction_controller,
)
from kubelib.controllers.builtin.nodettl import node_ttl_controller
from kubelib.controllers.controller import Controller
from kubelib.controllers.taints import (
    NO_EXECUTE,
    NO_SCHEDULE,
    tolerated_for,
    wanted_taints,
)
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import make_meta, make_node, make_pod, make_pod_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


def in_state(status: str, name: str = "n") -> Node:
    node = make_node(name)
    return replace(
        node, status=replace(node.status, conditions=(NodeCondition(type="Ready", status=status),))
    )


def taints(node: Node, *, evict: bool = True) -> list[tuple[str, str]]:
    return [(taint.key, taint.effect) for taint in wanted_taints(node, NOW, evict=evict)]


def test_a_ready_node_has_no_taints_and_a_silent_one_two() -> None:
    assert taints(in_state("True")) == []
    assert taints(in_state("False")) == [(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)]
    assert taints(in_state("Unknown")) == [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]


def test_without_leave_to_evict_new_pods_are_kept_away_only() -> None:
    assert taints(in_state("Unknown"), evict=False) == [(UNREACHABLE, NO_SCHEDULE)]


def test_an_eviction_that_has_begun_goes_on_and_changes_its_reason() -> None:
    node = in_state("Unknown")
    begun = (Taint(key=NOT_READY, effect=NO_EXECUTE, time_added=NOW),)
    node = replace(node, spec=replace(node.spec, taints=begun))
    assert taints(node, evict=False) == [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]


def test_other_peoples_taints_stay_and_our_own_keep_their_date() -> None:
    long_ago = NOW - timedelta(hours=1)
    there = (
        Taint(key="example.com/gpu", effect=NO_SCHEDULE),
        Taint(key=UNREACHABLE, effect=NO_EXECUTE, time_added=long_ago),
    )
    node = in_state("Unknown")
    result = wanted_taints(replace(node, spec=replace(node.spec, taints=there)), NOW, evict=True)
    assert result[:2] == there
    recovered = replace(in_state("True"), spec=replace(node.spec, taints=there))
    assert wanted_taints(recovered, NOW, evict=True) == there[:1]


def test_pressure_and_cordons_become_taints() -> None:
    node = make_node()
    pressed = (
        NodeCondition(type="MemoryPressure", status="True"),
        NodeCondition(type="DiskPressure", status="False"),
    )
    node = replace(
        node, spec=replace(node.spec, unschedulable=True), status=replace(node.status, conditions=pressed)
    )
    assert taints(node) == [
        ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
        ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
    ]


@pytest.mark.parametrize(
    ("toleration", "holds"),
    [
        (Toleration(operator="Exists"), True),
        (Toleration(key="k", operator="Exists"), True),
        (Toleration(key="other", operator="Exists"), False),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", operator="Equal", value="w"), False),
        (Toleration(key="k", operator="Exists", effect=NO_SCHEDULE), False),
    ],
)
def test_toleration(toleration: Toleration, holds: bool) -> None:
    assert tolerates(toleration, Taint(key="k", value="v", effect=NO_EXECUTE)) is holds


def test_pods_leave_at_once_later_or_never() -> None:
    taint = Taint(key=UNREACHABLE, effect=NO_EXECUTE, time_added=NOW)
    patient = Toleration(key=UNREACHABLE, operator="Exists", toleration_seconds=300)
    hasty = Toleration(key=UNREACHABLE, operator="Exists", toleration_seconds=30)
    steadfast = Toleration(operator="Exists")
    assert tolerated_for([], [taint]) == 0
    assert tolerated_for([patient], [taint]) == 300
    assert tolerated_for([hasty, patient], [taint]) == 30
    assert tolerated_for([patient, hasty], [taint]) == 300
    assert tolerated_for([steadfast, hasty], [taint]) is None
    assert tolerated_for([steadfast], [taint]) is None
    assert tolerated_for([], [Taint(key="k", effect=NO_SCHEDULE)]) is None
    never = Toleration(key=UNREACHABLE, operator="Exists", toleration_seconds=-1)
    assert tolerated_for([never], [taint]) == 0
    other = Taint(key="k", effect=NO_EXECUTE)
    assert tolerated_for([patient, Toleration(key="k", operator="Exists")], [taint, other]) == 300
    assert tolerated_for([patient], [taint, other]) == 0


def test_evictions_stop_when_it_is_more_likely_our_fault() -> None:
    good, bad = in_state("True"), in_state("Unknown")
    assert seconds_between_evictions([good, bad, bad]) == {":": 10.0}
    assert seconds_between_evictions([bad, bad]) == {":": None}
    assert seconds_between_evictions([good, bad, bad, bad]) == {":": None}
    assert seconds_between_evictions([good] * 20 + [bad] * 40) == {":": 100.0}
    label = {"node.kubernetes.io/exclude-disruption": ""}
    left_out = replace(bad, metadata=replace(bad.metadata, labels=label))
    assert seconds_between_evictions([good, bad, bad, left_out]) == {":": 10.0}


def test_labels_by_their_earlier_names_say_what_the_others_say() -> None:
    os, old = "kubernetes.io/os", "beta.kubernetes.io/os"
    node = make_node()
    for before, after in (
        ({}, {}),
        ({old: "linux"}, {old: "linux"}),
        ({os: "linux"}, {os: "linux", old: "linux"}),
        ({os: "linux", old: "windows"}, {os: "linux", old: "linux"}),
    ):
        assert labels_of(replace(node, metadata=replace(node.metadata, labels=before))) == after


# In virtual time


class Kubelet:
    """Renews a node's lease every ten seconds until it is told to be silent."""

    def __init__(self, world: Any, name: str) -> None:
        self.name = name
        self.silent = False
        self._world = world

    async def run(self, *, task_status: Any) -> None:
        world = self._world
        await world.create(make_node(self.name))
        await world.create(Lease(metadata=make_meta(self.name, "kube-node-lease")))
        await self.recover()
        task_status.started()
        while True:
            if not self.silent:
                await world.change(Lease, self.name, self._renewed, namespace="kube-node-lease")
                if ready_of(await world.get(Node, self.name, "")) != "True":
                    await self.recover()  # somebody has missed its heartbeats
            await anyio.sleep(10)

    def _renewed(self, lease: Lease) -> Lease:
        stamp = format_micro_time(self._world.clock.now())
        return replace(lease, spec=LeaseSpec(holder_identity=self.name, renew_time=stamp))

    async def recover(self) -> None:
        self.silent = False
        now = self._world.clock.now().replace(microsecond=0)
        ready = (NodeCondition(type="Ready", status="True", reason="KubeletReady", last_heartbeat_time=now),)
        await self._world.change(
            Node,
            self.name,
            lambda n: replace(n, status=replace(n.status, conditions=ready)),
            namespace="",
            subresource="status",
        )


def controller(world: Any) -> Any:
    return node_lifecycle_controller(world.informers, clock=world.clock, recorder=world.recorder)


async def add_pod(world: Any, name: str, node: str, **spec: Any) -> None:
    await world.create(make_pod(name, node=node, **spec))
    status = make_pod_status("Running", ready=True, ip="127.244.0.9", since=world.clock.now())
    await world.change(Pod, name, lambda p: replace(p, status=status), subresource="status")


def ready_of(obj: Any) -> str:
    (status,) = [str(c.status) for c in obj.status.conditions if c.type == "Ready"]
    return status


async def test_a_silent_node_becomes_unknown_and_its_pods_leave_after_five_minutes(world: Any) -> None:
    kubelets = [Kubelet(world, name) for name in ("a", "b")]
    forever = (Toleration(operator="Exists"),)
    async with world.running(*kubelets, controller(world)):
        await add_pod(world, "normal", "a", termination_grace_period_seconds=0)
        await add_pod(world, "daemon", "a", tolerations=forever)
        await add_pod(world, "elsewhere", "b")
        await world.settled(100)
        assert ready_of(await world.get(Node, "a", "")) == "True"
        kubelets[0].silent = True
        await world.settled(45)
        assert ready_of(await world.get(Node, "a", "")) == "True"
        await world.settled(20)
        node = await world.get(Node, "a", "")
        condition = next(c for c in node.status.conditions if c.type == "Ready")
        assert (condition.status, condition.reason) == ("Unknown", "NodeStatusUnknown")
        assert condition.message == "Kubelet stopped posting node status."
        assert [(t.key, t.effect) for t in node.spec.taints] == [
            (UNREACHABLE, NO_SCHEDULE),
            (UNREACHABLE, NO_EXECUTE),
        ]
        assert ready_of(await world.get(Pod, "normal")) == "False"
        assert ready_of(await world.get(Pod, "elsewhere")) == "True"
        events = await world.events()
        assert ("NodeNotReady", "Node a status is now: NodeNotReady") in events
        assert ("NodeNotReady", "Node is not ready") in events
        assert ("RegisteredNode", "Node a event: Registered Node a in Controller") in events
        await world.settled(240)
        assert "normal" in await world.names(Pod)
        await world.settled(60)
        assert await world.names(Pod) == ["daemon", "elsewhere"]
        assert ("TaintManagerEviction", "Marking for deletion Pod default/normal") in await world.events()


async def test_nodes_are_told_how_long_to_keep_things_by_how_many_they_are(world: Any) -> None:
    ttl = node_ttl_controller(world.informers, clock=world.clock, recorder=world.recorder)

    async def told(name: str) -> str | None:
        annotations = (await world.get(Node, name, "")).metadata.annotations
        found: str | None = annotations.get("node.alpha.kubernetes.io/ttl")
        return found

    async with world.running(controller(world), ttl):
        for number in range(100):
            await world.create(make_node(f"n{number}"))
        await world.settled(1)
        assert await told("n99") == "0"
        await world.create(make_node("n100"))
        await world.settled(1)
        assert (await told("n100"), await told("n0")) == ("15", "0")
        await world.settled(5)
        for number in range(12):
            await world.delete(Node, f"n{number}", "")
        await world.change(
            Node, "n100", lambda n: replace(n, spec=replace(n.spec, unschedulable=True)), namespace=""
        )
        await world.settled(10)
        assert await told("n100") == "0"
        messages = [message for reason, message in await world.events() if reason == "RemovingNode"]
        assert "Node n0 event: Removing Node n0 from Controller" in messages
        assert len(messages) == 12


async def test_a_node_that_is_heard_of_again_keeps_its_pods(world: Any) -> None:
    kubelets = [Kubelet(world, name) for name in ("a", "b")]
    async with world.running(*kubelets, controller(world)):
        await add_pod(world, "normal", "a")
        await world.settled(20)
        kubelets[0].silent = True
        await world.settled(120)
        assert (await world.get(Node, "a", "")).spec.taints
        await kubelets[0].recover()
        await world.settled(600)
        node = await world.get(Node, "a", "")
        assert node.spec.taints == ()
        assert ready_of(node) == "True"
        assert await world.names(Pod) == ["normal"]
        assert ("TaintManagerEviction", "Cancelling deletion of Pod default/normal") in await world.events()


def eviction(world: Any) -> Controller:
    return taint_eviction_controller(world.informers, clock=world.clock, recorder=world.recorder)


async def tainted(world: Any, *taints: Taint) -> None:
    await world.change(Node, "a", lambda n: replace(n, spec=replace(n.spec, taints=taints)), namespace="")


async def test_the_time_of_a_pod_begins_when_it_is_seen_below_a_taint_and_taints_that_follow_do_not_change_it(
    world: Any,
) -> None:
    bears = (
        Toleration(key="k", operator="Exists", effect=NO_EXECUTE, toleration_seconds=30),
        Toleration(key="other", operator="Exists", effect=NO_EXECUTE, toleration_seconds=10),
    )
    old = Taint(key="k", effect=NO_EXECUTE, time_added=world.clock.now() - timedelta(hours=1))
    await world.create(make_node("a"))
    await add_pod(world, "p", "a", tolerations=bears, termination_grace_period_seconds=0)
    async with world.running(eviction(world)):
        await tainted(world, old)
        await world.settled(15)
        assert await world.names(Pod) == ["p"]
        await tainted(world, old, Taint(key="other", effect=NO_EXECUTE))
        await world.settled(13)
        assert await world.names(Pod) == ["p"]
        await world.settled(3)
        assert await world.names(Pod) == []


async def test_a_pod_that_is_driven_away_no_more_has_its_whole_time_again(world: Any) -> None:
    bears = (Toleration(key="k", operator="Exists", effect=NO_EXECUTE, toleration_seconds=30),)
    taint = Taint(key="k", effect=NO_EXECUTE)
    await world.create(make_node("a"))
    await add_pod(world, "p", "a", tolerations=bears, termination_grace_period_seconds=0)
    async with world.running(eviction(world)):
        await tainted(world, taint)
        await world.settled(20)
        await tainted(world)
        await world.settled(1)
        await tainted(world, taint)
        await world.settled(25)
        assert await world.names(Pod) == ["p"]
        await world.settled(6)
        assert await world.names(Pod) == []


async def test_a_pod_that_goes_before_it_has_to_is_not_driven_away_any_more(world: Any) -> None:
    kubelets = [Kubelet(world, name) for name in ("a", "b")]
    async with world.running(*kubelets, controller(world)):
        await add_pod(world, "normal", "a")
        await world.settled(20)
        kubelets[0].silent = True
        await world.settled(120)
        await world.delete(Pod, "normal", grace=0)
        await world.settled(5)
        assert ("TaintManagerEviction", "Cancelling deletion of Pod default/normal") in await world.events()


async def test_when_all_nodes_fall_silent_nobody_is_driven_away(world: Any) -> None:
    kubelets = [Kubelet(world, name) for name in ("a", "b")]
    async with world.running(*kubelets, controller(world)):
        await add_pod(world, "one", "a")
        await add_pod(world, "two", "b")
        for kubelet in kubelets:
            kubelet.silent = True
        await world.settled(3600)
        for name in "ab":
            node = await world.get(Node, name, "")
            assert ready_of(node) == "Unknown"
            assert NO_SCHEDULE in [t.effect for t in node.spec.taints]
        assert await world.names(Pod) == ["one", "two"]


async def test_when_the_last_node_falls_silent_those_stay_that_had_begun_to_be_driven_away(
    world: Any,
) -> None:
    kubelets = [Kubelet(world, name) for name in ("a", "b")]
    async with world.running(*kubelets, controller(world)):
        await add_pod(world, "one", "a", termination_grace_period_seconds=0)
        kubelets[0].silent = True
        await world.settled(120)
        assert NO_EXECUTE in [t.effect for t in (await world.get(Node, "a", "")).spec.taints]
        kubelets[1].silent = True
        await world.settled(1000)
        assert [t.effect for t in (await world.get(Node, "a", "")).spec.taints] == [NO_SCHEDULE]
        assert await world.names(Pod) == ["one"]
        await kubelets[1].recover()
        await world.settled(400)
        assert await world.names(Pod) == []


async def test_a_node_that_says_itself_that_it_is_not_ready_speaks_for_its_pods(world: Any) -> None:
    async with world.running(Kubelet(world, "good"), controller(world)):
        kubelet = Kubelet(world, "a")
        await world.create(make_node("a", ready=False))
        await add_pod(world, "one", "a", tolerations=(Toleration(operator="Exists"),))
        for _ in range(6):
            await world.settled(10)
            now = world.clock.now().replace(microsecond=0)
            unready = NodeCondition(type="Ready", status="False", last_heartbeat_time=now)
            await world.change(
                Node,
                kubelet.name,
                lambda n, c=unready: replace(n, status=replace(n.status, conditions=(c,))),
                namespace="",
                subresource="status",
            )
        assert ready_of(await world.get(Pod, "one")) == "True"
        await world.settled(120)
        assert ready_of(await world.get(Node, "a", "")) == "Unknown"
        assert (
            ready_of(await world.get(Pod, "one")) == "True"
        )  # as long as nobody has heard better of the node


async def test_a_node_that_never_reports_gets_its_minute(world: Any) -> None:
    async with world.running(Kubelet(world, "good"), controller(world)):
        bare = make_node("mute")
        await world.create(bare)
        await world.change(
            Node,
            "mute",
            lambda n: replace(n, status=replace(n.status, conditions=())),
            namespace="",
            subresource="status",
        )
        await world.settled(50)
        assert not (await world.get(Node, "mute", "")).status.conditions
        await world.settled(30)
        conditions = (await world.get(Node, "mute", "")).status.conditions
        assert {c.reason for c in conditions} == {"NodeStatusNeverUpdated"}


async def test_a_node_that_has_never_reported_gets_no_other_minute_from_those_who_come_later(
    world: Any,
) -> None:
    await world.create(replace(make_node("mute"), status=NodeStatus()))
    await world.settled(90)
    async with world.running(Kubelet(world, "good"), controller(world)):
        await world.settled(7)
        conditions = (await world.get(Node, "mute", "")).status.conditions
        assert {c.reason for c in conditions} == {"NodeStatusNeverUpdated"}


@pytest.mark.seeds(6)
async def test_on_a_bad_line_a_lost_node_is_still_emptied(make_world: Any, anyio_backend: Any) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.1, latency=0.1), every=4)

    async with make_world(line, seed) as world:
        kubelets = [Kubelet(world, name) for name in ("a", "b", "c")]
        async with world.running(*kubelets, controller(world)):
            for n in range(6):
                await add_pod(world, f"p{n}", "abc"[n % 3], termination_grace_period_seconds=0)
            await world.settled(60)
            kubelets[0].silent = True
            # Whenever nobody at all is heard of, who is to go may stay for as long as he may anew.
            await world.settled(2400)
            assert await world.names(Pod) == ["p1", "p2", "p4", "p5"]
