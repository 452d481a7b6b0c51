"""The names of a cluster: which records Kubernetes' DNS specification has for its Services and their endpoints. Pure.

The specification is https://github.com/kubernetes/dns/blob/master/docs/specification.md, version 1.1.0; where it leaves a choice, this
does as CoreDNS does.
"""

import ipaddress
from collections.abc import Iterable, Iterator

import attrs

from kubelib.api.core.service import Service
from kubelib.api.discovery import Endpoint, EndpointSlice
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.informers import BY_NAMESPACE, Cache
from kubelib.network.services import SERVICE_NAME

DOMAIN = "cluster.local"
VERSION = "1.1.0"
ADDRESSES = {4: "A", 6: "AAAA"}

_BY_SERVICE, _BY_CLUSTER_IP, _BY_ENDPOINT = "service", "clusterIP", "endpoint"


@attrs.frozen
class Record:
    """One resource record; names in it are absolute, and end with a dot."""

    name: str
    type: str
    data: str
    """As it stands in a zone file."""


@attrs.frozen
class Found:
    """What there is of a name."""

    records: tuple[Record, ...] = ()
    """Those of the type that was asked for, or the alias that takes their place."""
    additional: tuple[Record, ...] = ()
    """The addresses of what `records` name."""
    exists: bool = True
    """Whether the name has records of any type, or names below it."""


NOTHING, NO_SUCH_NAME = Found(), Found(exists=False)


def reverse_name(address: str) -> str:
    """Return the name at which an address is looked up.

    >>> reverse_name("10.96.0.10")
    '10.0.96.10.in-addr.arpa.'
    """
    return ipaddress.ip_address(address).reverse_pointer + "."


def _of_service(document: Document) -> Iterable[str]:
    return [f"{document.meta.namespace}/{document.meta.labels.get(SERVICE_NAME, '')}"]


def _cluster_ips(document: Document) -> Iterable[str]:
    return _ips_of(document.view(Service))


def _endpoint_ips(document: Document) -> Iterable[str]:
    return [address for end in document.view(EndpointSlice).endpoints for address in end.addresses]


def _ips_of(service: Service) -> tuple[str, ...]:
    spec = service.spec
    if spec.type == "ExternalName" or spec.cluster_ip in ("", "None"):
        return ()
    return tuple(spec.cluster_ips) or (spec.cluster_ip,)


def _is_headless(service: Service) -> bool:
    return service.spec.cluster_ip == "None" and service.spec.type != "ExternalName"


def _address(name: str, address: str) -> Record:
    return Record(name, ADDRESSES[ipaddress.ip_address(address).version], address)


def _label_of(endpoint: Endpoint, address: str) -> str:
    """Return what an endpoint is called below its Service: its hostname, or something that is its own."""
    return endpoint.hostname or address.replace(".", "-").replace(":", "-")


class ClusterNames:
    """Answers from what is known of Services and EndpointSlices; every answer takes a few look-ups, however many there are."""

    def __init__(
        self, services: Cache[Service], slices: Cache[EndpointSlice], *, domain: str = DOMAIN
    ) -> None:
        self.domain = domain
        self._zone = tuple(domain.split("."))
        self._services = services
        self._slices = slices
        services.add_index(_BY_CLUSTER_IP, _cluster_ips)
        slices.add_index(_BY_SERVICE, _of_service)
        slices.add_index(_BY_ENDPOINT, _endpoint_ips)

    def look_up(self, name: str, type: str) -> Found | None:
        """Return what there is of `name`, which is absolute, of this type of record; None if the name is not of the cluster."""
        labels = name.lower().rstrip(".").split(".")
        if labels[-1] == "arpa":
            return self._reverse(name, type)
        size = len(self._zone)
        if tuple(labels[-size:]) != self._zone:
            return None
        match labels[:-size]:
            case [] | ["svc"] | ["pod"]:
                return NOTHING
            case ["dns-version"]:
                return _of_type([Record(name, "TXT", f'"{VERSION}"')], type)
            case [pod, _, "pod"]:
                return self._pod(name, pod, type)
            case [namespace, "svc" | "pod"]:
                return NOTHING if self._services.by_index(BY_NAMESPACE, namespace) else NO_SUCH_NAME
            case [*below, service, namespace, "svc"]:
                document = self._services.get(Key(namespace, service))
                if document is not None:
                    return self._service(name, document.view(Service), below, type)
        return NO_SUCH_NAME

    def _service(self, name: str, service: Service, below: list[str], type: str) -> Found:
        own = f"{service.metadata.name}.{service.metadata.namespace}.svc.{self.domain}."
        if service.spec.type == "ExternalName":
            return NO_SUCH_NAME if below else _external(name, service.spec.external_name)
        ends = [*self._ends(service, own)] if _is_headless(service) else []
        match below:
            case []:
                if type == "SRV":
                    return self._ports(name, service, own, "", "")
                addresses = [address for _, address in ends] if ends else _ips_of(service)
                if _is_headless(service) and not ends:
                    return NO_SUCH_NAME  # as CoreDNS has it: nobody is there
                return _of_type([_address(name, address) for address in addresses], type)
            case [end]:
                there = [_address(name, address) for target, address in ends if target == f"{end}.{own}"]
                return _of_type(there, type) if there else NO_SUCH_NAME
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                found = self._ports(name, service, own, port[1:], protocol[1:])
                if not found.records:
                    return NO_SUCH_NAME
                return found if type == "SRV" else NOTHING
        return NO_SUCH_NAME

    def _ends(self, service: Service, own: str) -> Iterator[tuple[str, str]]:
        """Yield the name and the address of each endpoint that is ready."""
        for _, endpoint in self._ready(service):
            for address in endpoint.addresses:
                yield f"{_label_of(endpoint, address)}.{own}", address

    def _ready(self, service: Service) -> Iterator[tuple[EndpointSlice, Endpoint]]:
        meta = service.metadata
        for document in self._slices.by_index(_BY_SERVICE, f"{meta.namespace}/{meta.name}"):
            part = document.view(EndpointSlice)
            for endpoint in part.endpoints:
                if endpoint.conditions.ready is not False and part.address_type != "FQDN":
                    yield part, endpoint

    def _ports(self, name: str, service: Service, own: str, port: str, protocol: str) -> Found:
        """Return where named ports are: at the Service's own name, or at the endpoints of a headless one."""
        records: list[Record] = []
        additional: dict[Record, None] = {}

        def add(port_name: str, port_protocol: str, number: int | None, target: str, address: str) -> None:
            if not port_name or number is None:
                return
            if port and (port_name.lower(), (port_protocol or "TCP").lower()) != (port, protocol):
                return
            record = Record(name, "SRV", f"0 100 {number} {target}")
            if record not in records:
                records.append(record)
            additional[_address(target, address)] = None

        if _is_headless(service):
            for part, endpoint in self._ready(service):
                for at in part.ports:
                    for address in endpoint.addresses:
                        add(at.name, at.protocol, at.port, f"{_label_of(endpoint, address)}.{own}", address)
        else:
            for one in service.spec.ports:
                for address in _ips_of(service):
                    add(one.name, one.protocol, one.port, own, address)
        return Found(tuple(records), tuple(additional))

    def _pod(self, name: str, pod: str, type: str) -> Found:
        """Return the address that a Pod's name says, which is all there is of it; nobody looks whether there is such a Pod."""
        for dots in (".", ":"):
            try:
                return _of_type([_address(name, str(ipaddress.ip_address(pod.replace("-", dots))))], type)
            except ValueError:
                continue
        return NO_SUCH_NAME

    def _reverse(self, name: str, type: str) -> Found | None:
        address = _reversed(name)
        if not address:
            return None
        names = [
            f"{document.meta.name}.{document.meta.namespace}.svc.{self.domain}."
            for document in self._services.by_index(_BY_CLUSTER_IP, address)
        ]
        for document in self._slices.by_index(_BY_ENDPOINT, address):
            service = document.meta.labels.get(SERVICE_NAME, "")
            names += [
                f"{endpoint.hostname}.{service}.{document.meta.namespace}.svc.{self.domain}."
                for endpoint in document.view(EndpointSlice).endpoints
                if endpoint.hostname and address in endpoint.addresses
            ]
        if not names:
            return None
        return _of_type([Record(name, "PTR", target) for target in dict.fromkeys(names)], type)


def _external(name: str, target: str) -> Found:
    """Return the alias that a Service is of a name outside, or the address that it names."""
    try:
        return Found((_address(name, target),))
    except ValueError:
        return Found((Record(name, "CNAME", target.rstrip(".") + "."),))


def _of_type(records: Iterable[Record], type: str) -> Found:
    return Found(tuple(record for record in records if type in (record.type, "ANY")))


def _reversed(name: str) -> str:
    """Return the address of a reverse name, or nothing."""
    labels = name.lower().rstrip(".").split(".")[::-1]
    match labels:
        case ["arpa", "in-addr", *numbers] if len(numbers) == 4:
            text = ".".join(numbers)
        case ["arpa", "ip6", *digits] if len(digits) == 32:
            text = ":".join("".join(digits[at : at + 4]) for at in range(0, 32, 4))
        case _:
            return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
