"""Which volume a claim gets, and what binds the two. Pure."""

from collections.abc import Iterable, Mapping

from kubelib.api.claiming import (
    BIND_COMPLETED as BIND_COMPLETED,
)
from kubelib.api.claiming import BOUND_BY_CONTROLLER, YES, candidates
from kubelib.api.claiming import CLASS as CLASS
from kubelib.api.claiming import SELECTED_NODE as SELECTED_NODE
from kubelib.api.claiming import bound_volume as bound_volume
from kubelib.api.claiming import capacity as capacity
from kubelib.api.claiming import class_of as class_of
from kubelib.api.claiming import is_meant_for as is_meant_for
from kubelib.api.claiming import reference as reference
from kubelib.api.claiming import requested as requested
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.node import Node
from kubelib.api.core.persistentvolumes import PersistentVolume, PersistentVolumeSource, PersistentVolumeSpec
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.storage import StorageClass
from kubelib.controllers.daemons import selects

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"

_SOURCES = tuple(PersistentVolumeSource.__struct_fields__)


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Return why a volume cannot serve a claim that names it; empty if it can."""
    if requested(claim).amount > capacity(volume).amount:
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    return ""


def _reaches(volume: PersistentVolume, node: Node | None) -> bool:
    affinity = volume.spec.node_affinity
    if node is None or affinity is None or affinity.required is None:
        return True
    return selects(affinity.required, node)


def best_match(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume], node: Node | None = None
) -> PersistentVolume | None:
    """Return the volume that a claim gets: the first of its `candidates`. With a node, only of those that it reaches."""
    return next((volume for volume in candidates(claim, volumes) if _reaches(volume, node)), None)


def _annotated(meta: ObjectMeta, changes: Mapping[str, str]) -> ObjectMeta:
    return replace(meta, annotations={**meta.annotations, **changes})


def bound_claim(claim: PersistentVolumeClaim, volume: PersistentVolume) -> PersistentVolumeClaim:
    """Return a claim that has a volume."""
    changes = {}
    if claim.spec.volume_name != volume.metadata.name:
        changes[BOUND_BY_CONTROLLER] = YES
    if BIND_COMPLETED not in claim.metadata.annotations:
        changes[BIND_COMPLETED] = YES
    if not changes:
        return claim
    return replace(
        claim,
        metadata=_annotated(claim.metadata, changes),
        spec=replace(claim.spec, volume_name=volume.metadata.name),
    )


def unbound_volume(volume: PersistentVolume) -> PersistentVolume:
    """Return a volume without its claim; one that was kept for the claim by name still is."""
    if volume.metadata.annotations.get(BOUND_BY_CONTROLLER) is not None:
        annotations = {k: v for k, v in volume.metadata.annotations.items() if k != BOUND_BY_CONTROLLER}
        return replace(
            volume,
            metadata=replace(volume.metadata, annotations=annotations),
            spec=replace(volume.spec, claim_ref=None),
        )
    ref = volume.spec.claim_ref
    kept = replace(ref, uid="", resource_version="") if ref is not None else None
    return replace(volume, spec=replace(volume.spec, claim_ref=kept))


def provisioned(
    name: str,
    claim: PersistentVolumeClaim,
    storage_class: StorageClass,
    source: PersistentVolumeSource,
    provisioner: str,
) -> PersistentVolume:
    """Return the volume for storage that has been made for a claim."""
    return PersistentVolume(
        metadata=ObjectMeta(name=name, annotations={PROVISIONED_BY: provisioner, BOUND_BY_CONTROLLER: YES}),
        spec=PersistentVolumeSpec(
            **{field: getattr(source, field) for field in _SOURCES},
            capacity={"storage": claim.spec.resources.requests.get("storage", "0")},
            access_modes=claim.spec.access_modes,
            claim_ref=reference(claim),
            persistent_volume_reclaim_policy=storage_class.reclaim_policy or "Delete",
            storage_class_name=storage_class.metadata.name,
            mount_options=storage_class.mount_options,
            volume_mode=claim.spec.volume_mode or "Filesystem",
        ),
    )
