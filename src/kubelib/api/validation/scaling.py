"""Rules of autoscalers and disruption budgets."""

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import invalid, not_supported, required
from kubelib.api.validation.workloads import at_most_all, int_or_percent_problems

_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")


def autoscaler_problems(tree: Tree) -> list[Problem]:
    """Check a HorizontalPodAutoscaler."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        problems.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        problems.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        problems.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    problems += [required(f"spec.scaleTargetRef.{part}") for part in ("kind", "name") if not target.get(part)]
    utilization = spec.get("targetCPUUtilizationPercentage")
    if utilization is not None and utilization < 1:
        problems.append(invalid("spec.targetCPUUtilizationPercentage", utilization, "must be greater than 0"))
    for at, metric in enumerate(spec.get("metrics") or ()):
        path, kind = f"spec.metrics[{at}]", metric.get("type") or ""
        if not kind:
            problems.append(required(f"{path}.type", "must specify a metric source type"))
        elif kind not in _METRICS:
            problems.append(not_supported(f"{path}.type", kind, _METRICS))
        else:
            field = kind[0].lower() + kind[1:]
            if metric.get(field) is None:
                problems.append(
                    required(f"{path}.{field}", "must populate information for the given metric source")
                )
    return problems


def budget_problems(tree: Tree) -> list[Problem]:
    """Check a PodDisruptionBudget."""
    spec = tree.get("spec") or {}
    problems: list[Problem] = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        problems.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            problems += int_or_percent_problems(f"spec.{field}", value)
            problems += at_most_all(f"spec.{field}", value)
    problems += label_selector_problems(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        problems.append(
            not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
        )
    return problems
