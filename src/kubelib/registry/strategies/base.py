"""The generic strategy: what a kind does when it does nothing special."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kubelib.api.codec import zero_status
from kubelib.api.document import Document
from kubelib.api.errors import MethodNotAllowed, NotFound
from kubelib.api.meta import Key
from kubelib.api.patch.fieldset import Fields
from kubelib.api.patch.scaled import REPLICAS
from kubelib.api.scheme import Resource, Tree
from kubelib.api.warnings import TOLD, status_warnings, warnings_of
from kubelib.registry.base import Propagation, User, WriteOptions
from kubelib.store import Lease, Operation

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

Operations = list[Operation]

_NO_GENERATION = {
    "ConfigMap", "Secret", "ServiceAccount", "Event", "Endpoints", "Namespace", "Node", "Service", "Lease", "Role",
    "ClusterRole", "RoleBinding", "ClusterRoleBinding", "LimitRange", "ResourceQuota", "PersistentVolume",
    "PersistentVolumeClaim", "ControllerRevision", "StorageClass", "APIService", "CertificateSigningRequest",
    "ClusterTrustBundle", "CSINode", "CSIStorageCapacity", "IPAddress", "ResourceClaim", "ResourceClaimTemplate",
    "RuntimeClass", "ServiceCIDR", "VolumeAttachment", "VolumeAttributesClass",
}  # fmt: skip

_APART: tuple[str, ...] = ("labels", "annotations", "finalizers", "ownerReferences")
"""The parts of metadata that writing a status leaves alone."""
_APART_OF = {
    **dict.fromkeys((
        "CertificateSigningRequest", "CronJob", "CustomResourceDefinition", "DaemonSet", "HorizontalPodAutoscaler", "Ingress",
        "Job", "Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim", "PodDisruptionBudget", "ReplicaSet",
        "ReplicationController", "ResourceQuota", "Service", "StatefulSet",
    ), ()),
    "Deployment": ("labels",),
    "Pod": ("ownerReferences",),
}  # fmt: skip
"""The kinds where it leaves fewer of them alone: those that are older than the rule."""


_BRINGS_STATUS = {"Node"}
"""Kinds whose creator also says how the object is: a kubelet describes its node at once."""
_FIRST_STATUS: dict[str, Callable[[], Tree]] = {
    "Ingress": lambda: {"loadBalancer": {}},
    "PersistentVolume": lambda: {"phase": "Pending"},
    "PersistentVolumeClaim": lambda: {"phase": "Pending"},
}


class Strategy:
    """What the generic registry asks of a kind. Trees may be changed in place."""

    create_on_update = False
    """Whether replacing an object that is not there creates it."""

    unconditional_update = True
    """Whether an object may be replaced without saying which version is meant."""

    reserves = False
    """Whether `reserve` completes the spec of what is created. Others may be quicker to take what it has chosen: then it chooses anew."""

    lease: Lease | None = None
    """How long objects live."""

    cached = True
    """Whether a list of whichever version there is comes whole, whatever its limit: Kubernetes' cache, which answers it, has no pages."""

    graceful = False
    """Whether objects have time to end by themselves."""
    goes_in_steps = False
    """Whether deleting an object takes steps of its kind's own, and says so in words of its own."""

    finalizers_on_delete: tuple[str, ...] = ()
    """Finalizers that an object gets when its deletion is asked for."""

    propagation: Propagation = "Background"
    """What becomes of the objects that a deleted one owns, unless the request says."""

    owns = True
    """Whether objects may own others: what is deleted then waits for those, or leaves them behind, if that is asked for."""

    def note_requester(self, tree: Tree, user: User) -> None:
        """Note in a new object who asks for it, where that is a part of it."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Set what the server owns in a new object."""
        if "status" in registry.resource.subresources:
            kind = registry.resource.kind if registry.resource.builtin else ""
            if kind not in _BRINGS_STATUS:
                tree.pop("status", None)
            first = _FIRST_STATUS.get(kind)
            status = first() if first is not None else zero_status(registry.resource.cls)  # type: ignore[arg-type]
            if status is not None:
                tree.setdefault("status", dict(status))
        if not registry.resource.builtin or registry.resource.kind not in _NO_GENERATION:
            tree["metadata"]["generation"] = 1

    def complete(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Set in a new object what belongs to none of its managers: called when admission has changed it, before it is validated."""

    def apart_from_status(self, resource: Resource) -> Sequence[str]:
        """Return the parts of the metadata that are not written with the status."""
        return _APART_OF.get(resource.kind, _APART) if resource.builtin else _APART

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Return what a change makes of the object: those who write the spec leave the status alone, and the reverse."""
        if subresource == "status":
            merged = {**old, "metadata": tree["metadata"]}
            for part in self.apart_from_status(registry.resource):
                merged["metadata"].pop(part, None)
                if part in old["metadata"]:
                    merged["metadata"][part] = old["metadata"][part]
            if "status" in tree:
                merged["status"] = tree["status"]
            return merged
        if "status" in registry.resource.subresources:
            tree.pop("status", None)
            if "status" in old:
                tree["status"] = old["status"]
        return tree

    def warnings(self, resource: Resource, tree: Tree, old: Tree | None) -> Sequence[str]:
        """Return what the client is told of an object that is valid, and yet most likely not meant so."""
        if not resource.builtin or resource.kind not in TOLD:
            return ()
        return warnings_of(resource.kind, tree, old)

    def status_warnings(self, resource: Resource, tree: Tree) -> Sequence[str]:
        """Return what a client is told of a status that it writes."""
        return status_warnings(resource.kind, tree) if resource.builtin else ()

    def grace_period(self, tree: Tree, asked: float | None) -> float:
        """Return how many seconds the object has to end by itself once it is deleted."""
        return 0

    def holds(self, tree: Tree) -> bool:
        """Return whether something other than finalizers and grace keeps the object."""
        return False

    def mark_deleted(self, tree: Tree) -> None:
        """Note in the object that it is being deleted."""

    def observe(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> None:
        """Set what the server itself says of the object, in its status: called last, when it is known to be valid."""

    async def reserve(self, registry: "GenericRegistry", tree: Tree, old: Tree | None) -> Operations:
        """Return further operations that must succeed with the write, such as allocations."""
        return []

    async def release(self, registry: "GenericRegistry", tree: Tree) -> Operations:
        """Return the operations that give back what `reserve` took."""
        return []

    # Subresources

    def view(self, registry: "GenericRegistry", document: Document, subresource: str) -> Document:
        """Return a subresource that is read."""
        raise NotFound("the server could not find the requested resource")

    async def create_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Carry out a subresource that is created, such as a binding."""
        raise MethodNotAllowed(f"create is not supported on {registry.resource.group_resource}/{subresource}")

    def scale_to_change(self, registry: "GenericRegistry", document: Document) -> Document:
        """Return the scale that a patch changes."""
        return self.view(registry, document, "scale")

    def replicas(self, registry: "GenericRegistry") -> Fields:
        """Return where the number is that a scale shows, as managed fields name it."""
        return REPLICAS

    async def update_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Replace a subresource that is not a part of the object's own document, such as its scale."""
        raise MethodNotAllowed(f"update is not supported on {registry.resource.group_resource}/{subresource}")
