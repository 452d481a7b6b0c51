"""Volumes and claims: which belongs to which, storage made on demand, and what becomes of it when its claim is gone.

One queue has both kinds, claims by namespace and name, volumes by name alone, and one worker looks at them in turn: no two
claims ever reach for the same volume at once.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from kubelib.api.core.claims import PersistentVolumeClaim, PersistentVolumeClaimStatus
from kubelib.api.core.node import Node
from kubelib.api.core.persistentvolumes import PersistentVolume, PersistentVolumeStatus
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import AlreadyExists, Forbidden, Invalid, NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.storage import StorageClass
from kubelib.clock import Clock
from kubelib.controllers import volumes as binding
from kubelib.controllers.base import After
from kubelib.controllers.claimusers import CLAIMS, claims_of, index_claims
from kubelib.controllers.controller import Controller, nothing
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.pods import is_terminal
from kubelib.controllers.provisioning import Provisioner
from kubelib.informers import SharedInformers
from kubelib.registry.admission.storage import marked_as_default
from kubelib.registry.base import Preconditions

NAME = "persistentvolume-controller"
UNBOUND = "unbound volumes by class"
OF_CLAIM = "volumes by claim"
PENDING_OF_CLASS = "claims without a volume by class"
LATE = "WaitForFirstConsumer"


def _unbound(document: Document) -> Iterable[str]:
    volume = document.view(PersistentVolume)
    return () if volume.spec.claim_ref is not None else (binding.class_of(volume),)


def _of_claim(document: Document) -> Iterable[str]:
    ref = document.view(PersistentVolume).spec.claim_ref
    return () if ref is None else (f"{ref.namespace}/{ref.name}",)


def _pending(document: Document) -> Iterable[str]:
    claim = document.view(PersistentVolumeClaim)
    return () if claim.spec.volume_name else (binding.class_of(claim),)


class VolumeReconciler:
    """Brings one claim, or one volume, to what the other of the pair asks for."""

    def __init__(
        self,
        informers: SharedInformers,
        provisioners: Sequence[Provisioner],
        *,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        client = informers.client
        self._volumes = informers.of(PersistentVolume)
        self._claims = informers.of(PersistentVolumeClaim)
        self._classes = informers.of(StorageClass)
        self._pods = informers.of(Pod)
        self._nodes = informers.of(Node)
        self._volume_registry = client.resource(PersistentVolume)
        self._claim_registry = client.resource(PersistentVolumeClaim)
        self._volumes.cache.add_index(UNBOUND, _unbound)
        self._volumes.cache.add_index(OF_CLAIM, _of_claim)
        index_claims(self._pods.cache)
        self._provisioners = {provisioner.name: provisioner for provisioner in provisioners}
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Look at the claim or the volume at `key`."""
        if key.namespace:
            claim = self._claims.cache.view(key)
            if claim is not None:
                await self._claim(claim)
        else:
            volume = self._volumes.cache.view(key)
            if volume is not None:
                await self._volume(volume)
        return None

    # Claims

    async def _claim(self, claim: PersistentVolumeClaim) -> None:
        if binding.BIND_COMPLETED in claim.metadata.annotations:
            await self._keep(claim)
        elif claim.metadata.deletion_timestamp is not None:
            return
        elif claim.spec.volume_name:
            await self._take_named(claim)
        else:
            await self._find(claim)

    async def _keep(self, claim: PersistentVolumeClaim) -> None:
        """See to it that a bound claim still has its volume."""
        if not claim.spec.volume_name:
            message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
            await self._lost(claim, "ClaimLost", message)
            return
        key = Key("", claim.spec.volume_name)
        volume = self._volumes.cache.view(key)
        if volume is None:
            # It may be so new that our cache does not know it.
            with suppress(NotFound):
                volume = await self._volume_registry.get(key)
        if volume is None:
            await self._lost(
                claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            )
        elif binding.is_meant_for(volume, claim) or volume.spec.claim_ref is None:
            await self._bind(claim, volume)
        else:
            await self._lost(
                claim,
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            )

    async def _lost(self, claim: PersistentVolumeClaim, reason: str, message: str) -> None:
        if claim.status.phase != "Lost":
            await self._write_claim(claim, replace(claim.status, phase="Lost"))
            self._recorder.warning(claim, reason, message)

    async def _take_named(self, claim: PersistentVolumeClaim) -> None:
        volume = self._volumes.cache.view(Key("", claim.spec.volume_name))
        if volume is None:
            await self._pend(claim)
        elif volume.spec.claim_ref is None:
            if problem := binding.mismatch(volume, claim):
                message = f'Cannot bind to requested volume "{volume.metadata.name}": {problem}'
                self._recorder.warning(claim, "VolumeMismatch", message)
                await self._pend(claim)
            else:
                await self._bind(claim, volume)
        elif binding.is_meant_for(volume, claim):
            await self._bind(claim, volume)
        else:
            message = f'volume "{volume.metadata.name}" already bound to a different claim.'
            self._recorder.warning(claim, "FailedBinding", message)
            await self._pend(claim)

    async def _find(self, claim: PersistentVolumeClaim) -> None:
        name = binding.class_of(claim)
        storage_class = self._classes.cache.view(Key("", name)) if name else None
        late = storage_class is not None and storage_class.volume_binding_mode == LATE
        volume = binding.best_match(claim, self._candidates(OF_CLAIM, str(claim.key)))
        node = None
        if late and volume is None:
            node = self._node_of(claim)
            if node is None:
                self._recorder.normal(claim, *self._waits_for(claim))
                await self._pend(claim)
                return
        if not (late and binding.SELECTED_NODE in claim.metadata.annotations):
            # Otherwise a scheduler has found none, and wants one to be made where it has put the Pod.
            volume = volume or binding.best_match(claim, self._candidates(UNBOUND, name), node)
        if volume is not None:
            await self._bind(claim, volume)
        elif default := self._default_class(claim):
            # It was made when there was no default class. The change leads here again.
            await self._claim_registry.update(
                replace(claim, spec=replace(claim.spec, storage_class_name=default))
            )
        elif storage_class is not None:
            await self._provision(claim, storage_class, node)
        elif name:
            message = f'storageclass.storage.k8s.io "{name}" not found'
            self._recorder.warning(claim, "ProvisioningFailed", message)
            await self._pend(claim)
        else:
            message = "no persistent volumes available for this claim and no storage class is set"
            self._recorder.normal(claim, "FailedBinding", message)
            await self._pend(claim)

    def _default_class(self, claim: PersistentVolumeClaim) -> str:
        """Return the class that a claim gets which asks for none, not even for no class; empty if there is none."""
        if claim.spec.storage_class_name is not None or binding.CLASS in claim.metadata.annotations:
            return ""
        default = marked_as_default(self._classes.cache)
        return default.meta.name if default is not None else ""

    def _candidates(self, index: str, value: str) -> list[PersistentVolume]:
        return [document.view(PersistentVolume) for document in self._volumes.cache.by_index(index, value)]

    def _waits_for(self, claim: PersistentVolumeClaim) -> tuple[str, str]:
        """Return the reason and the message of a claim that is bound where it is used, and is not used yet."""
        pods = (document.view(Pod) for document in self._pods.cache.by_index(CLAIMS, str(claim.key)))
        names = sorted(pod.metadata.name for pod in pods if not pod.spec.node_name and not is_terminal(pod))
        if not names:
            return LATE, "waiting for first consumer to be created before binding"
        who = f"pod {names[0]}" if len(names) == 1 else f"pods {','.join(names)}"
        return "WaitForPodScheduled", f"waiting for {who} to be scheduled"

    def _node_of(self, claim: PersistentVolumeClaim) -> Node | None:
        """Return the node where a claim is needed: the one that a scheduler has noted, or that of a Pod that uses it."""
        name = claim.metadata.annotations.get(binding.SELECTED_NODE, "")
        if not name:
            for document in self._pods.cache.by_index(CLAIMS, str(claim.key)):
                pod = document.view(Pod)
                if pod.spec.node_name and pod.status.phase not in ("Succeeded", "Failed"):
                    name = pod.spec.node_name
                    break
        return self._nodes.cache.view(Key("", name)) if name else None

    async def _provision(
        self, claim: PersistentVolumeClaim, storage_class: StorageClass, node: Node | None
    ) -> None:
        provisioner = self._provisioners.get(storage_class.provisioner)
        annotations = {
            **claim.metadata.annotations,
            binding.PROVISIONER: storage_class.provisioner,
            binding.BETA_PROVISIONER: storage_class.provisioner,
        }
        if node is not None:
            annotations.setdefault(binding.SELECTED_NODE, node.metadata.name)
        nobodys = provisioner is None and is_in_tree(storage_class.provisioner)
        if annotations != claim.metadata.annotations and not nobodys:
            meta = replace(claim.metadata, annotations=annotations)
            claim = await self._claim_registry.update(replace(claim, metadata=meta))
        if provisioner is None:
            if nobodys:
                message = f"no volume plugin matched name: {storage_class.provisioner}"
                self._recorder.warning(claim, "ProvisioningFailed", message)
            else:
                message = (
                    f"Waiting for a volume to be created either by the external provisioner '{storage_class.provisioner}'"
                    " or manually by the system administrator. If volume creation is delayed, please verify that the"
                    " provisioner is running and correctly registered."
                )
                self._recorder.normal(claim, "ExternalProvisioning", message)
            await self._pend(claim)
            return
        if claim.spec.data_source is not None or claim.spec.data_source_ref is not None:
            message = f"{storage_class.provisioner} cannot fill volumes from a data source"
            self._recorder.warning(claim, "ProvisioningFailed", message)
            await self._pend(claim)
            return
        await self._make(claim, storage_class, provisioner)

    async def _make(
        self, claim: PersistentVolumeClaim, storage_class: StorageClass, provisioner: Provisioner
    ) -> None:
        """Make storage for a claim, a volume for the storage, and a bond of the two."""
        name = f"pvc-{claim.metadata.uid}"
        try:
            source = await provisioner.provision(name, claim, storage_class)
        except OSError as error:
            message = f'failed to provision volume with StorageClass "{storage_class.metadata.name}": {error}'
            self._recorder.warning(claim, "ProvisioningFailed", message)
            await self._pend(claim)
            raise
        volume = binding.provisioned(name, claim, storage_class, source, provisioner.name)
        try:
            volume = await self._volume_registry.create(volume)
        except AlreadyExists:
            volume = await self._volume_registry.get(volume.key)
        except (Forbidden, Invalid) as error:
            what = (
                f"Error creating provisioned PV object for claim {claim.key}: {error}. Deleting the volume."
            )
            self._recorder.warning(claim, "ProvisioningFailed", what)
            await self._clean_up(claim, volume, provisioner)
            raise
        message = f"Successfully provisioned volume {name} using {provisioner.name}"
        self._recorder.normal(claim, "ProvisioningSucceeded", message)
        await self._bind(claim, volume)

    async def _clean_up(
        self, claim: PersistentVolumeClaim, volume: PersistentVolume, provisioner: Provisioner
    ) -> None:
        """Remove storage that nobody would remove: it has got no volume."""
        try:
            await provisioner.remove(volume)
        except OSError as error:
            what = (
                f"Error cleaning provisioned volume for claim {claim.key}: {error}. Please delete manually."
            )
            self._recorder.warning(claim, "ProvisioningCleanupFailed", what)
        await self._pend(claim)

    async def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """Write both sides of a bond: the volume first, so that no other claim can take it."""
        wanted = binding.bound_volume(volume, claim)
        if wanted != volume:
            volume = await self._volume_registry.update(wanted)
        volume = await self._write_volume(volume, "Bound")
        bound = binding.bound_claim(claim, volume)
        if bound != claim:
            bound = await self._claim_registry.update(bound)
        volume = await self._grow(bound, volume)
        await self._write_claim(
            bound,
            replace(
                bound.status,
                phase="Bound",
                access_modes=volume.spec.access_modes,
                capacity=volume.spec.capacity,
            ),
        )

    async def _grow(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> PersistentVolume:
        """Make a volume as large as its claim asks for, where its storage has no size of its own."""
        provisioner = volume.metadata.annotations.get(binding.PROVISIONED_BY, "")
        wanted = claim.spec.resources.requests.get("storage", "0")
        if provisioner not in self._provisioners:
            return volume
        if binding.requested(claim).amount <= binding.capacity(volume).amount:
            return volume
        grown = {**volume.spec.capacity, "storage": wanted}
        return await self._volume_registry.update(replace(volume, spec=replace(volume.spec, capacity=grown)))

    async def _pend(self, claim: PersistentVolumeClaim) -> None:
        await self._write_claim(claim, replace(claim.status, phase="Pending"))

    async def _write_claim(self, claim: PersistentVolumeClaim, status: PersistentVolumeClaimStatus) -> None:
        if status != claim.status:
            await self._claim_registry.update(replace(claim, status=status), subresource="status")

    # Volumes

    async def _volume(self, volume: PersistentVolume) -> None:
        ref = volume.spec.claim_ref
        if volume.metadata.deletion_timestamp is not None and ref is None:
            return
        if ref is None or not ref.uid:
            await self._write_volume(volume, "Available")
            return
        key = Key(ref.namespace, ref.name)
        claim = self._claims.cache.view(key)
        if claim is None or claim.metadata.uid != ref.uid:
            try:
                claim = await self._claim_registry.get(key)  # our cache may be late: data is at stake
            except NotFound:
                claim = None
        if claim is None or claim.metadata.uid != ref.uid:
            await self._reclaim(volume)
        elif claim.spec.volume_name == volume.metadata.name:
            await self._write_volume(volume, "Bound")
        elif claim.spec.volume_name:
            await self._let_go(volume)
        elif (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
            of_claim, of_volume = f' "{claim.metadata.name}"', f' "{volume.metadata.name}"'
            for obj, one, other in ((volume, "", of_claim), (claim, of_volume, "")):
                what = f"Cannot bind PersistentVolume{one} to requested PersistentVolumeClaim{other}"
                self._recorder.warning(obj, "VolumeMismatch", f"{what} due to incompatible volumeMode.")

    async def _let_go(self, volume: PersistentVolume) -> None:
        """The claim has another volume."""
        made_here = binding.PROVISIONED_BY in volume.metadata.annotations
        if made_here and volume.spec.persistent_volume_reclaim_policy == "Delete":
            await self._reclaim(volume)
            return
        free = await self._volume_registry.update(binding.unbound_volume(volume))
        await self._write_volume(free, "Available")

    async def _reclaim(self, volume: PersistentVolume) -> None:
        """The claim is gone: keep the data or remove it, as the volume says."""
        if volume.status.phase not in ("Released", "Failed"):
            volume = await self._write_volume(volume, "Released")
        policy = volume.spec.persistent_volume_reclaim_policy
        if policy == "Recycle" and volume.status.phase != "Failed":
            await self._fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        if policy != "Delete" or volume.metadata.deletion_timestamp is not None:
            return
        made_by = volume.metadata.annotations.get(binding.PROVISIONED_BY, "")
        provisioner = self._provisioners.get(made_by)
        if provisioner is None:
            if not made_by and volume.spec.csi is None and volume.status.phase != "Failed":
                what = f'error getting deleter volume plugin for volume "{volume.metadata.name}"'
                message = f"{what}: no deletable volume plugin matched"
                await self._fail(volume, "VolumeFailedDelete", message)
            return
        try:
            await provisioner.remove(volume)
        except OSError as error:
            await self._fail(volume, "VolumeFailedDelete", str(error))
            raise
        try:
            await self._volume_registry.delete(volume.key, preconditions=Preconditions(volume.metadata.uid))
        except NotFound:
            return

    async def _fail(self, volume: PersistentVolume, reason: str, message: str) -> None:
        if volume.status.phase != "Failed":
            await self._write_volume(volume, "Failed", message)
            self._recorder.warning(volume, reason, message)

    async def _write_volume(
        self, volume: PersistentVolume, phase: str, message: str = ""
    ) -> PersistentVolume:
        if volume.status.phase == phase:
            return volume
        status = PersistentVolumeStatus(
            phase=phase,
            message=message,
            last_phase_transition_time=self._clock.now().replace(microsecond=0),
        )
        return await self._volume_registry.update(replace(volume, status=status), subresource="status")


IN_TREE = "kubernetes.io/"
MIGRATED = frozenset(
    ["aws-ebs", "azure-disk", "azure-file", "cinder", "gce-pd", "portworx-volume", "vsphere-volume"]
)
"""Provisioners that once were part of Kubernetes; drivers have taken their places."""


def is_in_tree(provisioner: str) -> bool:
    """Return whether a provisioner would be part of Kubernetes: it is not waited for if it is not there."""
    return provisioner.startswith(IN_TREE) and provisioner.removeprefix(IN_TREE) not in MIGRATED


def persistent_volume_controller(
    informers: SharedInformers,
    *,
    clock: Clock,
    recorder: EventRecorder,
    provisioners: Sequence[Provisioner] = (),
) -> Controller:
    """Return the controller of volumes and claims; `provisioners` make storage on demand."""
    own = recorder.source(NAME)
    claims, volumes = informers.of(PersistentVolumeClaim), informers.of(PersistentVolume)
    claims.cache.add_index(PENDING_OF_CLASS, _pending)

    def concerned(document: Document) -> Iterable[Key]:
        """Map a volume to itself and to the claims that it is for, or could be for."""
        volume = document.view(PersistentVolume)
        keys = [document.key]
        ref = volume.spec.claim_ref
        if ref is not None:
            keys.append(Key(ref.namespace, ref.name))
        else:
            waiting = claims.cache.by_index(PENDING_OF_CLASS, binding.class_of(volume))
            keys += [claim.key for claim in waiting]
        return keys

    def claim_and_volume(document: Document) -> Iterable[Key]:
        name = document.view(PersistentVolumeClaim).spec.volume_name
        return (document.key, Key("", name)) if name else (document.key,)

    def of_class(document: Document) -> Iterable[Key]:
        """Map a class to the claims that wait for it, or for a default one."""
        waiting = claims.cache.by_index(PENDING_OF_CLASS, document.meta.name)
        default = marked_as_default([document])
        without = claims.cache.by_index(PENDING_OF_CLASS, "") if default is not None else ()
        return [d.key for d in (*waiting, *without)]

    return Controller(
        NAME,
        VolumeReconciler(informers, provisioners, clock=clock, recorder=own),
        [
            (claims, claim_and_volume),
            (volumes, concerned),
            (informers.of(StorageClass), of_class),
            (informers.of(Pod), claims_of),
            (informers.of(Node), nothing),
        ],
        recorder=own,
    )
