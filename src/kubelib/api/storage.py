"""Classes of storage, and what drivers say of themselves, of nodes and of volumes."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.persistentvolumes import PersistentVolumeSpec
from kubelib.api.core.references import TopologySelectorTerm
from kubelib.api.machinery import LabelSelector
from kubelib.api.merging import BY_NAME, SET, Merging
from kubelib.api.meta import Int64, Object, Quantity, Time
from kubelib.api.model import Model


class StorageClass(Object):
    """A kind of storage that claims can ask for."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "StorageClass"
    __proto__: ClassVar[str] = "2-8"
    __required__: ClassVar[str] = "provisioner"

    provisioner: str = ""
    parameters: Mapping[str, str] = {}
    reclaim_policy: str = ""
    mount_options: tuple[str, ...] = ()
    allow_volume_expansion: bool | None = None
    volume_binding_mode: str = ""
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()


class VolumeAttributesClass(Object):
    """Attributes of volumes that may change while they are in use."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "VolumeAttributesClass"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "driverName"

    driver_name: str = ""
    parameters: Mapping[str, str] = {}


class VolumeAttachmentSource(Model):
    """The volume to attach."""

    __proto__: ClassVar[str] = "1-2"

    persistent_volume_name: str | None = None
    inline_volume_spec: PersistentVolumeSpec | None = None


class VolumeAttachmentSpec(Model):
    """What is wanted of a VolumeAttachment."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "attacher source nodeName"

    attacher: str = ""
    source: VolumeAttachmentSource = VolumeAttachmentSource()
    node_name: str = ""


class VolumeError(Model):
    """Why a volume could not be attached or detached."""

    __proto__: ClassVar[str] = "1-3"

    time: Time | None = None
    message: str = ""
    error_code: int | None = None


class VolumeAttachmentStatus(Model):
    """What is observed of a VolumeAttachment."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "attached"

    attached: bool = False
    attachment_metadata: Mapping[str, str] = {}
    attach_error: VolumeError | None = None
    detach_error: VolumeError | None = None


class VolumeAttachment(Object):
    """Asks for a volume to be attached to a node."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "VolumeAttachment"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: VolumeAttachmentSpec = VolumeAttachmentSpec()
    status: VolumeAttachmentStatus = VolumeAttachmentStatus()


class TokenRequest(Model):
    """A service account token that a driver wants."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "audience"

    audience: str = ""
    expiration_seconds: Int64 | None = None


class CSIDriverSpec(Model):
    """What is wanted of a CSIDriver."""

    __proto__: ClassVar[str] = "1-11"
    __merge__: ClassVar[Merging] = {"volumeLifecycleModes": SET}

    attach_required: bool | None = None
    pod_info_on_mount: bool | None = None
    volume_lifecycle_modes: tuple[str, ...] = ()
    storage_capacity: bool | None = None
    fs_group_policy: str = ""
    token_requests: tuple[TokenRequest, ...] = ()
    requires_republish: bool | None = None
    se_linux_mount: bool | None = None
    node_allocatable_update_period_seconds: Int64 | None = None
    service_account_token_in_secrets: bool | None = None
    prevent_pod_scheduling_if_missing: bool | None = None


class CSIDriver(Object):
    """A storage driver, and what it can do."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "CSIDriver"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: CSIDriverSpec = CSIDriverSpec()


class VolumeNodeResources(Model):
    """How many volumes of a driver a node can use."""

    __proto__: ClassVar[str] = "1"

    count: int | None = None


class CSINodeDriver(Model):
    """A storage driver on a node."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "name nodeID"

    name: str = ""
    node_id: str = ""
    topology_keys: tuple[str, ...] = ()
    allocatable: VolumeNodeResources | None = None


class CSINodeSpec(Model):
    """What is wanted of a CSINode."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "drivers"
    __merge__: ClassVar[Merging] = {"drivers": BY_NAME}

    drivers: tuple[CSINodeDriver, ...] = ()


class StorageHealthCondition(Model):
    """A trouble with the storage behind a driver."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "status reason"

    status: str = ""
    reason: str = ""
    message: str = ""
    access_mode: str | None = None
    volume_mode: str | None = None
    last_transition_time: Time | None = None


class StorageHealth(Model):
    """The troubles with the storage behind one driver."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"

    name: str = ""
    health_conditions: tuple[StorageHealthCondition, ...] = ()


class CSINodeStatus(Model):
    """What is observed of a CSINode."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"storageHealth": BY_NAME}

    storage_health: tuple[StorageHealth, ...] = ()


class CSINode(Object):
    """The storage drivers on a node."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "CSINode"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: CSINodeSpec = CSINodeSpec()
    status: CSINodeStatus | None = None


class CSIStorageCapacity(Object):
    """How much storage of a class there is left for some nodes."""

    api_version: ClassVar[str] = "storage.k8s.io/v1"
    kind: ClassVar[str] = "CSIStorageCapacity"
    __proto__: ClassVar[str] = "2-5"
    __required__: ClassVar[str] = "storageClassName"

    node_topology: LabelSelector | None = None
    storage_class_name: str = ""
    capacity: Quantity | None = None
    maximum_volume_size: Quantity | None = None
