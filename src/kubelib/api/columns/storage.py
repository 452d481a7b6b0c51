"""The columns of volumes, claims and classes of storage."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from kubelib.api.columns.cells import AGE, NAME, Cell, at, field
from kubelib.api.scheme import Column, Tree

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_UNSET = "<unset>"


def _modes(modes: Sequence[str] | None) -> str:
    present = modes or ()
    return ",".join(short for long, short in _MODES.items() if long in present)


def _phase(tree: Tree, now: datetime) -> Any:
    return "Terminating" if at(tree, "metadata", "deletionTimestamp") else at(tree, "status", "phase") or ""


def _class(tree: Tree, now: datetime) -> str:
    return str(at(tree, "metadata", "annotations", _OLD_CLASS) or at(tree, "spec", "storageClassName") or "")


def _bound(tree: Tree) -> bool:
    return bool(at(tree, "spec", "volumeName"))


def _claim(tree: Tree, now: datetime) -> str:
    claim = at(tree, "spec", "claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


_CLASSES = (
    Column("StorageClass", _class),
    Column("VolumeAttributesClass", lambda t, n: at(t, "spec", "volumeAttributesClassName") or _UNSET),
)
_VOLUME_MODE = Column("VolumeMode", lambda t, n: at(t, "spec", "volumeMode") or _UNSET, wide=True)

PERSISTENT_VOLUME_CLAIM = (
    NAME,
    Column("Status", _phase),
    Column("Volume", field("spec", "volumeName")),
    Column("Capacity", lambda t, n: (at(t, "status", "capacity", "storage") or "0") if _bound(t) else ""),
    Column("Access Modes", lambda t, n: _modes(at(t, "status", "accessModes")) if _bound(t) else ""),
    *_CLASSES,
    AGE,
    _VOLUME_MODE,
)
PERSISTENT_VOLUME = (
    NAME,
    Column("Capacity", lambda t, n: at(t, "spec", "capacity", "storage") or "0"),
    Column("Access Modes", lambda t, n: _modes(at(t, "spec", "accessModes"))),
    Column("Reclaim Policy", field("spec", "persistentVolumeReclaimPolicy")),
    Column("Status", _phase),
    Column("Claim", _claim),
    *_CLASSES,
    Column("Reason", field("status", "reason")),
    AGE,
    _VOLUME_MODE,
)


def _class_name(*annotations: str) -> Cell:
    """Return a cell that shows the name of a class, and that it is the default if one of the annotations says so."""

    def cell(tree: Tree, now: datetime) -> str:
        found = at(tree, "metadata", "annotations") or {}
        default = " (default)" if any(found.get(key) == "true" for key in annotations) else ""
        return f"{at(tree, 'metadata', 'name')}{default}"

    return cell


_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)

STORAGE_CLASS = (
    Column("Name", _class_name(*_DEFAULT_CLASS), format="name"),
    Column("Provisioner", field("provisioner")),
    Column("ReclaimPolicy", field("reclaimPolicy", default="Delete")),
    Column("VolumeBindingMode", field("volumeBindingMode", default="Immediate")),
    Column("AllowVolumeExpansion", lambda t, n: bool(t.get("allowVolumeExpansion"))),
    AGE,
)


def _modes_of_life(tree: Tree, now: datetime) -> str:
    return ",".join(at(tree, "spec", "volumeLifecycleModes") or ()) or "<none>"


def _audiences(tree: Tree, now: datetime) -> str:
    requests = at(tree, "spec", "tokenRequests")
    return _UNSET if requests is None else ",".join(request.get("audience", "") for request in requests)


VOLUME_ATTRIBUTES_CLASS = (
    Column("Name", _class_name("storage.alpha.kubernetes.io/is-default-class"), format="name"),
    Column("DriverName", field("driverName")),
    AGE,
)
VOLUME_ATTACHMENT = (
    NAME,
    Column("Attacher", field("spec", "attacher"), format="name"),
    Column("PV", field("spec", "source", "persistentVolumeName")),
    Column("Node", field("spec", "nodeName")),
    Column("Attached", field("status", "attached", default=False), "boolean"),
    AGE,
)
CSI_DRIVER = (
    NAME,
    Column("AttachRequired", field("spec", "attachRequired", default=True), "boolean"),
    Column("PodInfoOnMount", field("spec", "podInfoOnMount", default=False), "boolean"),
    Column("StorageCapacity", field("spec", "storageCapacity", default=False), "boolean"),
    Column("TokenRequests", _audiences),
    Column("RequiresRepublish", field("spec", "requiresRepublish", default=False), "boolean"),
    Column("Modes", _modes_of_life),
    AGE,
)
CSI_NODE = (NAME, Column("Drivers", lambda t, n: len(at(t, "spec", "drivers") or ()), "integer"), AGE)
CSI_STORAGE_CAPACITY = (
    NAME,
    Column("StorageClassName", field("storageClassName")),
    Column("Capacity", field("capacity", default=_UNSET)),
)
