"""Nodes: the machines of the cluster."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kubelib.api.merging import BY_TYPE, MERGED_SET, SET, Merging
from kubelib.api.meta import Int64, Object, Quantity, Time
from kubelib.api.model import Model


class Taint(Model):
    """Something about a node that keeps Pods away that do not tolerate it."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "key effect"

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: Time | None = None


class ConfigMapNodeConfigSource(Model):
    """A ConfigMap with the configuration of a node agent."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "namespace name kubeletConfigKey"

    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    kubelet_config_key: str = ""


class NodeConfigSource(Model):
    """Where the configuration of a node agent comes from."""

    __proto__: ClassVar[str] = "2"

    config_map: ConfigMapNodeConfigSource | None = None


class NodePodPreemptionPolicy(Model):
    """What may not be preempted on a node."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"disableResizePreemption": SET}

    disable_resize_preemption: tuple[str, ...] = ()


class NodeSpec(Model):
    """What is wanted of a Node."""

    __proto__: ClassVar[str] = "1-8"
    __merge__: ClassVar[Merging] = {"podCIDRs": MERGED_SET}

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
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class NodeAddress(Model):
    """An address of a node, and what kind of address it is."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "type address"

    type: str = ""
    address: str = ""


class DaemonEndpoint(Model):
    """A port of a daemon."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "Port"

    port: int = msgspec.field(default=0, name="Port")


class NodeDaemonEndpoints(Model):
    """Where the daemons of a node listen."""

    __proto__: ClassVar[str] = "1"

    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeSwapStatus(Model):
    """The swap space of a node."""

    __proto__: ClassVar[str] = "1"

    capacity: Int64 | None = None


class NodeSystemInfo(Model):
    """What a node is: its identity, system and versions."""

    __proto__: ClassVar[str] = "1-12"
    __required__: ClassVar[str] = (
        "machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion kubeletVersion kubeProxyVersion operatingSystem architecture"
    )

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
    """An image on a node, by all of its names."""

    __proto__: ClassVar[str] = "1-2"

    names: tuple[str, ...] = ()
    size_bytes: Int64 = 0


class AttachedVolume(Model):
    """A volume that is attached to a node."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name devicePath"

    name: str = ""
    device_path: str = ""


class NodeConfigStatus(Model):
    """Which configuration a node agent uses."""

    __proto__: ClassVar[str] = "1-4"

    assigned: NodeConfigSource | None = None
    active: NodeConfigSource | None = None
    last_known_good: NodeConfigSource | None = None
    error: str = ""


class NodeRuntimeHandlerFeatures(Model):
    """What a runtime handler can do."""

    __proto__: ClassVar[str] = "1-2"

    recursive_read_only_mounts: bool | None = None
    user_namespaces: bool | None = None


class NodeRuntimeHandler(Model):
    """A way in which a node can run containers."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    features: NodeRuntimeHandlerFeatures | None = None


class NodeFeatures(Model):
    """What a node's container runtime can do."""

    __proto__: ClassVar[str] = "1"

    supplemental_groups_policy: bool | None = None


class NodeStatus(Model):
    """What is observed of a Node."""

    __proto__: ClassVar[str] = "1-14"
    __merge__: ClassVar[Merging] = {
        "conditions": BY_TYPE,
        "addresses": BY_TYPE,
    }

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
