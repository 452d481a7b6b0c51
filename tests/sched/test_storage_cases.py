"""Filters about volumes: the answers that kube-scheduler has for these Pods and nodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kubelib.api.core.drivers import (
    AWSElasticBlockStoreVolumeSource,
    GCEPersistentDiskVolumeSource,
    ISCSIVolumeSource,
    RBDVolumeSource,
)
from kubelib.api.core.persistentvolumes import (
    CSIPersistentVolumeSource,
    PersistentVolume,
    PersistentVolumeSpec,
)
from kubelib.api.core.volumes import Volume
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.storage import VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.spaces import PrefersSpace
from kubelib.sched.policies.storage import IsInVolumeZone, KeepsVolumeLimits, SharesVolumes
from kubelib.sched.volumes import StorageObject
from kubelib.testing.objects import make_node, make_pod
from tests.sched.layouts import answers, points, with_labels
from tests.sched.test_storage import (
    DRIVER,
    claim_volume,
    make_capacity,
    make_claim,
    make_class,
    make_driver,
    make_limits,
    make_volume,
)

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OLD_ZONE, OLD_REGION = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"


def volume(name: str, labels: Mapping[str, str] | None = None, driver: str = DRIVER) -> PersistentVolume:
    source = CSIPersistentVolumeSource(driver=driver, volume_handle=name)
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels=labels or {}), spec=PersistentVolumeSpec(csi=source)
    )


@pytest.mark.parametrize(
    ("there", "here", "fits"),
    [
        ({OLD_ZONE: "a"}, {}, True),
        ({OLD_ZONE: "a"}, {OLD_ZONE: "a", "other": "none"}, True),
        ({OLD_REGION: "r", "other": "none"}, {OLD_REGION: "r"}, True),
        ({OLD_REGION: "r"}, {OLD_REGION: "no"}, False),
        ({OLD_ZONE: "a"}, {OLD_ZONE: "no"}, False),
        ({ZONE: "a"}, {ZONE: "a"}, True),
        ({REGION: "r"}, {REGION: "r"}, True),
        ({REGION: "r"}, {REGION: "no"}, False),
        ({ZONE: "a"}, {ZONE: "no"}, False),
        ({ZONE: "a", REGION: "a"}, {ZONE: "a"}, False),
        ({ZONE: "a"}, {OLD_ZONE: "a"}, False),
        ({OLD_ZONE: "a"}, {ZONE: "a"}, True),
        ({OLD_ZONE: "a"}, {ZONE: "b"}, False),
        ({OLD_ZONE: "c__a"}, {OLD_ZONE: "a"}, True),
        ({ZONE: "c__a"}, {ZONE: "a"}, True),
        ({ZONE: "c__a"}, {ZONE: "b"}, False),
        ({"other": "none"}, {ZONE: "b"}, True),
    ],
)
def test_volumes_are_where_kube_scheduler_says(
    there: dict[str, str], here: dict[str, str], fits: bool
) -> None:
    table = NodeTable()
    table.put_node(with_labels(make_node("one"), here))
    table.volumes.put(make_claim("c", volume_name="v"))
    table.volumes.put(volume("v", there))
    found = answers(IsInVolumeZone(), make_pod(volumes=(claim_volume("c"),)), table)
    assert found == {"one": () if fits else ("node(s) had no available volume zone",)}


def gce(name: str, read_only: bool = False) -> Volume:
    return Volume(
        name="v", gce_persistent_disk=GCEPersistentDiskVolumeSource(pd_name=name, read_only=read_only)
    )


def aws(name: str, read_only: bool = False) -> Volume:
    source = AWSElasticBlockStoreVolumeSource(volume_id=name, read_only=read_only)
    return Volume(name="v", aws_elastic_block_store=source)


def rbd(monitors: str, read_only: bool = False) -> Volume:
    return Volume(
        name="v", rbd=RBDVolumeSource(monitors=tuple(monitors), pool="foo", image="bar", read_only=read_only)
    )


def iscsi(iqn: str, read_only: bool = False) -> Volume:
    return Volume(
        name="v", iscsi=ISCSIVolumeSource(target_portal="127.0.0.1:3260", iqn=iqn, read_only=read_only)
    )


@pytest.mark.parametrize(
    ("wanted", "there", "fits"),
    [
        *((make(x), make(y), x != y) for make, x, y in ((gce, "f", "f"), (gce, "b", "f"), (aws, "f", "f"), (aws, "b", "f"))),
        *((make(x), make(y), x != y) for make, x, y in ((iscsi, "f", "f"), (iscsi, "b", "f"))),
        (rbd("ab"), rbd("ab"), False),
        (rbd("bc"), rbd("ab"), False),
        (rbd("cd"), rbd("ab"), True),
        *((make("a", True), make("a", True), make is not aws) for make in (gce, aws, rbd, iscsi)),
        *((make("a", True), make("a"), False) for make in (gce, aws, rbd, iscsi)),
    ],
)  # fmt: skip
def test_disks_are_shared_as_kube_scheduler_says(wanted: Volume, there: Volume, fits: bool) -> None:
    table = NodeTable()
    table.put_node(make_node("one"))
    table.put_pod(PodInfo.of(make_pod("there", uid="there", volumes=(there,))), "one")
    found = answers(SharesVolumes(), make_pod(volumes=(wanted,)), table)
    assert found == {"one": () if fits else ("node(s) had no available disk",)}


OTHER = "other.example"
ATTACHED: Mapping[str, tuple[str, Sequence[str], int, bool]] = {
    "room": ("d0", ["d3"], 2, True),
    "no room": ("d0", ["d3"], 1, False),
    "what a pod uses too counts once": ("d0", ["d1"], 2, True),
    "other drivers": ("d0", ["o1", "o2"], 1, True),
    "what is there already": ("d3", ["d3"], 1, True),
    "what is not known": ("d0", ["none"], 1, True),
}
LIMITS: Mapping[str, tuple[str, Sequence[str], int | None, bool]] = {
    "room": ("d0", ["d3", "d1 d2"], 4, True),
    "no room": ("d0", ["d3", "d1 d2"], 2, False),
    "no limit": ("d0", ["d3", "d1 d2"], None, True),
    "claims that wait count": ("d0", ["late", "d1 d2"], 2, False),
    "one claim counts once": ("d0", ["late", "late", "d1 d2"], 4, True),
    "volumes that are lost count by their class": ("d0", ["lost", "d1 d2"], 2, False),
    "without a class nothing counts": ("d0", ["d3", "classless"], 2, True),
    "other drivers": ("d0", ["o1 o2", "d1 d2"], 2, False),
    "other drivers only": ("o1 o2", ["d1 d2", "d3"], 2, True),
    "what is there already": ("d1", ["d1 d2"], 2, True),
    "one of two is there already": ("d1 d0", ["d1 d2"], 2, False),
    "who waits": ("late", ["d1 d2"], 2, False),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits_of_volumes_hold_as_kube_scheduler_says(case: str) -> None:
    wanted, there, limit, fits = LIMITS[case]
    table = NodeTable()
    table.put_node(make_node("one"))
    things: tuple[StorageObject, ...] = (
        make_class("late"),
        make_claim("late"),
        make_claim("lost", volume_name="gone"),
        make_claim("classless", cls="none"),
        *(make_claim(name, volume_name=name) for name in ("d0", "d1", "d2", "d3", "o1", "o2")),
        *(volume(f"d{number}") for number in range(4)),
        *(volume(f"o{number}", driver=OTHER) for number in range(1, 3)),
    )
    for thing in things:
        table.volumes.put(thing)
    if limit is not None:
        table.volumes.put(make_limits("one", limit))

    def pod(claims: str, **options: Any) -> Any:
        return make_pod(volumes=tuple(map(claim_volume, claims.split())), **options)

    for number, claims in enumerate(there):
        table.put_pod(PodInfo.of(pod(claims, uid=f"there-{number}")), "one")
    found = answers(KeepsVolumeLimits(), pod(wanted), table)
    assert found == {"one": () if fits else ("node(s) exceed max volume count",)}


@pytest.mark.parametrize("case", ATTACHED)
def test_volumes_that_are_attached_count_whether_a_pod_uses_them_or_not(case: str) -> None:
    wanted, attached, limit, fits = ATTACHED[case]
    table = NodeTable()
    table.put_node(make_node("one"))
    known = table.volumes
    for name in ("d0", "d1", "d3"):
        known.put(make_claim(name, volume_name=name))
        known.put(volume(name))
    for name in ("o1", "o2"):
        known.put(volume(name, driver=OTHER))
    known.put(make_limits("one", limit))
    for name in attached:
        assert not known.put(attachment(name, "one"))
    assert not known.put(attachment("d0", "another"))
    if "d1" in attached:
        table.put_pod(PodInfo.of(make_pod(uid="there", volumes=(claim_volume("d1"),))), "one")
    pod = make_pod(volumes=(claim_volume(wanted),))
    assert answers(KeepsVolumeLimits(), pod, table) == {
        "one": () if fits else ("node(s) exceed max volume count",)
    }
    if not fits:
        assert known.put_attachment("d3-one", None)
        assert answers(KeepsVolumeLimits(), pod, table) == {"one": ()}


def attachment(volume: str, node: str) -> VolumeAttachment:
    source = VolumeAttachmentSource(persistent_volume_name=volume)
    return VolumeAttachment(
        metadata=ObjectMeta(name=f"{volume}-{node}"),
        spec=VolumeAttachmentSpec(attacher=DRIVER, source=source, node_name=node),
    )


def test_a_driver_that_says_so_must_run_on_the_node() -> None:
    table = NodeTable()
    for name in ("one", "two"):
        table.put_node(make_node(name))
    known = table.volumes
    for thing in (make_class("late"), make_claim("late"), make_claim("d", volume_name="d"), volume("d")):
        known.put(thing)
    pods = [make_pod(volumes=(claim_volume(name),)) for name in ("late", "d")]
    assert [answers(KeepsVolumeLimits(), pod, table) for pod in pods] == [{"one": (), "two": ()}] * 2
    known.put(make_driver(needed=True))
    missing = (f"{DRIVER} CSI driver is not installed on the node",)
    assert known.put(make_limits("two", 1))
    assert [answers(KeepsVolumeLimits(), pod, table) for pod in pods] == [{"one": missing, "two": ()}] * 2
    assert known.put_limits("two", None)
    assert known.put(make_driver())
    assert [answers(KeepsVolumeLimits(), pod, table) for pod in pods] == [{"one": (), "two": ()}] * 2


SPACE: Mapping[str, tuple[Sequence[StorageObject], dict[str, float]]] = {
    "nobody keeps count": ((), {"a": 0, "b": 0, "c": 0}),
    "what drivers have left": (
        (
            make_driver(counts=True),
            make_capacity("a", "late", LabelSelector(match_labels={ZONE: "a"}), capacity="200"),
            make_capacity("b", "late", LabelSelector(match_labels={ZONE: "b"}), capacity="100"),
            # What a volume may be at most does not say how much is left.
            make_capacity("c", "late", LabelSelector(match_labels={ZONE: "c"}), maximum_volume_size="100"),
        ),
        {"a": 75, "b": 50, "c": 0},
    ),
    "volumes that are there, and what drivers have left elsewhere": (
        (
            make_driver(counts=True),
            make_volume("v", "a", size=500),
            make_capacity("k", "late", LabelSelector(), capacity="60"),
        ),
        {"a": 90, "b": 17, "c": 17},
    ),
}


@pytest.mark.parametrize("case", SPACE)
def test_nodes_with_much_storage_left_are_better(case: str) -> None:
    storage, expected = SPACE[case]
    table = NodeTable()
    for zone in "abc":
        table.put_node(with_labels(make_node(zone), {ZONE: zone}))
    for thing in (make_class("late"), make_claim("c", size=50), *storage):
        table.volumes.put(thing)
    pod = make_pod(volumes=(claim_volume("c"),))
    assert points(PrefersSpace(), pod, table) == expected
    full = PrefersSpace(((0, 0), (100, 10)))
    for name, given in points(full, pod, table).items():
        # Rates the other way round, cut off in the other direction.
        assert given in ((0,) if not any(expected.values()) else (100 - expected[name], 99 - expected[name]))


def test_pods_whose_claims_all_have_volumes_have_no_preference() -> None:
    table = NodeTable()
    table.put_node(make_node("one"))
    table.volumes.put(make_claim("d", volume_name="d"))
    table.volumes.put(volume("d"))
    assert points(PrefersSpace(), make_pod(volumes=(claim_volume("d"),)), table) == {"one": 0}
