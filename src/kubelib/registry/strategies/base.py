"""The generic strategy: what a kind does when it does nothing special."""

from typing import TYPE_CHECKING

from kubelib.api.codec import zero_status
from kubelib.api.document import Document
from kubelib.api.errors import MethodNotAllowed, NotFound
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.registry.base import Propagation, WriteOptions
from kubelib.store import Lease, Operation

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry

Operations = list[Operation]

_NO_GENERATION = {
    "ConfigMap", "Secret", "ServiceAccount", "Event", "Endpoints", "Namespace", "Node", "Service", "Lease", "Role",
    "ClusterRole", "RoleBinding", "ClusterRoleBinding", "LimitRange", "ResourceQuota", "PersistentVolume",
    "PersistentVolumeClaim", "ControllerRevision", "StorageClass",
}  # fmt: skip


_BRINGS_STATUS = {"Node"}
"""Kinds whose creator also says how the object is: a kubelet describes its node at once."""
_FIRST_STATUS = {kind: {"phase": "Pending"} for kind in ("PersistentVolume", "PersistentVolumeClaim")}


class Strategy:
    """What the generic registry asks of a kind. Trees may be changed in place."""

    create_on_update = False
    """Whether replacing an object that is not there creates it."""

    lease: Lease | None = None
    """How long objects live."""

    propagation: Propagation = "Background"
    """What becomes of the objects that a deleted one owns, unless the request says."""

    def prepare_for_create(self, registry: "GenericRegistry", tree: Tree) -> None:
        """Set what the server owns in a new object."""
        if "status" in registry.resource.subresources:
            kind = registry.resource.kind
            if kind not in _BRINGS_STATUS:
                tree.pop("status", None)
            status = _FIRST_STATUS.get(kind) or zero_status(registry.resource.cls)  # type: ignore[arg-type]
            if status is not None:
                tree.setdefault("status", dict(status))
        if registry.resource.kind not in _NO_GENERATION:
            tree["metadata"]["generation"] = 1

    def prepare_for_update(
        self, registry: "GenericRegistry", tree: Tree, old: Tree, subresource: str
    ) -> Tree:
        """Return what a change makes of the object: those who write the spec leave the status alone, and the reverse."""
        if subresource == "status":
            merged = {**old, "metadata": tree["metadata"]}
            for part in ("ownerReferences", "finalizers"):
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

    def grace_period(self, tree: Tree, asked: float | None) -> float:
        """Return how many seconds the object has to end by itself once it is deleted."""
        return 0

    def holds(self, tree: Tree) -> bool:
        """Return whether something other than finalizers and grace keeps the object."""
        return False

    def mark_deleted(self, tree: Tree) -> None:
        """Note in the object that it is being deleted."""

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

    async def update_subresource(
        self, registry: "GenericRegistry", key: Key, subresource: str, tree: Tree, options: WriteOptions
    ) -> Document:
        """Replace a subresource that is not a part of the object's own document, such as its scale."""
        raise MethodNotAllowed(f"update is not supported on {registry.resource.group_resource}/{subresource}")
