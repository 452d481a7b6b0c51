"""Storage as a scheduler knows it: claims, volumes, classes, how many volumes nodes may have, and which Pods use what."""

from collections.abc import Iterable, Mapping, Sequence

import attrs

from kubelib.api.claiming import (
    LATE,
    SELECTED_NODE,
    bound_volume,
    candidates,
    class_of,
    is_bound,
    is_meant_for,
)
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.storage import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment
from kubelib.sched.capacities import Capacities
from kubelib.sched.pods import Disk, PodInfo

StorageObject = (
    PersistentVolumeClaim
    | PersistentVolume
    | StorageClass
    | CSINode
    | CSIDriver
    | CSIStorageCapacity
    | VolumeAttachment
)


@attrs.frozen
class Wanted:
    """The claims of a Pod, by what they need of a node."""

    outright: str = ""
    """Why the Pod can be nowhere at all, whatever the nodes are like."""
    bound: tuple[PersistentVolume | None, ...] = ()
    """The volumes of claims that have one; None for a volume that does not exist."""
    late: tuple[PersistentVolumeClaim, ...] = ()
    """Claims that get a volume when a node has been chosen."""


class Volumes:
    """What is known of storage. Kept in step by `Following`, and ahead of it by what was just decided."""

    def __init__(self) -> None:
        self.classes: dict[str, StorageClass] = {}
        self.capacities = Capacities()
        self.limits: dict[str, Mapping[str, int]] = {}
        """By node, then by driver: how many volumes there may be."""
        self.drivers: dict[str, frozenset[str]] = {}
        """By node: the drivers that are running there."""
        self.indispensable: set[str] = set()
        """The drivers without which no Pod with a volume of theirs is to be on a node."""
        self._attachments: dict[str, dict[str, str]] = {}
        """By node, then by attachment: the volume that it is about."""
        self._attached_to: dict[str, str] = {}
        self._claims: dict[Key, PersistentVolumeClaim] = {}
        self._volumes: dict[str, PersistentVolume] = {}
        self._by_class: dict[str, dict[str, PersistentVolume]] = {}
        self._kept: dict[Key, dict[str, PersistentVolume]] = {}
        self._users: dict[Key, int] = {}
        self._disks: dict[str, dict[int, list[int]]] = {}

    def claim(self, key: Key) -> PersistentVolumeClaim | None:
        """Return a claim."""
        return self._claims.get(key)

    def volume(self, name: str) -> PersistentVolume | None:
        """Return a volume."""
        return self._volumes.get(name)

    # What happens

    def put_claim(self, key: Key, claim: PersistentVolumeClaim | None) -> bool:
        """Learn of a claim, or that it is gone (None); return whether that may help a Pod."""
        old = self._claims.pop(key, None)
        if claim is not None:
            self._claims[key] = claim
        return _matters(old) != _matters(claim)

    def put_volume(self, name: str, volume: PersistentVolume | None) -> bool:
        """Learn of a volume, or that it is gone (None); return whether that may help a Pod."""
        old = self._volumes.pop(name, None)
        if old is not None:
            place, key = self._shelf(old)
            del place[key][name]  # type: ignore[index]
            if not place[key]:  # type: ignore[index]
                del place[key]  # type: ignore[arg-type]
        if volume is not None:
            self._volumes[name] = volume
            place, key = self._shelf(volume)
            place.setdefault(key, {})[name] = volume  # type: ignore[arg-type]
        return volume is not None and (
            old is None
            or old.spec != volume.spec
            or old.status != volume.status
            # The zone is one of them.
            or old.metadata.labels != volume.metadata.labels
        )

    def _shelf(
        self, volume: PersistentVolume
    ) -> tuple[dict[str, dict[str, PersistentVolume]] | dict[Key, dict[str, PersistentVolume]], str | Key]:
        ref = volume.spec.claim_ref
        if ref is None:
            return self._by_class, class_of(volume)
        return self._kept, Key(ref.namespace, ref.name)

    def put_class(self, name: str, storage_class: StorageClass | None) -> bool:
        """Learn of a storage class, or that it is gone (None); return whether that may help a Pod."""
        self.classes.pop(name, None)
        if storage_class is not None:
            self.classes[name] = storage_class
        return storage_class is not None

    def put_limits(self, node: str, drivers: CSINode | None) -> bool:
        """Learn how many volumes a node may have; return whether that may help a Pod."""
        old, before = self.limits.pop(node, {}), self.drivers.pop(node, None)
        found = {
            driver.name: driver.allocatable.count
            for driver in (drivers.spec.drivers if drivers is not None else ())
            if driver.allocatable is not None and driver.allocatable.count is not None
        }
        if found:
            self.limits[node] = found
        if drivers is not None:
            self.drivers[node] = frozenset(driver.name for driver in drivers.spec.drivers)
        return found != old or self.drivers.get(node) != before

    def put_driver(self, name: str, driver: CSIDriver | None) -> bool:
        """Learn of a driver, or that it is gone (None); return whether that may help a Pod."""
        needed = driver is not None and driver.spec.prevent_pod_scheduling_if_missing is True
        was_needed = name in self.indispensable
        if needed:
            self.indispensable.add(name)
        else:
            self.indispensable.discard(name)
        return self.capacities.put_driver(name, driver) or (was_needed and not needed)

    def put_attachment(self, name: str, attachment: VolumeAttachment | None) -> bool:
        """Learn of a volume that is attached to a node, or is no more (None); return whether that may help a Pod."""
        node = self._attached_to.pop(name, None)
        if node is not None:
            there = self._attachments[node]
            del there[name]
            if not there:
                del self._attachments[node]
        if attachment is not None and (volume := attachment.spec.source.persistent_volume_name):
            self._attached_to[name] = attachment.spec.node_name
            self._attachments.setdefault(attachment.spec.node_name, {})[name] = volume
        return node is not None and attachment is None

    def put(self, thing: StorageObject) -> bool:
        """Learn of any object about storage; return whether that may help a Pod."""
        match thing:
            case PersistentVolumeClaim():
                return self.put_claim(thing.key, thing)
            case PersistentVolume():
                return self.put_volume(thing.metadata.name, thing)
            case StorageClass():
                return self.put_class(thing.metadata.name, thing)
            case CSINode():
                return self.put_limits(thing.metadata.name, thing)
            case CSIDriver():
                return self.put_driver(thing.metadata.name, thing)
            case CSIStorageCapacity():
                return self.capacities.put(thing.key, thing)
            case VolumeAttachment():
                return self.put_attachment(thing.metadata.name, thing)

    # What Pods need

    def wanted(self, pod: PodInfo) -> Wanted:
        """Return what a Pod's claims need of a node."""
        bound: list[PersistentVolume | None] = []
        late: list[PersistentVolumeClaim] = []
        immediate = False
        for name, own in pod.claims:
            claim = self._claims.get(Key(pod.namespace, name))
            if why := _unusable(name, own, claim):
                return Wanted(why)
            assert claim is not None
            if is_bound(claim):
                bound.append(self._volumes.get(claim.spec.volume_name))
            elif self._is_late(claim):
                late.append(claim)
            else:
                immediate = True
        if immediate:
            return Wanted("pod has unbound immediate PersistentVolumeClaims")
        return Wanted("", tuple(bound), tuple(late))

    def _is_late(self, claim: PersistentVolumeClaim) -> bool:
        storage_class = self.classes.get(class_of(claim))
        return (
            storage_class is not None
            and storage_class.volume_binding_mode == LATE
            and not claim.spec.volume_name
        )

    def candidates(self, claim: PersistentVolumeClaim) -> Sequence[PersistentVolume]:
        """Return the volumes that could serve a claim, best first; if one that could is kept for it, only that."""
        kept = [v for v in self._kept.get(claim.key, {}).values() if is_meant_for(v, claim)]
        return candidates(claim, kept) or candidates(claim, self._by_class.get(class_of(claim), {}).values())

    def is_kept(self, volume: PersistentVolume) -> bool:
        """Return whether a volume has been given to a claim."""
        return volume.spec.claim_ref is not None

    def handles(self, pod: PodInfo) -> dict[str, set[str]]:
        """Return what a Pod attaches to its node: by driver, the names of volumes there."""
        found: dict[str, set[str]] = {}
        for name, _ in pod.claims:
            claim = self._claims.get(Key(pod.namespace, name))
            if claim is None:
                continue
            volume = self._volumes.get(claim.spec.volume_name)
            if volume is not None:
                if volume.spec.csi is not None:
                    found.setdefault(volume.spec.csi.driver, set()).add(volume.spec.csi.volume_handle)
                continue
            storage_class = self.classes.get(class_of(claim))
            if storage_class is not None:
                # It will have a volume there; until then its own name stands for that one.
                found.setdefault(storage_class.provisioner, set()).add(f"claim {claim.key}")
        return found

    def attached(self, node: str) -> dict[str, set[str]]:
        """Return what is attached to a node, whether a Pod there uses it or not: by driver, the names of volumes there."""
        found: dict[str, set[str]] = {}
        for name in self._attachments.get(node, {}).values():
            volume = self._volumes.get(name)
            if volume is not None and volume.spec.csi is not None:
                found.setdefault(volume.spec.csi.driver, set()).add(volume.spec.csi.volume_handle)
        return found

    # What was decided

    def keep(self, volume: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
        """Count a volume as the claim's from now on; return what is to be written."""
        kept = bound_volume(volume, claim)
        self.put_volume(volume.metadata.name, kept)
        return kept

    def select(self, claim: PersistentVolumeClaim, node: str) -> PersistentVolumeClaim:
        """Count a claim as needed on a node from now on."""
        meta = claim.metadata
        selected = replace(
            claim, metadata=replace(meta, annotations={**meta.annotations, SELECTED_NODE: node})
        )
        self.put_claim(claim.key, selected)
        return selected

    # Who uses what

    def account(self, pod: PodInfo, row: int, sign: int) -> None:
        """Count what a Pod on a row uses, or count it no more."""
        for name, _ in pod.claims:
            key = Key(pod.namespace, name)
            self._users[key] = self._users.get(key, 0) + sign
            if not self._users[key]:
                del self._users[key]
        for identity, read_only in pod.disks:
            rows = self._disks.setdefault(identity, {})
            counts = rows.setdefault(row, [0, 0])
            counts[read_only] += sign
            if not any(counts):
                del rows[row]
            if not rows:
                del self._disks[identity]

    def is_used(self, key: Key) -> bool:
        """Return whether a Pod that has a node uses a claim."""
        return key in self._users

    def rows_without(self, disks: Iterable[Disk]) -> set[int]:
        """Return the rows on which one of `disks` is in use in a way that leaves no place for another user."""
        taken: set[int] = set()
        for identity, read_only in disks:
            for row, (writers, _) in self._disks.get(identity, {}).items():
                if writers or not read_only:
                    taken.add(row)
        return taken


def _matters(claim: PersistentVolumeClaim | None) -> tuple[object, ...] | None:
    if claim is None:
        return None
    meta = claim.metadata
    return (
        is_bound(claim),
        claim.status.phase == "Lost",
        meta.uid,
        meta.annotations.get(SELECTED_NODE, ""),
        meta.deletion_timestamp is None,
    )


def _unusable(name: str, own: bool, claim: PersistentVolumeClaim | None) -> str:
    """Return why a Pod cannot use a claim at all, in kube-scheduler's words; empty if it can."""
    if claim is None:
        if own:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if claim.status.phase == "Lost":
        volume = claim.spec.volume_name
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if claim.metadata.deletion_timestamp is not None:
        return f'persistentvolumeclaim "{name}" is being deleted'
    return ""
