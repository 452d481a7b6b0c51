"""Rules of API services, certificate requests, runtime classes, flows, and addresses."""

import base64

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.addresses import (
    canonical_address_messages,
    canonical_network_messages,
    network,
)
from kubelib.api.validation.autoscalers import path_segment
from kubelib.api.validation.meta import label_problems
from kubelib.api.validation.placement import toleration_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    immutable,
    invalid,
    required,
)
from kubelib.api.validation.resources import requirement_problems
from kubelib.labels.validation import is_dns1035_label


def api_service_problems(tree: Tree) -> list[Problem]:
    """Check an APIService: its name is ``version.group``."""
    spec = tree.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    name, wanted = tree["metadata"].get("name") or "", f"{version}.{group}"
    problems: list[Problem] = []
    if name != wanted:
        problems.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    if not group and version != "v1":
        problems.append(
            required("spec.group", "only v1 may have an empty group and it better be legacy kube")
        )
    if group:
        problems += each("spec.group", group, texts.subdomain(group))
    problems += each("spec.version", version, is_dns1035_label(version))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        number = spec.get(field) or 0
        if not 0 < number <= most:
            problems.append(invalid(f"spec.{field}", number, f"must be positive and less than {most}"))
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            size = f"{len(base64.b64decode(bundle))} bytes"
            problems.append(invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            problems.append(
                invalid(
                    "spec.insecureSkipTLSVerify",
                    insecure,
                    "local APIServices may not have insecureSkipTLSVerify",
                )
            )
        return problems
    problems += [required(f"spec.service.{part}") for part in ("namespace", "name") if not service.get(part)]
    if insecure and bundle:
        problems.append(
            invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present")
        )
    return problems


def runtime_class_problems(tree: Tree) -> list[Problem]:
    """Check a new RuntimeClass: what its Pods cost beside their containers, and where they may run."""
    handler = tree.get("handler") or ""
    problems = each("handler", handler, texts.label(handler))
    if tree.get("overhead") is not None:
        fixed = {"limits": tree["overhead"].get("podFixed")}
        requirement_problems(fixed, "overhead", [], problems)
    scheduling = tree.get("scheduling") or {}
    problems += label_problems(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    tolerations, path = scheduling.get("tolerations") or (), "scheduling.tolerations"
    toleration_problems(tolerations, f"{path}.tolerations", problems)  # so Kubernetes calls it
    seen = set()
    for at, toleration in enumerate(tolerations):
        key = tuple(toleration.get(part) or "" for part in ("key", "operator", "value", "effect"))
        if key in seen:
            problems.append(duplicate(f"{path}[{at}]", toleration))
        seen.add(key)
    return problems


def runtime_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a RuntimeClass still means the same runtime."""
    return immutable("handler", new.get("handler"), old.get("handler"))


def ip_address_problems(tree: Tree) -> list[Problem]:
    """Check an IPAddress: its name is the address in canonical form."""
    name = tree["metadata"].get("name") or ""
    problems = each("metadata.name", name, canonical_address_messages(name))
    parent = (tree.get("spec") or {}).get("parentRef")
    if parent is None:
        return [*problems, required("spec.parentRef")]
    if group := parent.get("group"):
        problems += each("spec.parentRef.group", group, texts.subdomain(group))
    for part in ("resource", "name", "namespace"):
        value = parent.get(part) or ""
        if value:
            problems += each(f"spec.parentRef.{part}", value, path_segment(value))
        elif part != "namespace":
            problems.append(required(f"spec.parentRef.{part}"))
    return problems


def ip_address_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that an IPAddress still belongs to the same object."""
    return immutable(
        "spec.parentRef", (new.get("spec") or {}).get("parentRef"), (old.get("spec") or {}).get("parentRef")
    )


def service_cidr_problems(tree: Tree) -> list[Problem]:
    """Check a ServiceCIDR: one range, or one of each family."""
    cidrs = (tree.get("spec") or {}).get("cidrs") or ()
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid("spec.cidrs", tree["spec"], "may only hold up to 2 values")]
    problems: list[Problem] = []
    for at, text in enumerate(cidrs):
        problems += each(f"spec.cidrs[{at}]", text, canonical_network_messages(text))
    ranges = [network(text) for text in cidrs]
    if len(ranges) == 2 and ranges[0] and ranges[1] and ranges[0].version == ranges[1].version:
        problems.append(
            invalid(
                "spec.cidrs",
                cidrs,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            )
        )
    return problems


def service_cidr_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a ServiceCIDR: its ranges stay; one of the other family may be added."""
    cidrs, before = (new.get("spec") or {}).get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
    grown = (len(before), len(cidrs)) == (1, 2)
    if len(cidrs) != len(before) and not grown:
        return immutable("spec.cidrs", cidrs, before)
    problems = [
        problem
        for at, (text, was) in enumerate(zip(cidrs, before, strict=False))
        for problem in immutable(f"spec.cidrs[{at}]", text, was)
    ]
    return problems + service_cidr_problems(new) if grown else problems
