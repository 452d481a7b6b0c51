from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import anyio
import pytest

from kubelib.api.apps_sets import (
    ControllerRevision,
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetOrdinals,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)
from kubelib.api.core.claims import (
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    VolumeResourceRequirements,
)
from kubelib.api.core.pod import Pod
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta, OwnerReference, controller_of
from kubelib.api.model import replace
from kubelib.controllers.builtin.garbagecollector import garbage_collector
from kubelib.controllers.builtin.statefulset import stateful_set_controller
from kubelib.controllers.identities import with_owners
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.pods import is_ready
from kubelib.controllers.stateful import Delete, Revision, plan
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import CONTAINER, make_meta, make_pod, make_template


def make_stateful_set(
    name: str = "web", *, image: str = "v1", labels: Any = None, **spec: Any
) -> StatefulSet:
    labels = labels or {"app": name}
    template = make_template(labels, containers=(replace(CONTAINER, image=image),))
    return StatefulSet(
        metadata=make_meta(name),
        spec=StatefulSetSpec(
            selector=LabelSelector(match_labels=labels), template=template, service_name="svc", **spec
        ),
    )


def claim(name: str = "data") -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name),
        spec=PersistentVolumeClaimSpec(
            access_modes=("ReadWriteOnce",), resources=VolumeResourceRequirements(requests={"storage": "1Mi"})
        ),
    )


def scaled(replicas: int) -> Callable[[Any], Any]:
    return lambda obj: replace(obj, spec=replace(obj.spec, replicas=replicas))


def imaged(image: str, **strategy: Any) -> Callable[[StatefulSet], StatefulSet]:
    def change(obj: StatefulSet) -> StatefulSet:
        template = obj.spec.template
        containers = (replace(CONTAINER, image=image),)
        spec = replace(
            obj.spec, template=replace(template, spec=replace(template.spec, containers=containers))
        )
        if strategy:
            rolling = RollingUpdateStatefulSetStrategy(**strategy)
            spec = replace(
                spec,
                update_strategy=StatefulSetUpdateStrategy(type="RollingUpdate", rolling_update=rolling),
            )
        return replace(obj, spec=spec)

    return change


async def images(world: Any) -> dict[str, str]:
    return {p.metadata.name: p.spec.containers[0].image for p in await world.all(Pod)}


@pytest.fixture
async def cluster(world: Any, running_pods: Any) -> Any:
    async with world.running(
        running_pods(world),
        stateful_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
    ):
        yield world


async def test_pods_come_in_order_with_names_labels_and_hosts_of_their_own(cluster: Any) -> None:
    owner = await cluster.create(make_stateful_set(replicas=3))
    await cluster.settled(10)
    pods = await cluster.all(Pod)
    assert [pod.metadata.name for pod in pods] == ["web-0", "web-1", "web-2"]
    made = [pod.metadata.creation_timestamp for pod in pods]
    assert made == sorted(made)
    assert len(set(made)) == 3  # each once the one before is ready
    status = (await cluster.get(StatefulSet, "web")).status
    (revision,) = await cluster.all(ControllerRevision)
    for number, pod in enumerate(pods):
        assert pod.metadata.labels == {
            "app": "web",
            "statefulset.kubernetes.io/pod-name": pod.metadata.name,
            "apps.kubernetes.io/pod-index": str(number),
            "controller-revision-hash": revision.metadata.name,
        }
        assert (pod.spec.hostname, pod.spec.subdomain) == (pod.metadata.name, "svc")
        reference = controller_of(pod)
        assert reference is not None
        assert reference.uid == owner.metadata.uid
    assert revision.revision == 1
    assert status.current_revision == status.update_revision == revision.metadata.name
    counts = (status.replicas, status.ready_replicas, status.available_replicas)
    assert counts == (3, 3, 3)
    assert (status.current_replicas, status.updated_replicas, status.collision_count) == (3, 3, 0)
    assert ("SuccessfulCreate", "create Pod web-0 in StatefulSet web successful") in await cluster.events()


async def test_nothing_comes_after_a_pod_that_is_not_ready(world: Any, running_pods: Any) -> None:
    async with world.running(
        running_pods(world, broken=("broken",)),
        stateful_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
    ):
        await world.create(make_stateful_set("web", replicas=3, image="broken"))
        await world.create(
            make_stateful_set("all", replicas=3, image="broken", pod_management_policy="Parallel")
        )
        await world.settled(10)
        assert await world.names(Pod) == ["all-0", "all-1", "all-2", "web-0"]


async def test_ordinals_can_start_anywhere(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=2, ordinals=StatefulSetOrdinals(start=5)))
    await cluster.settled(10)
    assert await cluster.names(Pod) == ["web-5", "web-6"]
    await cluster.change(
        StatefulSet, "web", lambda s: replace(s, spec=replace(s.spec, ordinals=StatefulSetOrdinals(start=6)))
    )
    await cluster.settled(10)
    assert await cluster.names(Pod) == ["web-6", "web-7"]


async def test_scaling_down_takes_the_last_first_one_by_one(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=4))
    await cluster.settled(10)
    await cluster.change(StatefulSet, "web", scaled(1))
    await cluster.settled(10)
    assert await cluster.names(Pod) == ["web-0"]
    gone = [message.split()[2] for reason, message in await cluster.events() if reason == "SuccessfulDelete"]
    assert sorted(gone) == ["web-1", "web-2", "web-3"]


async def test_a_rolling_update_goes_from_the_last_pod_down_and_back_again(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=3))
    await cluster.settled(10)
    await cluster.change(StatefulSet, "web", imaged("v2"))
    await cluster.settled(0.5)
    assert await images(cluster) == {"web-0": "v1", "web-1": "v1", "web-2": "v2"}
    middle = (await cluster.get(StatefulSet, "web")).status
    assert middle.current_revision != middle.update_revision
    assert (middle.current_replicas, middle.updated_replicas) == (2, 1)
    await cluster.settled(10)
    assert set((await images(cluster)).values()) == {"v2"}
    after = (await cluster.get(StatefulSet, "web")).status
    assert after.current_revision == after.update_revision == middle.update_revision
    await cluster.change(StatefulSet, "web", imaged("v1"))
    await cluster.settled(10)
    assert set((await images(cluster)).values()) == {"v1"}
    revisions = await cluster.all(ControllerRevision)
    assert sorted(r.revision for r in revisions) == [2, 3]  # the first one came back, as the third
    assert (await cluster.get(StatefulSet, "web")).status.update_revision == middle.current_revision


async def test_a_partition_keeps_the_first_pods_on_their_revision_even_when_they_are_made_again(
    cluster: Any,
) -> None:
    await cluster.create(make_stateful_set(replicas=3))
    await cluster.settled(10)
    await cluster.change(StatefulSet, "web", imaged("v2", partition=2))
    await cluster.settled(10)
    assert await images(cluster) == {"web-0": "v1", "web-1": "v1", "web-2": "v2"}
    await cluster.delete(Pod, "web-0")
    await cluster.delete(Pod, "web-2")
    await cluster.settled(10)
    assert await images(cluster) == {"web-0": "v1", "web-1": "v1", "web-2": "v2"}
    await cluster.change(StatefulSet, "web", imaged("v2", partition=0))
    await cluster.settled(10)
    assert set((await images(cluster)).values()) == {"v2"}


async def test_as_many_pods_are_replaced_at_once_as_may_be_missing(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=5, pod_management_policy="Parallel"))
    await cluster.settled(5)
    await cluster.change(StatefulSet, "web", imaged("v2", partition=0, max_unavailable="40%"))
    await cluster.settled(0.5)
    assert list((await images(cluster)).values()) == ["v1", "v1", "v1", "v2", "v2"]
    await cluster.settled(10)
    assert set((await images(cluster)).values()) == {"v2"}


@pytest.mark.parametrize(("sick", "gone"), [((), [3]), ((0, 1), [1, 0]), ((0,), [0])])
def test_old_pods_that_serve_nobody_are_replaced_before_and_beyond_those_that_may_be_missing(
    sick: tuple[int, ...], gone: list[int]
) -> None:
    owner = imaged("v2", partition=0)(make_stateful_set(replicas=4, pod_management_policy="Parallel"))
    template = owner.spec.template
    pods = [
        make_pod(
            f"web-{n}",
            uid=str(n),
            node="a",
            phase="Running",
            ready=n not in sick,
            labels={"controller-revision-hash": "old"},
        )
        for n in range(4)
    ]
    step = plan(
        owner,
        pods,
        Revision("old", template),
        Revision("new", template),
        lambda name: None,
        datetime.now(UTC),
    )
    deleted = [action.pod.metadata.uid for action in step.actions if isinstance(action, Delete)]
    assert deleted == [str(n) for n in gone]


async def test_on_delete_replaces_only_what_is_deleted(cluster: Any) -> None:
    strategy = StatefulSetUpdateStrategy(type="OnDelete")
    await cluster.create(make_stateful_set(replicas=2, update_strategy=strategy))
    await cluster.settled(10)
    await cluster.change(StatefulSet, "web", imaged("v2"))
    await cluster.settled(10)
    assert await images(cluster) == {"web-0": "v1", "web-1": "v1"}
    await cluster.delete(Pod, "web-1")
    await cluster.settled(10)
    assert await images(cluster) == {"web-0": "v1", "web-1": "v2"}


async def test_pods_that_have_ended_are_made_again(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=2))
    await cluster.settled(10)
    before = (await cluster.get(Pod, "web-1")).metadata.uid
    await cluster.change(
        Pod, "web-1", lambda p: replace(p, status=replace(p.status, phase="Failed")), subresource="status"
    )
    await cluster.settled(10)
    assert (await cluster.get(Pod, "web-1")).metadata.uid != before
    assert {reason for reason, _ in await cluster.events()} == {"SuccessfulCreate", "SuccessfulDelete"}


async def test_min_ready_seconds_delay_the_next_pod(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=2, min_ready_seconds=20))
    await cluster.settled(15)
    assert await cluster.names(Pod) == ["web-0"]
    status = (await cluster.get(StatefulSet, "web")).status
    assert (status.ready_replicas, status.available_replicas) == (1, 0)
    await cluster.settled(30)
    assert (await cluster.get(StatefulSet, "web")).status.available_replicas == 2


async def test_claims_are_made_and_kept(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=2, volume_claim_templates=(claim(),)))
    await cluster.settled(10)
    claims = await cluster.all(PersistentVolumeClaim)
    assert [c.metadata.name for c in claims] == ["data-web-0", "data-web-1"]
    assert claims[0].metadata.labels == {"app": "web"}
    volume = (await cluster.get(Pod, "web-1")).spec.volumes[0]
    assert volume.persistent_volume_claim is not None
    assert (volume.name, volume.persistent_volume_claim.claim_name) == ("data", "data-web-1")
    await cluster.change(StatefulSet, "web", scaled(0))
    await cluster.settled(10)
    assert len(await cluster.all(PersistentVolumeClaim)) == 2
    assert (
        "SuccessfulCreate",
        "create Claim data-web-0 Pod web-0 in StatefulSet web success",
    ) in await cluster.events()


async def test_claims_go_with_pods_that_are_scaled_away_and_come_back_new(
    world: Any, running_pods: Any
) -> None:
    policy = StatefulSetPersistentVolumeClaimRetentionPolicy(when_deleted="Delete", when_scaled="Delete")
    async with world.running(
        running_pods(world),
        stateful_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
        garbage_collector(
            world.informers,
            clock=world.clock,
            recorder=world.recorder,
            scheme=world.registries.scheme,
        ),
    ):
        await world.create(
            make_stateful_set(
                replicas=3,
                volume_claim_templates=(claim(),),
                persistent_volume_claim_retention_policy=policy,
            )
        )
        await world.settled(10)
        kept = await world.get(PersistentVolumeClaim, "data-web-0")
        assert [r.kind for r in kept.metadata.owner_references] == ["StatefulSet"]
        gone = (await world.get(PersistentVolumeClaim, "data-web-2")).metadata.uid
        await world.change(StatefulSet, "web", scaled(1))
        await world.settled(10)
        assert await world.names(PersistentVolumeClaim) == ["data-web-0"]
        await world.change(StatefulSet, "web", scaled(3))
        await world.settled(10)
        assert (await world.get(PersistentVolumeClaim, "data-web-2")).metadata.uid != gone
        await world.delete(StatefulSet, "web")
        await world.settled(20)
        assert await world.names(PersistentVolumeClaim) == []
        assert await world.names(Pod) == []


async def test_claims_have_their_owner_before_the_pod_is_ready(world: Any) -> None:
    policy = StatefulSetPersistentVolumeClaimRetentionPolicy(when_deleted="Delete", when_scaled="Retain")
    async with world.running(
        stateful_set_controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        owner = make_stateful_set(
            volume_claim_templates=(claim(),), persistent_volume_claim_retention_policy=policy
        )
        owner = await world.create(owner)
        await world.settled(5)
        made = await world.get(PersistentVolumeClaim, "data-web-0")
        assert made.metadata.owner_references == (controller_reference(owner),)
        assert not is_ready(await world.get(Pod, "web-0"))


def test_claims_of_earlier_sets_and_of_other_controllers_get_no_owner() -> None:
    policy = StatefulSetPersistentVolumeClaimRetentionPolicy(when_deleted="Delete", when_scaled="Delete")
    owner = make_stateful_set(persistent_volume_claim_retention_policy=policy)
    owner = replace(owner, metadata=replace(owner.metadata, uid="new"))
    one = make_pod("web-0", uid="pod")
    ours, earlier = controller_reference(owner), replace(controller_reference(owner), uid="old")
    other = replace(ours, kind="Database", uid="else")

    def owners(*before: OwnerReference) -> tuple[OwnerReference, ...]:
        held = replace(claim(), metadata=replace(claim().metadata, owner_references=before))
        return with_owners(owner, held, one, 0).metadata.owner_references

    assert owners() == (ours,)
    assert owners(replace(ours, controller=None)) == (ours,)
    assert owners(earlier) == (earlier,)
    assert owners(other) == (other,)
    assert owners(other, replace(ours, controller=None)) == (other,)


async def test_what_is_wrong_with_claims_is_told_of_claims_and_of_pods(cluster: Any) -> None:
    bad = replace(claim(), metadata=ObjectMeta(name="data", annotations={"no key!": "x"}))
    await cluster.create(make_stateful_set(volume_claim_templates=(bad,)))
    await cluster.settled(5)
    assert await cluster.names(Pod) == []
    told = {message for reason, message in await cluster.events() if reason == "FailedCreate"}
    of_claim, of_pod = sorted(told)
    start = "create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: "
    assert of_claim.startswith(start)
    why = of_claim.removeprefix(start)
    what = "create Pod web-0 in StatefulSet web failed error: "
    assert of_pod == f"{what}failed to create PVC data-web-0: {why}"


async def test_a_pod_waits_for_the_end_of_a_claim_of_its_name(cluster: Any) -> None:
    held = replace(claim("data-web-0"), metadata=make_meta("data-web-0", finalizers=("example.com/held",)))
    await cluster.create(held)
    await cluster.delete(PersistentVolumeClaim, "data-web-0")
    await cluster.create(make_stateful_set(volume_claim_templates=(claim(),)))
    await cluster.settled(5)
    assert await cluster.names(Pod) == []
    assert (
        "FailedCreate",
        "create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted",
    ) in await cluster.events()
    await cluster.change(
        PersistentVolumeClaim,
        "data-web-0",
        lambda c: replace(c, metadata=replace(c.metadata, finalizers=())),
    )
    await cluster.settled(30)
    assert await cluster.names(Pod) == ["web-0"]


async def test_pods_of_other_names_are_released(cluster: Any) -> None:
    owner = await cluster.create(make_stateful_set(replicas=1))
    stray = make_pod("stray", labels={"app": "web"}, owners=(controller_reference(owner),))
    await cluster.create(stray)
    await cluster.settled(5)
    assert controller_of(await cluster.get(Pod, "stray")) is None
    assert controller_of(await cluster.get(Pod, "web-0")) is not None


async def test_only_as_many_revisions_are_kept_as_the_limit_says(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=1, revision_history_limit=2))
    for number in range(6):
        await cluster.settled(5)
        await cluster.change(StatefulSet, "web", imaged(f"v{number}"))
    await cluster.settled(5)
    assert sorted(r.revision for r in await cluster.all(ControllerRevision)) == [
        5,
        6,
        7,
    ]  # v1 came back as the third


async def test_a_negative_limit_keeps_all_revisions(cluster: Any) -> None:
    await cluster.create(make_stateful_set(replicas=1, revision_history_limit=-1))
    for number in range(2, 6):
        await cluster.settled(5)
        await cluster.change(StatefulSet, "web", imaged(f"v{number}"))
    await cluster.settled(5)
    assert sorted(r.revision for r in await cluster.all(ControllerRevision)) == [1, 2, 3, 4, 5]


async def test_a_name_that_somebody_has_taken_is_reported_and_waited_for(cluster: Any) -> None:
    await cluster.create(make_pod("web-0", labels={"app": "else"}))
    await cluster.create(make_stateful_set(replicas=1))
    await cluster.settled(20)
    assert (await cluster.get(StatefulSet, "web")).status.replicas == 0
    await cluster.delete(Pod, "web-0")
    await cluster.settled(60)
    assert (await cluster.get(StatefulSet, "web")).status.ready_replicas == 1


@pytest.mark.seeds(10)
async def test_under_conflicts_and_losses_the_set_ends_as_wanted(
    make_world: Any, running_pods: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=100.0), every=4)

    async with (
        make_world(line, seed) as world,
        world.running(
            running_pods(world),
            stateful_set_controller(world.informers, clock=world.clock, recorder=world.recorder),
        ),
    ):
        await world.create(make_stateful_set(replicas=4, volume_claim_templates=(claim(),)))
        await anyio.sleep(30)
        await world.change(StatefulSet, "web", imaged("v2"))
        await anyio.sleep(30)
        await world.change(StatefulSet, "web", scaled(2))
        await anyio.sleep(1500)
        assert await images(world) == {"web-0": "v2", "web-1": "v2"}
        status = (await world.get(StatefulSet, "web")).status
        assert (status.replicas, status.ready_replicas, status.updated_replicas) == (2, 2, 2)
        assert status.current_revision == status.update_revision
        assert len(await world.all(ControllerRevision)) == 2
