"""Rules of nodes, namespaces, limits, quotas, events, leases and priorities."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import Quantity, QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.placement import taint_problems
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    non_negative,
    not_supported,
    required,
)
from kubelib.api.validation.resources import (
    amount_problems,
    container_resource_name,
    may_overcommit,
    quota_resource_name,
    resource_name,
)


def node_problems(tree: Tree) -> list[Problem]:
    """Check a Node."""
    spec, status = tree.get("spec") or {}, tree.get("status") or {}
    # Kubernetes gives taints this path.
    problems = taint_problems(spec.get("taints"), "metadata.taints")
    for part in ("capacity", "allocatable"):
        for name, text in (status.get(part) or {}).items():
            problems += amount_problems(name, text, f"status.{part}.{name}")
    ranges = spec.get("podCIDRs") or []
    for at, value in enumerate(ranges):
        problems += each(f"spec.podCIDRs[{at}]", value, texts.cidr(value))
        if value in ranges[:at]:
            problems.append(duplicate(f"spec.podCIDRs[{at}]", value))
    families = [":" in value for value in ranges]
    if len(ranges) > 2 or (len(ranges) == 2 and families[0] == families[1]):
        problems.append(
            invalid("spec.podCIDRs", ranges, "may specify no more than one CIDR for each IP family")
        )
    return problems


def node_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Node."""
    problems = node_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDRs") and before["podCIDRs"] != spec.get("podCIDRs"):
        problems.append(
            forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
        )
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        problems.append(
            forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    addresses = (new.get("status") or {}).get("addresses") or []
    for at, address in enumerate(addresses):
        if address in addresses[:at]:
            problems.append(duplicate(f"status.addresses[{at}]", address))
    return problems


def namespace_problems(tree: Tree) -> list[Problem]:
    """Check a Namespace."""
    problems: list[Problem] = []
    for finalizer in (tree.get("spec") or {}).get("finalizers") or ():
        problems += each("spec.finalizers", finalizer, texts.qualified(finalizer))
        if "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            problems.append(
                invalid(
                    "spec.finalizers",
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    return problems


def namespace_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the phase of a Namespace."""
    phase = (new.get("status") or {}).get("phase") or ""
    if old["metadata"].get("deletionTimestamp"):
        if phase != "Terminating":
            return [
                invalid(
                    "status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"
                )
            ]
    elif phase != "Active":
        return [invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")]
    return []


_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")


def limit_range_problems(tree: Tree) -> list[Problem]:
    """Check a LimitRange."""
    problems: list[Problem] = []
    seen: set[str] = set()
    for at, limit in enumerate((tree.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{at}]", limit.get("type") or ""
        messages = texts.qualified(kind)
        if not messages and "/" not in kind and kind not in _LIMIT_TYPES:
            messages = ["must be a standard limit type or fully qualified"]
        problems += each(f"{path}.type", kind, messages)
        if kind in seen:
            problems.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        _limit_problems(limit, kind, path, problems)
    return problems


def _amounts(limit: Tree, part: str, kind: str, path: str, problems: list[Problem]) -> dict[str, Quantity]:
    check = container_resource_name if kind in ("Pod", "Container") else resource_name
    amounts: dict[str, Quantity] = {}
    for name, text in (limit.get(part) or {}).items():
        problems += each(f"{path}.{part}[{name}]", name, check(name))
        try:
            amounts[name] = parse_quantity(text if isinstance(text, str) else str(text))
        except QuantityError as error:
            problems.append(invalid(f"{path}.{part}[{name}]", text, str(error)))
    return amounts


def _limit_problems(limit: Tree, kind: str, path: str, problems: list[Problem]) -> None:
    most, least = _amounts(limit, "max", kind, path, problems), _amounts(limit, "min", kind, path, problems)
    default: dict[str, Quantity] = {}
    request: dict[str, Quantity] = {}
    if kind == "Pod":
        problems += [
            forbidden(f"{path}.{part}", "may not be specified when `type` is 'Pod'")
            for part in ("default", "defaultRequest")
            if limit.get(part)
        ]
    else:
        default = _amounts(limit, "default", kind, path, problems)
        request = _amounts(limit, "defaultRequest", kind, path, problems)
    if kind == "PersistentVolumeClaim" and "storage" not in most and "storage" not in least:
        problems.append(
            required(
                f"{path}.limits",
                "either minimum or maximum storage value is required, but neither was provided",
            )
        )
    ratio = _amounts(limit, "maxLimitRequestRatio", kind, path, problems)
    for name in sorted({*most, *least, *default, *request, *ratio}):
        for part, low, low_word, high, high_word in (
            ("min", least, "min value", most, "max value"),
            ("defaultRequest", least, "min value", request, "default request value"),
            ("defaultRequest", request, "default request value", most, "max value"),
            ("defaultRequest", request, "default request value", default, "default limit value"),
            ("default", least, "min value", default, "default value"),
            ("default", default, "default value", most, "max value"),
        ):
            if name in low and name in high and high[name] < low[name]:
                shown = {"min": least, "defaultRequest": request}.get(part, low if low is least else most)[
                    name
                ]
                problems.append(
                    invalid(
                        f"{path}.{part}[{name}]",
                        str(shown),
                        f"{low_word} {low[name]} is greater than {high_word} {high[name]}",
                    )
                )
        if name in ratio and ratio[name].nano < 10**9:
            problems.append(
                invalid(
                    f"{path}.maxLimitRequestRatio[{name}]",
                    str(ratio[name]),
                    f"ratio {ratio[name]} is less than 1",
                )
            )
        if name in ratio and name in most and name in least and least[name].nano > 0:
            bound = most[name].amount / least[name].amount
            if ratio[name].amount > bound:
                problems.append(
                    invalid(
                        f"{path}.maxLimitRequestRatio[{name}]",
                        str(ratio[name]),
                        f"ratio {ratio[name]} is greater than max/min = {float(bound):f}",
                    )
                )
        if (
            not may_overcommit(name)
            and name in default
            and name in request
            and default[name] != request[name]
        ):
            problems.append(
                invalid(
                    f"{path}.defaultRequest[{name}]",
                    str(request[name]),
                    f"default value {default[name]} must equal to defaultRequest value {request[name]} in {name}",
                )
            )


_SCOPES = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)  # fmt: skip
_EXCLUSIVE = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))


def quota_problems(tree: Tree) -> list[Problem]:
    """Check a ResourceQuota."""
    spec = tree.get("spec") or {}
    problems = _quota_amounts(spec, "spec", ("hard",))
    scopes = spec.get("scopes") or []
    problems += [
        invalid("spec.scopes", scopes, "unsupported scope") for scope in scopes if scope not in _SCOPES
    ]
    path = "spec.scopeSelector.matchExpressions"
    selected = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    for expression in selected:
        scope, operator = expression.get("scopeName") or "", expression.get("operator") or ""
        values = expression.get("values") or []
        if scope not in _SCOPES:
            problems.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
        elif scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
            problems.append(
                invalid(
                    f"{path}.operator",
                    operator,
                    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating,"
                    " ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort"
                    " or ResourceQuotaScopeCrossNamespacePodAffinity",
                )
            )
        if operator in ("In", "NotIn"):
            if not values:
                problems.append(
                    required(
                        f"{path}.values",
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    )
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                problems.append(
                    invalid(
                        f"{path}.values",
                        values,
                        "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                    )
                )
        else:
            problems.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    for given, where in ((scopes, "spec.scopes"), ([e.get("scopeName") for e in selected], path)):
        if any(one in given and other in given for one, other in _EXCLUSIVE):
            problems.append(invalid(where, scopes, "conflicting scopes"))
    return problems


def _quota_amounts(part: Tree, path: str, fields: tuple[str, ...]) -> list[Problem]:
    problems: list[Problem] = []
    for field in fields:
        for name, text in (part.get(field) or {}).items():
            here = f"{path}.{field}[{name}]"
            problems += each(here, name, quota_resource_name(name))
            problems += amount_problems(name, text, here)
    return problems


def quota_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a ResourceQuota: its scopes stay."""
    problems = quota_problems(new)
    scopes = (new.get("spec") or {}).get("scopes") or []
    if sorted(scopes) != sorted((old.get("spec") or {}).get("scopes") or []):
        problems.append(invalid("spec.scopes", scopes, "field is immutable"))
    return problems


def quota_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what a quota reports."""
    return _quota_amounts(new.get("status") or {}, "status", ("hard", "used"))


def event_problems(tree: Tree) -> list[Problem]:
    """Check an Event of either form; those of events.k8s.io must say more."""
    newer = str(tree.get("apiVersion", "")).startswith("events.k8s.io/")
    involved = tree.get("regarding" if newer else "involvedObject") or {}
    field = "regarding.namespace" if newer else "involvedObject.namespace"
    namespace, about = tree["metadata"].get("namespace") or "", involved.get("namespace") or ""
    problems: list[Problem] = []
    if namespace != about and (about or namespace not in ("", "default")):
        problems.append(invalid(field, about, "does not match event.namespace"))
    return problems + _newer_event_problems(tree) if newer else problems


_LONGEST_NOTE = 1024
_LONGEST_EVENT_NAME = 128


def _newer_event_problems(tree: Tree) -> list[Problem]:
    problems: list[Problem] = []
    if not tree.get("eventTime"):
        problems.append(required("eventTime"))
    controller, instance = tree.get("reportingController") or "", tree.get("reportingInstance") or ""
    if not controller:
        problems.append(required("reportingController"))
    else:
        problems += each("reportingController", controller, texts.qualified(controller))
    for name, value in (
        ("reportingInstance", instance),
        ("action", tree.get("action") or ""),
        ("reason", tree.get("reason") or ""),
    ):
        if not value:
            problems.append(required(name))
        elif len(value.encode()) > _LONGEST_EVENT_NAME:
            problems.append(invalid(name, "", f"can have at most {_LONGEST_EVENT_NAME} characters"))
    if len((tree.get("note") or "").encode()) > _LONGEST_NOTE:
        problems.append(invalid("note", "", f"can have at most {_LONGEST_NOTE} characters"))
    if tree.get("type") not in ("Normal", "Warning"):
        problems.append(invalid("type", "", f"has invalid value: {tree.get('type') or ''}"))
    series = tree.get("series")
    if series is not None:
        if (series.get("count") or 0) < 2:
            problems.append(invalid("series.count", "", "should be at least 2"))
        if not series.get("lastObservedTime"):
            problems.append(required("series.lastObservedTime"))
    return problems


def lease_problems(tree: Tree) -> list[Problem]:
    """Check a Lease."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        problems.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    return problems + non_negative("spec.leaseTransitions", spec.get("leaseTransitions"))


_HIGHEST_USER_PRIORITY = 10**9
_SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def priority_class_problems(tree: Tree) -> list[Problem]:
    """Check a PriorityClass."""
    problems: list[Problem] = []
    name, value = tree["metadata"].get("name") or "", tree.get("value") or 0
    if name.startswith("system-"):
        if _SYSTEM_CLASSES.get(name) != value:
            problems.append(
                forbidden(
                    "metadata.name",
                    "priority class names with 'system-' prefix are reserved for system use only. error:"
                    f" {name} is not a known system priority class"
                    if name not in _SYSTEM_CLASSES
                    else "priority class names with 'system-' prefix are reserved for system use only. error:"
                    f" value of {name} PriorityClass must be {_SYSTEM_CLASSES[name]}",
                )
            )
    elif value > _HIGHEST_USER_PRIORITY:
        problems.append(
            forbidden(
                "value", f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
            )
        )
    policy = tree.get("preemptionPolicy")
    if policy is not None and policy not in ("PreemptLowerPriority", "Never"):
        problems.append(not_supported("preemptionPolicy", policy, ("PreemptLowerPriority", "Never")))
    return problems


def priority_class_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a priority stays what it is."""
    problems: list[Problem] = []
    if (new.get("value") or 0) != (old.get("value") or 0):
        problems.append(forbidden("value", "may not be changed in an update."))
    default = "PreemptLowerPriority"
    return problems + immutable(
        "preemptionPolicy", new.get("preemptionPolicy") or default, old.get("preemptionPolicy") or default
    )


def binding_problems(tree: Tree) -> list[Problem]:
    """Check a Binding."""
    target: Any = tree.get("target") or {}
    problems: list[Problem] = []
    if target.get("kind") not in (None, "", "Node"):
        problems.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        problems.append(required("target.name"))
    return problems
