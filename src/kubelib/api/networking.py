"""Ingresses and network policies."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import TypedLocalObjectReference
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Object
from kubelib.api.model import Model


class ServiceBackendPort(Model):
    """A service backend port."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    number: int | None = None


class IngressServiceBackend(Model):
    """An ingress service backend."""

    __proto__: ClassVar[str] = "1-2"

    name: str = ""
    port: ServiceBackendPort | None = None


class IngressBackend(Model):
    """An ingress backend."""

    __proto__: ClassVar[str] = "3-4"

    resource: TypedLocalObjectReference | None = None
    service: IngressServiceBackend | None = None


class IngressTLS(Model):
    """An ingress TLS."""

    __proto__: ClassVar[str] = "1-2"

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class HTTPIngressPath(Model):
    """A HTTP ingress path."""

    __proto__: ClassVar[str] = "1-3"

    path: str = ""
    backend: IngressBackend = IngressBackend()
    path_type: str = ""


class HTTPIngressRuleValue(Model):
    """A HTTP ingress rule value."""

    __proto__: ClassVar[str] = "1"

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRuleValue(Model):
    """An ingress rule value."""

    __proto__: ClassVar[str] = "1"

    http: HTTPIngressRuleValue | None = None


class IngressRule(IngressRuleValue):
    """An ingress rule."""

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
    """What is observed of a IngressPort."""

    __proto__: ClassVar[str] = "1-3"

    port: int = 0
    protocol: str = ""
    error: str = ""


class IngressLoadBalancerIngress(Model):
    """An ingress load balancer ingress."""

    __proto__: ClassVar[str] = "1-2 4"

    ip: str = ""
    hostname: str = ""
    ports: tuple[IngressPortStatus, ...] = ()


class IngressLoadBalancerStatus(Model):
    """What is observed of a IngressLoadBalancer."""

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
    """An ingress class parameters reference."""

    __proto__: ClassVar[str] = "1-5"

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
    """An ingress class."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "IngressClass"
    __proto__: ClassVar[str] = "2"

    spec: IngressClassSpec = IngressClassSpec()


class NetworkPolicyPort(Model):
    """A network policy port."""

    __proto__: ClassVar[str] = "1-3"

    protocol: str = ""
    port: int | str | None = None
    end_port: int | None = None


class IPBlock(Model):
    """An IP block."""

    __proto__: ClassVar[str] = "1-2"

    cidr: str = ""
    except_: tuple[str, ...] = ()


class NetworkPolicyPeer(Model):
    """A network policy peer."""

    __proto__: ClassVar[str] = "1-3"

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyIngressRule(Model):
    """A network policy ingress rule."""

    __proto__: ClassVar[str] = "1-2"

    ports: tuple[NetworkPolicyPort, ...] = ()
    from_: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicyEgressRule(Model):
    """A network policy egress rule."""

    __proto__: ClassVar[str] = "1-2"

    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicySpec(Model):
    """What is wanted of a NetworkPolicy."""

    __proto__: ClassVar[str] = "1-4"

    pod_selector: LabelSelector | None = None
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(Object):
    """Which traffic Pods accept and send."""

    api_version: ClassVar[str] = "networking.k8s.io/v1"
    kind: ClassVar[str] = "NetworkPolicy"
    __proto__: ClassVar[str] = "2"

    spec: NetworkPolicySpec = NetworkPolicySpec()
