from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.core.affinity import (
    Affinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Toleration,
    TopologySpreadConstraint,
)
from kubelib.api.core.container import Container, ContainerPort, ResourceRequirements
from kubelib.api.core.event import Event
from kubelib.api.core.namespace import Namespace
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod, PodSchedulingGate
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Key, OwnerReference
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.client.local import LocalClient
from kubelib.client.update import update_with
from kubelib.registry.base import Patch
from kubelib.sched.base import Policy
from kubelib.sched.policies import FILTERS, AnyOf, default_policy, per_node
from kubelib.sched.scheduler import Terms
from kubelib.sim.hardship import Conflicting, Lossy
from kubelib.testing.objects import make_namespace, make_node, make_pod
from kubelib.transactions.base import DecisionTime
from kubelib.transactions.policies import FairShares

SMALL = {"cpu": "2", "memory": "4Gi", "pods": "10"}


def containers(**requests: str) -> tuple[Container, ...]:
    return (Container(name="main", image="process", resources=ResourceRequirements(requests=requests)),)


def no_victims(nodes: int) -> str:
    """What a refusal says where no Pod of lower priority is."""
    return (
        f" preemption: 0/{nodes} nodes are available: {nodes} No preemption victims found for incoming pod."
    )


class Remote:
    """A client without transactions: bindings go through the subresource."""

    def __init__(self, client: LocalClient) -> None:
        self.resource = client.resource


async def test_a_pod_is_bound_and_says_so(world: Any) -> None:
    await world.add_nodes(1)
    async with world.running(world.scheduler()):
        await world.add_pod("a")
        await anyio.sleep(5)
    pod = await world.pod("a")
    assert pod.spec.node_name == "node-0"
    assert [(c.type, c.status) for c in pod.status.conditions] == [("PodScheduled", "True")]
    assert ("Scheduled", "Successfully assigned default/a to node-0") in await world.events()


async def test_pods_that_were_there_before_the_scheduler_are_bound_and_counted(world: Any) -> None:
    await world.add_nodes(2, allocatable=SMALL)
    await world.add_pod("there", node="node-0", containers=containers(cpu="2"))
    await world.add_pod("new", containers=containers(cpu="2"))
    async with world.running(world.scheduler()):
        await anyio.sleep(5)
    assert (await world.placed())["new"] == "node-1"


@pytest.mark.parametrize("line", [lambda client: client, Remote], ids=["transaction", "one by one"])
async def test_no_node_is_overcommitted_and_every_pod_that_fits_is_placed(
    make_world: Callable[..., Any], line: Callable[[LocalClient], Client]
) -> None:
    world = make_world(line)
    await world.add_nodes(5, allocatable=SMALL)
    async with world.running(world.scheduler()):
        for number in range(14):
            await world.add_pod(f"p{number}")
        await anyio.sleep(5)
    placed = await world.placed()
    assert Counter(placed.values()) == {f"node-{n}": 2 for n in range(5)} | {"": 4}
    waiting = next(name for name, node in placed.items() if not node)
    message = "0/5 nodes are available: 5 Insufficient cpu." + no_victims(5)
    assert await world.refusal(waiting) == ("Unschedulable", message)
    assert ("FailedScheduling", message) in await world.events()


async def test_a_pod_without_nodes_says_so(world: Any) -> None:
    async with world.running(world.scheduler()):
        await world.add_pod("a")
        await anyio.sleep(1)
        assert await world.refusal("a") == ("Unschedulable", "no nodes available to schedule pods")
        refused = await world.pod("a")
        assert [c.observed_generation for c in refused.status.conditions] == [refused.metadata.generation]
        await world.add_nodes(1)
        await anyio.sleep(11)
        assert (await world.pod("a")).spec.node_name == "node-0"


async def test_a_refusal_counts_each_node_for_the_first_filter_that_it_fails(world: Any) -> None:
    await world.add_nodes(3, allocatable={"cpu": "500m", "memory": "1Gi", "pods": "10"})
    tainted = make_node("tainted")
    taint = Taint(key="dedicated", value="db", effect="NoSchedule")
    await world.add_node(replace(tainted, spec=replace(tainted.spec, taints=(taint,))))
    cordoned = make_node("cordoned")
    await world.add_node(replace(cordoned, spec=replace(cordoned.spec, unschedulable=True)))
    async with world.running(world.scheduler()):
        await world.add_pod("a", containers=containers(cpu="1", memory="2Gi"))
        await anyio.sleep(1)
    assert (await world.refusal("a"))[1] == (
        "0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, "
        "3 Insufficient cpu, 3 Insufficient memory. "
        "preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
    )


async def test_a_pod_that_fitted_nowhere_is_placed_soon_after_room_is_made(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    await world.add_pod("big", containers=containers(cpu="2"))
    async with world.running(world.scheduler()):
        await anyio.sleep(1)
        await world.add_pod("next", containers=containers(cpu="2"))
        await anyio.sleep(60)
        assert not (await world.pod("next")).spec.node_name
        await world.pods.delete(Key("default", "big"), grace=0)
        await anyio.sleep(0.5)
        assert (await world.pod("next")).spec.node_name == "node-0"


async def test_finished_pods_give_their_room_back(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    await world.add_pod("done", containers=containers(cpu="2"))
    async with world.running(world.scheduler()):
        await anyio.sleep(1)
        await world.pods.patch(
            Key("default", "done"), Patch("merge", {"status": {"phase": "Succeeded"}}), subresource="status"
        )
        await world.add_pod("next", containers=containers(cpu="2"))
        await anyio.sleep(15)
    assert (await world.pod("next")).spec.node_name == "node-0"


async def test_a_node_that_goes_gets_no_pods_and_one_that_comes_back_has_its_old_ones(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    await world.add_pod("first", containers=containers(cpu="1"))
    async with world.running(world.scheduler()):
        await anyio.sleep(1)
        await world.nodes.delete(Key("", "node-0"))
        await world.add_pod("second", containers=containers(cpu="2"))
        await anyio.sleep(5)
        assert not (await world.pod("second")).spec.node_name
        await world.add_nodes(1, allocatable=SMALL)
        await anyio.sleep(20)
        assert await world.refusal("second") == (
            "Unschedulable",
            "0/1 nodes are available: 1 Insufficient cpu." + no_victims(1),
        )


async def test_gated_pods_wait_for_their_gates_to_go(world: Any) -> None:
    await world.add_nodes(1)
    await world.add_pod("a", scheduling_gates=(PodSchedulingGate(name="example.com/wait"),))
    async with world.running(world.scheduler()):
        await anyio.sleep(400)
        assert not (await world.pod("a")).spec.node_name

        def ungate(pod: Pod) -> Pod:
            return replace(pod, spec=replace(pod.spec, scheduling_gates=()))

        await update_with(world.direct, Pod, Key("default", "a"), ungate)
        await anyio.sleep(1)
        assert (await world.pod("a")).spec.node_name == "node-0"


async def test_a_pod_of_another_scheduler_is_left_alone_but_counted(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler(name="mine")):
        await world.add_pod("theirs")
        await anyio.sleep(5)
        assert not (await world.pod("theirs")).spec.node_name
        async with world.running(world.scheduler()):
            await anyio.sleep(5)
            assert (await world.pod("theirs")).spec.node_name
        await world.add_pod("ours", scheduler_name="mine", containers=containers(cpu="1500m"))
        await anyio.sleep(5)
        message = "0/1 nodes are available: 1 Insufficient cpu." + no_victims(1)
        assert (await world.refusal("ours"))[1] == message


async def test_replicas_of_one_controller_go_to_different_nodes(world: Any) -> None:
    await world.add_nodes(4)
    owner = OwnerReference(
        api_version="v1", kind="ReplicationController", name="rc", uid="rc-uid", controller=True
    )
    async with world.running(world.scheduler()):
        for number in range(8):
            await world.add_pod(f"p{number}", labels={"app": "x"}, owners=(owner,))
        await anyio.sleep(5)
    assert Counter((await world.placed()).values()) == {f"node-{n}": 2 for n in range(4)}


async def test_host_ports_clash_on_one_node_only(world: Any) -> None:
    await world.add_nodes(2)
    with_port = (Container(name="c", image="x", ports=(ContainerPort(container_port=80, host_port=80),)),)
    async with world.running(world.scheduler()):
        for name in ("a", "b", "c"):
            await world.add_pod(name, containers=with_port)
        await anyio.sleep(5)
    placed = await world.placed()
    assert sorted(placed.values()) == ["", "node-0", "node-1"]
    waiting = next(name for name, node in placed.items() if not node)
    message = (
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
        + no_victims(2)
    )
    assert (await world.refusal(waiting))[1] == message


async def test_spread_constraints_hold_and_say_so(world: Any) -> None:
    for number, zone in enumerate("aab"):
        node = make_node(f"node-{number}")
        labels = {**node.metadata.labels, "zone": zone}
        await world.add_node(replace(node, metadata=replace(node.metadata, labels=labels)))
    constraint = TopologySpreadConstraint(
        max_skew=1,
        topology_key="zone",
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "web"}),
    )
    async with world.running(world.scheduler()):
        for number in range(6):
            await world.add_pod(
                f"p{number}", labels={"app": "web"}, topology_spread_constraints=(constraint,)
            )
        await anyio.sleep(5)
        placed = await world.placed()
        assert sum(node == "node-2" for node in placed.values()) == 3
        assert all(placed.values())


async def test_a_place_that_is_no_more_holds_nobody_back_who_must_be_spread(world: Any) -> None:
    for zone in "ab":
        node = make_node(f"node-{zone}")
        labels = {**node.metadata.labels, "zone": zone}
        await world.add_node(replace(node, metadata=replace(node.metadata, labels=labels)))
    await update_with(
        world.direct,
        Node,
        Key("", "node-b"),
        lambda node: replace(node, spec=replace(node.spec, unschedulable=True)),
    )
    constraint = TopologySpreadConstraint(
        max_skew=1,
        topology_key="zone",
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "web"}),
    )
    async with world.running(world.scheduler()):
        for name in ("first", "second"):
            await world.add_pod(name, labels={"app": "web"}, topology_spread_constraints=(constraint,))
        await anyio.sleep(60)
        assert sorted((await world.placed()).values()) == ["", "node-a"]
        await world.nodes.delete(Key("", "node-b"))
        await anyio.sleep(15)
        assert set((await world.placed()).values()) == {"node-a"}


async def test_a_new_label_of_a_namespace_helps_who_wants_company_from_there(world: Any) -> None:
    await world.add_nodes(1)
    namespaces = world.direct.resource(Namespace)
    await namespaces.create(make_namespace("team"))
    term = PodAffinityTerm(
        label_selector=LabelSelector(match_labels={"app": "web"}),
        namespace_selector=LabelSelector(match_labels={"of": "ours"}),
        topology_key="kubernetes.io/hostname",
    )
    near = PodAffinity(required_during_scheduling_ignored_during_execution=(term,))
    async with world.running(world.scheduler()):
        web = make_pod("web", labels={"app": "web"}, containers=containers(cpu="1"))
        await world.pods.create(replace(web, metadata=replace(web.metadata, namespace="team")))
        await world.add_pod("client", affinity=Affinity(pod_affinity=near))
        await anyio.sleep(60)
        assert await world.placed() == {"client": ""}
        await namespaces.patch(Key("", "team"), Patch("merge", {"metadata": {"labels": {"of": "ours"}}}))
        await anyio.sleep(15)
        assert await world.placed() == {"client": "node-0"}


async def test_a_pod_that_changes_while_it_is_to_be_decided_about_is_judged_as_it_is_then(world: Any) -> None:
    node = make_node("node-0")
    tainted = replace(node.spec, taints=(Taint(key="dedicated", effect="NoSchedule"),))
    await world.add_node(replace(node, spec=tainted))
    everything = (Toleration(operator="Exists"),)
    slow = Terms(time=DecisionTime(5.0, 0.0))
    scheduler = world.scheduler(terms=slow, profiles={"other": default_policy()})
    await world.add_pod("first", tolerations=everything)
    await world.add_pod("second", scheduler_name="other")
    async with world.running(scheduler):
        await anyio.sleep(2)
        await update_with(
            world.direct,
            Pod,
            Key("default", "second"),
            lambda pod: replace(
                pod, spec=replace(pod.spec, tolerations=(*pod.spec.tolerations, *everything))
            ),
        )
        await anyio.sleep(15)
        assert (await world.placed())["second"] == "node-0"


async def test_anti_affinity_keeps_pods_apart_also_from_those_who_come_later(world: Any) -> None:
    await world.add_nodes(2)
    away = Affinity(
        pod_anti_affinity=PodAntiAffinity(
            required_during_scheduling_ignored_during_execution=(
                PodAffinityTerm(
                    label_selector=LabelSelector(match_labels={"app": "web"}),
                    topology_key="kubernetes.io/hostname",
                ),
            )
        )
    )
    async with world.running(world.scheduler()):
        await world.add_pod("a", labels={"app": "web"}, affinity=away)
        await world.add_pod("b", labels={"app": "web"}, affinity=away)
        await anyio.sleep(2)
        await world.add_pod("plain", labels={"app": "web"})
        await world.add_pod("c", labels={"app": "web"}, affinity=away)
        await anyio.sleep(2)
        placed = await world.placed()
        assert {placed["a"], placed["b"]} == {"node-0", "node-1"}
        rules = "node(s) didn't satisfy existing pods anti-affinity rules"
        message = f"0/2 nodes are available: 2 {rules}." + no_victims(2)
        assert await world.refusal("plain") == ("Unschedulable", message)
        rules = "node(s) didn't match pod anti-affinity rules"
        message = f"0/2 nodes are available: 2 {rules}." + no_victims(2)
        assert await world.refusal("c") == ("Unschedulable", message)
        await world.pods.delete(Key("default", "a"), grace=0)
        await anyio.sleep(15)
        placed = await world.placed()
        assert placed["plain"] or placed["c"]


async def test_a_plug_in_that_raises_stops_neither_the_scheduler_nor_other_pods(world: Any) -> None:
    def judge(pod: Any, node: Any) -> float:
        if pod.key.name == "bad":
            raise ZeroDivisionError("oops")
        return 1.0

    policy = Policy(filters=(*FILTERS, per_node(judge, name="Judge")), choose=AnyOf())
    await world.add_nodes(1)
    async with world.running(world.scheduler(policy)):
        await world.add_pod("bad", labels={"a": "b"})
        await world.add_pod("good")
        await anyio.sleep(3)
    assert (await world.pod("good")).spec.node_name == "node-0"
    assert await world.refusal("bad") == (
        "SchedulerError",
        "BadPlugin: the filter Judge raised ZeroDivisionError: oops",
    )


@pytest.mark.parametrize("line", [lambda client: client, Remote], ids=["transaction", "one by one"])
async def test_a_binding_that_the_server_refuses_is_said_and_tried_again(
    make_world: Callable[..., Any], line: Callable[[LocalClient], Client]
) -> None:
    world = make_world(line)
    world.registries.set_commit_policies([FairShares("namespace", limits={"default": 0.5})])
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(world.scheduler()):
        await world.add_pod("a")
        await anyio.sleep(1)
        await world.add_pod("b")
        await anyio.sleep(2)
        (waiting,) = (name for name, node in (await world.placed()).items() if not node)
        reason, message = await world.refusal(waiting)
        assert reason == "SchedulerError" and message.startswith('running Bind plugin "DefaultBinder": ')
        assert "namespace default has its share of 50% of the cluster" in message
        assert ("FailedScheduling", message) in await world.events()
        world.registries.set_commit_policies([])
        await anyio.sleep(11)
    assert set((await world.placed()).values()) == {"node-0"}


async def test_it_is_said_again_before_events_are_forgotten_that_a_pod_fits_nowhere(world: Any) -> None:
    async with world.running(world.scheduler()):
        await world.add_pod("a")
        await anyio.sleep(2 * 3600)
        (event,) = (await world.direct.resource(Event).list()).items
        assert event.reason == "FailedScheduling" and event.count == 4
        assert (world.clock.now() - event.last_timestamp).total_seconds() < 3600


async def test_an_event_has_the_beginning_of_a_long_refusal_and_the_condition_all_of_it(world: Any) -> None:
    def judge(pod: Any, node: Any) -> float:
        raise ZeroDivisionError("oops" * 500)

    policy = Policy(filters=(*FILTERS, per_node(judge, name="Judge")), choose=AnyOf())
    await world.add_nodes(1)
    async with world.running(world.scheduler(policy)):
        await world.add_pod("a")
        await anyio.sleep(0.5)
    _, message = await world.refusal("a")
    ((_, said),) = await world.events()
    assert message.endswith("oopsoops") and len(message) > 2000
    assert said == message[:1020] + " ..."


async def test_a_deleted_pod_is_forgotten_and_one_of_the_same_name_is_new(world: Any) -> None:
    await world.add_nodes(1, allocatable=SMALL)
    async with world.running(scheduler := world.scheduler()):
        for _ in range(3):
            await world.add_pod("a", containers=containers(cpu="2"))
            await anyio.sleep(2)
            assert (await world.pod("a")).spec.node_name == "node-0"
            await world.pods.delete(Key("default", "a"), grace=0)
        await world.add_pod("never", containers=containers(cpu="3"))
        await anyio.sleep(1)
        await world.pods.delete(Key("default", "never"), grace=0)
        await anyio.sleep(1)
        assert len(scheduler.queue) == 0
        assert int(scheduler.table.used["cpu"].sum()) == 0


@pytest.mark.seeds(15)
async def test_through_lost_answers_and_conflicts_every_pod_is_bound_once_and_nothing_is_overcommitted(
    make_world: Callable[..., Any], anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]
    random = Random(seed)
    world = make_world(lambda client: Conflicting(Lossy(Remote(client), random), every=7))
    await world.add_nodes(4, allocatable=SMALL)
    bound: dict[str, str] = {}

    async def watch_bindings() -> None:
        async with world.direct.resource(Pod).watch(
            since=(await world.pods.list()).resource_version
        ) as events:
            async for event in events:
                node = event.document.view(Pod).spec.node_name
                if node:
                    assert bound.setdefault(event.document.meta.uid, node) == node

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_bindings)
        async with world.running(world.scheduler(seed=seed)):
            for number in range(12):
                await world.add_pod(f"p{number}")
                await anyio.sleep(random.random() / 4)
            await anyio.sleep(400)
        tasks.cancel_scope.cancel()
    counts = Counter((await world.placed()).values())
    assert counts[""] == 4
    assert all(count == 2 for node, count in counts.items() if node)


@pytest.mark.seeds(10)
async def test_a_scheduler_that_takes_over_goes_on_where_the_first_stopped(
    world: Any, anyio_backend: Any
) -> None:
    random = Random(anyio_backend[1]["loop_factory"].args[0])
    await world.add_nodes(3, allocatable=SMALL)
    for number in range(6):
        await world.add_pod(f"p{number}")
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.scheduler().run)
        for _ in range(random.randrange(6)):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    async with world.running(world.scheduler()):
        await anyio.sleep(5)
    assert Counter((await world.placed()).values()) == {f"node-{n}": 2 for n in range(3)}
