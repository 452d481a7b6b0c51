"""Volumes and claims: the default class, what is in use stays, and who may grow."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kubelib.api.core import claims, persistentvolumes
from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.api.podresources import amounts
from kubelib.api.quantity import ZERO, Quantity
from kubelib.api.scheme import Resource, Tree
from kubelib.api.storage import StorageClass
from kubelib.registry.admission.base import Attributes, Verb

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_FINALIZERS = {
    "PersistentVolume": persistentvolumes.IN_USE,
    "PersistentVolumeClaim": claims.IN_USE,
}
_BEGINNING = datetime.min.replace(tzinfo=UTC)


def default_class(
    attributes: Attributes, kind: type[Object], annotations: tuple[str, ...]
) -> Document | None:
    """Return the class that is marked as default; the newest one of several."""
    return marked_as_default(attributes.cache(kind).all(), kind, annotations)


def marked_as_default(
    classes: Iterable[Document],
    kind: type[Object] = StorageClass,
    annotations: tuple[str, ...] = DEFAULT_ANNOTATIONS,
) -> Document | None:
    """Return which of these classes is the default one; the newest of several."""
    marked = [
        (document, view)
        for document in classes
        if any((view := document.view(kind)).metadata.annotations.get(name) == "true" for name in annotations)
    ]
    marked.sort(key=lambda pair: pair[1].metadata.name)
    marked.sort(key=lambda pair: pair[1].metadata.creation_timestamp or _BEGINNING, reverse=True)
    return marked[0][0] if marked else None


def class_of(claim: Tree) -> str:
    """Return the name of the storage class of a claim, empty for none."""
    annotated = (claim["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    return annotated or (claim.get("spec") or {}).get("storageClassName") or ""


class DefaultStorageClass:
    """Gives claims that name no class the default one."""

    name = "DefaultStorageClass"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new claims."""
        return (
            verb == "create"
            and resource.kind == "PersistentVolumeClaim"
            and not resource.group
            and not subresource
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Set the class; a claim that asks for none, with an empty name, keeps it so."""
        spec = attributes.tree.setdefault("spec", {})
        annotations = attributes.tree["metadata"].get("annotations") or {}
        if spec.get("storageClassName") is not None or CLASS_ANNOTATION in annotations:
            return
        default = default_class(attributes, StorageClass, DEFAULT_ANNOTATIONS)
        if default is not None:
            spec["storageClassName"] = default.meta.name


class StorageObjectInUseProtection:
    """Keeps volumes and claims that are deleted until nobody uses them any more."""

    name = "StorageObjectInUseProtection"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at new volumes and claims."""
        return verb == "create" and resource.kind in _FINALIZERS and not resource.group and not subresource

    async def mutate(self, attributes: Attributes) -> None:
        """Add the finalizer that the protection controllers take off."""
        meta, finalizer = attributes.tree["metadata"], _FINALIZERS[attributes.resource.kind]
        finalizers = meta.get("finalizers") or []
        if finalizer not in finalizers:
            meta["finalizers"] = [*finalizers, finalizer]


class PersistentVolumeClaimResize:
    """Lets claims grow only where their class can do it."""

    name = "PersistentVolumeClaimResize"

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        """Look at changed claims."""
        return (
            verb == "update"
            and resource.kind == "PersistentVolumeClaim"
            and not resource.group
            and not subresource
        )

    async def validate(self, attributes: Attributes) -> None:
        """Refuse a larger request."""
        old = attributes.old or {}
        if _size(attributes.tree) <= _size(old):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise attributes.forbidden("Only bound persistent volume claims can be expanded")
        name = class_of(attributes.tree)
        document = attributes.cache(StorageClass).get(Key("", name)) if name == class_of(old) else None
        if document is None or not document.view(StorageClass).allow_volume_expansion:
            raise attributes.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
                " support resize"
            )


def _size(claim: Tree) -> Quantity:
    resources = (claim.get("spec") or {}).get("resources") or {}
    return amounts(resources.get("requests")).get("storage", ZERO)
