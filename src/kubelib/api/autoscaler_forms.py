"""The two forms of an autoscaler, which is stored once: ``autoscaling/v2``, and ``v1`` that knows of CPU usage only.

What v1 has no fields for it carries in annotations, so that a client of v1 loses nothing of what others have set.
"""

from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.parsing import DecodeError, parse_json
from kubelib.api.scheme import Column, Tree

V1, V2 = "autoscaling/v1", "autoscaling/v2"
_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT = _PREFIX + "metrics", _PREFIX + "current-metrics"
_CONDITIONS, _BEHAVIOR = _PREFIX + "conditions", _PREFIX + "behavior"
_CARRIED = (_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR)
_CPU, _TARGET_CPU, _CURRENT_CPU = "cpu", "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage"

_Paths = tuple[tuple[str, tuple[str, ...]], ...]
"""Names in v1, and where the same is in v2."""
_NAMED: _Paths = (("name", ("name",)), ("container", ("container",)))
_SPEC: dict[str, _Paths] = {
    "object": (
        ("target", ("describedObject",)),
        ("metricName", ("metric", "name")),
        ("selector", ("metric", "selector")),
        ("targetValue", ("target", "value")),
        ("averageValue", ("target", "averageValue")),
    ),
    "pods": (
        ("metricName", ("metric", "name")),
        ("selector", ("metric", "selector")),
        ("targetAverageValue", ("target", "averageValue")),
    ),
    "resource": (
        *_NAMED,
        ("targetAverageUtilization", ("target", "averageUtilization")),
        ("targetAverageValue", ("target", "averageValue")),
    ),
    "external": (
        ("metricName", ("metric", "name")),
        ("metricSelector", ("metric", "selector")),
        ("targetValue", ("target", "value")),
        ("targetAverageValue", ("target", "averageValue")),
    ),
}
_SPEC["containerResource"] = _SPEC["resource"]
_STATUS: dict[str, _Paths] = {
    kind: tuple(
        (
            name.replace("target", "current") if name != "target" else name,
            ("current", *path[1:]) if path[0] == "target" else path,
        )
        for name, path in paths
    )
    for kind, paths in _SPEC.items()
}


def _get(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def _set(tree: Tree, path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    tree[path[-1]] = value


def _to_v1(metric: Tree, forms: dict[str, _Paths]) -> Tree:
    converted: Tree = {"type": metric.get("type", "")}
    for kind, paths in forms.items():
        if isinstance(source := metric.get(kind), dict):
            found = {name: _get(source, path) for name, path in paths}
            converted[kind] = {name: value for name, value in found.items() if value is not None}
    return converted


def _to_v2(metric: Tree, forms: dict[str, _Paths]) -> Tree:
    converted: Tree = {"type": metric.get("type", "")}
    for kind, paths in forms.items():
        if isinstance(source := metric.get(kind), dict):
            target: Tree = {}
            for name, path in paths:
                if source.get(name) is not None:
                    _set(target, path, source[name])
            wanted = target.get("target")
            if isinstance(wanted, dict) and forms is _SPEC:
                wanted["type"] = next(
                    kind[0].upper() + kind[1:]
                    for kind in ("averageUtilization", "averageValue", "value")
                    if kind in wanted
                ).replace("AverageUtilization", "Utilization")
            converted[kind] = target
    return converted


def _is_cpu(metric: Any, part: str) -> bool:
    resource = _get(metric, ("resource",))
    return _get(resource, ("name",)) == _CPU and _get(resource, (part, "averageUtilization")) is not None


def _renamed(value: Any, *, capital: bool) -> Any:
    """Return rules for scaling with the names that Go gives them where nobody has said otherwise."""
    if isinstance(value, dict):
        return {
            (name[:1].upper() if capital else name[:1].lower()) + name[1:]: _renamed(inner, capital=capital)
            for name, inner in value.items()
        }
    return [_renamed(item, capital=capital) for item in value] if isinstance(value, list) else value


def autoscaler_as_v1(tree: Tree) -> Tree:
    """Return an autoscaler of v2 in the form of v1; nothing is changed in place."""
    spec, status = dict(tree.get("spec") or {}), dict(tree.get("status") or {})
    metrics, behavior = spec.pop("metrics", None) or [], spec.pop("behavior", None)
    current, conditions = status.pop("currentMetrics", None) or [], status.pop("conditions", None)
    carried: dict[str, Any] = {
        _METRICS: [_to_v1(metric, _SPEC) for metric in metrics if not _is_cpu(metric, "target")],
        _CURRENT: [_to_v1(metric, _STATUS) for metric in current],
        _CONDITIONS: conditions,
        _BEHAVIOR: _renamed(behavior, capital=True),
    }
    for metric in metrics:
        if _is_cpu(metric, "target"):
            spec[_TARGET_CPU] = metric["resource"]["target"]["averageUtilization"]
            break
    for metric in current:
        if _is_cpu(metric, "current"):
            status[_CURRENT_CPU] = metric["resource"]["current"]["averageUtilization"]
            break
    if status:
        status.setdefault("currentReplicas", 0)  # which v2 leaves out when it is zero
    annotations = dict((tree.get("metadata") or {}).get("annotations") or {})
    annotations.update((name, encode_json(value).decode()) for name, value in carried.items() if value)
    return _assembled(tree, V1, spec, status, annotations)


def autoscaler_as_v2(tree: Tree) -> Tree:
    """Return an autoscaler of v1 in the form of v2; nothing is changed in place."""
    spec, status = dict(tree.get("spec") or {}), dict(tree.get("status") or {})
    annotations = dict((tree.get("metadata") or {}).get("annotations") or {})
    carried = {name: _carried(annotations.pop(name, "")) for name in _CARRIED}
    metrics = [_to_v2(metric, _SPEC) for metric in _objects(carried[_METRICS])]
    target = spec.pop(_TARGET_CPU, None)
    if target is not None:
        wanted = {"type": "Utilization", "averageUtilization": target}
        metrics.append({"type": "Resource", "resource": {"name": _CPU, "target": wanted}})
    if metrics:
        spec["metrics"] = metrics
    if isinstance(carried[_BEHAVIOR], dict):
        spec["behavior"] = _renamed(carried[_BEHAVIOR], capital=False)
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    usage = status.pop(_CURRENT_CPU, None)
    current = [_to_v2(metric, _STATUS) for metric in _objects(carried[_CURRENT])]
    if usage is not None and not any(_is_cpu(metric, "current") for metric in current):
        seen = {"name": _CPU, "current": {"averageUtilization": usage}}
        current.append({"type": "Resource", "resource": seen})
    if current:
        status["currentMetrics"] = current
    if conditions := _objects(carried[_CONDITIONS]):
        status["conditions"] = conditions
    return _assembled(tree, V2, spec, status, annotations)


def _carried(text: Any) -> Any:
    """Return what an annotation carries; what cannot be read is nothing."""
    try:
        return parse_json(str(text).encode()) if text else None
    except DecodeError:
        return None


def _objects(value: Any) -> list[Tree]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _assembled(tree: Tree, api_version: str, spec: Tree, status: Tree, annotations: Tree) -> Tree:
    metadata = {**(tree.get("metadata") or {}), "annotations": annotations}
    if not annotations:
        del metadata["annotations"]
    converted = {**tree, "apiVersion": api_version, "metadata": metadata, "spec": spec, "status": status}
    return {name: value for name, value in converted.items() if value or name not in ("spec", "status")}


def columns_of_v1(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns of v2 for autoscalers in the form of v1."""

    def cell_of(column: Column) -> Column:
        return Column(
            column.name,
            lambda tree, now: column.cell(autoscaler_as_v2(tree), now),
            column.type,
            column.format,
            column.description,
            column.wide,
        )

    return tuple(map(cell_of, columns))
