"""Volumes and claims that are deleted stay until nobody uses them: these take off the finalizers that hold them."""

from kubelib.api.core import claims, persistentvolumes
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.claimusers import CLAIMS, claims_of, index_claims
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers

CLAIM_NAME = "pvc-protection-controller"
VOLUME_NAME = "pv-protection-controller"


def uses(pod: Pod) -> bool:
    """Return whether a Pod is where it could use its claims, and has not ended."""
    return bool(pod.spec.node_name) and pod.status.phase not in ("Succeeded", "Failed")


class ClaimProtectionReconciler:
    """Lets one claim go once no Pod uses it."""

    def __init__(self, informers: SharedInformers) -> None:
        self._claims = informers.of(PersistentVolumeClaim)
        self._pods = informers.of(Pod)
        index_claims(self._pods.cache)
        self._registry = informers.client.resource(PersistentVolumeClaim)

    async def reconcile(self, key: Key) -> After | None:
        """Take the finalizer off the claim at `key` if it can go."""
        claim = self._claims.cache.view(key)
        if claim is None or claim.metadata.deletion_timestamp is None:
            return None
        if claims.IN_USE not in claim.metadata.finalizers:
            return None
        users = self._pods.cache.by_index(CLAIMS, str(key))
        if any(uses(document.view(Pod)) for document in users):
            return None
        kept = tuple(f for f in claim.metadata.finalizers if f != claims.IN_USE)
        try:
            await self._registry.update(replace(claim, metadata=replace(claim.metadata, finalizers=kept)))
        except NotFound:
            return None
        return None


class VolumeProtectionReconciler:
    """Lets one volume go once no claim has it."""

    def __init__(self, informers: SharedInformers) -> None:
        self._volumes = informers.of(PersistentVolume)
        self._registry = informers.client.resource(PersistentVolume)

    async def reconcile(self, key: Key) -> After | None:
        """Take the finalizer off the volume at `key` if it can go."""
        volume = self._volumes.cache.view(key)
        if volume is None or volume.metadata.deletion_timestamp is None:
            return None
        if persistentvolumes.IN_USE not in volume.metadata.finalizers or volume.status.phase == "Bound":
            return None
        kept = tuple(f for f in volume.metadata.finalizers if f != persistentvolumes.IN_USE)
        try:
            await self._registry.update(replace(volume, metadata=replace(volume.metadata, finalizers=kept)))
        except NotFound:
            return None
        return None


def claim_protection_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that lets claims go."""
    return Controller(
        CLAIM_NAME,
        ClaimProtectionReconciler(informers),
        [(informers.of(PersistentVolumeClaim), itself), (informers.of(Pod), claims_of)],
        recorder=recorder.source(CLAIM_NAME),
    )


def volume_protection_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that lets volumes go."""
    return Controller(
        VOLUME_NAME,
        VolumeProtectionReconciler(informers),
        [(informers.of(PersistentVolume), itself)],
        recorder=recorder.source(VOLUME_NAME),
    )
