"""Nodes: the machines of the cluster."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.meta import Object, Quantity, Time
from kubelib.api.model import Model


class Taint(Model):
    """Something about a node that keeps Pods away that do not tolerate it."""

    __proto__: ClassVar[str] = "1-4"

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: Time | None = None


class ConfigMapNodeConfigSource(Model):
    """A config map node config source."""

    __proto__: ClassVar[str] = "1-5"

    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    kubelet_config_key: str = ""


class NodeConfigSource(Model):
    """A node config source."""

    __proto__: ClassVar[str] = "2"

    config_map: ConfigMapNodeConfigSource | None = None


class NodePodPreemptionPolicy(Model):
    """A node pod preemption policy."""

    __proto__: ClassVar[str] = "1"

    disable_resize_preemption: tuple[str, ...] = ()


class NodeSpec(Model):
    """What is wanted of a Node."""

    __proto__: ClassVar[str] = "1-8"

    pod_cidr: str = ""
    external_id: str = ""
    provider_id: str = ""
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    config_source: NodeConfigSource | None = None
    pod_cidrs: tuple[str, ...] = ()
    pod_preemption_policy: NodePodPreemptionPolicy | None = None


class NodeCondition(Model):
    """One aspect of the state of a Node."""

    __proto__: ClassVar[str] = "1-6"

    type: str = ""
    status: str = ""
    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class NodeAddress(Model):
    """A node address."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    address: str = ""


class DaemonEndpoint(Model):
    """A daemon endpoint."""

    __proto__: ClassVar[str] = "1"

    port: int = msgspec.field(default=0, name="Port")


class NodeDaemonEndpoints(Model):
    """Node daemon endpoints."""

    __proto__: ClassVar[str] = "1"

    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeSwapStatus(Model):
    """What is observed of a NodeSwap."""

    __proto__: ClassVar[str] = "1"

    capacity: int = 0


class NodeSystemInfo(Model):
    """A node system info."""

    __proto__: ClassVar[str] = "1-12"

    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""
    swap: NodeSwapStatus | None = None
    running_in_user_namespace: bool | None = None


class ContainerImage(Model):
    """A container image."""

    __proto__: ClassVar[str] = "1-2"

    names: tuple[str, ...] = ()
    size_bytes: int | None = None


class AttachedVolume(Model):
    """An attached volume."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    device_path: str = ""


class NodeConfigStatus(Model):
    """What is observed of a NodeConfig."""

    __proto__: ClassVar[str] = "1-4"

    assigned: NodeConfigSource | None = None
    active: NodeConfigSource | None = None
    last_known_good: NodeConfigSource | None = None
    error: str = ""


class NodeRuntimeHandlerFeatures(Model):
    """Node runtime handler features."""

    __proto__: ClassVar[str] = "1-2"

    recursive_read_only_mounts: bool | None = None
    user_namespaces: bool | None = None


class NodeRuntimeHandler(Model):
    """A node runtime handler."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    features: NodeRuntimeHandlerFeatures | None = None


class NodeFeatures(Model):
    """Node features."""

    __proto__: ClassVar[str] = "1"

    supplemental_groups_policy: bool | None = None


class NodeStatus(Model):
    """What is observed of a Node."""

    __proto__: ClassVar[str] = "1-14"

    capacity: Mapping[str, Quantity] = {}
    allocatable: Mapping[str, Quantity] = {}
    phase: str = ""
    conditions: tuple[NodeCondition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()
    daemon_endpoints: NodeDaemonEndpoints = NodeDaemonEndpoints()
    node_info: NodeSystemInfo = NodeSystemInfo()
    images: tuple[ContainerImage, ...] = ()
    volumes_in_use: tuple[str, ...] = ()
    volumes_attached: tuple[AttachedVolume, ...] = ()
    config: NodeConfigStatus | None = None
    runtime_handlers: tuple[NodeRuntimeHandler, ...] = ()
    features: NodeFeatures | None = None
    declared_features: tuple[str, ...] = ()


class Node(Object):
    """A machine that runs Pods."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Node"
    __proto__: ClassVar[str] = "2-3"

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
