"""Containers: what they run, with what, and how they fare."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.environment import EnvFromSource, EnvVar
from kubelib.api.core.probes import Lifecycle, Probe
from kubelib.api.core.security import SecurityContext
from kubelib.api.merging import BY_NAME, MAP_BY_NAME, SET, Merging, by
from kubelib.api.meta import Quantity
from kubelib.api.model import Model


class ContainerPort(Model):
    """A port on which a container listens."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "containerPort"

    name: str = ""
    host_port: int = 0
    container_port: int = 0
    protocol: str = ""
    host_ip: str = ""


class ResourceClaim(Model):
    """A claim of the Pod's that this container uses."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"

    name: str = ""
    request: str = ""


class ResourceRequirements(Model):
    """What a container asks for and may use at most."""

    __proto__: ClassVar[str] = "1-3"
    __merge__: ClassVar[Merging] = {"claims": MAP_BY_NAME}

    limits: Mapping[str, Quantity] = {}
    requests: Mapping[str, Quantity] = {}
    claims: tuple[ResourceClaim, ...] = ()


class VolumeMount(Model):
    """Where a container sees a volume."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "name mountPath"
    __merge__: ClassVar[Merging] = {"bindMountOptions": SET}

    name: str = ""
    read_only: bool = False
    mount_path: str = ""
    sub_path: str = ""
    mount_propagation: str = ""
    sub_path_expr: str = ""
    recursive_read_only: str = ""
    bind_mount_options: tuple[str, ...] = ()


class VolumeDevice(Model):
    """Where a container sees a raw block device."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name devicePath"

    name: str = ""
    device_path: str = ""


class ContainerResizePolicy(Model):
    """Whether a container restarts when one of its resources is resized."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "resourceName restartPolicy"

    resource_name: str = ""
    restart_policy: str = ""


class ContainerRestartRuleOnExitCodes(Model):
    """Exit codes to match."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "operator"
    __merge__: ClassVar[Merging] = {"values": SET}

    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(Model):
    """An exception to the restart policy."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "action"

    action: str = ""
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class Container(Model):
    """One container of a Pod."""

    __proto__: ClassVar[str] = "1-25"
    __required__: ClassVar[str] = "name"
    __merge__: ClassVar[Merging] = {
        "ports": by("containerPort", "protocol"),
        "env": BY_NAME,
        "volumeMounts": by("mountPath"),
        "volumeDevices": by("devicePath"),
    }

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env: tuple[EnvVar, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = ""
    image_pull_policy: str = ""
    security_context: SecurityContext | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    env_from: tuple[EnvFromSource, ...] = ()
    termination_message_policy: str = ""
    volume_devices: tuple[VolumeDevice, ...] = ()
    startup_probe: Probe | None = None
    resize_policy: tuple[ContainerResizePolicy, ...] = ()
    restart_policy: str = ""
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()


class EphemeralContainer(Container):
    """A container added to a running Pod for debugging."""

    __proto__: ClassVar[str] = "2"
    __embeds__: ClassVar[Mapping[str, int]] = {"Container": 1}

    target_container_name: str = ""
