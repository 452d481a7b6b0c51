"""Rules of roles and of who has them."""

from kubelib.api.errors import Problem
from kubelib.api.names import is_path_segment
from kubelib.api.scheme import Tree
from kubelib.api.validation import texts
from kubelib.api.validation.placement import label_selector_problems
from kubelib.api.validation.problems import each, immutable, invalid, not_supported, required

_GROUP = "rbac.authorization.k8s.io"


def _rules(tree: Tree, *, namespaced: bool) -> list[Problem]:
    problems: list[Problem] = []
    for at, rule in enumerate(tree.get("rules") or ()):
        path = f"rules[{at}]"
        urls, groups, resources = rule.get("nonResourceURLs"), rule.get("apiGroups"), rule.get("resources")
        if not rule.get("verbs"):
            problems.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if urls:
            if namespaced:
                problems.append(
                    invalid(
                        f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs"
                    )
                )
            if groups or resources or rule.get("resourceNames"):
                problems.append(
                    invalid(
                        f"{path}.nonResourceURLs",
                        urls,
                        "rules cannot apply to both regular resources and non-resource URLs",
                    )
                )
            continue
        if not groups:
            problems.append(
                required(f"{path}.apiGroups", "resource rules must supply at least one api group")
            )
        if not resources:
            problems.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return problems


def role_problems(tree: Tree) -> list[Problem]:
    """Check a Role."""
    return _rules(tree, namespaced=True)


def cluster_role_problems(tree: Tree) -> list[Problem]:
    """Check a ClusterRole."""
    problems = _rules(tree, namespaced=False)
    aggregation = tree.get("aggregationRule")
    if aggregation is not None:
        selectors = aggregation.get("clusterRoleSelectors")
        if not selectors:
            problems.append(
                required(
                    "aggregationRule.clusterRoleSelectors",
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                )
            )
        for at, selector in enumerate(selectors or ()):
            path = f"aggregationRule.clusterRoleSelectors[{at}]"
            if found := label_selector_problems(selector, path):
                problems += [*found, invalid(path, "null", "invalid label selector.")]
    return problems


def _binding_problems(tree: Tree, *, namespaced: bool) -> list[Problem]:
    problems: list[Problem] = []
    role = tree.get("roleRef") or {}
    group, kind, name = role.get("apiGroup") or "", role.get("kind") or "", role.get("name") or ""
    if group != _GROUP:
        problems.append(not_supported("roleRef.apiGroup", group, (_GROUP,)))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if kind not in kinds:
        problems.append(not_supported("roleRef.kind", kind, kinds))
    if not name:
        problems.append(required("roleRef.name"))
    else:
        problems += each("roleRef.name", name, is_path_segment(name))
    for at, subject in enumerate(tree.get("subjects") or ()):
        problems += _subject_problems(subject, f"subjects[{at}]", namespaced=namespaced)
    return problems


def _subject_problems(subject: Tree, path: str, *, namespaced: bool) -> list[Problem]:
    problems: list[Problem] = []
    name, kind, group = subject.get("name") or "", subject.get("kind") or "", subject.get("apiGroup") or ""
    if not name:
        problems.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            problems += each(f"{path}.name", name, texts.subdomain(name))
        if group:
            problems.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            problems.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != _GROUP:
            problems.append(not_supported(f"{path}.apiGroup", group, (_GROUP,)))
    else:
        problems.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return problems


def role_binding_problems(tree: Tree) -> list[Problem]:
    """Check a RoleBinding."""
    return _binding_problems(tree, namespaced=True)


def cluster_role_binding_problems(tree: Tree) -> list[Problem]:
    """Check a ClusterRoleBinding."""
    return _binding_problems(tree, namespaced=False)


def _same_role(new: Tree, old: Tree) -> list[Problem]:
    return immutable("roleRef", new.get("roleRef"), old.get("roleRef"))


def role_binding_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a RoleBinding: its role stays."""
    return [*role_binding_problems(new), *_same_role(new, old)]


def cluster_role_binding_update_problems(new: Tree, old: Tree) -> list[Problem]:
    """Check a change to a ClusterRoleBinding: its role stays."""
    return [*cluster_role_binding_problems(new), *_same_role(new, old)]
