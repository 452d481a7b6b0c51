"""Rules of disruption budgets."""

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.devicenames import condition_problems
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import invalid, non_negative, not_supported
from kubelib.api.validation.workloads import at_most_all, int_or_percent_problems


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


_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def budget_status_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check the status of a PodDisruptionBudget."""
    status = new.get("status") or {}
    problems = condition_problems("status.conditions", status.get("conditions") or ())
    for field in _COUNTS:
        problems += non_negative(f"status.{field}", status.get(field))
    return problems
