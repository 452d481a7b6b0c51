"""Which volumes could serve a claim, and what says that one does: what those who bind claims and those who place Pods agree on."""

from collections.abc import Iterable, Iterator

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.core.references import ObjectReference
from kubelib.api.model import replace
from kubelib.api.quantity import Quantity, parse_quantity
from kubelib.labels import selector_from_label_selector

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
CLASS = "volume.beta.kubernetes.io/storage-class"
LATE = "WaitForFirstConsumer"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
YES = "yes"


def claim_names(pod: Pod) -> Iterator[tuple[str, bool]]:
    """Yield the names of the claims that a Pod uses, and whether each is made for the Pod alone."""
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield volume.persistent_volume_claim.claim_name, False
        elif volume.ephemeral is not None:
            yield f"{pod.metadata.name}-{volume.name}", True


def class_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """Return the storage class of a volume or claim, empty for none."""
    annotated = obj.metadata.annotations.get(CLASS)
    return annotated if annotated is not None else obj.spec.storage_class_name or ""


def requested(claim: PersistentVolumeClaim) -> Quantity:
    """Return how much storage a claim asks for."""
    return parse_quantity(claim.spec.resources.requests.get("storage", "0"))


def capacity(volume: PersistentVolume) -> Quantity:
    """Return how much a volume holds."""
    return parse_quantity(volume.spec.capacity.get("storage", "0"))


def is_bound(claim: PersistentVolumeClaim) -> bool:
    """Return whether a claim has its volume for good."""
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def is_meant_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Return whether a volume refers to a claim, be it only by name."""
    ref, meta = volume.spec.claim_ref, claim.metadata
    return (
        ref is not None
        and (ref.name, ref.namespace) == (meta.name, meta.namespace)
        and ref.uid in ("", meta.uid)
    )


def candidates(claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume]) -> list[PersistentVolume]:
    """Return the volumes that could serve a claim, best first: those kept for it, then the smallest that are large enough.

    `volumes` are those of its class, and those kept for it.
    """
    selector = selector_from_label_selector(claim.spec.selector) if claim.spec.selector is not None else None
    wanted, modes = requested(claim).amount, set(claim.spec.access_modes)
    kept: list[PersistentVolume] = []
    found: list[tuple[tuple[object, ...], PersistentVolume]] = []
    for volume in volumes:
        if volume.metadata.deletion_timestamp is not None:
            continue
        if (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
            continue
        size = capacity(volume).amount
        if is_meant_for(volume, claim):
            if size >= wanted and modes <= set(volume.spec.access_modes):
                kept.append(volume)
            continue
        if volume.spec.claim_ref is not None or volume.status.phase in ("Released", "Failed"):
            continue
        if class_of(volume) != class_of(claim) or size < wanted:
            continue
        if not modes <= set(volume.spec.access_modes):
            continue
        if selector is not None and not selector.matches(volume.metadata.labels):
            continue
        # Volumes that can do no more than what is asked come first, then small ones.
        spare = len(set(volume.spec.access_modes) - modes)
        found.append(((spare, size, volume.metadata.name), volume))
    return [*kept, *(volume for _, volume in sorted(found, key=lambda item: item[0]))]


def reference(claim: PersistentVolumeClaim) -> ObjectReference:
    """Return a reference to a claim as volumes hold it."""
    meta = claim.metadata
    return ObjectReference(
        kind="PersistentVolumeClaim",
        api_version="v1",
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


def bound_volume(volume: PersistentVolume, claim: PersistentVolumeClaim) -> PersistentVolume:
    """Return a volume that belongs to a claim. That it was chosen for it is noted, so that it can be taken back."""
    ref, meta = volume.spec.claim_ref, volume.metadata
    if ref is not None and ref.uid == claim.metadata.uid:
        return volume
    if ref is None:
        meta = replace(meta, annotations={**meta.annotations, BOUND_BY_CONTROLLER: YES})
    return replace(volume, metadata=meta, spec=replace(volume.spec, claim_ref=reference(claim)))
