from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from kubelib.api.core.claims import (
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimTemplate,
    VolumeResourceRequirements,
)
from kubelib.api.core.persistentvolumes import (
    CSIPersistentVolumeSource,
    PersistentVolume,
    PersistentVolumeSource,
    PersistentVolumeSpec,
)
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.core.volumes import (
    EphemeralVolumeSource,
    HostPathVolumeSource,
    PersistentVolumeClaimVolumeSource,
    Volume,
)
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.storage import StorageClass, VolumeAttributesClass
from kubelib.controllers.builtin.ephemeralvolume import ephemeral_volume_controller
from kubelib.controllers.builtin.garbagecollector import garbage_collector
from kubelib.controllers.builtin.persistentvolume import persistent_volume_controller
from kubelib.controllers.builtin.volumeexpand import volume_expand_controller
from kubelib.controllers.builtin.volumeprotection import (
    ClaimUsers,
    claim_protection_controller,
    class_protection_controller,
    volume_protection_controller,
)
from kubelib.controllers.provisioning import DIRECTORY, DirectoryProvisioner
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import make_meta, make_node, make_pod


def make_volume(
    name: str,
    size: str = "1Gi",
    *,
    cls: str = "",
    modes: Any = ("ReadWriteOnce",),
    labels: Any = None,
    **spec: Any,
) -> PersistentVolume:
    spec.setdefault("persistent_volume_reclaim_policy", "Retain")
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels=labels or {}),
        spec=PersistentVolumeSpec(
            host_path=HostPathVolumeSource(path=f"/tmp/{name}"),
            capacity={"storage": size},
            access_modes=modes,
            storage_class_name=cls,
            **spec,
        ),
    )


def make_claim(
    name: str = "data", size: str = "1Gi", *, cls: str = "", modes: Any = ("ReadWriteOnce",), **spec: Any
) -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=make_meta(name),
        spec=PersistentVolumeClaimSpec(
            access_modes=modes,
            resources=VolumeResourceRequirements(requests={"storage": size}),
            storage_class_name=cls,
            **spec,
        ),
    )


def make_class(name: str = "dirs", provisioner: str = DIRECTORY, mode: str = "Immediate") -> StorageClass:
    return StorageClass(
        metadata=ObjectMeta(name=name),
        provisioner=provisioner,
        reclaim_policy="Delete",
        volume_binding_mode=mode,
        allow_volume_expansion=True,
    )


def with_claim(pod: Pod, claim: str) -> Pod:
    source = PersistentVolumeClaimVolumeSource(claim_name=claim)
    volume = Volume(name="v", persistent_volume_claim=source)
    return replace(pod, spec=replace(pod.spec, volumes=(volume,)))


def components(world: Any, root: Path) -> list[Any]:
    how = {"clock": world.clock, "recorder": world.recorder}
    return [
        persistent_volume_controller(world.informers, provisioners=[DirectoryProvisioner(root)], **how),
        claim_protection_controller(world.informers, **how),
        volume_protection_controller(world.informers, **how),
        class_protection_controller(world.informers, **how),
        volume_expand_controller(world.informers, **how),
        ephemeral_volume_controller(world.informers, **how),
    ]


@pytest.fixture
async def cluster(world: Any, tmp_path: Path) -> Any:
    async with world.running(*components(world, tmp_path)):
        yield world


async def claim_of(world: Any, name: str = "data") -> PersistentVolumeClaim:
    found: PersistentVolumeClaim = await world.get(PersistentVolumeClaim, name)
    return found


async def volume_of(world: Any, name: str) -> PersistentVolume:
    found: PersistentVolume = await world.get(PersistentVolume, name, "")
    return found


async def removed(world: Any, kind: type[Any], name: str, namespace: str = "default") -> None:
    await world.delete(kind, name, namespace)
    await world.settled(3)


async def test_a_claim_gets_the_smallest_volume_that_fits_and_both_say_so(cluster: Any) -> None:
    await cluster.create(make_volume("large", "10Gi"))
    await cluster.create(make_volume("fits", "2Gi"))
    await cluster.create(make_volume("small", "500Mi"))
    await cluster.settled(2)
    assert (await volume_of(cluster, "fits")).status.phase == "Available"
    await cluster.create(make_claim())
    await cluster.settled(2)
    claim, volume = await claim_of(cluster), await volume_of(cluster, "fits")
    assert (claim.status.phase, claim.spec.volume_name) == ("Bound", "fits")
    assert claim.status.capacity == {"storage": "2Gi"}
    assert claim.status.access_modes == ("ReadWriteOnce",)
    assert claim.metadata.annotations["pv.kubernetes.io/bind-completed"] == "yes"
    assert volume.status.phase == "Bound"
    assert volume.spec.claim_ref is not None
    assert volume.spec.claim_ref.uid == claim.metadata.uid
    assert (await volume_of(cluster, "large")).status.phase == "Available"


@pytest.mark.parametrize(
    "volume",
    [
        make_volume("v", cls="other"),
        make_volume("v", modes=("ReadOnlyMany",)),
        make_volume("v", "100Mi"),
        make_volume("v", volume_mode="Block"),
        make_volume("v", labels={"disk": "slow"}),
        make_volume("v", claim_ref=ObjectReference(namespace="default", name="else")),
    ],
    ids=["class", "modes", "size", "mode", "labels", "kept"],
)
async def test_what_does_not_fit_is_not_taken(cluster: Any, volume: PersistentVolume) -> None:
    await cluster.create(volume)
    await cluster.create(make_claim(selector=LabelSelector(match_labels={"disk": "fast"})))
    await cluster.settled(5)
    assert (await claim_of(cluster)).status.phase == "Pending"
    assert (
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
    ) in await cluster.events()
    await cluster.create(make_volume("right", labels={"disk": "fast"}))
    await cluster.settled(5)
    assert (await claim_of(cluster)).spec.volume_name == "right"


async def test_volumes_and_claims_can_name_each_other(cluster: Any) -> None:
    await cluster.create(make_volume("kept", "5Gi", claim_ref=ObjectReference(namespace="default", name="a")))
    await cluster.create(make_volume("named", "5Gi"))
    await cluster.create(make_volume("small", "1Gi"))
    await cluster.create(make_claim("a"))
    await cluster.create(make_claim("b", volume_name="named"))
    await cluster.create(make_claim("c", volume_name="named"))
    await cluster.create(make_claim("d", "2Gi", volume_name="small"))
    await cluster.settled(5)
    assert (await claim_of(cluster, "a")).spec.volume_name == "kept"
    assert (await claim_of(cluster, "b")).status.phase == "Bound"
    assert (await claim_of(cluster, "c")).status.phase == "Pending"
    assert (await claim_of(cluster, "d")).status.phase == "Pending"
    events = await cluster.events()
    assert ("FailedBinding", 'volume "named" already bound to a different claim.') in events
    assert (
        "VolumeMismatch",
        'Cannot bind to requested volume "small": requested PV is too small',
    ) in events


@pytest.mark.parametrize("wrong", [{"size": "1Mi"}, {"modes": ("ReadOnlyMany",)}], ids=["size", "modes"])
async def test_a_volume_that_was_kept_for_a_claim_but_does_not_fit_is_not_taken(
    cluster: Any, wrong: dict[str, Any]
) -> None:
    for name in ("now", "late"):
        ref = ObjectReference(namespace="default", name=name)
        await cluster.create(make_volume(f"kept-{name}", cls=name, claim_ref=ref, **wrong))
        await cluster.create(make_volume(f"free-{name}", cls=name))
    await cluster.create(make_class("late", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"))
    await cluster.create(make_claim("now", cls="now"))
    await cluster.create(make_claim("late", cls="late"))
    await cluster.settled()
    assert (await claim_of(cluster, "now")).spec.volume_name == "free-now"
    assert (await claim_of(cluster, "late")).spec.volume_name == ""  # until a Pod uses it


async def test_a_retained_volume_is_released_and_a_lost_one_is_reported(cluster: Any) -> None:
    await cluster.create(make_volume("one"))
    await cluster.create(make_claim())
    await cluster.settled(2)
    await removed(cluster, PersistentVolumeClaim, "data")
    assert (await volume_of(cluster, "one")).status.phase == "Released"
    await cluster.create(make_claim("next"))
    await cluster.settled(3)
    assert (await claim_of(cluster, "next")).status.phase == "Pending"  # nobody gets another's data
    await cluster.create(make_volume("two"))
    await cluster.settled(3)
    assert (await claim_of(cluster, "next")).status.phase == "Bound"
    await removed(cluster, PersistentVolume, "two", "")
    assert (await claim_of(cluster, "next")).status.phase == "Bound"  # what holds it is still there
    await cluster.change(
        PersistentVolume,
        "two",
        lambda v: replace(v, metadata=replace(v.metadata, finalizers=())),
        namespace="",
    )
    await cluster.settled(3)
    assert (await claim_of(cluster, "next")).status.phase == "Lost"
    assert any(reason == "ClaimLost" for reason, _ in await cluster.events())


async def test_storage_is_made_grown_and_removed_on_demand(cluster: Any, tmp_path: Path) -> None:
    await cluster.create(make_class())
    await cluster.create(make_claim(cls="dirs"))
    await cluster.until(lambda: is_bound(cluster))
    claim = await claim_of(cluster)
    name = f"pvc-{claim.metadata.uid}"
    volume = await volume_of(cluster, name)
    assert volume.spec.host_path is not None
    place = Path(volume.spec.host_path.path)
    assert place.is_dir()
    assert place.parent == tmp_path
    assert (volume.spec.storage_class_name, volume.spec.persistent_volume_reclaim_policy) == (
        "dirs",
        "Delete",
    )
    assert volume.metadata.annotations["pv.kubernetes.io/provisioned-by"] == DIRECTORY
    (place / "file").write_text("kept")

    def larger(c: PersistentVolumeClaim) -> PersistentVolumeClaim:
        resources = VolumeResourceRequirements(requests={"storage": "3Gi"})
        return replace(c, spec=replace(c.spec, resources=resources))

    await cluster.change(PersistentVolumeClaim, "data", larger)
    await cluster.settled(3)
    assert (await claim_of(cluster)).status.capacity == {"storage": "3Gi"}
    await cluster.delete(PersistentVolumeClaim, "data")
    await cluster.until(lambda: is_gone(cluster, PersistentVolume))
    assert not place.exists()
    assert ("ProvisioningSucceeded", f"Successfully provisioned volume {name} using {DIRECTORY}") in (
        await cluster.events()
    )


async def is_bound(world: Any, name: str = "data") -> bool:
    return (await claim_of(world, name)).status.phase == "Bound"


async def is_gone(world: Any, kind: type[Any]) -> bool:
    return not await world.all(kind, "")


async def test_a_class_of_another_provisioner_is_left_to_it(cluster: Any) -> None:
    await cluster.create(make_class("csi", "disks.example.com"))
    await cluster.create(make_claim(cls="csi"))
    await cluster.settled(3)
    claim = await claim_of(cluster)
    assert claim.status.phase == "Pending"
    key = "volume.kubernetes.io/storage-provisioner"
    assert claim.metadata.annotations[key] == "disks.example.com"
    assert any(reason == "ExternalProvisioning" for reason, _ in await cluster.events())


async def test_provisioners_of_kubernetes_itself_that_are_not_there_are_not_waited_for(cluster: Any) -> None:
    await cluster.create(make_class("own", "kubernetes.io/unknown"))
    await cluster.create(make_class("moved", "kubernetes.io/aws-ebs"))
    for name in ("own", "moved"):
        await cluster.create(make_claim(name, cls=name))
    await cluster.settled(3)
    assert (
        "volume.kubernetes.io/storage-provisioner"
        not in (await claim_of(cluster, "own")).metadata.annotations
    )
    told = ("ProvisioningFailed", "no volume plugin matched name: kubernetes.io/unknown")
    assert told in await cluster.events()
    assert any(
        reason == "ExternalProvisioning" and "'kubernetes.io/aws-ebs'" in message
        for reason, message in await cluster.events()
    )


class OutOfPlace:
    """A `Provisioner` of volumes that no API takes."""

    name = DIRECTORY

    def __init__(self, *, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.made = 0
        self.there: set[str] = set()

    async def provision(self, volume: str, claim: Any, storage_class: Any) -> PersistentVolumeSource:
        self.made += 1
        self.there.add(volume)
        return PersistentVolumeSource(host_path=HostPathVolumeSource(path="/a/../b"))

    async def remove(self, volume: PersistentVolume) -> None:
        if self.stubborn:
            raise OSError("it is stuck")
        self.there.discard(volume.metadata.name)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_storage_whose_volume_is_refused_does_not_stay(world: Any, stubborn: bool) -> None:
    maker = OutOfPlace(stubborn=stubborn)
    controller = persistent_volume_controller(
        world.informers, clock=world.clock, recorder=world.recorder, provisioners=[maker]
    )
    async with world.running(controller):
        await world.create(make_class())
        await world.create(make_claim(cls="dirs"))
        await world.settled(3)
        assert maker.made > 1  # it is tried again
        assert bool(maker.there) is stubborn
        assert (await claim_of(world)).status.phase == "Pending"
        events = await world.events()
        told = "Error creating provisioned PV object for claim default/data: PersistentVolume "
        assert any(
            r == "ProvisioningFailed" and m.startswith(told) and m.endswith(". Deleting the volume.")
            for r, m in events
        )
        failed = (
            "Error cleaning provisioned volume for claim default/data: it is stuck. Please delete manually."
        )
        assert (("ProvisioningCleanupFailed", failed) in events) is stubborn


async def test_a_claim_whose_place_is_chosen_gets_a_volume_of_its_own(cluster: Any) -> None:
    """Whoever chose the place has found no volume: one that comes then is somebody else's."""
    await cluster.create(make_node("n1"))
    await cluster.create(make_class(mode="WaitForFirstConsumer"))
    await cluster.create(make_volume("late", cls="dirs"))
    claim = make_claim(cls="dirs")
    chosen = {"volume.kubernetes.io/selected-node": "n1"}
    await cluster.create(replace(claim, metadata=replace(claim.metadata, annotations=chosen)))
    await cluster.until(lambda: is_bound(cluster))
    found = await claim_of(cluster)
    assert found.spec.volume_name == f"pvc-{found.metadata.uid}"
    assert (await volume_of(cluster, "late")).status.phase == "Available"


async def test_waiting_for_the_first_consumer(cluster: Any) -> None:
    await cluster.create(make_node("n1"))
    await cluster.create(make_class(mode="WaitForFirstConsumer"))
    await cluster.create(make_claim(cls="dirs"))
    await cluster.settled(3)
    assert (await claim_of(cluster)).status.phase == "Pending"
    assert (
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
    ) in await cluster.events()
    for name in ("b", "a"):
        await cluster.create(with_claim(make_pod(name), "data"))
        await cluster.settled(1)
    told = [message for reason, message in await cluster.events() if reason == "WaitForPodScheduled"]
    assert told == ["waiting for pod b to be scheduled", "waiting for pods a,b to be scheduled"]
    await cluster.create(with_claim(make_pod("user", node="n1"), "data"))
    await cluster.until(lambda: is_bound(cluster))
    annotations = (await claim_of(cluster)).metadata.annotations
    assert annotations["volume.kubernetes.io/selected-node"] == "n1"


async def test_a_claim_that_came_before_the_default_class_gets_it(cluster: Any) -> None:
    early = make_claim()
    await cluster.create(replace(early, spec=replace(early.spec, storage_class_name=None)))
    await cluster.create(make_claim("none"))  # asks for no class
    await cluster.settled(2)
    assert (await claim_of(cluster)).status.phase == "Pending"
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    made = make_class()
    await cluster.create(replace(made, metadata=replace(made.metadata, annotations=default)))
    await cluster.until(lambda: is_bound(cluster))
    assert (await claim_of(cluster)).spec.storage_class_name == "dirs"
    without = await claim_of(cluster, "none")
    assert (without.status.phase, without.spec.storage_class_name) == ("Pending", "")


async def test_a_claim_that_forgets_its_volume_is_lost(cluster: Any) -> None:
    forgetful = make_claim()
    forgotten = {"pv.kubernetes.io/bind-completed": "yes"}
    await cluster.create(replace(forgetful, metadata=replace(forgetful.metadata, annotations=forgotten)))
    await cluster.settled(2)
    assert (await claim_of(cluster)).status.phase == "Lost"
    message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
    assert ("ClaimLost", message) in await cluster.events()


async def test_volumes_whose_mode_is_not_that_of_their_claim_are_told_of(cluster: Any) -> None:
    claim = await cluster.create(make_claim(size="9Gi", volume_mode="Block"))
    ref = ObjectReference(namespace="default", name="data", uid=claim.metadata.uid)
    await cluster.create(make_volume("files", "9Gi", claim_ref=ref))
    await cluster.settled(2)
    assert (await claim_of(cluster)).status.phase == "Pending"
    why = "due to incompatible volumeMode."
    assert {message for reason, message in await cluster.events() if reason == "VolumeMismatch"} == {
        f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "data" {why}',
        f'Cannot bind PersistentVolume "files" to requested PersistentVolumeClaim {why}',
    }


async def test_a_volume_that_nobody_can_delete_says_so(cluster: Any) -> None:
    await cluster.create(make_volume("kept", persistent_volume_reclaim_policy="Delete"))
    await cluster.create(make_claim())
    await cluster.until(lambda: is_bound(cluster))
    await removed(cluster, PersistentVolumeClaim, "data")
    status = (await volume_of(cluster, "kept")).status
    what = 'error getting deleter volume plugin for volume "kept": no deletable volume plugin matched'
    assert (status.phase, status.message) == ("Failed", what)
    assert ("VolumeFailedDelete", what) in await cluster.events()


async def test_what_is_used_stays_until_it_is_not(cluster: Any) -> None:
    await cluster.create(make_volume("one"))
    await cluster.create(make_claim())
    await cluster.create(with_claim(make_pod("user", node="n"), "data"))
    await cluster.settled(3)
    assert (await volume_of(cluster, "one")).metadata.finalizers == ("kubernetes.io/pv-protection",)
    assert (await claim_of(cluster)).metadata.finalizers == ("kubernetes.io/pvc-protection",)
    await removed(cluster, PersistentVolume, "one", "")
    await removed(cluster, PersistentVolumeClaim, "data")
    assert (await volume_of(cluster, "one")).metadata.deletion_timestamp is not None
    assert (await claim_of(cluster)).metadata.deletion_timestamp is not None
    await cluster.delete(Pod, "user", grace=0)
    await cluster.settled(5)
    assert await cluster.names(PersistentVolumeClaim) == []
    assert await cluster.names(PersistentVolume, "") == []


async def test_a_pod_that_has_ended_holds_its_claims_until_it_is_gone(cluster: Any) -> None:
    await cluster.create(make_claim())
    await cluster.create(with_claim(make_pod("user", node="n"), "data"))
    await cluster.change(
        Pod, "user", lambda p: replace(p, status=replace(p.status, phase="Succeeded")), subresource="status"
    )
    await cluster.settled(3)
    await removed(cluster, PersistentVolumeClaim, "data")
    assert (await claim_of(cluster)).metadata.deletion_timestamp is not None
    await cluster.delete(Pod, "user", grace=0)
    await cluster.settled(3)
    assert await cluster.names(PersistentVolumeClaim) == []


async def test_a_pod_without_a_node_holds_no_claims(cluster: Any) -> None:
    await cluster.create(make_claim())
    await cluster.create(with_claim(make_pod("user"), "data"))
    await cluster.settled(3)
    await removed(cluster, PersistentVolumeClaim, "data")
    assert await cluster.names(PersistentVolumeClaim) == []


def with_scratch(name: str, **how: Any) -> Pod:
    template = PersistentVolumeClaimTemplate(spec=make_claim().spec)
    volume = Volume(name="scratch", ephemeral=EphemeralVolumeSource(volume_claim_template=template))
    return make_pod(name, node="n", volumes=(volume,), **how)


async def test_a_pod_that_its_node_is_done_with_does_not_hold_the_claims_made_for_it(cluster: Any) -> None:
    pod = with_scratch("p")
    await cluster.create(replace(pod, metadata=replace(pod.metadata, finalizers=("example.com/later",))))
    await cluster.settled(3)
    await removed(cluster, PersistentVolumeClaim, "p-scratch")
    await cluster.delete(Pod, "p", grace=30)
    await cluster.settled(3)
    assert await cluster.names(PersistentVolumeClaim) == ["p-scratch"]
    await cluster.delete(Pod, "p", grace=0)
    await cluster.settled(3)
    assert await cluster.names(Pod) == ["p"]
    assert await cluster.names(PersistentVolumeClaim) == []


async def test_a_claim_that_only_has_the_name_of_one_made_for_a_pod_is_not_held(cluster: Any) -> None:
    await cluster.create(make_claim("p-scratch"))
    await cluster.create(with_scratch("p"))
    await cluster.settled(3)
    await removed(cluster, PersistentVolumeClaim, "p-scratch")
    made = await claim_of(cluster, "p-scratch")
    assert [owner.name for owner in made.metadata.owner_references] == ["p"]


async def test_that_nobody_uses_a_claim_is_not_left_to_what_was_heard(world: Any) -> None:
    """The cache of Pods stays empty here: only the registry tells who uses what."""
    users = ClaimUsers(world.informers)
    pods = world.client.resource(Pod)
    listed = []

    async def listing(query: Any) -> Any:
        listed.append(query.namespace)
        return await pods.list(query)

    users._registry = SimpleNamespace(list=listing)
    await world.create(with_claim(make_pod("user", node="n"), "data"))
    claims = [await world.create(make_claim(name)) for name in ("data", "other", "more")]
    assert [await users.use(claim) for claim in claims] == [True, False, False]
    assert listed == ["default"]
    await world.delete(Pod, "user", grace=0)
    assert not await users.use(claims[0])
    late = await world.create(make_claim("late"))
    assert not await users.use(late)
    assert listed == ["default"] * 3


async def test_a_class_of_attributes_stays_while_a_claim_or_a_volume_has_it(cluster: Any) -> None:
    await cluster.create(
        VolumeAttributesClass(
            metadata=ObjectMeta(name="fast"), driver_name="d.example", parameters={"iops": "5"}
        )
    )
    volume = make_volume("one")
    source = CSIPersistentVolumeSource(driver="d.example", volume_handle="1")
    spec = replace(volume.spec, host_path=None, csi=source, volume_attributes_class_name="fast")
    await cluster.create(replace(volume, spec=spec))
    await cluster.create(make_claim(volume_attributes_class_name="fast"))
    await cluster.settled(3)
    found = await cluster.get(VolumeAttributesClass, "fast", "")
    assert found.metadata.finalizers == ("kubernetes.io/vac-protection",)
    await removed(cluster, VolumeAttributesClass, "fast", "")
    assert await cluster.names(VolumeAttributesClass, "") == ["fast"]
    await removed(cluster, PersistentVolumeClaim, "data")
    assert await cluster.names(VolumeAttributesClass, "") == ["fast"]
    await removed(cluster, PersistentVolume, "one", "")
    assert await cluster.names(VolumeAttributesClass, "") == []


async def test_who_wants_more_than_there_is_is_told_once_to_wait(cluster: Any) -> None:
    await cluster.create(make_class())
    await cluster.create(make_claim(cls="dirs"))
    await cluster.until(lambda: is_bound(cluster))
    message = ("ExternalExpanding", "waiting for an external controller to expand this PVC")
    assert message not in await cluster.events()
    larger = VolumeResourceRequirements(requests={"storage": "2Gi"})
    await cluster.change(
        PersistentVolumeClaim, "data", lambda c: replace(c, spec=replace(c.spec, resources=larger))
    )
    await cluster.settled(3)
    assert message in await cluster.events()


async def test_ephemeral_claims_come_and_go_with_their_pod(world: Any, tmp_path: Path) -> None:
    collector = garbage_collector(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
    )
    async with world.running(*components(world, tmp_path), collector):
        await world.create(make_class())
        template = PersistentVolumeClaimTemplate(spec=make_claim(cls="dirs").spec)
        volume = Volume(name="scratch", ephemeral=EphemeralVolumeSource(volume_claim_template=template))
        await world.create(make_pod("p", volumes=(volume,)))
        await world.until(lambda: is_bound(world, "p-scratch"))
        await world.delete(Pod, "p", grace=0)
        await world.until(lambda: is_gone(world, PersistentVolumeClaim))
        await world.until(lambda: is_gone(world, PersistentVolume))


@pytest.mark.seeds(10)
async def test_under_conflicts_and_losses_no_volume_has_two_claims(
    make_world: Any, anyio_backend: Any, tmp_path: Path
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=200.0), every=4)

    async with make_world(line, seed) as world, world.running(*components(world, tmp_path)):
        for number in range(6):
            await world.create(make_volume(f"v{number}", f"{number + 1}Gi"))
            await world.create(make_claim(f"c{number}", f"{number + 1}Gi"))
        await anyio.sleep(3000)
        claims = await world.all(PersistentVolumeClaim)
        bound = [claim for claim in claims if claim.status.phase == "Bound"]
        assert len({claim.spec.volume_name for claim in bound}) == len(bound)
        for claim in bound:
            volume = await volume_of(world, claim.spec.volume_name)
            assert volume.status.phase == "Bound"
            assert volume.spec.claim_ref is not None
            assert volume.spec.claim_ref.uid == claim.metadata.uid
        assert all(claim in bound or claim.status.phase == "Pending" for claim in claims)
        assert bound
