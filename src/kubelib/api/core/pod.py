"""Pods: containers that share an address, volumes and a fate."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.affinity import Affinity, Toleration, TopologySpreadConstraint
from kubelib.api.core.claims import VolumeHealthCondition
from kubelib.api.core.container import (
    AppArmorProfile,
    Container,
    ContainerStatus,
    EphemeralContainer,
    ResourceRequirements,
    SeccompProfile,
    SELinuxOptions,
    WindowsSecurityContextOptions,
)
from kubelib.api.core.references import LocalObjectReference, ObjectReference
from kubelib.api.core.volumes import Volume
from kubelib.api.meta import Object, ObjectMeta, Quantity, Time
from kubelib.api.model import Model


class Sysctl(Model):
    """A sysctl."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    value: str = ""


class PodSecurityContext(Model):
    """A pod security context."""

    __proto__: ClassVar[str] = "1-13"

    se_linux_options: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    fs_group: int | None = None
    run_as_group: int | None = None
    sysctls: tuple[Sysctl, ...] = ()
    windows_options: WindowsSecurityContextOptions | None = None
    fs_group_change_policy: str = ""
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    supplemental_groups_policy: str = ""
    se_linux_change_policy: str = ""


class HostAlias(Model):
    """Host alias."""

    __proto__: ClassVar[str] = "1-2"

    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodDNSConfigOption(Model):
    """A pod DNS config option."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    value: str = ""


class PodDNSConfig(Model):
    """A pod DNS config."""

    __proto__: ClassVar[str] = "1-3"

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class PodReadinessGate(Model):
    """A pod readiness gate."""

    __proto__: ClassVar[str] = "1"

    condition_type: str = ""


class PodOS(Model):
    """A pod OS."""

    __proto__: ClassVar[str] = "1"

    name: str = ""


class PodSchedulingGate(Model):
    """A pod scheduling gate."""

    __proto__: ClassVar[str] = "1"

    name: str = ""


class PodResourceClaim(Model):
    """A pod resource claim."""

    __proto__: ClassVar[str] = "1 3-4"

    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class PodSchedulingGroup(Model):
    """A pod scheduling group."""

    __proto__: ClassVar[str] = "1"

    pod_group_name: str = ""


class EvictionResponder(Model):
    """An eviction responder."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    priority: int = 0


class PodSpec(Model):
    """What a Pod is to run, and how."""

    __proto__: ClassVar[str] = "1-41 43-44"

    volumes: tuple[Volume, ...] = ()
    containers: tuple[Container, ...] = ()
    restart_policy: str = ""
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    dns_policy: str = ""
    node_selector: Mapping[str, str] = {}
    service_account_name: str = ""
    service_account: str = ""
    node_name: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    security_context: PodSecurityContext | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    affinity: Affinity | None = None
    scheduler_name: str = ""
    init_containers: tuple[Container, ...] = ()
    automount_service_account_token: bool | None = None
    tolerations: tuple[Toleration, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    priority_class_name: str = ""
    priority: int | None = None
    dns_config: PodDNSConfig | None = None
    share_process_namespace: bool | None = None
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    runtime_class_name: str = ""
    enable_service_links: bool | None = None
    preemption_policy: str = ""
    overhead: Mapping[str, Quantity] = {}
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    set_hostname_as_fqdn: bool | None = None
    os: PodOS | None = None
    host_users: bool | None = None
    scheduling_gates: tuple[PodSchedulingGate, ...] = ()
    resource_claims: tuple[PodResourceClaim, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    hostname_override: str = ""
    scheduling_group: PodSchedulingGroup | None = None
    eviction_responders: tuple[EvictionResponder, ...] = ()


class PodCondition(Model):
    """One aspect of the state of a Pod."""

    __proto__: ClassVar[str] = "1-7"

    type: str = ""
    status: str = ""
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""
    observed_generation: int = 0


class PodIP(Model):
    """A pod IP."""

    __proto__: ClassVar[str] = "1"

    ip: str = ""


class PodResourceClaimStatus(Model):
    """What is observed of a PodResourceClaim."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    resource_claim_name: str = ""


class HostIP(Model):
    """A host IP."""

    __proto__: ClassVar[str] = "1"

    ip: str = ""


class ContainerExtendedResourceRequest(Model):
    """A container extended resource request."""

    __proto__: ClassVar[str] = "1-3"

    container_name: str = ""
    resource_name: str = ""
    request_name: str = ""


class PodExtendedResourceClaimStatus(Model):
    """What is observed of a PodExtendedResourceClaim."""

    __proto__: ClassVar[str] = "1-2"

    request_mappings: tuple[ContainerExtendedResourceRequest, ...] = ()
    resource_claim_name: str = ""


class NodeAllocatableMappedResources(Model):
    """Node allocatable mapped resources."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    quantity: Quantity = ""


class NodeAllocatableOverheadResources(Model):
    """Node allocatable overhead resources."""

    __proto__: ClassVar[str] = "1-3"

    name: str = ""
    per_pod: Quantity = ""
    per_container: Quantity = ""


class NodeAllocatableResourceClaimStatus(Model):
    """What is observed of a NodeAllocatableResourceClaim."""

    __proto__: ClassVar[str] = "1-4"

    resource_claim_name: str = ""
    containers: tuple[str, ...] = ()
    mapping: tuple[NodeAllocatableMappedResources, ...] = ()
    overhead: tuple[NodeAllocatableOverheadResources, ...] = ()


class PodVolumeHealth(Model):
    """A pod volume health."""

    __proto__: ClassVar[str] = "1-3"

    name: str = ""
    health_conditions: tuple[VolumeHealthCondition, ...] = ()
    last_transition_time: Time | None = None


class PodStatus(Model):
    """How a Pod fares; written by the node agent."""

    __proto__: ClassVar[str] = "1-22"

    phase: str = ""
    conditions: tuple[PodCondition, ...] = ()
    message: str = ""
    reason: str = ""
    host_ip: str = ""
    pod_ip: str = ""
    start_time: Time | None = None
    container_statuses: tuple[ContainerStatus, ...] = ()
    qos_class: str = ""
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    nominated_node_name: str = ""
    pod_ips: tuple[PodIP, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    resize: str = ""
    resource_claim_statuses: tuple[PodResourceClaimStatus, ...] = ()
    host_ips: tuple[HostIP, ...] = ()
    observed_generation: int = 0
    extended_resource_claim_status: PodExtendedResourceClaimStatus | None = None
    allocated_resources: Mapping[str, Quantity] = {}
    resources: ResourceRequirements = ResourceRequirements()
    node_allocatable_resource_claim_statuses: tuple[NodeAllocatableResourceClaimStatus, ...] = ()
    volume_health: tuple[PodVolumeHealth, ...] = ()


class Pod(Object):
    """Containers that are placed together, share an address and volumes, and live and die together."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Pod"
    __proto__: ClassVar[str] = "2-3"

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class PodTemplateSpec(Model):
    """What is wanted of a PodTemplate."""

    __proto__: ClassVar[str] = "1-2"

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class PodTemplate(Object):
    """A pod template."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "PodTemplate"
    __proto__: ClassVar[str] = "2"

    template: PodTemplateSpec = PodTemplateSpec()


class Binding(Object):
    """Ties a Pod to a node."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Binding"
    __proto__: ClassVar[str] = "2"

    target: ObjectReference = ObjectReference()
