"""Claims that are made for one Pod, and go with it."""

from collections.abc import Iterable

from kubelib.api.core.claims import PersistentVolumeClaim
from kubelib.api.core.pod import Pod
from kubelib.api.core.volumes import Volume
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, ApiError, Conflict
from kubelib.api.meta import Key, ObjectMeta, controller_of
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.ownership import controller_reference
from kubelib.informers import SharedInformers

NAME = "ephemeral-volume-controller"


def claim_for(pod: Pod, volume: Volume) -> PersistentVolumeClaim | None:
    """Return the claim that an ephemeral volume of a Pod needs; None for a volume of another kind."""
    template = volume.ephemeral.volume_claim_template if volume.ephemeral is not None else None
    if template is None:
        return None
    return PersistentVolumeClaim(
        metadata=ObjectMeta(
            name=f"{pod.metadata.name}-{volume.name}",
            namespace=pod.metadata.namespace,
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            owner_references=(controller_reference(pod),),
        ),
        spec=template.spec,
    )


class EphemeralVolumeReconciler:
    """Makes the claims of one Pod."""

    def __init__(self, informers: SharedInformers, *, recorder: Recorder) -> None:
        self._pods = informers.of(Pod)
        self._claims = informers.of(PersistentVolumeClaim)
        self._registry = informers.client.resource(PersistentVolumeClaim)
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Make the claims that the Pod at `key` lacks."""
        pod = self._pods.cache.view(key)
        if pod is None or pod.metadata.deletion_timestamp is not None:
            return None
        for volume in pod.spec.volumes:
            wanted = claim_for(pod, volume)
            if wanted is None:
                continue
            there = self._claims.cache.view(wanted.key)
            if there is None:
                there = await self._create(pod, wanted)
            owner = controller_of(there)
            if owner is None or owner.uid != pod.metadata.uid:
                message = f'PVC "{wanted.key}" was not created for pod "{pod.key}" (pod is not owner)'
                self._recorder.warning(pod, "FailedBinding", message)
                raise Conflict(message)
        return None

    async def _create(self, pod: Pod, wanted: PersistentVolumeClaim) -> PersistentVolumeClaim:
        try:
            return await self._registry.create(wanted)
        except AlreadyExists:
            return await self._registry.get(wanted.key)
        except ApiError as error:
            message = f"ephemeral volume controller: create PVC {wanted.metadata.name}: {error}"
            self._recorder.warning(pod, "FailedBinding", message)
            raise


def ephemeral_volume_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller."""

    def with_volumes(document: Document) -> Iterable[Key]:
        return (document.key,) if b'"ephemeral":' in document.raw else ()

    own = recorder.source(NAME)
    return Controller(
        NAME,
        EphemeralVolumeReconciler(informers, recorder=own),
        [(informers.of(Pod), with_volumes), (informers.of(PersistentVolumeClaim), nothing)],
        recorder=own,
    )
