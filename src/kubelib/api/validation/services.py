"""Rules of Services and their endpoints."""

import ipaddress
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.meta import label_problems
from kubelib.api.validation.pods import is_port_name
from kubelib.api.validation.problems import (
    duplicate,
    forbidden,
    immutable,
    invalid,
    not_supported,
    port_number,
    required,
)
from kubelib.labels.validation import is_dns1123_label, is_dns1123_subdomain

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def is_ip(value: Any) -> bool:
    """Return whether a text is an IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def service_problems(tree: Tree) -> list[Problem]:
    """Check a Service."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    kind = spec.get("type")
    if kind not in _TYPES:
        problems.append(not_supported("spec.type", kind, _TYPES))
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if not ports and kind != "ExternalName" and not headless:
        problems.append(required("spec.ports"))
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for at, port in enumerate(ports):
        path = f"spec.ports[{at}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            problems.append(required(f"{path}.name"))
        elif name:
            problems += [invalid(f"{path}.name", name, m) for m in is_dns1123_label(name)]
            if name in names:
                problems.append(duplicate(f"{path}.name", name))
        names.add(name)
        problems += port_number(f"{path}.port", port.get("port"))
        if port.get("protocol") not in _PROTOCOLS:
            problems.append(not_supported(f"{path}.protocol", port.get("protocol"), _PROTOCOLS))
        target = port.get("targetPort")
        if isinstance(target, str):
            problems += [invalid(f"{path}.targetPort", target, m) for m in is_port_name(target)]
        elif target is not None:
            problems += port_number(f"{path}.targetPort", target)
        claim = (port.get("port"), port.get("protocol"))
        if claim in numbers:
            problems.append(duplicate(path, {"port": claim[0], "protocol": claim[1]}))
        numbers.add(claim)
        if port.get("nodePort") and kind == "ClusterIP":
            problems.append(forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'"))
    problems += label_problems(spec.get("selector"), "spec.selector")
    if spec.get("sessionAffinity") not in ("ClientIP", "None"):
        problems.append(
            not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
        )
    address = spec.get("clusterIP")
    if address and address != "None" and not is_ip(address):
        problems.append(
            invalid(
                "spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            )
        )
    if kind == "ExternalName":
        if address:
            problems.append(forbidden("spec.clusterIP", "may not be set when `type` is 'ExternalName'"))
        name = (spec.get("externalName") or "").removesuffix(".")
        if not name:
            problems.append(required("spec.externalName"))
        else:
            problems += [invalid("spec.externalName", name, m) for m in is_dns1123_subdomain(name)]
    return problems


def service_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a Service keeps its address."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    problems = service_problems(new)
    if (
        before.get("clusterIP")
        and spec.get("type") != "ExternalName"
        and before.get("type") != "ExternalName"
    ):
        problems += immutable("spec.clusterIP", spec.get("clusterIP"), before["clusterIP"])
    return problems


def endpoints_problems(tree: Tree) -> list[Problem]:
    """Check Endpoints."""
    problems: list[Problem] = []
    for at, subset in enumerate(tree.get("subsets") or ()):
        path = f"subsets[{at}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            problems.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for part in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(part) or ()):
                if not is_ip(address.get("ip")):
                    problems.append(
                        invalid(
                            f"{path}.{part}[{number}].ip",
                            address.get("ip") or "",
                            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                        )
                    )
        for number, port in enumerate(subset.get("ports") or ()):
            problems += port_number(f"{path}.ports[{number}].port", port.get("port"))
            if len(subset["ports"]) > 1 and not port.get("name"):
                problems.append(required(f"{path}.ports[{number}].name"))
    return problems


def endpoint_slice_problems(tree: Tree) -> list[Problem]:
    """Check an EndpointSlice."""
    problems: list[Problem] = []
    kind = tree.get("addressType")
    if not kind:
        problems.append(required("addressType"))
    elif kind not in ("FQDN", "IPv4", "IPv6"):
        problems.append(not_supported("addressType", kind, ("FQDN", "IPv4", "IPv6")))
    if len(tree.get("endpoints") or ()) > 1000:
        problems.append(
            Problem(
                "FieldValueTooMany",
                "endpoints",
                f"Too many: {len(tree['endpoints'])}: must have at most 1000 items",
            )
        )
    for at, endpoint in enumerate(tree.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            problems.append(required(f"endpoints[{at}].addresses", "must contain at least 1 address"))
    return problems
