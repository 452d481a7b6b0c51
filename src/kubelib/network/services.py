"""Services and their endpoints as rules: for each port of each Service, where connections go. Pure."""

from collections.abc import Iterable, Mapping

import attrs

from kubelib.api.core.service import Service
from kubelib.api.discovery import EndpointSlice

SERVICE_NAME = "kubernetes.io/service-name"
ANY_NODE_ADDRESS = "0.0.0.0"
"""The address of frontends that are ports of the node, whichever of its addresses is asked."""


@attrs.frozen(order=True)
class Frontend:
    """Where a Service listens."""

    address: str
    port: int
    protocol: str = "TCP"


@attrs.frozen(order=True)
class Backend:
    """Where a connection can go."""

    address: str
    port: int


@attrs.frozen
class Rule:
    """One port of one Service."""

    service: str
    """``namespace/name:port``, for messages."""
    frontend: Frontend
    backends: tuple[Backend, ...]
    affinity: float = 0.0
    """Seconds for which a client keeps its backend; 0: every connection may go elsewhere."""
    serving: frozenset[Backend] = frozenset()
    """For UDP, the backends at which clients that are there may stay: also those that are going, but still serve."""


def rules(services: Iterable[Service], slices: Iterable[EndpointSlice]) -> dict[Frontend, Rule]:
    """Return the rules of all Services; ports of the node are at `ANY_NODE_ADDRESS`."""
    by_service: dict[tuple[str, str], list[EndpointSlice]] = {}
    for part in slices:
        name = part.metadata.labels.get(SERVICE_NAME)
        if name and part.address_type != "FQDN":  # a proxy leads to addresses
            by_service.setdefault((part.metadata.namespace, name), []).append(part)
    found: dict[Frontend, Rule] = {}
    for service in services:
        spec = service.spec
        address = spec.cluster_ip
        if not address or address == "None" or spec.type == "ExternalName":
            continue
        meta = service.metadata
        parts = by_service.get((meta.namespace, meta.name), [])
        affinity = 0.0
        if spec.session_affinity == "ClientIP":
            config = spec.session_affinity_config
            client_ip = config.client_ip if config is not None else None
            affinity = float((client_ip.timeout_seconds if client_ip is not None else None) or 10800)
        for port in spec.ports:
            protocol = port.protocol or "TCP"
            backends, serving = _backends(parts, port.name, protocol)
            name = f"{meta.namespace}/{meta.name}:{port.name or port.port}"
            frontends = [Frontend(address, port.port, protocol)]
            frontends += [Frontend(external, port.port, protocol) for external in spec.external_ips]
            for ingress in service.status.load_balancer.ingress:
                if ingress.ip and ingress.ip_mode != "Proxy":
                    frontends.append(Frontend(ingress.ip, port.port, protocol))
            if port.node_port:
                frontends.append(Frontend(ANY_NODE_ADDRESS, port.node_port, protocol))
            for frontend in frontends:
                found[frontend] = Rule(name, frontend, backends, affinity, serving)
    return found


def _backends(
    parts: Iterable[EndpointSlice], name: str, protocol: str
) -> tuple[tuple[Backend, ...], frozenset[Backend]]:
    """Return where connections of a port go, and for UDP where they may stay."""
    ready: set[Backend] = set()
    terminating: set[Backend] = set()
    for part in parts:
        for port in part.ports:
            if port.name != name or port.port is None or (port.protocol or "TCP") != protocol:
                continue
            for endpoint in part.endpoints:
                conditions = endpoint.conditions
                for address in endpoint.addresses:
                    if conditions.ready is not False:
                        ready.add(Backend(address, port.port))
                    elif conditions.serving and conditions.terminating:
                        terminating.add(Backend(address, port.port))
    # Endpoints that are going still answer when no other does.
    return tuple(sorted(ready or terminating)), frozenset(ready | terminating if protocol == "UDP" else ())


def changed(
    old: Mapping[Frontend, Rule], new: Mapping[Frontend, Rule]
) -> tuple[list[Frontend], list[Frontend]]:
    """Return the frontends that have gone and those that are new."""
    return [f for f in old if f not in new], [f for f in new if f not in old]
