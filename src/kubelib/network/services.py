"""Services and their endpoints as rules: for each port of each Service, where connections go. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import attrs

from kubelib.api.core.service import Service, ServiceSpec
from kubelib.api.discovery import Endpoint, EndpointSlice
from kubelib.api.meta import ObjectMeta
from kubelib.api.validation.addresses import sloppy_network
from kubelib.network.topology import NOWHERE, Place, is_going, is_ready, of_cluster, of_machine

SERVICE_NAME = "kubernetes.io/service-name"
SOMEBODY_ELSES = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""Labels of Services and EndpointSlices with which a proxy has nothing to do, whatever they say."""
_LOOPBACK = ("127.0.0.0/8", "::1/128")
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
class Outside:
    """What becomes of clients from outside of the cluster where a Service's external traffic policy is Local."""

    backends: tuple[Backend, ...]
    """The endpoints on this machine; without any, they get no answer."""
    insiders: tuple[str, ...] = ()
    """Networks of Pods here, which are inside, as the machine itself is."""


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
    external: bool = False
    """Whether the frontend is meant for clients from outside of the cluster."""
    outside: Outside | None = None
    """Where those go; None: where all go."""
    sources: tuple[str, ...] = ()
    """Networks whose clients are let in; none: all. They do not overlap."""

    def open_to(self, client: str, asked: str) -> tuple[Backend, ...]:
        """Return where a client may go, by its address and the one that it has asked, which is its own too if it is on this machine."""
        if self.sources and not _within(client, self.sources):
            return ()
        outside = self.outside
        if outside is None or client == asked or _within(client, (*_LOOPBACK, *outside.insiders)):
            return self.backends
        return outside.backends


@attrs.frozen
class _Ends:
    """Where connections to a port of a Service go."""

    cluster: tuple[Backend, ...]
    local: tuple[Backend, ...]
    serving: frozenset[Backend]


def rules(
    services: Iterable[Service], slices: Iterable[EndpointSlice], place: Place = NOWHERE
) -> dict[Frontend, Rule]:
    """Return the rules of all Services for a proxy at a place; ports of the node are at `ANY_NODE_ADDRESS`."""
    by_service: dict[tuple[str, str, str], list[EndpointSlice]] = {}
    for part in slices:
        meta = part.metadata
        name = meta.labels.get(SERVICE_NAME)
        if name and is_ours(meta):
            by_service.setdefault((meta.namespace, name, part.address_type), []).append(part)
    found: dict[Frontend, Rule] = {}
    for service in services:
        spec, meta = service.spec, service.metadata
        if spec.cluster_ip in ("", "None") or spec.type == "ExternalName" or not is_ours(meta):
            continue
        own = spec.cluster_ips or (spec.cluster_ip,)
        affinity = _affinity(spec)
        internal_local, external_local = (
            policy == "Local" for policy in (spec.internal_traffic_policy, spec.external_traffic_policy)
        )
        for port in spec.ports:
            protocol = port.protocol or "TCP"
            name = f"{meta.namespace}/{meta.name}:{port.name or port.port}"
            ends: dict[str, _Ends] = {}
            for frontend, external, sources in _frontends(service, own, port.port, port.node_port, protocol):
                # One of a port of the node has the family of the Service's first address.
                address = own[0] if frontend.address == ANY_NODE_ADDRESS else frontend.address
                family = "IPv6" if ":" in address else "IPv4"
                if family not in ends:
                    parts = by_service.get((meta.namespace, meta.name, family), ())
                    ends[family] = _ends(
                        parts, port.name, protocol, place, local=internal_local or external_local
                    )
                end = ends[family]
                found[frontend] = Rule(
                    name,
                    frontend,
                    end.local if internal_local and not external else end.cluster,
                    affinity,
                    end.serving,
                    external,
                    Outside(end.local, networks(place.pods, int(family[-1])))
                    if external and external_local
                    else None,
                    sources,
                )
    return found


def is_ours(meta: ObjectMeta) -> bool:
    """Return whether a Service or a slice is this proxy's to look at."""
    return not any(label in meta.labels for label in SOMEBODY_ELSES)


def _affinity(spec: ServiceSpec) -> float:
    if spec.session_affinity != "ClientIP":
        return 0.0
    config = spec.session_affinity_config
    client_ip = config.client_ip if config is not None else None
    return float((client_ip.timeout_seconds if client_ip is not None else None) or 10800)


def _frontends(
    service: Service, own: Sequence[str], port: int, node_port: int, protocol: str
) -> Iterable[tuple[Frontend, bool, tuple[str, ...]]]:
    """Yield where a port of a Service listens, whether that is for clients from outside, and whom it lets in."""
    spec = service.spec
    for address in own:
        yield Frontend(address, port, protocol), False, ()
    for address in spec.external_ips:
        if address not in own:
            yield Frontend(address, port, protocol), True, ()
    for ingress in service.status.load_balancer.ingress:
        # Where a load balancer is the Service's own address, those within come by it too.
        if ingress.ip and ingress.ip_mode != "Proxy" and ingress.ip not in own:
            sources = networks(spec.load_balancer_source_ranges, 6 if ":" in ingress.ip else 4)
            yield Frontend(ingress.ip, port, protocol), True, sources
    if node_port:
        yield Frontend(ANY_NODE_ADDRESS, node_port, protocol), True, ()


def _ends(parts: Iterable[EndpointSlice], name: str, protocol: str, place: Place, *, local: bool) -> _Ends:
    """Return where connections of a port go, those that stay on this machine only if somebody asks, and for UDP where they may stay."""
    ready: dict[Backend, Endpoint] = {}
    going: dict[Backend, Endpoint] = {}
    for part in parts:
        for port in part.ports:
            if port.name != name or not port.port or (port.protocol or "TCP") != protocol:
                continue
            for endpoint in part.endpoints:
                if is_ready(endpoint):
                    ends = ready
                elif is_going(endpoint):
                    ends = going
                else:
                    continue
                for address in endpoint.addresses[:1]:  # what the others would mean is not defined
                    backend = Backend(address, port.port)
                    # While an endpoint moves from slice to slice it is in both.
                    if backend not in ends or endpoint.node_name in place.nodes:
                        ends[backend] = endpoint
    return _Ends(
        tuple(sorted(of_cluster(ready, going, place))),
        tuple(sorted(of_machine(ready, going, place))) if local else (),
        frozenset(ready | going if protocol == "UDP" else ()),
    )


@lru_cache(maxsize=1024)
def networks(ranges: tuple[str, ...], version: int) -> tuple[str, ...]:
    """Return those of an IP version, none of which is in another; none if they are everything, as a Service without ranges lets all in."""
    parsed = [found for written in ranges if (found := sloppy_network(written.strip())) is not None]
    if any(network.prefixlen == 0 and network.version == version for network in parsed):
        return ()
    if version == 4:
        ours = ipaddress.collapse_addresses(n for n in parsed if isinstance(n, ipaddress.IPv4Network))
        return tuple(map(str, ours))
    theirs = ipaddress.collapse_addresses(n for n in parsed if isinstance(n, ipaddress.IPv6Network))
    return tuple(map(str, theirs))


@lru_cache(maxsize=4096)
def _within(client: str, ranges: tuple[str, ...]) -> bool:
    address = ipaddress.ip_address(client)
    return any(address in ipaddress.ip_network(network) for network in ranges)


def changed(
    old: Mapping[Frontend, Rule], new: Mapping[Frontend, Rule]
) -> tuple[list[Frontend], list[Frontend]]:
    """Return the frontends that have gone and those that are new."""
    return [f for f in old if f not in new], [f for f in new if f not in old]
