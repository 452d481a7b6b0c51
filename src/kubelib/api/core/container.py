"""Containers: what they run, with what, and how they fare."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import LocalObjectReference
from kubelib.api.core.volumes import ObjectFieldSelector, ResourceFieldSelector
from kubelib.api.meta import Quantity, Time
from kubelib.api.model import Model


class ContainerPort(Model):
    """A container port."""

    __proto__: ClassVar[str] = "1-5"

    name: str = ""
    host_port: int = 0
    container_port: int = 0
    protocol: str = ""
    host_ip: str = ""


class ConfigMapKeySelector(LocalObjectReference):
    """One key of a config map."""

    __proto__: ClassVar[str] = "2-3"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    key: str = ""
    optional: bool | None = None


class SecretKeySelector(LocalObjectReference):
    """One key of a secret."""

    __proto__: ClassVar[str] = "2-3"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    key: str = ""
    optional: bool | None = None


class FileKeySelector(Model):
    """One key of a file."""

    __proto__: ClassVar[str] = "1-4"

    volume_name: str = ""
    path: str = ""
    key: str = ""
    optional: bool | None = None


class EnvVarSource(Model):
    """An env var source."""

    __proto__: ClassVar[str] = "1-5"

    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: ConfigMapKeySelector | None = None
    secret_key_ref: SecretKeySelector | None = None
    file_key_ref: FileKeySelector | None = None


class EnvVar(Model):
    """An environment variable."""

    __proto__: ClassVar[str] = "1-3"

    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class ResourceClaim(Model):
    """A resource claim."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    request: str = ""


class ResourceRequirements(Model):
    """What a container asks for and may use at most."""

    __proto__: ClassVar[str] = "1-3"

    limits: Mapping[str, Quantity] = {}
    requests: Mapping[str, Quantity] = {}
    claims: tuple[ResourceClaim, ...] = ()


class VolumeMount(Model):
    """Where a container sees a volume."""

    __proto__: ClassVar[str] = "1-8"

    name: str = ""
    read_only: bool = False
    mount_path: str = ""
    sub_path: str = ""
    mount_propagation: str = ""
    sub_path_expr: str = ""
    recursive_read_only: str = ""
    bind_mount_options: tuple[str, ...] = ()


class ExecAction(Model):
    """An exec action."""

    __proto__: ClassVar[str] = "1"

    command: tuple[str, ...] = ()


class HTTPHeader(Model):
    """A HTTP header."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    value: str = ""


class HTTPGetAction(Model):
    """A HTTP get action."""

    __proto__: ClassVar[str] = "1-6"

    path: str = ""
    port: int | str = 0
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()
    protocol: str = ""


class TCPSocketAction(Model):
    """A TCP socket action."""

    __proto__: ClassVar[str] = "1-2"

    port: int | str = 0
    host: str = ""


class GRPCAction(Model):
    """A GRPC action."""

    __proto__: ClassVar[str] = "1-3"

    port: int = 0
    service: str = ""
    mode: str = ""


class ProbeHandler(Model):
    """How a check is made; exactly one is set."""

    __proto__: ClassVar[str] = "1-4"

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None


class Probe(ProbeHandler):
    """A check that is made of a container again and again."""

    __proto__: ClassVar[str] = "2-7"
    __embeds__: ClassVar[Mapping[str, int]] = {"ProbeHandler": 1}

    initial_delay_seconds: int = 0
    timeout_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0
    failure_threshold: int = 0
    termination_grace_period_seconds: int | None = None


class SleepAction(Model):
    """A sleep action."""

    __proto__: ClassVar[str] = "1"

    seconds: int = 0


class LifecycleHandler(Model):
    """A lifecycle handler."""

    __proto__: ClassVar[str] = "1-4"

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Model):
    """A lifecycle."""

    __proto__: ClassVar[str] = "1-3"

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""


class Capabilities(Model):
    """Capabilities."""

    __proto__: ClassVar[str] = "1-2"

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SELinuxOptions(Model):
    """SE linux options."""

    __proto__: ClassVar[str] = "1-4"

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class WindowsSecurityContextOptions(Model):
    """Windows security context options."""

    __proto__: ClassVar[str] = "1-4"

    gmsa_credential_spec_name: str = ""
    gmsa_credential_spec: str = ""
    run_as_user_name: str = ""
    host_process: bool | None = None


class SeccompProfile(Model):
    """A seccomp profile."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    localhost_profile: str = ""


class AppArmorProfile(Model):
    """An app armor profile."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    localhost_profile: str = ""


class SecurityContext(Model):
    """A security context."""

    __proto__: ClassVar[str] = "1-12"

    capabilities: Capabilities | None = None
    privileged: bool | None = None
    se_linux_options: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    run_as_group: int | None = None
    proc_mount: str = ""
    windows_options: WindowsSecurityContextOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class ConfigMapEnvSource(LocalObjectReference):
    """A config map env source."""

    __proto__: ClassVar[str] = "2"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    optional: bool | None = None


class SecretEnvSource(LocalObjectReference):
    """A secret env source."""

    __proto__: ClassVar[str] = "2"
    __embeds__: ClassVar[Mapping[str, int]] = {"LocalObjectReference": 1}

    optional: bool | None = None


class EnvFromSource(Model):
    """An env from source."""

    __proto__: ClassVar[str] = "1-3"

    prefix: str = ""
    config_map_ref: ConfigMapEnvSource | None = None
    secret_ref: SecretEnvSource | None = None


class VolumeDevice(Model):
    """A volume device."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    device_path: str = ""


class ContainerResizePolicy(Model):
    """A container resize policy."""

    __proto__: ClassVar[str] = "1-2"

    resource_name: str = ""
    restart_policy: str = ""


class ContainerRestartRuleOnExitCodes(Model):
    """Container restart rule on exit codes."""

    __proto__: ClassVar[str] = "1-2"

    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(Model):
    """A container restart rule."""

    __proto__: ClassVar[str] = "1-2"

    action: str = ""
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class Container(Model):
    """One container of a Pod."""

    __proto__: ClassVar[str] = "1-25"

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


class EphemeralContainerCommon(Model):
    """An ephemeral container common."""

    __proto__: ClassVar[str] = "1-25"

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


class EphemeralContainer(EphemeralContainerCommon):
    """A container added to a running Pod for debugging."""

    __proto__: ClassVar[str] = "2"
    __embeds__: ClassVar[Mapping[str, int]] = {"EphemeralContainerCommon": 1}

    target_container_name: str = ""


class ContainerStateWaiting(Model):
    """A container state waiting."""

    __proto__: ClassVar[str] = "1-2"

    reason: str = ""
    message: str = ""


class ContainerStateRunning(Model):
    """A container state running."""

    __proto__: ClassVar[str] = "1"

    started_at: Time | None = None


class ContainerStateTerminated(Model):
    """A container state terminated."""

    __proto__: ClassVar[str] = "1-7"

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None
    container_id: str = ""


class ContainerState(Model):
    """A container state."""

    __proto__: ClassVar[str] = "1-3"

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ImageVolumeStatus(Model):
    """What is observed of a ImageVolume."""

    __proto__: ClassVar[str] = "1"

    image_ref: str = ""


class VolumeStatus(Model):
    """What is observed of a Volume."""

    __proto__: ClassVar[str] = "1"

    image: ImageVolumeStatus | None = None


class VolumeMountStatus(Model):
    """What is observed of a VolumeMount."""

    __proto__: ClassVar[str] = "1-5"

    name: str = ""
    mount_path: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    volume_status: VolumeStatus | None = None


class LinuxContainerUser(Model):
    """A linux container user."""

    __proto__: ClassVar[str] = "1-3"

    uid: int = 0
    gid: int = 0
    supplemental_groups: tuple[int, ...] = ()


class ContainerUser(Model):
    """A container user."""

    __proto__: ClassVar[str] = "1"

    linux: LinuxContainerUser | None = None


class ResourceHealth(Model):
    """A resource health."""

    __proto__: ClassVar[str] = "1-3"

    resource_id: str = ""
    health: str = ""
    message: str = ""


class ResourceStatus(Model):
    """What is observed of a Resource."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    resources: tuple[ResourceHealth, ...] = ()


class ContainerStatus(Model):
    """What is observed of a Container."""

    __proto__: ClassVar[str] = "1-15"

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
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: tuple[VolumeMountStatus, ...] = ()
    user: ContainerUser | None = None
    allocated_resources_status: tuple[ResourceStatus, ...] = ()
    stop_signal: str = ""
