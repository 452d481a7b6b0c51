"""Volumes, claims and classes of attributes that are deleted stay until nobody uses them.

The finalizers that hold them are put on here where admission has not done so, and taken off here.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from kubelib.api.core import claims, persistentvolumes
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.api.storage import VolumeAttributesClass
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.claimusers import CLAIMS, claims_of, index_claims
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers

CLAIM_NAME = "pvc-protection-controller"
VOLUME_NAME = "pv-protection-controller"
CLASS_NAME = "volumeattributesclass-protection-controller"
CLASS_IN_USE = "kubernetes.io/vac-protection"
BY_CLASS = "by class of attributes"

R = TypeVar("R", bound=Object)


def uses(pod: Pod) -> bool:
    """Return whether a Pod is where it could use its claims, and has not ended."""
    return bool(pod.spec.node_name) and pod.status.phase not in ("Succeeded", "Failed")


class Protection:
    """A `Reconciler` of one kind: a finalizer is on what is not deleted, and goes once nobody uses what is."""

    def __init__(
        self, informers: SharedInformers, kind: type[R], finalizer: str, used: Callable[[R], bool]
    ) -> None:
        cache, registry = informers.of(kind).cache, informers.client.resource(kind)

        async def look(key: Key) -> None:
            obj = cache.view(key)
            if obj is None:
                return
            finalizers: tuple[str, ...] = obj.metadata.finalizers
            held, ends = finalizer in finalizers, obj.metadata.deletion_timestamp is not None
            if held != ends or (ends and used(obj)):
                return
            kept = tuple(f for f in finalizers if f != finalizer) if held else (*finalizers, finalizer)
            try:
                await registry.update(replace(obj, metadata=replace(obj.metadata, finalizers=kept)))
            except NotFound:
                return

        self._look = look

    async def reconcile(self, key: Key) -> After | None:
        """Put the finalizer on the object at `key`, or take it off, as is due."""
        await self._look(key)
        return None


def claim_protection_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that lets claims go."""
    pods = informers.of(Pod).cache
    index_claims(pods)

    def used(claim: PersistentVolumeClaim) -> bool:
        return any(uses(document.view(Pod)) for document in pods.by_index(CLAIMS, str(claim.key)))

    return Controller(
        CLAIM_NAME,
        Protection(informers, PersistentVolumeClaim, claims.IN_USE, used),
        [(informers.of(PersistentVolumeClaim), itself), (informers.of(Pod), claims_of)],
        recorder=recorder.source(CLAIM_NAME),
    )


def volume_protection_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that lets volumes go."""
    return Controller(
        VOLUME_NAME,
        Protection(
            informers,
            PersistentVolume,
            persistentvolumes.IN_USE,
            lambda volume: volume.status.phase == "Bound",
        ),
        [(informers.of(PersistentVolume), itself)],
        recorder=recorder.source(VOLUME_NAME),
    )


def _classes_of_claim(document: Document) -> Iterable[str]:
    if b'olumeAttributesClassName":' not in document.raw:
        return ()
    claim = document.view(PersistentVolumeClaim)
    modified = claim.status.modify_volume_status
    names = (
        claim.spec.volume_attributes_class_name,
        claim.status.current_volume_attributes_class_name,
        modified.target_volume_attributes_class_name if modified is not None else "",
    )
    return list(dict.fromkeys(name for name in names if name))


def _class_of_volume(document: Document) -> Iterable[str]:
    name = document.view(PersistentVolume).spec.volume_attributes_class_name
    return (name,) if name else ()


def class_protection_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that lets classes of attributes go."""
    claim_informer, volume_informer = informers.of(PersistentVolumeClaim), informers.of(PersistentVolume)
    claim_informer.cache.add_index(BY_CLASS, _classes_of_claim)
    volume_informer.cache.add_index(BY_CLASS, _class_of_volume)

    def used(cls: VolumeAttributesClass) -> bool:
        name = cls.metadata.name
        return any(i.cache.by_index(BY_CLASS, name) for i in (claim_informer, volume_informer))

    return Controller(
        CLASS_NAME,
        Protection(informers, VolumeAttributesClass, CLASS_IN_USE, used),
        [
            (informers.of(VolumeAttributesClass), itself),
            (claim_informer, lambda d: [Key("", name) for name in _classes_of_claim(d)]),
            (volume_informer, lambda d: [Key("", name) for name in _class_of_volume(d)]),
        ],
        recorder=recorder.source(CLASS_NAME),
    )
