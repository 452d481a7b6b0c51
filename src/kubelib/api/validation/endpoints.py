"""Rules of the endpoints of Services."""

from collections.abc import Callable, Sequence

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.meta import label_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    immutable,
    one_of,
    port_number,
    required,
    too_many,
)

_PROTOCOLS = ("SCTP", "TCP", "UDP")


_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ENDPOINTS, _MOST_ADDRESSES, _MOST_PORTS, _MOST_TOPOLOGY, _MOST_HINTS = 1000, 100, 20000, 16, 8


def _reachable_messages(ip: str) -> list[str]:
    """Check that an address is one that can be reached.

    Unlike in Kubernetes it may be of the loopback network: without privileges Pods live there.
    """
    return [message for message in texts.special_address(ip) if "loopback" not in message]


def endpoints_problems(tree: Tree) -> list[Problem]:
    """Check Endpoints."""
    problems: list[Problem] = []
    for at, subset in enumerate(tree.get("subsets") or ()):
        path = f"subsets[{at}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            problems.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for part in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(part) or ()):
                _subset_address_problems(address, f"{path}.{part}[{number}]", problems)
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            here, name = f"{path}.ports[{number}]", port.get("name") or ""
            if name:
                problems += each(f"{here}.name", name, texts.label(name))
            elif len(ports) > 1:
                problems.append(required(f"{here}.name"))
            problems += port_number(f"{here}.port", port.get("port"))
            problems += one_of(f"{here}.protocol", port.get("protocol"), _PROTOCOLS)
            _protocol_problems(port, here, problems)
    return problems


def _subset_address_problems(address: Tree, path: str, problems: list[Problem]) -> None:
    ip, host, node = address.get("ip") or "", address.get("hostname"), address.get("nodeName")
    problems += each(f"{path}.ip", ip, texts.ip_address(ip))
    if host and (messages := texts.label(host)):
        problems += each(f"{path}.hostname", host, messages)
    if node is not None and (messages := texts.subdomain(node)):
        problems += each(f"{path}.nodeName", node, messages)
    problems += each(f"{path}.ip", ip, _reachable_messages(ip))


def _protocol_problems(port: Tree, path: str, problems: list[Problem]) -> None:
    name = port.get("appProtocol")
    if name is not None:
        problems += each(f"{path}.appProtocol", name, texts.qualified(name))


def endpoint_slice_problems(tree: Tree, types: Sequence[str] = _ADDRESS_TYPES) -> list[Problem]:
    """Check an EndpointSlice, whose addresses are of one of some types."""
    kind = tree.get("addressType") or ""
    problems = one_of("addressType", kind, types)
    endpoints, ports = tree.get("endpoints") or (), tree.get("ports") or ()
    if len(endpoints) > _MOST_ENDPOINTS:
        problems.append(too_many("endpoints", len(endpoints), _MOST_ENDPOINTS))
    else:
        for at, endpoint in enumerate(endpoints):
            _endpoint_problems(endpoint, kind, f"endpoints[{at}]", problems)
    if len(ports) > _MOST_PORTS:
        return [*problems, too_many("ports", len(ports), _MOST_PORTS)]
    names: set[str] = set()
    for at, port in enumerate(ports):
        name = port.get("name") or ""
        if name and (messages := texts.label(name)):
            problems += each(f"ports[{at}].name", name, messages)
        if name in names:
            problems.append(duplicate(f"ports[{at}].name", name))
        names.add(name)
        problems += one_of(f"ports[{at}].protocol", port.get("protocol"), _PROTOCOLS)
        _protocol_problems(port, f"ports[{at}]", problems)
    return problems


def _endpoint_problems(endpoint: Tree, kind: str, path: str, problems: list[Problem]) -> None:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        problems.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _MOST_ADDRESSES:
        problems.append(too_many(f"{path}.addresses", len(addresses), _MOST_ADDRESSES))
    for number, address in enumerate(addresses):
        if messages := _family_messages(kind, address):
            problems += each(f"{path}.addresses[{number}]", address, messages)
    node, host = endpoint.get("nodeName"), endpoint.get("hostname")
    if node is not None and (messages := texts.subdomain(node)):
        problems += each(f"{path}.nodeName", node, messages)
    if topology := endpoint.get("deprecatedTopology"):
        if len(topology) > _MOST_TOPOLOGY:
            problems.append(too_many(f"{path}.deprecatedTopology", len(topology), _MOST_TOPOLOGY))
        problems += label_problems(topology, f"{path}.deprecatedTopology")
    if host is not None and (messages := texts.label(host)):
        problems += each(f"{path}.hostname", host, messages)
    hints = endpoint.get("hints") or {}
    _hint_problems(hints.get("forZones") or (), f"{path}.hints.forZones", texts.label_value, problems)
    _hint_problems(hints.get("forNodes") or (), f"{path}.hints.forNodes", texts.subdomain, problems)


def _hint_problems(
    hints: Sequence[Tree], path: str, check: Callable[[str], list[str]], problems: list[Problem]
) -> None:
    if len(hints) > _MOST_HINTS:
        problems.append(too_many(path, len(hints), _MOST_HINTS))
        return
    names: set[str] = set()
    for at, hint in enumerate(hints):
        here, name = f"{path}[{at}].name", hint.get("name") or ""
        if name in names:
            problems.append(duplicate(here, name))
        names.add(name)
        problems += each(here, name, check(name))


def _family_messages(kind: str, address: str) -> list[str]:
    if kind == "FQDN":
        return _domain_messages(address)
    if kind not in ("IPv4", "IPv6"):
        return []
    messages = texts.ip_address(address)
    if not messages and (kind == "IPv6") != (":" in address):
        messages = [f"must be a valid {kind} address"]
    return messages + _reachable_messages(address)


def _domain_messages(name: str) -> list[str]:
    """Check a fully qualified domain name."""
    plain = name.removesuffix(".")
    if messages := texts.subdomain(plain):
        return messages
    parts = plain.split(".")
    if len(parts) < 2:
        return ["should be a domain with at least two segments separated by dots"]
    return next((messages for part in parts if (messages := texts.label(part))), [])


def endpoint_slice_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to an EndpointSlice: its type of address stays, even one that new ones may not have."""
    return [
        *endpoint_slice_problems(new, ("FQDN", "IP", "IPv4", "IPv6")),
        *immutable("addressType", new.get("addressType"), old.get("addressType")),
    ]
