"""Services and the endpoints behind them."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import ObjectReference
from kubelib.api.machinery import Condition
from kubelib.api.merging import ATOMIC_MAP, BY_TYPE, Merging, by
from kubelib.api.meta import Object
from kubelib.api.model import Model


class ServicePort(Model):
    """A port of a Service, and the port of the Pods behind it."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "port"

    name: str = ""
    protocol: str = ""
    port: int = 0
    target_port: int | str = 0
    node_port: int = 0
    app_protocol: str = ""


class ClientIPConfig(Model):
    """How long a client stays with one Pod."""

    __proto__: ClassVar[str] = "1"

    timeout_seconds: int | None = None


class SessionAffinityConfig(Model):
    """Details of session affinity."""

    __proto__: ClassVar[str] = "1"

    client_ip: ClientIPConfig | None = None


class ServiceSpec(Model):
    """What is wanted of a Service."""

    __proto__: ClassVar[str] = "1-5 7-14 17-23"
    __merge__: ClassVar[Merging] = {
        "ports": by("port", "protocol"),
        "selector": ATOMIC_MAP,
    }

    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = {}
    cluster_ip: str = ""
    type: str = ""
    external_ips: tuple[str, ...] = ()
    session_affinity: str = ""
    load_balancer_ip: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    external_name: str = ""
    external_traffic_policy: str = ""
    health_check_node_port: int = 0
    publish_not_ready_addresses: bool = False
    session_affinity_config: SessionAffinityConfig | None = None
    ip_family_policy: str = ""
    cluster_ips: tuple[str, ...] = ()
    ip_families: tuple[str, ...] = ()
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_class: str = ""
    internal_traffic_policy: str = ""
    traffic_distribution: str = ""


class PortStatus(Model):
    """How a port of a load balancer fares."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "port protocol"

    port: int = 0
    protocol: str = ""
    error: str = ""


class LoadBalancerIngress(Model):
    """An address or a name of a load balancer."""

    __proto__: ClassVar[str] = "1-4"

    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""
    ports: tuple[PortStatus, ...] = ()


class LoadBalancerStatus(Model):
    """Where a load balancer can be reached."""

    __proto__: ClassVar[str] = "1"

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Model):
    """What is observed of a Service."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(Object):
    """A stable address for a set of Pods."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Service"
    __proto__: ClassVar[str] = "2-3"

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointAddress(Model):
    """The address of one Pod behind a Service."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "ip"
    __atomic__: ClassVar[bool] = True

    ip: str = ""
    target_ref: ObjectReference | None = None
    hostname: str = ""
    node_name: str = ""


class EndpointPort(Model):
    """A port of the Pods behind a Service."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "port"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    port: int = 0
    protocol: str = ""
    app_protocol: str = ""


class EndpointSubset(Model):
    """Addresses that share their ports."""

    __proto__: ClassVar[str] = "1-3"

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Object):
    """The addresses behind a Service."""

    api_version: ClassVar[str] = "v1"
    kind: ClassVar[str] = "Endpoints"
    __proto__: ClassVar[str] = "2"

    subsets: tuple[EndpointSubset, ...] = ()
