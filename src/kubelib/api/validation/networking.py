"""Rules of Ingresses, their classes, and network policies."""

import re
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.addresses import is_address, network
from kubelib.api.validation.autoscalers import path_segment
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import (
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    port_number,
    required,
    too_long,
)
from kubelib.labels import validation as names

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_THE_END = ("/..", "/.")
_WILDCARD = re.compile(r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*").fullmatch
_LONGEST_CONTROLLER, _LONGEST_HOST = 250, 253
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


# Ingresses


def ingress_create_problems(tree: Tree) -> list[Problem]:
    """Check a new Ingress."""
    annotation = (tree["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    problems = ingress_problems(tree)
    name = (tree.get("spec") or {}).get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        why = "must match `ingressClassName` when both are specified"
        problems.append(invalid(f"annotations.{_CLASS_ANNOTATION}", annotation, why))
    return problems


def ingress_problems(tree: Tree) -> list[Problem]:
    """Check an Ingress, new or changed."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    backend, rules = spec.get("defaultBackend"), spec.get("rules") or ()
    if not rules and backend is None:
        problems.append(
            invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
        )
    if backend is not None:
        _backend_problems(backend, "spec.defaultBackend", problems)
    for at, rule in enumerate(rules):
        _rule_problems(rule, f"spec.rules[{at}]", problems)
    for at, secured in enumerate(spec.get("tls") or ()):
        path = f"spec.tls[{at}]"
        for number, host in enumerate(secured.get("hosts") or ()):
            problems += each(f"{path}.hosts[{number}]", host, _host(host))
        if secret := secured.get("secretName"):
            problems += each(f"{path}.secretName", secret, texts.subdomain(secret))
    if (name := spec.get("ingressClassName")) is not None:
        problems += each("spec.ingressClassName", name, texts.subdomain(name))
    return problems


def _host(host: str) -> list[str]:
    if "*" not in host:
        return texts.subdomain(host)
    messages = names.too_long(host, _LONGEST_HOST)
    if not _WILDCARD(host):
        messages.append(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower"
            " case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used"
            " for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    return messages


def _rule_problems(rule: Tree, path: str, problems: list[Problem]) -> None:
    if host := rule.get("host"):
        if is_address(host):
            problems.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        problems += each(f"{path}.host", host, _host(host))
    http = rule.get("http")
    if http is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        problems.append(required(f"{path}.http.paths"))
    for at, one in enumerate(paths):
        here = f"{path}.http.paths[{at}]"
        if one.get("pathType") is None:
            problems.append(required(f"{here}.pathType", "pathType must be specified"))
            continue
        _path_problems(one, here, problems)
        _backend_problems(one.get("backend") or {}, f"{here}.backend", problems)


def _path_problems(one: Tree, path: str, problems: list[Problem]) -> None:
    text, kind = one.get("path") or "", one["pathType"]
    match kind:
        case "Exact" | "Prefix":
            if not text.startswith("/"):
                problems.append(invalid(f"{path}.path", text, "must be an absolute path"))
            problems += [
                invalid(f"{path}.path", text, f"must not contain '{part}'")
                for part in _NOT_IN_PATHS
                if part in text
            ]
            problems += [
                invalid(f"{path}.path", text, f"cannot end with '{part}'")
                for part in _NOT_AT_THE_END
                if text.endswith(part)
            ]
        case "ImplementationSpecific":
            if text and not text.startswith("/"):
                problems.append(invalid(f"{path}.path", text, "must be an absolute path"))
        case _:
            problems.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))


def _backend_problems(backend: Tree, path: str, problems: list[Problem]) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        problems.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        _reference_problems(resource, f"{path}.resource", problems)
    elif service is not None:
        name, port = service.get("name") or "", service.get("port") or {}
        if not name:
            problems.append(required(f"{path}.service.name"))
        else:
            problems += each(f"{path}.service.name", name, texts.label(name))
        named, number = port.get("name") or "", port.get("number") or 0
        if named and number:
            problems.append(invalid(path, "", "cannot set both port name & port number"))
        elif named:
            problems += each(f"{path}.service.port.name", named, texts.port_name(named))
        elif number:
            problems += port_number(f"{path}.service.port.number", number)
        else:
            problems.append(required(path, "port name or number is required"))
    else:
        problems.append(invalid(path, "", "resource or service backend is required"))


def _reference_problems(reference: Tree, path: str, problems: list[Problem]) -> None:
    group = reference.get("apiGroup")
    if group is not None:
        problems += each(f"{path}.apiGroup", group, texts.subdomain(group))
    for part in ("kind", "name"):
        value = reference.get(part) or ""
        if not value:
            problems.append(required(f"{path}.{part}"))
        else:
            problems += each(f"{path}.{part}", value, path_segment(value))


# Classes of Ingresses


def ingress_class_problems(tree: Tree) -> list[Problem]:
    """Check an IngressClass."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    controller = spec.get("controller") or ""
    if len(controller) > _LONGEST_CONTROLLER:
        problems.append(too_long("spec.controller", _LONGEST_CONTROLLER))
    problems += domain_prefixed_problems("spec.controller", controller)
    parameters, path = spec.get("parameters"), "spec.parameters"
    if parameters is None:
        return problems
    _reference_problems(parameters, path, problems)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        problems.append(required(f"{path}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        problems.append(not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace":
        if namespace is None:
            problems.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
        elif messages := texts.label(namespace):
            problems += each(f"{path}.namespace", namespace, messages)
    elif namespace is not None:
        problems.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return problems


def domain_prefixed_problems(path: str, text: str) -> list[Problem]:
    """Check a name with a domain before it: ``example.com/controller``."""
    if not text:
        return [required(path)]
    domain, slash, rest = text.partition("/")
    if not slash or not domain or not rest:
        return [invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    problems = each(path, domain, texts.subdomain(domain))
    if not re.fullmatch(_HTTP_PATH, rest):
        problems.append(invalid(path, rest, f"Invalid path (regex used for validation is '{_HTTP_PATH}')"))
    return problems


def ingress_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to an IngressClass: its controller stays."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return [
        *immutable("spec.controller", spec.get("controller"), before.get("controller")),
        *ingress_class_problems(new),
    ]


# Network policies


def network_policy_problems(tree: Tree) -> list[Problem]:
    """Check a NetworkPolicy."""
    spec = tree.get("spec") or {}
    problems = label_selector_problems(spec.get("podSelector") or {}, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for at, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{at}]"
            for number, port in enumerate(rule.get("ports") or ()):
                _policy_port_problems(port, f"{path}.ports[{number}]", problems)
            for number, peer in enumerate(rule.get(peers) or ()):
                _peer_problems(peer, f"{path}.{peers}[{number}]", problems)
    kinds = spec.get("policyTypes") or ()
    if len(kinds) > 2:
        problems.append(invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes"))
        return problems
    problems += [
        not_supported(f"spec.policyTypes[{at}]", kind, ("Ingress", "Egress"))
        for at, kind in enumerate(kinds)
        if kind not in ("Egress", "Ingress")
    ]
    return problems


def _policy_port_problems(rule: Tree, path: str, problems: list[Problem]) -> None:
    protocol, port, end = rule.get("protocol"), rule.get("port"), rule.get("endPort")
    if protocol is not None and protocol not in ("TCP", "UDP", "SCTP"):
        problems.append(not_supported(f"{path}.protocol", protocol, ("TCP", "UDP", "SCTP")))
    if isinstance(port, int):
        problems += port_number(f"{path}.port", port)
        if end is not None:
            if end < port:
                problems.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
            problems += port_number(f"{path}.endPort", end)
    elif port is not None:
        if end is not None:
            problems.append(
                invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
            )
        problems += each(f"{path}.port", port, texts.port_name(port))
    elif end is not None:
        problems.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))


def _peer_problems(peer: Tree, path: str, problems: list[Problem]) -> None:
    count = 0
    for part in ("podSelector", "namespaceSelector"):
        if peer.get(part) is not None:
            count += 1
            problems += label_selector_problems(peer[part], f"{path}.{part}")
    if (block := peer.get("ipBlock")) is not None:
        count += 1
        _block_problems(block, f"{path}.ipBlock", problems)
    if count == 0:
        problems.append(required(path, "must specify a peer"))
    elif count > 1 and block is not None:
        problems.append(forbidden(path, "may not specify both ipBlock and another peer"))


def _block_problems(block: Tree, path: str, problems: list[Problem]) -> None:
    cidr = block.get("cidr") or ""
    if not cidr:
        problems.append(required(f"{path}.cidr"))
        return
    problems += each(f"{path}.cidr", cidr, texts.cidr(cidr))
    if (whole := network(cidr)) is None:
        return
    for at, text in enumerate(block.get("except") or ()):
        here = f"{path}.except[{at}]"
        problems += each(here, text, texts.cidr(text))
        if (part := network(text)) is not None and not _is_within(part, whole):
            problems.append(invalid(here, text, "must be a strict subset of `cidr`"))


def _is_within(part: Any, whole: Any) -> bool:
    return part.version == whole.version and part != whole and bool(part.subnet_of(whole))
