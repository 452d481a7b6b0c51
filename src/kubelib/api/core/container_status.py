"""How containers fare."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.container import ResourceRequirements
from kubelib.api.merging import BY_NAME, Merging, by, keyed_by
from kubelib.api.meta import Int64, Quantity, Time
from kubelib.api.model import Model


class ContainerStateWaiting(Model):
    """The container does not run yet, and why."""

    __proto__: ClassVar[str] = "1-2"

    reason: str = ""
    message: str = ""


class ContainerStateRunning(Model):
    """The container runs."""

    __proto__: ClassVar[str] = "1"

    started_at: Time | None = None


class ContainerStateTerminated(Model):
    """The container has ended, how and when."""

    __proto__: ClassVar[str] = "1-7"
    __required__: ClassVar[str] = "exitCode"

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None
    container_id: str = ""


class ContainerState(Model):
    """Waiting, running or terminated; exactly one is set."""

    __proto__: ClassVar[str] = "1-3"

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ImageVolumeStatus(Model):
    """The image behind an image volume."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "imageRef"

    image_ref: str = ""


class VolumeStatus(Model):
    """What a mounted volume turned out to be."""

    __proto__: ClassVar[str] = "1"

    image: ImageVolumeStatus | None = None


class VolumeMountStatus(Model):
    """How a volume was mounted."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "name mountPath"

    name: str = ""
    mount_path: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    volume_status: VolumeStatus | None = None


class LinuxContainerUser(Model):
    """The numeric user and groups of the first process."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "uid gid"

    uid: Int64 = 0
    gid: Int64 = 0
    supplemental_groups: tuple[Int64, ...] = ()


class ContainerUser(Model):
    """As whom the first process was started."""

    __proto__: ClassVar[str] = "1"

    linux: LinuxContainerUser | None = None


class ResourceHealth(Model):
    """The health of one device."""

    __proto__: ClassVar[str] = "1-2 6"
    __required__: ClassVar[str] = "resourceID"

    resource_id: str = ""
    health: str = ""
    message: str = ""


class ResourceStatus(Model):
    """The health of the devices behind one resource."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"
    __merge__: ClassVar[Merging] = {"resources": keyed_by("resourceID")}

    name: str = ""
    resources: tuple[ResourceHealth, ...] = ()


class ContainerStatus(Model):
    """How a container fares: its state, the one before, and its restarts."""

    __proto__: ClassVar[str] = "1-15"
    __required__: ClassVar[str] = "name ready restartCount image imageID"
    __merge__: ClassVar[Merging] = {
        "volumeMounts": by("mountPath"),
        "allocatedResourcesStatus": BY_NAME,
    }

    name: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    started: bool | None = None
    allocated_resources: Mapping[str, Quantity] = {}
    resources: ResourceRequirements | None = None
    volume_mounts: tuple[VolumeMountStatus, ...] = ()
    user: ContainerUser | None = None
    allocated_resources_status: tuple[ResourceStatus, ...] = ()
    stop_signal: str = ""
