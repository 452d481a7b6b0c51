"""Rules of the kinds that keep Pods running."""

from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.meta import label_problems
from kubelib.api.validation.pods import template_problems
from kubelib.api.validation.problems import immutable, invalid, non_negative, not_supported, required


def _labels(template: Any) -> dict[str, str]:
    meta = template.get("metadata") if isinstance(template, dict) else None
    return (meta or {}).get("labels") or {}


def label_selector_problems(selector: Any, path: str) -> list[Problem]:
    """Check a ``metav1.LabelSelector``."""
    if not isinstance(selector, dict):
        return []
    problems = label_problems(selector.get("matchLabels"), f"{path}.matchLabels")
    for at, expression in enumerate(selector.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{at}]"
        operator, values = expression.get("operator"), expression.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                problems.append(
                    required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
                )
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                problems.append(
                    Problem(
                        "FieldValueForbidden",
                        f"{here}.values",
                        "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    )
                )
        else:
            problems.append(invalid(f"{here}.operator", operator or "", "not a valid selector operator"))
    return problems


def _selector_matches(selector: Any, labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for e in selector.get("matchExpressions") or ():
        key, values = e.get("key"), e.get("values") or ()
        if e.get("operator") == "In" and labels.get(key) not in values:
            return False
        if e.get("operator") == "NotIn" and labels.get(key) in values:
            return False
        if e.get("operator") == "Exists" and key not in labels:
            return False
        if e.get("operator") == "DoesNotExist" and key in labels:
            return False
    return True


def replication_controller_problems(tree: Tree) -> list[Problem]:
    """Check a ReplicationController."""
    spec = tree.get("spec") or {}
    problems = non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    problems += label_problems(spec.get("selector"), "spec.selector")
    if not spec.get("selector"):
        problems.append(required("spec.selector"))
    problems += non_negative("spec.replicas", spec.get("replicas"))
    labels = _labels(spec.get("template"))
    mismatched = any(labels.get(k) != v for k, v in (spec.get("selector") or {}).items())
    if mismatched and isinstance(spec.get("template"), dict):
        problems.append(
            invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        )
    return problems + template_problems(spec.get("template"), "spec.template")


def _selected(tree: Tree, *, template_path: str = "spec.template") -> list[Problem]:
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    selector = spec.get("selector")
    if selector is None:
        problems.append(required("spec.selector"))
    else:
        problems += label_selector_problems(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            problems.append(invalid("spec.selector", selector, "empty selector is invalid for deployment"))
        labels = _labels(spec.get("template"))
        if isinstance(spec.get("template"), dict) and not _selector_matches(selector, labels):
            problems.append(
                invalid(
                    f"{template_path}.metadata.labels", labels, "`selector` does not match template `labels`"
                )
            )
    problems += non_negative("spec.replicas", spec.get("replicas"))
    problems += non_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    problems += non_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    return problems + template_problems(spec.get("template"), template_path)


def replica_set_problems(tree: Tree) -> list[Problem]:
    """Check a ReplicaSet."""
    return _selected(tree)


def _int_or_percent(path: str, value: Any) -> list[Problem]:
    if isinstance(value, str):
        if not (value.endswith("%") and value[:-1].isdigit()):
            return [
                invalid(
                    path,
                    value,
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%' or '93%', regex used for validation is '[0-9]+%')",
                )
            ]
        return []
    return non_negative(path, value)


def deployment_problems(tree: Tree) -> list[Problem]:
    """Check a Deployment."""
    problems = _selected(tree)
    spec = tree.get("spec") or {}
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type")
    if kind not in ("Recreate", "RollingUpdate"):
        problems.append(not_supported("spec.strategy.type", kind, ("Recreate", "RollingUpdate")))
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        problems.append(
            Problem(
                "FieldValueForbidden",
                "spec.strategy.rollingUpdate",
                "Forbidden: may not be specified when strategy `type` is 'Recreate'",
            )
        )
    if kind == "RollingUpdate" and isinstance(rolling, dict):
        path = "spec.strategy.rollingUpdate"
        problems += _int_or_percent(f"{path}.maxUnavailable", rolling.get("maxUnavailable"))
        problems += _int_or_percent(f"{path}.maxSurge", rolling.get("maxSurge"))
        if rolling.get("maxUnavailable") in (0, "0%") and rolling.get("maxSurge") in (0, "0%"):
            problems.append(
                invalid(
                    f"{path}.maxUnavailable",
                    rolling.get("maxUnavailable"),
                    "may not be 0 when `maxSurge` is 0",
                )
            )
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        problems.append(
            invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        )
    return problems


def selector_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check that a workload's selector has not changed."""
    return immutable(
        "spec.selector", (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector")
    )


def daemon_set_problems(tree: Tree) -> list[Problem]:
    """Check a DaemonSet or StatefulSet."""
    return _selected(tree)


def job_problems(tree: Tree) -> list[Problem]:
    """Check a Job."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    for field in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        problems += non_negative(f"spec.{field}", spec.get(field))
    problems += template_problems(spec.get("template"), "spec.template", always=False)
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        problems.append(
            Problem(
                "FieldValueRequired",
                "spec.template.spec.restartPolicy",
                'Required value: valid values: "OnFailure", "Never"',
            )
        )
    return problems


def scale_problems(tree: Tree) -> list[Problem]:
    """Check a Scale."""
    return non_negative("spec.replicas", (tree.get("spec") or {}).get("replicas"))
