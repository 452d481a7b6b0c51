"""Role-based access control, read from the watch cache and kept as one table of rules per user.

Bindings are indexed by the users and groups that they name. A change to a binding is taken in by itself; a change to any role or
binding makes the tables and the remembered decisions void, which are then made again for those who ask.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.api.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from kubelib.registry.base import User
from kubelib.registry.cache import ResourceCache
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authz import NO_OPINION, Decision
from kubelib.server.requestinfo import RequestInfo

Rule = Mapping[str, Any]
MOST_DECISIONS, MOST_USERS = 100_000, 10_000
"""How many decisions, and tables of users, are remembered."""


@attrs.frozen
class Grant:
    """One subject of one binding: a role, given in a namespace (empty: everywhere)."""

    namespace: str
    role: tuple[str, Key]
    """The kind of the role, and where it is."""
    shown: str
    """What Kubernetes says of it: by which binding, of which role, to whom."""


Where = tuple[str, str, str]
"""What rules are found by: API group, resource and name, each as a rule writes it; an empty name: any."""
MOST_PLACES = 256
_UNDECIDED = Decision(reason="nobody has asked")


@attrs.frozen
class _Granted:
    rule: Rule
    grant: Grant


class _Table:
    """What a user is given in one namespace, found by what a request is about."""

    __slots__ = ("all", "anywhere", "index", "named", "named_anywhere")

    def __init__(self) -> None:
        self.all: list[_Granted] = []
        self.anywhere: list[_Granted] = []
        """Rules for paths, and those that name too much to be looked up."""
        self.named_anywhere: list[_Granted] = []
        """Those of them that are only about objects with certain names."""
        self.index: dict[Where, list[_Granted]] = {}
        self.named: set[tuple[str, str]] = set()
        """API groups and resources of which some rules are only about objects with certain names."""

    def add(self, granted: _Granted, places: Sequence[Where]) -> None:
        self.all.append(granted)
        if not places:
            (self.named_anywhere if granted.rule.get("resourceNames") else self.anywhere).append(granted)
        for place in places:
            self.index.setdefault(place, []).append(granted)
            if place[2]:
                self.named.add(place[:2])

    def allowing(self, request: RequestInfo) -> tuple[_Granted | None, bool]:
        """Return what allows a request, and whether that is so whatever the object is called.

        Rules for all names are asked first: what they allow need not be decided again for the next name.
        """
        kinds = _kinds(request) if request.resource else ()
        found = self._first(self.anywhere, kinds, "", request)
        if found is not None:
            return found, True
        if not self.named_anywhere and self.named.isdisjoint(kinds):
            return None, True
        return self._first(self.named_anywhere, kinds, request.name, request), False

    def _first(
        self, anywhere: Sequence[_Granted], kinds: Sequence[tuple[str, str]], name: str, request: RequestInfo
    ) -> _Granted | None:
        """Return the first that allows a request, of some that are found anywhere and those that are found by a name."""
        for granted in anywhere:
            if rule_allows(granted.rule, request):
                return granted
        for group, resource in kinds:
            for granted in self.index.get((group, resource, name), ()):
                if rule_allows(granted.rule, request):
                    return granted
        return None


def _kinds(request: RequestInfo) -> list[tuple[str, str]]:
    """Return the API groups and resources by which rules may mean what a request is about."""
    resources = [request.resource, "*"]
    if request.subresource:
        resources[0] = f"{request.resource}/{request.subresource}"
        resources.append(f"*/{request.subresource}")
    return [(group, resource) for group in (request.group, "*") for resource in resources]


def _places(rule: Rule) -> tuple[Where, ...]:
    """Return where a rule is to be found; nowhere in particular if that would be too many places."""
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    names = rule.get("resourceNames") or ("",)
    if len(groups) * len(resources) * len(names) > MOST_PLACES or "" in (rule.get("resourceNames") or ()):
        return ()
    return tuple((group, resource, name) for group in groups for resource in resources for name in names)


class _Bindings:
    """The bindings of one kind, indexed by user and group."""

    def __init__(self, cache: ResourceCache) -> None:
        self._cache = cache
        self._known: dict[Key, tuple[Document, tuple[tuple[str, str], ...]]] = {}
        self._index: dict[tuple[str, str], dict[Key, list[Grant]]] = {}
        self._changed = True
        cache.on_change(self._note)

    def _note(self) -> None:
        self._changed = True

    def of(self, user: User) -> Iterator[Grant]:
        """Yield what a user and its groups are given."""
        if self._changed:
            self._changed = False
            self._refresh()
        for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
            for grants in self._index.get(subject, _NONE).values():
                yield from grants

    def _refresh(self) -> None:
        known = self._known
        present = {document.key: document for document in self._cache.all()}
        for key in [key for key, (document, _) in known.items() if present.get(key) is not document]:
            for subject in known.pop(key)[1]:
                grants = self._index.get(subject)
                if grants is not None:
                    grants.pop(key, None)
                    if not grants:
                        del self._index[subject]
        for key, document in present.items():
            if key not in known:
                found = list(_grants(document))
                for subject, grant in found:
                    self._index.setdefault(subject, {}).setdefault(key, []).append(grant)
                known[key] = (document, tuple(subject for subject, _ in found))


_NONE: dict[Key, list[Grant]] = {}


def _grants(document: Document) -> Iterator[tuple[tuple[str, str], Grant]]:
    tree, namespace = document.tree(), document.meta.namespace
    reference = tree.get("roleRef") or {}
    kind, name = reference.get("kind") or "", reference.get("name") or ""
    where = Key(namespace if kind == "Role" else "", name)
    binding = f'RoleBinding "{document.meta.name}/{namespace}"' if namespace else ""
    binding = binding or f'ClusterRoleBinding "{document.meta.name}"'
    for subject in tree.get("subjects") or ():
        title, called = subject.get("kind"), subject.get("name") or ""
        if title == "ServiceAccount":
            of = subject.get("namespace") or namespace
            key, shown = ("User", f"system:serviceaccount:{of}:{called}"), f"{called}/{of}"
        elif title in ("User", "Group"):
            key, shown = (title, called), called
        else:
            continue
        yield key, Grant(namespace, (kind, where), f'{binding} of {kind} "{name}" to {title} "{shown}"')


class RbacAuthorizer:
    """Allows what roles bound to the user, or to one of its groups, allow."""

    def __init__(self, registries: ResourceRegistries) -> None:
        self._roles = {"Role": registries.cache_of(Role), "ClusterRole": registries.cache_of(ClusterRole)}
        bindings = [registries.cache_of(kind) for kind in (ClusterRoleBinding, RoleBinding)]
        self._bindings = [_Bindings(cache) for cache in bindings]
        self._read: dict[tuple[str, Key], tuple[Document, tuple[tuple[Rule, tuple[Where, ...]], ...]]] = {}
        self._tables: dict[User, dict[str, _Table]] = {}
        self._missing: dict[User, dict[str, list[str]]] = {}
        self._decisions: dict[tuple[User, RequestInfo], Decision] = {}
        self._of_any_name: dict[tuple[User, object], Decision | None] = {}
        """What is decided of a kind of request whatever the object is called; None where that matters."""
        self.generation = 0
        """Grows with every change to a role or binding: what was decided before need not hold any more."""
        for cache in (*self._roles.values(), *bindings):
            cache.on_change(self._forget)

    def _forget(self) -> None:
        self.generation += 1
        self._tables.clear()
        self._missing.clear()
        self._decisions.clear()
        self._of_any_name.clear()

    def decide(self, user: User, request: RequestInfo) -> Decision:
        """Return whether the user may, and by which binding."""
        # Objects are many and those who do the same to one after the other the rule: most rules name none.
        kind = (user, request.kind)
        decision = self._of_any_name.get(kind, _UNDECIDED)
        if decision is _UNDECIDED:
            if len(self._of_any_name) >= MOST_DECISIONS:
                self._of_any_name.clear()
            found, of_any_name = self._decide(user, request)
            decision = self._of_any_name[kind] = found if of_any_name else None
        if decision is not None:
            return decision
        key = (user, request)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) >= MOST_DECISIONS:
                self._decisions.clear()
            decision = self._decisions[key] = self._decide(user, request)[0]
        return decision

    def _decide(self, user: User, request: RequestInfo) -> tuple[Decision, bool]:
        """Return whether the user may, and whether that holds whatever the object is called."""
        table = self._table(user)
        of_any_name = True
        for namespace in dict.fromkeys(("", request.namespace)):
            here = table.get(namespace)
            if here is None:
                continue
            granted, decided = here.allowing(request)
            of_any_name = of_any_name and decided
            if granted is not None:
                return Decision(True, reason=f"RBAC: allowed by {granted.grant.shown}"), of_any_name
        missing = self._missing.get(user) or {}
        errors = [text for of in dict.fromkeys(("", request.namespace)) for text in missing.get(of, ())]
        if not errors:
            return NO_OPINION, of_any_name
        shown = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        return Decision(reason=f"RBAC: {shown}"), of_any_name

    def rules(self, user: User) -> list[tuple[str, Rule]]:
        """Return the rules that apply to a user, each with the namespace it is for (empty: everywhere)."""
        table = self._table(user)
        return [(namespace, granted.rule) for namespace, found in table.items() for granted in found.all]

    def rules_in(self, user: User, namespace: str) -> list[Rule]:
        """Return the rules that apply to a user in a namespace."""
        table = self._table(user)
        found = [table[of] for of in dict.fromkeys(("", namespace)) if of in table]
        return [granted.rule for here in found for granted in here.all]

    def _table(self, user: User) -> dict[str, _Table]:
        table = self._tables.get(user)
        if table is None:
            if len(self._tables) >= MOST_USERS:
                self._tables.clear()
                self._missing.clear()
            table = self._tables[user] = {}
            missing: dict[str, list[str]] = {}
            for bindings in self._bindings:
                for grant in bindings.of(user):
                    rules = self._rules_of(grant.role)
                    if rules is None:
                        kind, key = grant.role
                        text = f'{kind.lower()}.rbac.authorization.k8s.io "{key.name}" not found'
                        missing.setdefault(grant.namespace, []).append(text)
                        continue
                    here = table.setdefault(grant.namespace, _Table())
                    for rule, places in rules:
                        here.add(_Granted(rule, grant), places)
            if missing:
                self._missing[user] = missing
        return table

    def _rules_of(self, role: tuple[str, Key]) -> tuple[tuple[Rule, tuple[Where, ...]], ...] | None:
        cache = self._roles.get(role[0])
        document = cache.get(role[1]) if cache is not None else None
        if document is None:
            self._read.pop(role, None)
            return None
        known = self._read.get(role)
        if known is None or known[0] is not document:
            if len(self._read) > 2 * sum(map(len, self._roles.values())):
                self._read.clear()  # most of them are gone
            rules = document.tree().get("rules") or ()
            known = self._read[role] = (document, tuple((rule, _places(rule)) for rule in rules))
        return known[1]


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
