"""Rules of Services and their endpoints."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.addresses import is_address
from kubelib.api.validation.containers import port_problems
from kubelib.api.validation.meta import label_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    one_of,
    port_number,
    required,
    too_many,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_LONGEST_AFFINITY = 86400


def service_problems(tree: Tree) -> list[Problem]:
    """Check a Service."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    kind, address = spec.get("type") or "", spec.get("clusterIP") or ""
    ports = spec.get("ports") or []
    if not ports and kind != "ExternalName" and address != "None":
        problems.append(required("spec.ports"))
    if address == "None" and kind in ("LoadBalancer", "NodePort"):
        problems.append(
            invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
        )
    if kind == "ExternalName":
        _external_name_problems(spec, problems)
    _port_problems(ports, kind, problems)
    if spec.get("selector"):
        problems += label_problems(spec["selector"], "spec.selector")
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    problems += one_of("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    if affinity == "ClientIP":
        _affinity_problems(config, problems)
    elif affinity == "None" and config is not None:
        problems.append(
            forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")
        )
    _address_problems(spec, kind, problems)
    problems += one_of("spec.type", kind, _TYPES)
    _balancer_problems(spec, kind, problems)
    _traffic_problems(spec, kind, problems)
    return problems


def _external_name_problems(spec: Tree, problems: list[Problem]) -> None:
    problems += [
        forbidden(f"spec.{field}", "may not be set for ExternalName services")
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(field) or (field == "clusterIPs" and spec.get("clusterIP"))
    ]
    name = (spec.get("externalName") or "").removesuffix(".")
    if name:
        problems += each("spec.externalName", name, texts.subdomain(name))
    else:
        problems.append(required("spec.externalName"))


def _port_problems(ports: list[Tree], kind: str, problems: list[Problem]) -> None:
    names: set[str] = set()
    claims: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for at, port in enumerate(ports):
        path, name = f"spec.ports[{at}]", port.get("name") or ""
        if not name and len(ports) > 1:
            problems.append(required(f"{path}.name"))
        elif name:
            problems += each(f"{path}.name", name, texts.label(name))
            if name in names:
                problems.append(duplicate(f"{path}.name", name))
            names.add(name)
        number, protocol, node_port = port.get("port") or 0, port.get("protocol"), port.get("nodePort")
        problems += port_number(f"{path}.port", number)
        problems += one_of(f"{path}.protocol", protocol, _PROTOCOLS)
        port_problems(port.get("targetPort"), f"{path}.targetPort", problems)
        if port.get("appProtocol") is not None:
            problems += each(f"{path}.appProtocol", port["appProtocol"], texts.qualified(port["appProtocol"]))
        if node_port and kind == "ClusterIP":
            problems.append(forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'"))
        if node_port:
            if (protocol, node_port) in node_ports:
                problems.append(duplicate(f"{path}.nodePort", node_port))
            node_ports.add((protocol, node_port))
        if (protocol, number) in claims:
            problems.append(duplicate(path, {"protocol": protocol, "port": number}))
        claims.add((protocol, number))


def _affinity_problems(config: Any, problems: list[Problem]) -> None:
    path, why = "spec.sessionAffinityConfig", "when session affinity type is ClientIP"
    if config is None:
        problems.append(required(path, why))
    elif config.get("clientIP") is None:
        problems.append(required(f"{path}.clientIP", why))
    else:
        seconds = config["clientIP"].get("timeoutSeconds")
        field = f"{path}.clientIP.timeoutSeconds"
        if seconds is None:
            problems.append(required(field, why))
        elif not 0 < seconds <= _LONGEST_AFFINITY:
            problems.append(
                invalid(field, seconds, f"must be greater than 0 and less than {_LONGEST_AFFINITY}")
            )


def _address_problems(spec: Tree, kind: str, problems: list[Problem]) -> None:
    address, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if kind != "ExternalName":
        if addresses and address and addresses[0] != address:
            problems.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
        for at, value in enumerate(addresses or ([address] if address else [])):
            if value == "None":
                if at:
                    problems.append(
                        invalid(
                            f"spec.clusterIPs[{at}]", value, "may not be set to 'None' beside other addresses"
                        )
                    )
            else:
                problems += each(f"spec.clusterIPs[{at}]", value, texts.ip_address(value))
    policy = spec.get("ipFamilyPolicy")
    policies = ("PreferDualStack", "RequireDualStack", "SingleStack")
    if policy is not None and policy not in policies:
        problems.append(not_supported("spec.ipFamilyPolicy", policy, policies))
    families = spec.get("ipFamilies") or []
    for at, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            problems.append(not_supported(f"spec.ipFamilies[{at}]", family, ("IPv4", "IPv6")))
        if family in families[:at]:
            problems.append(duplicate(f"spec.ipFamilies[{at}]", family))
    for at, value in enumerate(spec.get("externalIPs") or ()):
        messages = texts.ip_address(value) or texts.special_address(value)
        problems += each(f"spec.externalIPs[{at}]", value, messages)


def _balancer_problems(spec: Tree, kind: str, problems: list[Problem]) -> None:
    balanced = kind == "LoadBalancer"
    only = "may only be used when `type` is 'LoadBalancer'"
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges and not balanced:
        problems.append(forbidden("spec.LoadBalancerSourceRanges", only))
    for at, value in enumerate(ranges):
        problems += each(f"spec.LoadBalancerSourceRanges[{at}]", value.strip(), texts.cidr(value.strip()))
    if spec.get("allocateLoadBalancerNodePorts") is not None:
        if not balanced:
            problems.append(forbidden("spec.allocateLoadBalancerNodePorts", only))
    elif balanced:
        problems.append(required("allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if not balanced:
            problems.append(forbidden("spec.loadBalancerClass", only))
        problems += each("spec.loadBalancerClass", name, texts.qualified(name))


def _traffic_problems(spec: Tree, kind: str, problems: list[Problem]) -> None:
    outside, inside = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    reachable = kind in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))
    if not reachable:
        if outside:
            problems.append(
                invalid(
                    "spec.externalTrafficPolicy",
                    outside,
                    "may only be set for externally-accessible services",
                )
            )
    else:
        problems += one_of("spec.externalTrafficPolicy", outside, _POLICIES)
    if spec.get("healthCheckNodePort") and not (kind == "LoadBalancer" and outside == "Local"):
        problems.append(
            invalid(
                "spec.healthCheckNodePort",
                spec["healthCheckNodePort"],
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            )
        )
    if inside is None:
        if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
            problems.append(required("spec.internalTrafficPolicy"))
    elif inside not in _POLICIES:
        problems.append(not_supported("spec.internalTrafficPolicy", inside, _POLICIES))
    spread = spec.get("trafficDistribution")
    if spread is not None and spread not in ("PreferClose", "PreferSameNode", "PreferSameZone"):
        problems.append(
            not_supported(
                "spec.trafficDistribution", spread, ("PreferClose", "PreferSameNode", "PreferSameZone")
            )
        )


def service_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a Service keeps its address."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    problems: list[Problem] = []
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        had, has = before.get("clusterIP"), spec.get("clusterIP")
        if had and has != had:
            problems += [
                invalid("spec.clusterIPs[0]", spec.get("clusterIPs") or [], "may not change once set")
            ]
        families, was = spec.get("ipFamilies") or [None], before.get("ipFamilies") or [None]
        if was[0] and families[0] and families[0] != was[0]:
            problems.append(invalid("spec.ipFamilies[0]", families[0], "may not change once set"))
    local = [
        one.get("type") == "LoadBalancer" and one.get("externalTrafficPolicy") == "Local"
        for one in (spec, before)
    ]
    if all(local) and before.get("healthCheckNodePort"):
        problems += immutable(
            "spec.healthCheckNodePort", spec.get("healthCheckNodePort") or 0, before["healthCheckNodePort"]
        )
    if spec.get("type") == "LoadBalancer" and before.get("type") == "LoadBalancer":
        if before.get("loadBalancerClass") is not None or spec.get("loadBalancerClass") is None:
            problems += immutable(
                "spec.loadBalancerClass", spec.get("loadBalancerClass"), before.get("loadBalancerClass")
            )
        else:
            problems.append(
                invalid("spec.loadBalancerClass", spec["loadBalancerClass"], "may not change once set")
            )
    return problems + service_problems(new)


def endpoints_problems(tree: Tree) -> list[Problem]:
    """Check Endpoints."""
    problems: list[Problem] = []
    for at, subset in enumerate(tree.get("subsets") or ()):
        path = f"subsets[{at}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            problems.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for part in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(part) or ()):
                here, ip = f"{path}.{part}[{number}]", address.get("ip") or ""
                # Unlike in Kubernetes, addresses may be of the loopback network: without privileges Pods live there.
                problems += each(f"{here}.ip", ip, texts.ip_address(ip))
                host = address.get("hostname")
                if host and (messages := texts.label(host)):
                    problems += each(f"{here}.hostname", host, messages)
                node = address.get("nodeName")
                if node is not None and (messages := texts.subdomain(node)):
                    problems += each(f"{here}.nodeName", node, messages)
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            here, name = f"{path}.ports[{number}]", port.get("name") or ""
            if name:
                problems += each(f"{here}.name", name, texts.label(name))
            elif len(ports) > 1:
                problems.append(required(f"{here}.name"))
            problems += port_number(f"{here}.port", port.get("port"))
            problems += one_of(f"{here}.protocol", port.get("protocol"), _PROTOCOLS)
    return problems


_FAMILIES = ("IPv4", "IPv6", "FQDN")


def endpoint_slice_problems(tree: Tree) -> list[Problem]:
    """Check an EndpointSlice."""
    problems: list[Problem] = []
    kind = tree.get("addressType") or ""
    problems += one_of("addressType", kind, _FAMILIES)
    endpoints, ports = tree.get("endpoints") or (), tree.get("ports") or ()
    if len(endpoints) > 1000:
        return [*problems, too_many("endpoints", len(endpoints), 1000)]
    for at, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            problems.append(required(f"endpoints[{at}].addresses", "must contain at least 1 address"))
        elif len(addresses) > 100:
            problems.append(too_many(f"endpoints[{at}].addresses", len(addresses), 100))
        for number, address in enumerate(addresses):
            messages = _family_messages(kind, address)
            problems += each(f"endpoints[{at}].addresses[{number}]", address, messages)
        node, host = endpoint.get("nodeName"), endpoint.get("hostname")
        if node is not None and (messages := texts.subdomain(node)):
            problems += each(f"endpoints[{at}].nodeName", node, messages)
        if host is not None and (messages := texts.label(host)):
            problems += each(f"endpoints[{at}].hostname", host, messages)
    if len(ports) > 20000:
        return [*problems, too_many("ports", len(ports), 20000)]
    names: set[str] = set()
    for at, port in enumerate(ports):
        name = port.get("name") or ""
        if name and (messages := texts.label(name)):
            problems += each(f"ports[{at}].name", name, messages)
        if name in names:
            problems.append(duplicate(f"ports[{at}].name", name))
        names.add(name)
        problems += one_of(f"ports[{at}].protocol", port.get("protocol"), _PROTOCOLS)
        if port.get("appProtocol") is not None:
            problems += each(
                f"ports[{at}].appProtocol", port["appProtocol"], texts.qualified(port["appProtocol"])
            )
    return problems


def _family_messages(kind: str, address: str) -> list[str]:
    if kind == "FQDN":
        return texts.subdomain(address)
    if kind not in ("IPv4", "IPv6"):
        return []
    if messages := texts.ip_address(address):
        return messages
    if (kind == "IPv6") != (":" in address):
        return [f"must be a valid {kind} address"]
    return []


def endpoint_slice_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to an EndpointSlice: its type of address stays."""
    return [
        *endpoint_slice_problems(new),
        *immutable("addressType", new.get("addressType"), old.get("addressType")),
    ]


def load_balancer_problems(tree: Tree) -> list[Problem]:
    """Check where a Service or an Ingress is reached from outside, as its status says."""
    problems: list[Problem] = []
    entries = ((tree.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for at, entry in enumerate(entries):
        path, ip, host = f"status.loadBalancer.ingress[{at}]", entry.get("ip"), entry.get("hostname")
        if ip:
            problems += each(f"{path}.ip", ip, texts.ip_address(ip))
        if host:
            problems += each(f"{path}.hostname", host, texts.subdomain(host))
            if is_address(host):
                problems.append(invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return problems
