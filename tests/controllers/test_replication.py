from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.apps import ReplicaSet
from kubelib.api.core.container import Container
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.pod import Pod, PodTemplateSpec
from kubelib.api.core.replication import ReplicationController
from kubelib.api.meta import Key, controller_of
from kubelib.api.model import replace
from kubelib.controllers.builtin.replicaset import replica_set_controller
from kubelib.controllers.builtin.replicationcontroller import replication_controller
from kubelib.controllers.pods import choose_to_delete
from kubelib.controllers.replication import Create, Remove, observe, plan, status_of
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import make_pod, make_replica_set, make_replication_controller

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def scaled(replicas: int) -> Callable[[Any], Any]:
    return lambda obj: replace(obj, spec=replace(obj.spec, replicas=replicas))


def test_the_plan_closes_the_gap_in_bursts() -> None:
    assert plan(3, 0) == Create(3)
    assert plan(3, 3) is None
    assert plan(0, 2) == Remove(2)
    assert plan(2000, 0) == Create(500)
    assert plan(0, 2000) == Remove(500)


def pod(name: str, **kwargs: Any) -> Pod:
    return make_pod(name, uid=name, **kwargs)


def first_to_go(*pods: Pod, related: Sequence[Pod] = ()) -> str:
    chosen = choose_to_delete(list(reversed(pods)), 1, NOW, related)
    assert chosen == choose_to_delete(list(pods), 1, NOW, related)
    return chosen[0].metadata.name


def test_pods_that_are_nowhere_yet_go_before_those_on_a_node() -> None:
    assert first_to_go(pod("assigned", node="n"), pod("unassigned")) == "unassigned"


def test_pending_pods_go_before_running_ones() -> None:
    assert (
        first_to_go(pod("running", node="n", phase="Running"), pod("pending", node="n", phase="Pending"))
        == "pending"
    )


def test_pods_that_are_not_ready_go_before_ready_ones() -> None:
    assert first_to_go(pod("ready", node="n", ready=True), pod("not", node="n", phase="Running")) == "not"


def test_cheap_pods_go_before_dear_ones() -> None:
    cheap = {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}
    assert first_to_go(pod("a", node="n"), pod("b", node="m", metadata=cheap)) == "b"


def test_pods_on_crowded_nodes_go_before_lonely_ones() -> None:
    alone = pod("alone", node="other", ready=True)
    crowd = [pod(f"crowd{n}", node="full", ready=True) for n in range(3)]
    assert first_to_go(alone, *crowd, related=[alone, *crowd]).startswith("crowd")
    assert first_to_go(alone, *crowd) == "alone"  # by its uid: nobody else's Pods crowd a node


def test_pods_ready_for_magnitudes_less_go_first() -> None:
    old = pod("old", node="a", ready=True, since=NOW - timedelta(days=1))
    assert first_to_go(old, pod("new", node="b", ready=True, since=NOW - timedelta(seconds=9))) == "new"


def test_pods_whose_containers_restart_more_go_first_and_then_those_whose_sidecars_do() -> None:
    def restarted(name: str, main: int, sidecar: int, setup: int) -> Pod:
        added = (Container(name="s", restart_policy="Always"), Container(name="i"))
        one = pod(name, node=name, ready=True, init_containers=added)
        status = replace(
            one.status,
            container_statuses=(ContainerStatus(name="main", restart_count=main),),
            init_container_statuses=(
                ContainerStatus(name="s", restart_count=sidecar),
                ContainerStatus(name="i", restart_count=setup),
            ),
        )
        return replace(one, status=status)

    assert first_to_go(restarted("a", 1, 5, 0), restarted("b", 2, 0, 0)) == "b"
    assert first_to_go(restarted("a", 1, 1, 9), restarted("b", 1, 2, 0)) == "b"


def test_what_failed_first_stays_in_the_status_until_nothing_fails() -> None:
    owner = make_replica_set("web")
    nothing = observe([], PodTemplateSpec(), 0, NOW)
    first = status_of(owner, nothing, ("FailedCreate", RuntimeError("full")), NOW)
    owner = replace(owner, status=first)
    assert (
        status_of(owner, nothing, ("FailedDelete", RuntimeError("held")), NOW).conditions == first.conditions
    )
    assert status_of(owner, nothing, None, NOW).conditions == ()
    held = status_of(make_replica_set("web"), nothing, ("FailedDelete", RuntimeError("held")), NOW)
    assert held.conditions[0].message == "unable to delete pods: held"


def test_deleting_more_than_there_are_deletes_all() -> None:
    assert len(choose_to_delete([pod("a"), pod("b")], 5, NOW)) == 2


BOTH = pytest.mark.parametrize(
    ("kind", "make", "controller"),
    [
        (ReplicationController, make_replication_controller, replication_controller),
        (ReplicaSet, make_replica_set, replica_set_controller),
    ],
    ids=["rc", "rs"],
)


@BOTH
async def test_copies_are_made_counted_and_reported(
    world: Any, running_pods: Any, kind: Any, make: Any, controller: Any
) -> None:
    async with world.running(
        running_pods(world), controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        owner = await world.create(make("web", replicas=3))
        await world.settled(5)
        pods = await world.all(Pod)
        assert len(pods) == 3
        for pod in pods:
            reference = controller_of(pod)
            assert reference is not None
            assert (reference.kind, reference.uid) == (kind.kind, owner.metadata.uid)
            assert reference.block_owner_deletion
            assert pod.metadata.name.startswith("web-")
            assert len(pod.metadata.name) == 9
            assert pod.metadata.labels == {"app": "web"}
        status = (await world.get(kind, "web")).status
        assert (status.replicas, status.ready_replicas, status.available_replicas) == (3, 3, 3)
        assert (status.fully_labeled_replicas, status.observed_generation) == (3, 1)
        assert sorted(await world.events()) == sorted(
            ("SuccessfulCreate", f"Created pod: {pod.metadata.name}") for pod in pods
        )


@BOTH
async def test_scaling_up_and_down_and_to_nothing(
    world: Any, running_pods: Any, kind: Any, make: Any, controller: Any
) -> None:
    async with world.running(
        running_pods(world), controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await world.create(make("web", replicas=2))
        for replicas in (7, 1, 0, 4):
            await world.settled(3)
            await world.change(kind, "web", scaled(replicas))
            await world.settled(10)
            assert len(await world.all(Pod)) == replicas
            assert (await world.get(kind, "web")).status.replicas == replicas


@BOTH
async def test_a_deleted_or_ended_pod_is_replaced(
    world: Any, running_pods: Any, kind: Any, make: Any, controller: Any
) -> None:
    async with world.running(
        running_pods(world), controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await world.create(make("web", replicas=3))
        await world.settled(5)
        first, second, third = await world.names(Pod)
        await world.delete(Pod, first)
        await world.change(
            Pod, second, lambda p: replace(p, status=replace(p.status, phase="Failed")), subresource="status"
        )
        await world.settled(5)
        names = await world.names(Pod)
        assert len(names) == 4  # the ended one stays for its log
        assert first not in names
        assert third in names
        assert (await world.get(kind, "web")).status.replicas == 3


@BOTH
async def test_matching_orphans_are_adopted_and_strays_released(
    world: Any, running_pods: Any, kind: Any, make: Any, controller: Any
) -> None:
    async with world.running(
        running_pods(world), controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await world.create(make_pod("orphan", labels={"app": "web"}))
        await world.create(make_pod("stranger", labels={"app": "else"}))
        owner = await world.create(make("web", replicas=2))
        await world.settled(5)
        orphan = await world.get(Pod, "orphan")
        reference = controller_of(orphan)
        assert reference is not None
        assert reference.uid == owner.metadata.uid
        assert controller_of(await world.get(Pod, "stranger")) is None
        assert len(await world.all(Pod)) == 3

        await world.change(
            Pod, "orphan", lambda p: replace(p, metadata=replace(p.metadata, labels={"app": "free"}))
        )
        await world.settled(5)
        assert controller_of(await world.get(Pod, "orphan")) is None
        assert len(await world.all(Pod)) == 4
        late = await world.create(make_pod("late", labels={"app": "web"}))
        await world.settled(5)
        assert len([p for p in await world.all(Pod) if p.metadata.labels == {"app": "web"}]) == 2
        assert late.metadata.name


async def test_min_ready_seconds_delays_availability(world: Any, running_pods: Any) -> None:
    rc = make_replication_controller("web", replicas=2)
    async with world.running(
        running_pods(world),
        replication_controller(world.informers, clock=world.clock, recorder=world.recorder),
    ):
        await world.create(replace(rc, spec=replace(rc.spec, min_ready_seconds=30)))
        await world.settled(10)
        status = (await world.get(ReplicationController, "web")).status
        assert (status.ready_replicas, status.available_replicas) == (2, 0)
        await world.settled(25)
        assert (await world.get(ReplicationController, "web")).status.available_replicas == 2


async def test_a_refused_pod_is_reported_without_a_flood_and_tried_again(world: Any) -> None:
    rc = make_replication_controller("web", replicas=8)
    template = rc.spec.template
    assert template is not None
    bad = replace(template, metadata=replace(template.metadata, finalizers=("not a finalizer!",)))
    async with world.running(
        replication_controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await world.create(replace(rc, spec=replace(rc.spec, template=bad)))
        await world.settled(20)
        assert not await world.all(Pod)
        (condition,) = (await world.get(ReplicationController, "web")).status.conditions
        assert (condition.type, condition.status, condition.reason) == (
            "ReplicaFailure",
            "True",
            "FailedCreate",
        )
        events = await world.events()
        # Nine reports with a name each; from the tenth on they are combined into one.
        assert len(events) == 10
        assert {reason for reason, _ in events} == {"FailedCreate"}
        combined = [
            m for _, m in events if m.startswith("(combined from similar events): Error creating: Pod ")
        ]
        assert len(combined) == 1


@pytest.mark.seeds(15)
async def test_under_conflicts_and_losses_exactly_the_wanted_pods_are_left(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=100.0), every=4)

    async with (
        make_world(line, seed) as world,
        world.running(
            running_pods(world),
            replica_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
        ),
    ):
        await world.create(make_replica_set("web", replicas=12))
        await anyio.sleep(20)
        await world.change(ReplicaSet, "web", scaled(5))
        await anyio.sleep(20)
        await world.change(ReplicaSet, "web", scaled(9))
        await anyio.sleep(1500)
        assert len(await world.all(Pod)) == 9
        status = (await world.get(ReplicaSet, "web")).status
        assert (status.replicas, status.ready_replicas) == (9, 9)
        assert await world.direct.resource(ReplicaSet).get(Key("default", "web"))
