import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.apps_sets import (
    ControllerRevision,
    DaemonSet,
    DaemonSetSpec,
    DaemonSetUpdateStrategy,
    RollingUpdateDaemonSet,
)
from kubelib.api.core.node import Node, Taint
from kubelib.api.core.pod import Pod
from kubelib.api.core.quota import ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus
from kubelib.api.machinery import LabelSelector
from kubelib.api.model import replace
from kubelib.controllers.builtin.daemonset import daemon_set_controller
from kubelib.controllers.daemons import Eligible, by_node, node_of, plan, plan_update
from kubelib.controllers.daemons import status_of as observed
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import CONTAINER, make_meta, make_node, make_pod, make_pod_status, make_template

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_daemon_set(
    name: str = "agent", *, image: str = "v1", strategy: Any = None, **template: Any
) -> DaemonSet:
    labels = {"app": name}
    return DaemonSet(
        metadata=make_meta(name),
        spec=DaemonSetSpec(
            selector=LabelSelector(match_labels=labels),
            template=make_template(labels, containers=(replace(CONTAINER, image=image),), **template),
            update_strategy=strategy or DaemonSetUpdateStrategy(),
        ),
    )


def rolling(**how: Any) -> DaemonSetUpdateStrategy:
    return DaemonSetUpdateStrategy(type="RollingUpdate", rolling_update=RollingUpdateDaemonSet(**how))


def imaged(image: str) -> Callable[[DaemonSet], DaemonSet]:
    def change(obj: DaemonSet) -> DaemonSet:
        template = obj.spec.template
        spec = replace(template.spec, containers=(replace(CONTAINER, image=image),))
        return replace(obj, spec=replace(obj.spec, template=replace(template, spec=spec)))

    return change


def test_of_several_pods_on_a_node_the_one_that_is_there_counts_and_stays() -> None:
    owner = replace(make_daemon_set(), metadata=make_meta("agent", generation=2))
    waits = make_pod("a", uid="a", metadata={"creation_timestamp": NOW})
    there = make_pod("b", node="n", ready=True, uid="b", metadata={"creation_timestamp": NOW})
    nodes, pods = {"n": Eligible(True, True)}, {"n": [waits, there]}
    assert [pod.metadata.name for pod in plan(owner, nodes, pods, "h", NOW).delete] == ["a"]
    seen = observed(owner, nodes, pods, "h", 0, NOW, acted=False)
    assert (seen.number_ready, seen.observed_generation) == (1, 0)
    assert observed(owner, nodes, pods, "h", 0, NOW).observed_generation == 2


def placed_pod(name: str, hash_: str, *, at: int = 0, **how: Any) -> Pod:
    """A Pod on a node of a revision, the younger the larger `at`."""
    created = NOW + timedelta(seconds=at)
    return make_pod(
        name,
        node=name[:1],
        uid=name,
        labels={"controller-revision-hash": hash_},
        metadata={"creation_timestamp": created, **how.pop("metadata", {})},
        **how,
    )


def names(pods: Sequence[Pod]) -> list[str]:
    return [pod.metadata.name for pod in pods]


SURGE = rolling(max_unavailable=0, max_surge=1)
ENDING = {"deletion_timestamp": NOW}


def test_during_a_surge_an_old_pod_that_is_not_ready_goes_at_once() -> None:
    nodes = {"a": Eligible(True, True)}
    pods = {"a": [placed_pod("a1", "old"), placed_pod("a2", "new", at=1)]}
    assert names(plan(make_daemon_set(strategy=SURGE), nodes, pods, "new", NOW).delete) == ["a1"]
    pods = {"a": [placed_pod("a1", "old", ready=True), placed_pod("a2", "new", at=1)]}
    assert plan(make_daemon_set(strategy=SURGE), nodes, pods, "new", NOW).delete == ()


def test_who_may_surge_makes_a_pod_beside_one_that_is_ending() -> None:
    nodes = {"a": Eligible(True, True)}
    pods = {"a": [placed_pod("a1", "new", metadata=ENDING)]}
    assert plan(make_daemon_set(strategy=SURGE), nodes, pods, "new", NOW).create == ("a",)
    assert plan(make_daemon_set(), nodes, pods, "new", NOW).create == ()


def test_a_surge_leaves_nodes_that_fit_no_more_only_as_others_serve() -> None:
    owner = make_daemon_set(strategy=SURGE)
    nodes = {"a": Eligible(False, True), "b": Eligible(True, True)}
    before = {"a": [placed_pod("a1", "old", ready=True)], "b": [placed_pod("b1", "new")]}
    step = plan_update(owner, nodes, before, "new", NOW)
    assert (step.create, step.delete) == ((), ())
    after = {**before, "b": [placed_pod("b1", "new", ready=True)]}
    step = plan_update(owner, nodes, after, "new", NOW)
    assert (step.create, names(step.delete)) == ((), ["a1"])
    useless = {**before, "a": [placed_pod("a1", "old")]}
    assert names(plan_update(owner, nodes, useless, "new", NOW).delete) == ["a1"]


def test_a_node_with_too_many_pods_counts_as_one_without() -> None:
    nodes = {name: Eligible(True, True) for name in "ab"}
    pods = {
        "a": [placed_pod(f"a{n}", "new", at=n, ready=True) for n in range(2)],
        "b": [placed_pod("b1", "old", ready=True)],
    }
    owner = make_daemon_set(strategy=rolling(max_unavailable=1))
    assert names(plan(owner, nodes, pods, "new", NOW).delete) == ["a1"]
    assert plan_update(owner, nodes, pods, "new", NOW).delete == ()


def test_pods_that_have_ended_and_only_wait_for_finalizers_are_in_nobodys_way() -> None:
    gone = placed_pod("a1", "h", phase="Failed", metadata=ENDING)
    found = by_node([gone, placed_pod("b1", "h", metadata=ENDING)])
    assert found.keys() == {"b"}
    assert plan(make_daemon_set(), {"a": Eligible(True, True)}, found, "h", NOW).create == ("a",)


def test_pods_of_the_present_generation_of_the_template_are_up_to_date_whatever_their_hash() -> None:
    generation = {"deprecated.daemonset.template.generation": "2"}
    owner = replace(make_daemon_set(), metadata=make_meta("agent", annotations=generation))
    nodes = dict.fromkeys("abc", Eligible(True, True))
    pods = {name: [placed_pod(f"{name}1", "other")] for name in nodes}
    for name, number in ("a", "1"), ("b", "2"):
        labels = {"controller-revision-hash": "other", "pod-template-generation": number}
        pods[name] = [replace(p, metadata=replace(p.metadata, labels=labels)) for p in pods[name]]
    assert names(plan_update(owner, nodes, pods, "new", NOW).delete) == ["a1", "c1"]
    assert observed(owner, nodes, pods, "new", 0, NOW).updated_number_scheduled == 1


async def placed(world: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pod in await world.all(Pod):
        found.setdefault(node_of(pod), []).append(pod.spec.containers[0].image)
    return dict(sorted(found.items()))


async def status_of(world: Any) -> Any:
    return (await world.get(DaemonSet, "agent")).status


@pytest.fixture
async def cluster(world: Any, running_pods: Any) -> Any:
    for number in range(4):
        await world.create(make_node(f"n{number}"))
    async with world.running(
        running_pods(world),
        daemon_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
    ):
        yield world


async def test_every_node_gets_a_pod_also_those_that_come_later(cluster: Any) -> None:
    await cluster.create(make_daemon_set())
    await cluster.settled(5)
    assert await placed(cluster) == {f"n{n}": ["v1"] for n in range(4)}
    status = await status_of(cluster)
    assert (status.desired_number_scheduled, status.current_number_scheduled, status.number_ready) == (
        4,
        4,
        4,
    )
    assert (status.updated_number_scheduled, status.number_available, status.number_misscheduled) == (4, 4, 0)
    (revision,) = await cluster.all(ControllerRevision)
    # Those who go back to a revision compare it byte by byte, with the fields in the order of their names.
    assert json.dumps(revision.data) == json.dumps(revision.data, sort_keys=True)
    pods = await cluster.all(Pod)
    hashes = {pod.metadata.labels["controller-revision-hash"] for pod in pods}
    assert {f"agent-{hash_}" for hash_ in hashes} == {revision.metadata.name}
    keys = {t.key for t in pods[0].spec.tolerations}
    assert {"node.kubernetes.io/not-ready", "node.kubernetes.io/unschedulable"} <= keys
    await cluster.create(make_node("n4"))
    await cluster.settled(5)
    assert len(await placed(cluster)) == 5


async def test_selectors_and_taints_decide_which_nodes_are_meant(cluster: Any) -> None:
    await cluster.create(make_daemon_set(node_selector={"color": "blue"}))
    await cluster.settled(3)
    assert await placed(cluster) == {}

    def painted(color: str) -> Callable[[Node], Node]:
        return lambda n: replace(
            n, metadata=replace(n.metadata, labels={**n.metadata.labels, "color": color})
        )

    await cluster.change(Node, "n1", painted("blue"), namespace="")
    await cluster.change(Node, "n2", painted("blue"), namespace="")
    await cluster.settled(3)
    assert list(await placed(cluster)) == ["n1", "n2"]
    await cluster.change(Node, "n1", painted("green"), namespace="")

    def tainted(effect: str) -> Callable[[Node], Node]:
        return lambda n: replace(n, spec=replace(n.spec, taints=(Taint(key="k", effect=effect),)))

    await cluster.change(Node, "n2", tainted("NoSchedule"), namespace="")
    await cluster.settled(3)
    assert list(await placed(cluster)) == ["n2"]  # what is there stays
    status = await status_of(cluster)
    assert (status.desired_number_scheduled, status.number_misscheduled) == (0, 1)
    await cluster.change(Node, "n2", tainted("NoExecute"), namespace="")
    await cluster.settled(3)
    assert await placed(cluster) == {}


async def test_a_rolling_update_leaves_no_more_nodes_without_a_pod_than_it_may(cluster: Any) -> None:
    await cluster.create(make_daemon_set(strategy=rolling(max_unavailable="50%", max_surge=0)))
    await cluster.settled(5)
    await cluster.change(DaemonSet, "agent", imaged("v2"))
    await cluster.settled(0.5)
    assert sorted(i for images in (await placed(cluster)).values() for i in images) == [
        "v1",
        "v1",
        "v2",
        "v2",
    ]
    await cluster.settled(10)
    assert await placed(cluster) == {f"n{n}": ["v2"] for n in range(4)}
    assert (await status_of(cluster)).updated_number_scheduled == 4
    assert sorted(r.revision for r in await cluster.all(ControllerRevision)) == [1, 2]


async def test_what_cannot_be_made_does_not_cost_what_is_there(cluster: Any) -> None:
    await cluster.create(make_daemon_set(strategy=rolling(max_unavailable=2)))
    await cluster.settled(5)
    full = {"pods": "4"}
    quota = ResourceQuota(metadata=make_meta("full"), spec=ResourceQuotaSpec(hard=full))
    await cluster.create(quota)
    await cluster.change(
        ResourceQuota,
        "full",
        lambda q: replace(q, status=ResourceQuotaStatus(hard=full, used=full)),
        subresource="status",
    )
    await cluster.create(make_node("n4"))
    await cluster.change(DaemonSet, "agent", imaged("v2"))
    await cluster.settled(60)
    assert await placed(cluster) == {f"n{n}": ["v1"] for n in range(4)}
    await cluster.delete(ResourceQuota, "full")
    await cluster.settled(120)
    assert await placed(cluster) == {f"n{n}": ["v2"] for n in range(5)}


async def test_a_surge_starts_the_new_pod_before_the_old_one_goes(cluster: Any) -> None:
    await cluster.create(make_daemon_set(strategy=rolling(max_unavailable=0, max_surge=1)))
    await cluster.settled(5)
    await cluster.change(DaemonSet, "agent", imaged("v2"))
    await cluster.settled(0.5)
    numbers = sorted(len(images) for images in (await placed(cluster)).values())
    assert numbers == [1, 1, 1, 2]
    assert (await status_of(cluster)).number_available == 4
    await cluster.settled(20)
    assert await placed(cluster) == {f"n{n}": ["v2"] for n in range(4)}


async def test_on_delete_replaces_only_what_is_deleted(cluster: Any) -> None:
    await cluster.create(make_daemon_set(strategy=DaemonSetUpdateStrategy(type="OnDelete")))
    await cluster.settled(5)
    await cluster.change(DaemonSet, "agent", imaged("v2"))
    await cluster.settled(5)
    pods = await cluster.all(Pod)
    assert {pod.spec.containers[0].image for pod in pods} == {"v1"}
    await cluster.delete(Pod, pods[0].metadata.name)
    await cluster.settled(5)
    images = [pod.spec.containers[0].image for pod in await cluster.all(Pod)]
    assert sorted(images) == ["v1", "v1", "v1", "v2"]


async def test_a_bad_revision_is_left_again_at_once(world: Any, running_pods: Any) -> None:
    for number in range(3):
        await world.create(make_node(f"n{number}"))
    async with world.running(
        running_pods(world, broken=("bad",)),
        daemon_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
    ):
        await world.create(make_daemon_set())
        await world.settled(5)
        kept = {pod.metadata.uid for pod in await world.all(Pod)}
        await world.change(DaemonSet, "agent", imaged("bad"))
        await world.settled(20)
        images = sorted(i for images in (await placed(world)).values() for i in images)
        assert images == ["bad", "v1", "v1"]  # no further than one node
        await world.change(DaemonSet, "agent", imaged("v1"))
        await world.settled(20)
        assert await placed(world) == {f"n{n}": ["v1"] for n in range(3)}
        assert len(kept & {pod.metadata.uid for pod in await world.all(Pod)}) == 2  # untouched


async def test_pods_that_fail_are_made_again_ever_more_slowly(world: Any) -> None:
    await world.create(make_node("n0"))
    failures: list[float] = []

    async with world.running(
        daemon_set_controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await world.create(make_daemon_set())
        for _ in range(600):
            await anyio.sleep(0.1)
            for pod in await world.all(Pod):
                if not pod.status.phase or pod.status.phase == "Pending":
                    failures.append(anyio.current_time())
                    await world.change(
                        Pod,
                        pod.metadata.name,
                        lambda p: replace(p, status=make_pod_status("Failed")),
                        subresource="status",
                    )
        assert 5 <= len(failures) <= 8  # after 0, 1, 3, 7, 15, 31 s
        gaps = [b - a for a, b in pairwise(failures[1:])]
        assert gaps == sorted(gaps)
        assert any(reason == "FailedDaemonPod" for reason, _ in await world.events())


def annotated(owner: DaemonSet) -> DaemonSet:
    return replace(owner, metadata=replace(owner.metadata, annotations={"looked": "at"}))


async def test_pods_of_a_second_revision_of_the_same_template_stay(cluster: Any) -> None:
    await cluster.create(make_daemon_set())
    await cluster.settled(5)
    (first,) = await cluster.all(ControllerRevision)
    kept = {pod.metadata.uid for pod in await cluster.all(Pod)}
    labels = {**first.metadata.labels, "controller-revision-hash": "later"}
    owners = first.metadata.owner_references
    meta = make_meta("agent-later", labels=labels, owner_references=owners)
    await cluster.create(replace(first, metadata=meta, revision=2))
    await cluster.settled(5)
    assert len(await cluster.all(ControllerRevision)) == 2  # nobody has looked at the set
    await cluster.change(DaemonSet, "agent", annotated)
    await cluster.settled(5)
    assert await cluster.names(ControllerRevision) == ["agent-later"]
    pods = await cluster.all(Pod)
    assert {pod.metadata.uid for pod in pods} == kept
    assert {pod.metadata.labels["controller-revision-hash"] for pod in pods} == {"later"}
    assert (await status_of(cluster)).updated_number_scheduled == 4


async def test_pods_that_succeed_are_made_again_at_once(world: Any) -> None:
    await world.create(make_node("n0"))

    def succeeded(pod: Pod) -> Pod:
        return replace(pod, status=make_pod_status("Succeeded"))

    async with world.running(
        daemon_set_controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        await world.create(make_daemon_set())
        for _ in range(6):
            await world.settled(0.2)
            (pod,) = await world.all(Pod)
            assert pod.status.phase == "Pending"
            await world.change(Pod, pod.metadata.name, succeeded, subresource="status")
        await world.settled(5)
        told = [message for reason, message in await world.events() if reason == "SucceededDaemonPod"]
        assert f"Found succeeded daemon pod {pod.key} on node n0, will try to delete it" in told


async def test_revisions_in_use_count_for_the_limit_of_old_ones(cluster: Any) -> None:
    limited = make_daemon_set(strategy=DaemonSetUpdateStrategy(type="OnDelete"))
    await cluster.create(replace(limited, spec=replace(limited.spec, revision_history_limit=1)))
    for number in range(2, 5):
        await cluster.settled(5)
        await cluster.change(DaemonSet, "agent", imaged(f"v{number}"))
    await cluster.settled(5)
    # The first is what the Pods are of, and takes the place of the others.
    assert sorted(r.revision for r in await cluster.all(ControllerRevision)) == [1, 4]


@pytest.mark.seeds(10)
async def test_under_conflicts_and_losses_every_node_ends_with_one_pod(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=100.0), every=4)

    async with make_world(line, seed) as world:
        for number in range(5):
            await world.create(make_node(f"n{number}"))
        async with world.running(
            running_pods(world),
            daemon_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
        ):
            await world.create(make_daemon_set())
            await anyio.sleep(30)
            await world.change(DaemonSet, "agent", imaged("v2"))
            await anyio.sleep(1500)
            assert await placed(world) == {f"n{n}": ["v2"] for n in range(5)}
            status = await status_of(world)
            assert (status.number_ready, status.updated_number_scheduled) == (5, 5)
            assert len(await world.all(ControllerRevision)) == 2
