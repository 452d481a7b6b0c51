"""Rules of nodes, namespaces, limits, quotas, events, leases and priorities."""

from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import Quantity, QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.meta import standard_finalizer_problems
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
    is_standard_quota,
    may_overcommit,
    quota_resource_name,
    resource_name,
)


def node_problems(tree: Tree) -> list[Problem]:
    """Check a new Node."""
    spec = tree.get("spec") or {}
    problems = _taint_problems(spec) + _resource_problems(tree)
    ranges = spec.get("podCIDRs") or []
    for at, value in enumerate(ranges):
        problems += each(f"spec.podCIDRs[{at}]", value, texts.cidr(value))
    families = [":" in value for value in ranges]
    if len(ranges) > 2 or (len(ranges) == 2 and families[0] == families[1]):
        problems.append(
            invalid("spec.podCIDRs", ranges, "may specify no more than one CIDR for each IP family")
        )
    for at, value in enumerate(ranges):
        if value in ranges[:at]:
            problems.append(duplicate(f"spec.podCIDRs[{at}]", value))
    return problems


def _taint_problems(spec: Tree) -> list[Problem]:
    # Kubernetes gives taints this path.
    return taint_problems(spec.get("taints"), "metadata.taints")


def _resource_problems(tree: Tree) -> list[Problem]:
    problems: list[Problem] = []
    for part in ("capacity", "allocatable"):
        for name, text in ((tree.get("status") or {}).get(part) or {}).items():
            problems += amount_problems(name, text, f"status.{part}.{name}")
    return problems


def node_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a Node."""
    problems = _resource_problems(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    addresses = (new.get("status") or {}).get("addresses") or []
    for at, address in enumerate(addresses):
        if address in addresses[:at]:
            problems.append(duplicate(f"status.addresses[{at}]", address))
    had, has = before.get("podCIDRs") or [], spec.get("podCIDRs") or []
    if had:
        why = 'node updates may not change podCIDR except from "" to valid'
        changes = sum(a != b for a, b in zip(had, has, strict=True)) if len(had) == len(has) else 1
        problems += [forbidden("spec.podCIDRs", why)] * changes
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        problems.append(
            forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    problems += _taint_problems(spec)
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        problems.append(forbidden("spec.externalID", "may not be updated"))
    return problems


def namespace_problems(tree: Tree) -> list[Problem]:
    """Check a new Namespace."""
    problems: list[Problem] = []
    for finalizer in (tree.get("spec") or {}).get("finalizers") or ():
        problems += _namespace_finalizer_problems(finalizer, "spec.finalizers")
    return problems


def _namespace_finalizer_problems(finalizer: str, path: str) -> list[Problem]:
    return [*each(path, finalizer, texts.qualified(finalizer)), *standard_finalizer_problems(finalizer, path)]


def namespace_finalize_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what still holds a Namespace."""
    return [
        problem
        for at, finalizer in enumerate((new.get("spec") or {}).get("finalizers") or ())
        for problem in _namespace_finalizer_problems(finalizer, f"spec.finalizers[{at}]")
    ]


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


_COUNTED = frozenset(("pods",))
_COMPUTED = _COUNTED | {"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"}
_CLAIMED = frozenset(("persistentvolumeclaims", "requests.storage"))
_OF_SCOPE = {
    **dict.fromkeys(("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass"), _COMPUTED),
    "CrossNamespacePodAffinity": _COMPUTED,
    "BestEffort": _COUNTED,
    "VolumeAttributesClass": _CLAIMED,
}
"""Which of the resources that quotas know can be limited in a scope."""
_NO_VALUES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")


def quota_problems(tree: Tree) -> list[Problem]:
    """Check a new ResourceQuota, with what it says of itself."""
    return [
        *_quota_spec_problems(tree.get("spec") or {}),
        *_quota_amounts(tree.get("status") or {}, "status", ("hard", "used")),
    ]


def _quota_spec_problems(spec: Tree) -> list[Problem]:
    problems = _quota_amounts(spec, "spec", ("hard",))
    scopes, limited = spec.get("scopes") or [], sorted(filter(is_standard_quota, spec.get("hard") or ()))
    for scope in scopes:
        if scope not in _SCOPES:
            problems.append(invalid("spec.scopes", scopes, "unsupported scope"))
        problems += _scoped_problems(scope, limited, "spec.scopes", scopes)
    _conflict_problems(scopes, "spec.scopes", scopes, problems)
    selector = spec.get("scopeSelector")
    if selector is not None:
        _scope_selector_problems(selector, limited, scopes, problems)
    return problems


def _scoped_problems(scope: str, limited: Sequence[str], path: str, shown: Any) -> list[Problem]:
    fitting = _OF_SCOPE.get(scope)
    if fitting is None:
        return []
    why = "unsupported scope applied to resource"
    return [invalid(path, shown, why) for name in limited if name not in fitting]


def _conflict_problems(given: Sequence[Any], path: str, shown: Any, problems: list[Problem]) -> None:
    problems += [
        invalid(path, shown, "conflicting scopes")
        for one, other in _EXCLUSIVE
        if one in given and other in given
    ]


def _scope_selector_problems(
    selector: Tree, limited: Sequence[str], scopes: list[str], problems: list[Problem]
) -> None:
    path, expressions = "spec.scopeSelector.matchExpressions", selector.get("matchExpressions") or ()
    for expression in expressions:
        scope, operator = expression.get("scopeName") or "", expression.get("operator") or ""
        values = expression.get("values") or []
        if scope not in _SCOPES:
            problems.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
        problems += _scoped_problems(scope, limited, path, selector)
        if scope in _NO_VALUES and operator != "Exists":
            why = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating,"
                " ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or"
                " ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            problems.append(invalid(f"{path}.operator", operator, why))
        if operator in ("In", "NotIn"):
            if not values:
                why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                problems.append(required(f"{path}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                problems.append(invalid(f"{path}.values", values, why))
        else:
            problems.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    _conflict_problems([e.get("scopeName") for e in expressions], path, scopes, problems)


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
    problems = _quota_spec_problems(new.get("spec") or {})
    scopes = (new.get("spec") or {}).get("scopes") or []
    if set(scopes) != set((old.get("spec") or {}).get("scopes") or []):
        problems.append(invalid("spec.scopes", scopes, "field is immutable"))
    return problems


def quota_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check what a quota reports."""
    return _quota_amounts(new.get("status") or {}, "status", ("hard", "used"))


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
