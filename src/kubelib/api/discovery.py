"""Endpoint slices: the endpoints of a Service in parts."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.core.references import ObjectReference
from kubelib.api.merging import SET, Merging
from kubelib.api.meta import Object
from kubelib.api.model import Model


class EndpointConditions(Model):
    """Whether an endpoint takes traffic. Absent means: not known."""

    __proto__: ClassVar[str] = "1-3"

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Model):
    """A zone whose clients should use an endpoint."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class ForNode(Model):
    """A node whose clients should use an endpoint."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "name"

    name: str = ""


class EndpointHints(Model):
    """For whom an endpoint is best."""

    __proto__: ClassVar[str] = "1-2"

    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForNode, ...] = ()


class Endpoint(Model):
    """One place behind a Service, and how it fares."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "addresses"
    __merge__: ClassVar[Merging] = {"addresses": SET}

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    target_ref: ObjectReference | None = None
    deprecated_topology: Mapping[str, str] = {}
    node_name: str = ""
    zone: str = ""
    hints: EndpointHints | None = None


class EndpointPort(Model):
    """A port of the endpoints of a slice."""

    __proto__: ClassVar[str] = "1-4"
    __atomic__: ClassVar[bool] = True

    name: str = ""
    protocol: str = ""
    port: int | None = None
    app_protocol: str = ""


class EndpointSlice(Object):
    """A part of the addresses behind a Service."""

    api_version: ClassVar[str] = "discovery.k8s.io/v1"
    kind: ClassVar[str] = "EndpointSlice"
    __proto__: ClassVar[str] = "2-4"
    __required__: ClassVar[str] = "addressType"

    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
    address_type: str = ""
