"""Role-based access control, read from the watch cache and kept as one table of rules per user."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubelib.api.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from kubelib.registry.base import User
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.request import RequestInfo

MASTERS = "system:masters"
Rule = Mapping[str, Any]


class RbacAuthorizer:
    """Allows what roles bound to the user, or to one of its groups, allow; ``system:masters`` may do everything."""

    def __init__(self, registries: ResourceRegistries) -> None:
        of = registries.scheme.of
        self._caches = [
            registries.of(of(kind)).cache for kind in (Role, ClusterRole, RoleBinding, ClusterRoleBinding)
        ]
        self._rules: dict[User, list[tuple[str, Rule]]] = {}
        self._decisions: dict[tuple[User, RequestInfo], bool] = {}
        for cache in self._caches:
            cache.on_change(self._forget)

    def _forget(self) -> None:
        self._rules.clear()
        self._decisions.clear()

    def allows(self, user: User, request: RequestInfo) -> bool:
        """Return whether the user may."""
        if MASTERS in user.groups:
            return True
        key = (user, request)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) > 100_000:
                self._decisions.clear()
            decision = any(
                (not namespace or namespace == request.namespace) and rule_allows(rule, request)
                for namespace, rule in self.rules(user)
            )
            self._decisions[key] = decision
        return decision

    def rules(self, user: User) -> list[tuple[str, Rule]]:
        """Return the rules that apply to a user, each with the namespace it is for (empty: everywhere)."""
        rules = self._rules.get(user)
        if rules is None:
            rules = self._rules[user] = list(self._collect(user))
        return rules

    def _collect(self, user: User) -> Iterator[tuple[str, Rule]]:
        roles, cluster_roles, bindings, cluster_bindings = self._caches
        by_name = {d.meta.name: d for d in cluster_roles.all()}
        by_key = {d.key: d for d in roles.all()}
        for cache in (cluster_bindings, bindings):
            for document in cache.all():
                tree = document.tree()
                if not any(_is_subject(user, s, document.meta.namespace) for s in tree.get("subjects") or ()):
                    continue
                reference = tree["roleRef"]
                if reference.get("kind") == "ClusterRole":
                    role = by_name.get(reference["name"])
                else:
                    role = next(
                        (
                            d
                            for k, d in by_key.items()
                            if k.namespace == document.meta.namespace and k.name == reference["name"]
                        ),
                        None,
                    )
                if role is not None:
                    for rule in role.tree().get("rules") or ():
                        yield document.meta.namespace, rule


def _is_subject(user: User, subject: Mapping[str, Any], namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject.get("name") == user.name)
        case "Group":
            return subject.get("name") in user.groups
        case "ServiceAccount":
            of = subject.get("namespace") or namespace
            return user.name == f"system:serviceaccount:{of}:{subject.get('name')}"
    return False


def _has(allowed: Sequence[str] | None, wanted: str) -> bool:
    return bool(allowed) and ("*" in allowed or wanted in allowed)  # type: ignore[operator]


def rule_allows(rule: Rule, request: RequestInfo) -> bool:
    """Return whether one rule allows a request."""
    if not _has(rule.get("verbs"), request.verb):
        return False
    if not request.resource:
        paths = rule.get("nonResourceURLs") or ()
        return any(p == request.path or (p.endswith("*") and request.path.startswith(p[:-1])) for p in paths)
    if not _has(rule.get("apiGroups"), request.group):
        return False
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    resources = rule.get("resources") or ()
    if not (
        "*" in resources
        or resource in resources
        or (request.subresource and f"*/{request.subresource}" in resources)
    ):
        return False
    names = rule.get("resourceNames") or ()
    return not names or request.name in names
