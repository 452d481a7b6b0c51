"""Rules of HorizontalPodAutoscalers: what is measured, and how fast they may scale."""

from collections.abc import Callable
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.quantity import ZERO, QuantityError, parse_quantity
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.problems import each, forbidden, invalid, not_supported, required
from kubelib.api.validation.resources import container_resource_name

_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")
_LONGEST_WINDOW, _LONGEST_PERIOD = 3600, 1800
_VALUE_OR_UTILIZATION = "must set either a target raw value or a target utilization"


def autoscaler_problems(tree: Tree, old: Tree | None = None) -> list[Problem]:
    """Check a HorizontalPodAutoscaler, new or changed: what is scaled may keep an odd version that it had before."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 0:
        problems.append(invalid("spec.minReplicas", least, "must be greater than or equal to 0"))
    if most < 1:
        problems.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        problems.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    _reference_problems(target, "spec.scaleTargetRef", problems)
    before = ((old or {}).get("spec") or {}).get("scaleTargetRef")
    if before is None or not _version_problem(before):
        problems += each(
            "spec.scaleTargetRef.apiVersion", target.get("apiVersion") or "", _version_problem(target)
        )
    for at, metric in enumerate(spec.get("metrics") or ()):
        _metric_problems(metric, f"spec.metrics[{at}]", problems)
    if least == 0 and not any(m.get("type") in ("Object", "External") for m in spec.get("metrics") or ()):
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        problems.append(forbidden("spec.metrics", why))
    behavior = spec.get("behavior") or {}
    for direction in ("scaleUp", "scaleDown"):
        if behavior.get(direction) is not None:
            _rules_problems(behavior[direction], f"spec.behavior.{direction}", problems)
    return problems


def path_segment(name: str) -> list[str]:
    """Check a name that stands in a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in name]


def _reference_problems(target: Tree, path: str, problems: list[Problem]) -> None:
    for part in ("kind", "name"):
        if value := target.get(part):
            problems += each(f"{path}.{part}", value, path_segment(value))
        else:
            problems.append(required(f"{path}.{part}"))


def _version_problem(target: Tree, *, grouped: bool = True) -> list[str]:
    """Check the version of an object that is referred to; of kinds that scale only one has no group."""
    version = target.get("apiVersion") or ""
    if version.count("/") > 1:
        return [f"unexpected GroupVersion string: {version}"]
    if grouped and target.get("kind") != "ReplicationController" and not version.rpartition("/")[0]:
        return ["apiVersion must specify API group"]
    return []


def _metric_problems(metric: Tree, path: str, problems: list[Problem]) -> None:
    kind = metric.get("type") or ""
    if not kind:
        problems.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in _METRICS:
        problems.append(not_supported(f"{path}.type", kind, _METRICS))
    present = [field for field in _SOURCES if metric.get(field) is not None]
    if present:
        _SOURCES[present[0]](metric[present[0]], f"{path}.{present[0]}", problems)
    expected = kind[:1].lower() + kind[1:]
    if kind in _METRICS and expected not in present:
        why = "must populate information for the given metric source"
        problems.append(required(f"{path}.{expected}", why))
    if len(present) > 1:
        problems += [
            forbidden(f"{path}.{field}", "must populate the given metric source only")
            for field in present
            if field != expected
        ]


def _identifier_problems(metric: Tree, path: str, problems: list[Problem]) -> None:
    name = metric.get("name") or ""
    if not name:
        problems.append(required(f"{path}.name", "must specify a metric name"))
    problems += each(f"{path}.name", name, path_segment(name))


def _is_positive(amount: Any) -> bool:
    try:
        return parse_quantity(str(amount)) > parse_quantity("0")
    except QuantityError:
        return False


def _aim_problems(target: Tree, path: str, problems: list[Problem]) -> None:
    kind = target.get("type") or ""
    if not kind:
        problems.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        problems.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    problems += [
        invalid(f"{path}.{part}", target[part], "must be positive")
        for part in ("value", "averageValue")
        if target.get(part) is not None and not _is_positive(target[part])
    ]
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        problems.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))


def _object_problems(source: Tree, path: str, problems: list[Problem]) -> None:
    described = source.get("describedObject") or {}
    _reference_problems(described, f"{path}.describedObject", problems)
    messages = _version_problem(described, grouped=False)
    problems += each(f"{path}.describedObject.apiVersion", described.get("apiVersion"), messages)
    _identifier_problems(source.get("metric") or {}, f"{path}.metric", problems)
    target = source.get("target") or {}
    _aim_problems(target, f"{path}.target", problems)
    if target.get("value") is None and target.get("averageValue") is None:
        why = "must set either a target value or averageValue"
        problems.append(required(f"{path}.target.averageValue", why))


def _external_problems(source: Tree, path: str, problems: list[Problem]) -> None:
    _identifier_problems(source.get("metric") or {}, f"{path}.metric", problems)
    target = source.get("target") or {}
    _aim_problems(target, f"{path}.target", problems)
    given = [part for part in ("value", "averageValue") if target.get(part) is not None]
    if not given:
        why = "must set either a target value for metric or a per-pod target"
        problems.append(required(f"{path}.target.averageValue", why))
    elif len(given) == 2:
        why = "may not set both a target value for metric and a per-pod target"
        problems.append(forbidden(f"{path}.target.value", why))


def _pods_problems(source: Tree, path: str, problems: list[Problem]) -> None:
    _identifier_problems(source.get("metric") or {}, f"{path}.metric", problems)
    target = source.get("target") or {}
    _aim_problems(target, f"{path}.target", problems)
    if target.get("averageValue") is None:
        problems.append(
            required(f"{path}.target.averageValue", "must specify a positive target averageValue")
        )


def _resource_problems(source: Tree, path: str, problems: list[Problem]) -> None:
    if not source.get("name"):
        problems.append(required(f"{path}.name", "must specify a resource name"))
    _use_problems(source, path, problems)


def _use_problems(source: Tree, path: str, problems: list[Problem]) -> None:
    target = source.get("target") or {}
    _aim_problems(target, f"{path}.target", problems)
    given = [part for part in ("averageUtilization", "averageValue") if target.get(part) is not None]
    if not given:
        problems.append(required(f"{path}.target.averageUtilization", _VALUE_OR_UTILIZATION))
    elif len(given) == 2:
        why = "may not set both a target raw value and a target utilization"
        problems.append(forbidden(f"{path}.target.averageValue", why))


def _container_problems(source: Tree, path: str, problems: list[Problem]) -> None:
    name, container = source.get("name") or "", source.get("container") or ""
    if not name:
        problems.append(required(f"{path}.name", "must specify a resource name"))
    else:
        problems += each(f"{path}.name", name, container_resource_name(name))
    if not container:
        problems.append(required(f"{path}.container", "must specify a container"))
    else:
        problems += each(f"{path}.container", container, texts.label(container))
    _use_problems(source, path, problems)


_SOURCES: dict[str, Callable[[Tree, str, list[Problem]], None]] = {
    "object": _object_problems,
    "external": _external_problems,
    "pods": _pods_problems,
    "resource": _resource_problems,
    "containerResource": _container_problems,
}


def _rules_problems(rules: Tree, path: str, problems: list[Problem]) -> None:
    window, choice = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        why = "must be greater than or equal to zero"
        problems.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    if window is not None and window > _LONGEST_WINDOW:
        why = f"must be less than or equal to {_LONGEST_WINDOW}"
        problems.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    if choice is not None and choice not in ("Disabled", "Max", "Min"):
        problems.append(not_supported(f"{path}.selectPolicy", choice, ("Disabled", "Max", "Min")))
    policies = rules.get("policies") or ()
    if not policies:
        problems.append(required(f"{path}.policies", "must specify at least one Policy"))
    for at, policy in enumerate(policies):
        here, kind = f"{path}.policies[{at}]", policy.get("type") or ""
        if kind not in ("Percent", "Pods"):
            problems.append(not_supported(f"{here}.type", kind, ("Percent", "Pods")))
        problems += [
            invalid(f"{here}.{part}", policy.get(part) or 0, "must be greater than zero")
            for part in ("value", "periodSeconds")
            if (policy.get(part) or 0) <= 0
        ]
        if (policy.get("periodSeconds") or 0) > _LONGEST_PERIOD:
            why = f"must be less than or equal to {_LONGEST_PERIOD}"
            problems.append(invalid(f"{here}.periodSeconds", policy["periodSeconds"], why))
    tolerance = rules.get("tolerance")
    if tolerance is not None and parse_quantity(str(tolerance)) < ZERO:
        problems.append(invalid(f"{path}.tolerance", tolerance, "must be greater than or equal to 0"))
