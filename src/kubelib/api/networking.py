"""Ingresses and network policies."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import TypedLocalObjectReference
from kubelib.api.machinery import Condition, LabelSelector
from kubelib.api.merging import BY_TYPE, Merging
from kubelib.api.meta import Object
from kubelib.api.model import Model


class ServiceBackendPort(Model):
    """A port of a Service, by name or number."""

    __proto__: ClassVar[str] = "1-2"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    number: int = 0


class IngressServiceBackend(Model):
    """A Service and its port."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name"

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(Model):
    """Where requests go."""

    __proto__: ClassVar[str] = "3-4"

    resource: TypedLocalObjectReference | None = None
    service: IngressServiceBackend | None = None


class IngressTLS(Model):
    """Hosts and the Secret that holds their certificate."""

    __proto__: ClassVar[str] = "1-2"

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class HTTPIngressPath(Model):
    """Requests of a path, and where they go."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "backend pathType"

    path: str = ""
    backend: IngressBackend = IngressBackend()
    path_type: str = ""


class HTTPIngressRuleValue(Model):
    """Paths of a host."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "paths"

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRuleValue(Model):
    """What a rule matches besides the host."""

    __proto__: ClassVar[str] = "1"

    http: HTTPIngressRuleValue | None = None


class IngressRule(IngressRuleValue):
    """The paths of one host."""

    __proto__: ClassVar[str] = "1"
    __embeds__: ClassVar[Mapping[str, int]] = {"IngressRuleValue": 2}

    host: str = ""


class IngressSpec(Model):
    """What is wanted of a Ingress."""

    __proto__: ClassVar[str] = "1-4"

    default_backend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRule, ...] = ()
    ingress_class_name: str = ""


class IngressPortStatus(Model):
    """How a port of an Ingress fares."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "port protocol"

    port: int = 0
    protocol: str = ""
    error: str = ""


class IngressLoadBalancerIngress(Model):
    """An address or a name of an Ingress."""

    __proto__: ClassVar[str] = "1-2 4"

    ip: str = ""
    hostname: str = ""
    ports: tuple[IngressPortStatus, ...] = ()


class IngressLoadBalancerStatus(Model):
    """Where an Ingress can be reached."""

    __proto__: ClassVar[str] = "1"

    ingress: tuple[IngressLoadBalancerIngress, ...] = ()


class IngressStatus(Model):
    """What is observed of a Ingress."""

    __proto__: ClassVar[str] = "1"

    load_balancer: IngressLoadBalancerStatus = IngressLoadBalancerStatus()


class Ingress(Object):
    """Routes HTTP from outside to Services."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "Ingress"
    __proto__: ClassVar[str] = "2-3"

    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassParametersReference(Model):
    """An object with the parameters of a class."""

    __proto__: ClassVar[str] = "1-5"
    __required__: ClassVar[str] = "kind name"

    api_group: str = ""
    kind: str = ""
    name: str = ""
    scope: str = ""
    namespace: str = ""


class IngressClassSpec(Model):
    """What is wanted of a IngressClass."""

    __proto__: ClassVar[str] = "1-2"

    controller: str = ""
    parameters: IngressClassParametersReference | None = None


class IngressClass(Object):
    """A controller that serves Ingresses."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "IngressClass"
    __proto__: ClassVar[str] = "2"

    spec: IngressClassSpec = IngressClassSpec()


class NetworkPolicyPort(Model):
    """A port, or a range of ports, that is allowed."""

    __proto__: ClassVar[str] = "1-3"

    protocol: str = ""
    port: int | str | None = None
    end_port: int | None = None


class IPBlock(Model):
    """A network, without some parts of it."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "cidr"

    cidr: str = ""
    except_: tuple[str, ...] = ()


class NetworkPolicyPeer(Model):
    """Pods, namespaces or addresses that are allowed."""

    __proto__: ClassVar[str] = "1-3"

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyIngressRule(Model):
    """From where traffic may come, on which ports."""

    __proto__: ClassVar[str] = "1-2"

    ports: tuple[NetworkPolicyPort, ...] = ()
    from_: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicyEgressRule(Model):
    """Where traffic may go, on which ports."""

    __proto__: ClassVar[str] = "1-2"

    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicySpec(Model):
    """What is wanted of a NetworkPolicy."""

    __proto__: ClassVar[str] = "1-4"

    pod_selector: LabelSelector = LabelSelector()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Object):
    """Which traffic Pods accept and send."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "NetworkPolicy"
    __proto__: ClassVar[str] = "2"

    spec: NetworkPolicySpec = NetworkPolicySpec()


class ParentReference(Model):
    """The object for which an address is taken."""

    __proto__: ClassVar[str] = "1-4"
    __required__: ClassVar[str] = "resource name"

    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class IPAddressSpec(Model):
    """What is wanted of an IPAddress."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "parentRef"

    parent_ref: ParentReference | None = None


class IPAddress(Object):
    """An address that is taken; its name is the address."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "IPAddress"
    __proto__: ClassVar[str] = "2"
    __required__: ClassVar[str] = "spec"

    spec: IPAddressSpec = IPAddressSpec()


class ServiceCIDRSpec(Model):
    """What is wanted of a ServiceCIDR."""

    __proto__: ClassVar[str] = "1"

    cidrs: tuple[str, ...] = ()


class ServiceCIDRStatus(Model):
    """What is observed of a ServiceCIDR."""

    __proto__: ClassVar[str] = "1"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    conditions: tuple[Condition, ...] = ()


class ServiceCIDR(Object):
    """Ranges from which Services get their addresses."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "ServiceCIDR"
    __proto__: ClassVar[str] = "2-3"

    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus = ServiceCIDRStatus()
