"""Pods: containers that share an address, volumes and a fate."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.affinity import Affinity, Toleration, TopologySpreadConstraint
from kubelib.api.core.claims import VolumeHealthCondition
from kubelib.api.core.container import Container, EphemeralContainer, ResourceRequirements
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.references import LocalObjectReference, ObjectReference
from kubelib.api.core.security import PodSecurityContext
from kubelib.api.core.volumes import Volume
from kubelib.api.merging import (
    ATOMIC_MAP,
    BY_NAME,
    BY_NAME_RETAINING,
    BY_TYPE,
    MAP_BY_NAME,
    SET,
    Merging,
    by,
    merged_by,
)
from kubelib.api.meta import Int64, Object, ObjectMeta, Quantity, Time
from kubelib.api.model import Model


class HostAlias(Model):
    """Names for an address, for the hosts file."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "ip"

    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodDNSConfigOption(Model):
    """An option of the name resolver."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    value: str = ""


class PodDNSConfig(Model):
    """Name servers, search domains and options, besides what the policy gives."""

    __proto__: ClassVar[str] = "1-3"

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class PodReadinessGate(Model):
    """A condition that must be true for the Pod to be ready."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "conditionType"

    condition_type: str = ""


class PodOS(Model):
    """The operating system that the Pod needs."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class PodSchedulingGate(Model):
    """Something that must be removed before the Pod is scheduled."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class PodResourceClaim(Model):
    """A claim to devices, or the template of one."""

    __proto__: ClassVar[str] = "1 3-4"
    __required__: ClassVar[str] = "name"

    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class PodSchedulingGroup(Model):
    """The group with which the Pod is scheduled."""

    __proto__: ClassVar[str] = "1"

    pod_group_name: str = ""


class EvictionResponder(Model):
    """Someone who is asked when the Pod is to be evicted."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name priority"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    priority: int | None = None


class PodSpec(Model):
    """What a Pod is to run, and how."""

    __proto__: ClassVar[str] = "1-41 43-44"
    __required__: ClassVar[str] = "containers"
    __merge__: ClassVar[Merging] = {
        "volumes": BY_NAME_RETAINING,
        "containers": BY_NAME,
        "nodeSelector": ATOMIC_MAP,
        "imagePullSecrets": BY_NAME,
        "initContainers": BY_NAME,
        "hostAliases": by("ip"),
        "topologySpreadConstraints": by("topologyKey", "whenUnsatisfiable"),
        "ephemeralContainers": BY_NAME,
        "schedulingGates": BY_NAME,
        "resourceClaims": BY_NAME_RETAINING,
        "evictionResponders": BY_NAME,
    }

    volumes: tuple[Volume, ...] = ()
    containers: tuple[Container, ...] = ()
    restart_policy: str = ""
    termination_grace_period_seconds: Int64 | None = None
    active_deadline_seconds: Int64 | None = None
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
    resources: ResourceRequirements | None = None
    hostname_override: str = ""
    scheduling_group: PodSchedulingGroup | None = None
    eviction_responders: tuple[EvictionResponder, ...] = ()


class PodCondition(Model):
    """One aspect of the state of a Pod."""

    __proto__: ClassVar[str] = "1-7"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""
    observed_generation: Int64 = 0


class PodIP(Model):
    """An address of a Pod."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "ip"

    ip: str = ""


class PodResourceClaimStatus(Model):
    """The claim that was made from a template."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"

    name: str = ""
    resource_claim_name: str = ""


class HostIP(Model):
    """An address of the node."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "ip"

    ip: str = ""


class ContainerExtendedResourceRequest(Model):
    """The request in a claim that serves an extended resource of a container."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "containerName resourceName requestName"

    container_name: str = ""
    resource_name: str = ""
    request_name: str = ""


class PodExtendedResourceClaimStatus(Model):
    """The claim that serves the extended resources of a Pod."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "requestMappings resourceClaimName"

    request_mappings: tuple[ContainerExtendedResourceRequest, ...] = ()
    resource_claim_name: str = ""


class NodeAllocatableMappedResources(Model):
    """A resource of the node that a claim uses, and how much of it."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name quantity"

    name: str = ""
    quantity: Quantity = ""


class NodeAllocatableOverheadResources(Model):
    """A resource of the node that a claim uses besides, per Pod and per container."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name"

    name: str = ""
    per_pod: Quantity = ""
    per_container: Quantity = ""


class NodeAllocatableResourceClaimStatus(Model):
    """What a claim uses of the node's own resources."""

    __proto__: ClassVar[str] = "1-2 4-5"
    __required__: ClassVar[str] = "resourceClaimName"
    __merge__: ClassVar[Merging] = {
        "containers": SET,
        "mapping": BY_NAME,
        "overhead": BY_NAME,
    }

    resource_claim_name: str = ""
    containers: tuple[str, ...] = ()
    mapping: tuple[NodeAllocatableMappedResources, ...] = ()
    overhead: tuple[NodeAllocatableOverheadResources, ...] = ()


class PodVolumeHealth(Model):
    """What is known about the health of one of the Pod's volumes."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "name"
    __merge__: ClassVar[Merging] = {"healthConditions": by("status", "reason")}

    name: str = ""
    health_conditions: tuple[VolumeHealthCondition, ...] = ()
    last_transition_time: Time | None = None


class PodStatus(Model):
    """How a Pod fares; written by the node agent."""

    __proto__: ClassVar[str] = "1-22"
    __merge__: ClassVar[Merging] = {
        "conditions": BY_TYPE,
        "podIPs": by("ip"),
        "resourceClaimStatuses": BY_NAME_RETAINING,
        "hostIPs": merged_by("ip"),
        "nodeAllocatableResourceClaimStatuses": by("resourceClaimName"),
        "volumeHealth": MAP_BY_NAME,
    }

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
    observed_generation: Int64 = 0
    extended_resource_claim_status: PodExtendedResourceClaimStatus | None = None
    allocated_resources: Mapping[str, Quantity] = {}
    resources: ResourceRequirements | None = None
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
    """The Pods that a controller makes."""

    __proto__: ClassVar[str] = "1-2"

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class PodTemplate(Object):
    """A stored template of Pods."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "PodTemplate"
    __proto__: ClassVar[str] = "2"

    template: PodTemplateSpec = PodTemplateSpec()


class Binding(Object):
    """Ties a Pod to a node."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Binding"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "target"

    target: ObjectReference = ObjectReference()
