"""Endpoint slices: the endpoints of a Service in parts."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import Object
from kubelib.api.model import Model


class EndpointConditions(Model):
    """Endpoint conditions."""

    __proto__: ClassVar[str] = "1-3"

    ready: bool = False
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Model):
    """A for zone."""

    __proto__: ClassVar[str] = "1"

    name: str = ""


class ForNode(Model):
    """A for node."""

    __proto__: ClassVar[str] = "1"

    name: str = ""


class EndpointHints(Model):
    """Endpoint hints."""

    __proto__: ClassVar[str] = "1-2"

    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForNode, ...] = ()


class Endpoint(Model):
    """An endpoint."""

    __proto__: ClassVar[str] = "1-8"

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions | None = None
    hostname: str = ""
    target_ref: ObjectReference | None = None
    deprecated_topology: Mapping[str, str] = {}
    node_name: str = ""
    zone: str = ""
    hints: EndpointHints | None = None


class EndpointPort(Model):
    """An endpoint port."""

    __proto__: ClassVar[str] = "1-4"

    name: str = ""
    protocol: str = ""
    port: int = 0
    app_protocol: str = ""


class EndpointSlice(Object):
    """A part of the addresses behind a Service."""

    api_version: ClassVar[str] = "discovery.k8s.io/v1"
    kind: ClassVar[str] = "EndpointSlice"
    __proto__: ClassVar[str] = "2-4"

    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
    address_type: str = ""
