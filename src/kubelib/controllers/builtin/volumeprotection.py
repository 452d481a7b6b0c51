"""Volumes, claims and classes of attributes that are deleted stay until nobody uses them.

The finalizers that hold them are put on here where admission has not done so, and taken off here.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from kubelib.api.core import claims, persistentvolumes
from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.persistentvolumes import PersistentVolume
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, Object, controller_of
from kubelib.api.model import replace
from kubelib.api.storage import VolumeAttributesClass
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.claimusers import CLAIMS, claim_names, claims_of, index_claims
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Query

CLAIM_NAME = "pvc-protection-controller"
VOLUME_NAME = "pv-protection-controller"
CLASS_NAME = "volumeattributesclass-protection-controller"
CLASS_IN_USE = "kubernetes.io/vac-protection"
BY_CLASS = "by class of attributes"

R = TypeVar("R", bound=Object)


def held_by(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield the claims that a Pod holds, and for one that is made for the Pod alone whose it has to be.

    A Pod holds its claims from when it has a node until it is gone, even when it has ended. Those that are
    made for it go sooner, once its node is done with it: it may itself be waiting for them to be gone.
    """
    if not pod.spec.node_name:
        return
    shut_down = (
        pod.metadata.deletion_timestamp is not None and pod.metadata.deletion_grace_period_seconds == 0
    )
    for name, is_own in claim_names(pod):
        if not is_own:
            yield name, ""
        elif not shut_down:
            yield name, pod.metadata.uid


class ClaimUsers:
    """Tells whether a Pod uses a claim: that one does by the cache, that none does by the registry as well."""

    def __init__(self, informers: SharedInformers) -> None:
        self._pods = informers.of(Pod).cache
        self._registry = informers.client.resource(Pod)
        self._listed: tuple[str, int, frozenset[tuple[str, str]]] = ("", 0, frozenset())
        index_claims(self._pods)

    async def use(self, claim: PersistentVolumeClaim) -> bool:
        """Return whether a Pod uses `claim`, which is deleted."""
        namespace, owner = claim.metadata.namespace, controller_of(claim)
        ways = {(claim.metadata.name, uid) for uid in ("", owner.uid if owner is not None else "")}
        cached = (document.view(Pod) for document in self._pods.by_index(CLAIMS, str(claim.key)))
        if any(not ways.isdisjoint(held_by(pod)) for pod in cached):
            return True
        # The cache may be behind. What was listed after the claim was deleted tells of every Pod that may use
        # it, so that one list serves all that are deleted together; that a Pod uses it may be past by now.
        of, at, held = self._listed
        if of != namespace or at < int(claim.metadata.resource_version) or not ways.isdisjoint(held):
            found = await self._registry.list(Query(namespace))
            held = frozenset(way for pod in found.items for way in held_by(pod))
            self._listed = (namespace, int(found.resource_version), held)
        return not ways.isdisjoint(held)


class Protection:
    """A `Reconciler` of one kind: a finalizer is on what is not deleted, and goes once nobody uses what is."""

    def __init__(
        self, informers: SharedInformers, kind: type[R], finalizer: str, used: Callable[[R], Awaitable[bool]]
    ) -> None:
        cache, registry = informers.of(kind).cache, informers.client.resource(kind)

        async def look(key: Key) -> None:
            obj = cache.view(key)
            if obj is None:
                return
            finalizers: tuple[str, ...] = obj.metadata.finalizers
            held, ends = finalizer in finalizers, obj.metadata.deletion_timestamp is not None
            if held != ends or (ends and await used(obj)):
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
    return Controller(
        CLAIM_NAME,
        Protection(informers, PersistentVolumeClaim, claims.IN_USE, ClaimUsers(informers).use),
        [(informers.of(PersistentVolumeClaim), itself), (informers.of(Pod), claims_of)],
        recorder=recorder.source(CLAIM_NAME),
    )


def volume_protection_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller that lets volumes go."""

    async def used(volume: PersistentVolume) -> bool:
        return volume.status.phase == "Bound"

    return Controller(
        VOLUME_NAME,
        Protection(informers, PersistentVolume, persistentvolumes.IN_USE, used),
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

    async def used(cls: VolumeAttributesClass) -> bool:
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
