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
    invalid,
    not_supported,
    one_of,
    pointer,
    port_number,
    required,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_LONGEST_AFFINITY = 86400


def _is_headless(spec: Tree) -> bool:
    return addresses_of(spec) == ["None"]


def addresses_of(spec: Tree) -> list[str]:
    """Return the addresses of a Service; the first may stand alone, as it does before the server has chosen a second."""
    first = spec.get("clusterIP")
    return spec.get("clusterIPs") or ([first] if first else [])


def service_problems(tree: Tree) -> list[Problem]:
    """Check a Service."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    _topology_problems(tree["metadata"].get("annotations") or {}, problems)
    kind, ports = spec.get("type") or "", spec.get("ports") or []
    headless = _is_headless(spec)
    if not ports and kind != "ExternalName" and not headless:
        problems.append(required("spec.ports"))
    if headless and kind in ("LoadBalancer", "NodePort"):
        problems.append(
            invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
        )
    if kind == "ExternalName":
        _external_name_problems(spec, problems)
    _port_problems(ports, problems)
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
    if kind != "ExternalName":
        _address_problems(spec, problems)
    for at, value in enumerate(spec.get("externalIPs") or ()):
        messages = texts.ip_address(value) or texts.special_address(value)
        problems += each(f"spec.externalIPs[{at}]", value, messages)
    problems += one_of("spec.type", kind, _TYPES)
    _twice_problems(ports, kind, problems)
    _balancer_problems(tree, spec, kind, problems)
    _traffic_problems(spec, kind, problems)
    return problems


_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def _topology_problems(annotations: Tree, problems: list[Problem]) -> None:
    hints, mode = annotations.get(_HINTS), annotations.get(_MODE)
    if hints is not None and mode is not None and hints != mode:
        why = f"must match annotations[{_HINTS}] when both are specified"
        problems.append(invalid(f"metadata.annotations[{_MODE}]", mode, why))


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


def _port_problems(ports: list[Tree], problems: list[Problem]) -> None:
    names: set[str] = set()
    for at, port in enumerate(ports):
        path, name = f"spec.ports[{at}]", port.get("name") or ""
        if not name and len(ports) > 1:
            problems.append(required(f"{path}.name"))
        elif name:
            problems += each(f"{path}.name", name, texts.label(name))
            if name in names:
                problems.append(duplicate(f"{path}.name", name))
            names.add(name)
        problems += port_number(f"{path}.port", port.get("port") or 0)
        problems += one_of(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
        port_problems(port.get("targetPort"), f"{path}.targetPort", problems)
        if port.get("appProtocol") is not None:
            problems += each(f"{path}.appProtocol", port["appProtocol"], texts.qualified(port["appProtocol"]))


def _twice_problems(ports: list[Tree], kind: str, problems: list[Problem]) -> None:
    """Check that no two ports are the same to clients, or on the nodes."""
    if kind == "ClusterIP":
        problems += [
            forbidden(f"spec.ports[{at}].nodePort", "may not be used when `type` is 'ClusterIP'")
            for at, port in enumerate(ports)
            if port.get("nodePort")
        ]
    for field in ("nodePort", "port"):
        taken: set[tuple[Any, Any]] = set()
        for at, port in enumerate(ports):
            protocol, number = port.get("protocol"), port.get(field) or 0
            if (protocol, number) in taken and (number or field == "port"):
                problems.append(
                    duplicate(f"spec.ports[{at}].nodePort", number)
                    if field == "nodePort"
                    else duplicate(f"spec.ports[{at}]", {"protocol": protocol, "port": number})
                )
            taken.add((protocol, number))


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


def _address_problems(spec: Tree, problems: list[Problem]) -> None:
    path, first, given = "spec.clusterIPs", spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if first and given and given[0] != first:
        problems.append(invalid(path, given, "first value must match `clusterIP`"))
    elif given and not first:
        problems.append(invalid(path, given, "must be empty when `clusterIP` is not specified"))
    families = spec.get("ipFamilies") or []
    for at, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            problems.append(not_supported(f"spec.ipFamilies[{at}]", family, ("IPv4", "IPv6")))
        if family in families[:at]:
            problems.append(duplicate(f"spec.ipFamilies[{at}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        problems.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    addresses, sound = addresses_of(spec), True
    for at, value in enumerate(addresses):
        if not at and value == "None":
            if len(addresses) > 1:
                problems.append(invalid(path, addresses, "'None' must be the first and only value"))
                sound = False
        elif messages := texts.ip_address(value):
            problems += each(f"{path}[{at}]", value, messages)
            sound = False
    if len(addresses) > 2:
        problems.append(invalid(path, addresses, "may only hold up to 2 values"))
    if not sound or addresses == ["None"]:
        return
    newer = [":" in value for value in addresses]
    if len(newer) > 1 and len(set(newer)) < 2:
        problems.append(invalid(path, addresses, "may specify no more than one IP for each IP family"))
    for at, (family, value) in enumerate(zip(families, addresses, strict=False)):
        if family in ("IPv4", "IPv6") and (family == "IPv6") != newer[at]:
            why = f"expected an {family} value as indicated by `ipFamilies[{at}]`"
            problems.append(invalid(f"{path}[{at}]", value, why))


def _balancer_problems(tree: Tree, spec: Tree, kind: str, problems: list[Problem]) -> None:
    balanced = kind == "LoadBalancer"
    only = "may only be used when `type` is 'LoadBalancer'"
    ranges, noted = spec.get("loadBalancerSourceRanges") or (), tree["metadata"].get("annotations") or {}
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if not balanced:
            problems.append(forbidden(path, only))
        for at, value in enumerate(ranges):
            problems += each(f"{path}[{at}]", value.strip(), texts.cidr(value.strip()))
    elif _RANGES in noted:
        path = f"metadata.annotations[{_RANGES}]"
        if not balanced:
            problems.append(forbidden(path, only))
        for value in noted[_RANGES].split(",") if noted[_RANGES].strip() else ():
            problems += each(path, value.strip(), texts.cidr(value.strip()))
    if spec.get("allocateLoadBalancerNodePorts") is not None:
        if not balanced:
            problems.append(forbidden("spec.allocateLoadBalancerNodePorts", only))
    elif balanced:
        problems.append(required("allocateLoadBalancerNodePorts"))
    _class_problems(spec, balanced, problems)


def _class_problems(spec: Tree, balanced: bool, problems: list[Problem]) -> None:
    name, path = spec.get("loadBalancerClass"), "spec.loadBalancerClass"
    if name is not None and not balanced:
        problems.append(forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
    elif name is not None:
        problems += each(path, name, texts.qualified(name))


def _traffic_problems(spec: Tree, kind: str, problems: list[Problem]) -> None:
    outside, inside = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    reachable = kind in ("NodePort", "LoadBalancer") or (
        kind == "ClusterIP" and bool(spec.get("externalIPs"))
    )
    if reachable:
        problems += one_of("spec.externalTrafficPolicy", outside, _POLICIES)
    elif outside:
        why = "may only be set for externally-accessible services"
        problems.append(invalid("spec.externalTrafficPolicy", outside, why))
    # One that is missing is allocated with the write.
    health, path = spec.get("healthCheckNodePort"), "spec.healthCheckNodePort"
    if health and not _is_checked(spec):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        problems.append(invalid(path, health, why))
    elif health:
        problems += port_number(path, health)
    if inside is None:
        if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
            problems.append(required("spec.internalTrafficPolicy"))
    elif inside not in _POLICIES:
        problems.append(not_supported("spec.internalTrafficPolicy", inside, _POLICIES))
    spread = spec.get("trafficDistribution")
    if spread is not None and spread not in _DISTRIBUTIONS:
        problems.append(not_supported("spec.trafficDistribution", spread, _DISTRIBUTIONS))


def _is_checked(spec: Tree) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def service_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Service: it keeps its first address and family, and may gain or lose the second."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    problems: list[Problem] = []
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        _address_changes(spec, before, problems)
        if not _is_headless(spec) and not _is_headless(before):
            _family_changes(spec, before, problems)
    balanced = spec.get("type") == "LoadBalancer"
    named, known = spec.get("loadBalancerClass"), before.get("loadBalancerClass")
    if balanced and before.get("type") == "LoadBalancer" and named != known:
        problems.append(invalid("spec.loadBalancerClass", pointer(named), "may not change once set"))
    _class_problems(spec, balanced, problems)
    if _is_checked(spec) and _is_checked(before):
        port, health = spec.get("healthCheckNodePort") or 0, before.get("healthCheckNodePort")
        if health and port != health:
            problems.append(forbidden("spec.healthCheckNodePort", "field is immutable"))
    return problems + service_problems(new)


_ONCE = "may not change once set"


def _address_changes(spec: Tree, before: Tree, problems: list[Problem]) -> None:
    now, then, path = addresses_of(spec), addresses_of(before), "spec.clusterIPs"
    if now == then == ["None"]:
        return
    if len(now) == len(then):
        problems += [invalid(f"{path}[{at}]", now, _ONCE) for at in range(len(now)) if now[at] != then[at]]
        return
    if not now:
        problems.append(invalid(f"{path}[0]", now, "primary clusterIP can not be unset"))
    elif then and now[0] != then[0]:
        problems.append(invalid(f"{path}[0]", now, _ONCE))
    if len(then) > len(now) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        problems.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), why))


def _family_changes(spec: Tree, before: Tree, problems: list[Problem]) -> None:
    now, then, path = spec.get("ipFamilies") or [], before.get("ipFamilies") or [], "spec.ipFamilies[0]"
    if len(now) == len(then):
        problems += [invalid(path, now, _ONCE) for one, other in zip(now, then, strict=True) if one != other]
        return
    if len(then) > len(now) and not addresses_of(spec):
        problems.append(invalid(path, now, "primary ipFamily can not be unset"))
    if now and then and now[0] != then[0]:
        problems.append(invalid(path, addresses_of(spec), _ONCE))
    if len(then) > len(now) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        problems.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), why))


def load_balancer_problems(tree: Tree, *, modes: bool = False) -> list[Problem]:
    """Check where a Service or an Ingress is reached from outside, as its status says; of Services, in which `modes`."""
    problems: list[Problem] = []
    entries = ((tree.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for at, entry in enumerate(entries):
        path, ip, host = f"status.loadBalancer.ingress[{at}]", entry.get("ip"), entry.get("hostname")
        if ip:
            problems += each(f"{path}.ip", ip, texts.ip_address(ip))
        if modes:
            _ip_mode_problems(entry, f"{path}.ipMode", problems)
        if host:
            problems += each(f"{path}.hostname", host, texts.subdomain(host))
            if is_address(host):
                problems.append(invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return problems


def _ip_mode_problems(entry: Tree, path: str, problems: list[Problem]) -> None:
    mode = entry.get("ipMode")
    if mode is None:
        if entry.get("ip"):
            problems.append(required(path, "must be specified when `ip` is set"))
    elif not entry.get("ip"):
        problems.append(forbidden(path, "may not be specified when `ip` is not set"))
    elif mode not in ("Proxy", "VIP"):
        problems.append(not_supported(path, mode, ("Proxy", "VIP")))


def service_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a Service: only one with a load balancer is reached through one."""
    entries = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    if entries and (new.get("spec") or {}).get("type") != "LoadBalancer":
        why = "may only be used when `spec.type` is 'LoadBalancer'"
        return [forbidden("status.loadBalancer.ingress", why)]
    return load_balancer_problems(new, modes=True)
