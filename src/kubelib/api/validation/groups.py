"""Rules of groups of Pods and of their templates."""

from collections.abc import Sequence
from typing import Any

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.autoscalers import path_segment
from kubelib.api.validation.problems import (
    duplicate,
    each,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
    too_many,
)

MOST_TEMPLATES = 8
MOST_CLAIMS = 4
HIGHEST_PRIORITY = 10**9
_POLICIES = ("PreemptLowerPriority", "Never")


def _union(path: str, tree: Tree, members: Sequence[str]) -> list[Problem]:
    """Check that exactly one of the members is set."""
    chosen = [member for member in members if tree.get(member) is not None]
    if len(chosen) == 1:
        return []
    names = ", ".join(f"`{member}`" for member in members)
    if not chosen:
        return [invalid(path, "", f"must specify one of: {names}")]
    return [invalid(path, f"{{{', '.join(chosen)}}}", f"must specify exactly one of: {names}")]


def _named(path: str, value: Any, check: Any) -> list[Problem]:
    return each(path, value, check(value)) if value else [required(path)]


def _policy_problems(path: str, policy: Tree) -> list[Problem]:
    problems = _union(path, policy, ("basic", "gang"))
    gang = policy.get("gang")
    if gang is not None:
        least = gang.get("minCount")
        if not least:
            problems.append(required(f"{path}.gang.minCount"))
        elif least < 1:
            problems.append(invalid(f"{path}.gang.minCount", least, "must be greater than or equal to 1"))
    return problems


def _common_problems(path: str, tree: Tree) -> list[Problem]:
    """Check what templates and groups have in common."""
    problems = _policy_problems(f"{path}.schedulingPolicy", tree.get("schedulingPolicy") or {})
    if tree.get("schedulingConstraints") is not None:
        # Behind the feature TopologyAwareWorkloadScheduling, which nothing here has: who relies on it must know.
        problems.append(forbidden(f"{path}.schedulingConstraints", ""))
    problems += _claim_problems(f"{path}.resourceClaims", tree.get("resourceClaims") or [])
    mode = tree.get("disruptionMode")
    if mode is not None:
        problems += _union(f"{path}.disruptionMode", mode, ("single", "all"))
    if tree.get("priorityClassName"):
        name = tree["priorityClassName"]
        problems += each(f"{path}.priorityClassName", name, texts.subdomain(name))
    priority = tree.get("priority")
    if priority is not None and priority > HIGHEST_PRIORITY:
        problems.append(
            invalid(f"{path}.priority", priority, f"must be less than or equal to {HIGHEST_PRIORITY}")
        )
    policy = tree.get("preemptionPolicy")
    if policy is not None and policy not in _POLICIES:
        problems.append(not_supported(f"{path}.preemptionPolicy", policy, _POLICIES))
    return problems


def _claim_problems(path: str, claims: Sequence[Tree]) -> list[Problem]:
    problems = [too_many(path, len(claims), MOST_CLAIMS)] if len(claims) > MOST_CLAIMS else []
    names: set[str] = set()
    for at, claim in enumerate(claims):
        where, name = f"{path}[{at}]", claim.get("name")
        problems += _named(f"{where}.name", name, texts.label)
        if name in names:
            problems.append(duplicate(where, {"name": name}))
        names.add(name or "")
        problems += _union(where, claim, ("resourceClaimName", "resourceClaimTemplateName"))
        for field in ("resourceClaimName", "resourceClaimTemplateName"):
            if claim.get(field):
                problems += each(f"{where}.{field}", claim[field], texts.subdomain(claim[field]))
    return problems


def pod_group_problems(tree: Tree) -> list[Problem]:
    """Check a PodGroup."""
    spec = tree.get("spec") or {}
    problems = _common_problems("spec", spec)
    origin = spec.get("workloadRef")
    if origin is not None:
        problems += _named("spec.workloadRef.workloadName", origin.get("workloadName"), texts.subdomain)
        problems += _named("spec.workloadRef.templateName", origin.get("templateName"), texts.label)
    return problems


def _update_problems(path: str, new: Tree, old: Tree) -> list[Problem]:
    """Check that only the size of a gang changes."""
    problems: list[Problem] = []
    policy, before = new.get("schedulingPolicy") or {}, old.get("schedulingPolicy") or {}
    for member in ("basic", "gang"):
        if (policy.get(member) is None) != (before.get(member) is None):
            problems += immutable(f"{path}.schedulingPolicy.{member}", policy.get(member), before.get(member))
    for field in (
        "workloadRef",
        "resourceClaims",
        "disruptionMode",
        "priorityClassName",
        "priority",
        "preemptionPolicy",
    ):
        problems += immutable(f"{path}.{field}", new.get(field) or None, old.get(field) or None)
    return problems


def pod_group_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change of a PodGroup."""
    return [
        *pod_group_problems(new),
        *_update_problems("spec", new.get("spec") or {}, old.get("spec") or {}),
    ]


def workload_problems(tree: Tree) -> list[Problem]:
    """Check a Workload."""
    spec = tree.get("spec") or {}
    path = "spec.podGroupTemplates"
    templates = spec.get("podGroupTemplates") or []
    problems = _owner_problems(spec["controllerRef"]) if spec.get("controllerRef") is not None else []
    problems += [] if templates else [required(path)]
    if len(templates) > MOST_TEMPLATES:
        problems.append(too_many(path, len(templates), MOST_TEMPLATES))
    names: set[str] = set()
    for at, template in enumerate(templates):
        where, name = f"{path}[{at}]", template.get("name")
        problems += _named(f"{where}.name", name, texts.label)
        if name in names:
            problems.append(duplicate(where, {"name": name}))
        names.add(name or "")
        problems += _common_problems(where, template)
    return problems


def _owner_problems(owner: Tree) -> list[Problem]:
    problems: list[Problem] = []
    if group := owner.get("apiGroup"):
        problems += each("spec.controllerRef.apiGroup", group, texts.subdomain(group))
    for field in ("kind", "name"):
        problems += _named(f"spec.controllerRef.{field}", owner.get(field), path_segment)
    return problems


def workload_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change of a Workload: templates stay, and their gangs may change in size."""
    path = "spec.podGroupTemplates"
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    problems = workload_problems(new) + immutable(
        "spec.controllerRef", spec.get("controllerRef"), before.get("controllerRef")
    )
    templates = {t.get("name"): t for t in spec.get("podGroupTemplates") or []}
    known = {t.get("name"): t for t in before.get("podGroupTemplates") or []}
    if templates.keys() != known.keys():
        return [*problems, *immutable(path, sorted(map(str, templates)), sorted(map(str, known)))]
    for at, (name, template) in enumerate(templates.items()):
        problems += _update_problems(f"{path}[{at}]", template, known[name])
    return problems
