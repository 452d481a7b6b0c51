"""The roles that every cluster has, and who has them, as kube-apiserver makes them at its start.

A role that somebody has changed keeps what was added to it and gets back what is missing, unless its annotation
``rbac.authorization.kubernetes.io/autoupdate`` says ``false``; so do bindings and their subjects.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import anyio

from kubelib.api.errors import AlreadyExists, Conflict, NotFound
from kubelib.api.meta import Key
from kubelib.api.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from kubelib.api.scheme import Tree
from kubelib.registry.base import OF_THE_SERVER, Preconditions
from kubelib.registry.registries import ResourceRegistries
from kubelib.server.authz.controllerroles import CONTROLLERS
from kubelib.server.authz.escalation import uncovered
from kubelib.server.authz.roles import ADMIN, EDIT, PLAIN, VIEW
from kubelib.server.authz.rules import EVENTS, RBAC, READ, rule

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING = "kubernetes.io/bootstrapping"
AGGREGATE = f"{RBAC}/aggregate-to-"
TO_CONTROLLERS = "rbac.kubelib.dev/aggregate-to-controllers"
"""Marks the roles of controllers: a controller manager, which runs all of them as itself, has them all."""

_AGGREGATED = {
    # role: (label that it carries itself, labels by which it gathers)
    "admin": ("", "admin"),
    "edit": ("admin", "edit"),
    "view": ("edit", "view"),
}
_PARTS = {"admin": ADMIN, "edit": EDIT, "view": VIEW}


def _meta(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Tree:
    meta: Tree = {
        "name": name,
        "labels": {BOOTSTRAPPING: "rbac-defaults", **(labels or {})},
        "annotations": {AUTOUPDATE: "true"},
    }
    if namespace:
        meta["namespace"] = namespace
    return meta


def _object(kind: str, meta: Tree, **rest: Any) -> Tree:
    return {"kind": kind, "apiVersion": f"{RBAC}/v1", "metadata": meta, **rest}


def cluster_roles() -> Iterator[Tree]:
    """Yield the built-in cluster roles. Aggregated ones come with the rules that they start from."""
    for name, rules in PLAIN.items():
        yield _object("ClusterRole", _meta(name), rules=list(rules))
    for name, rules in CONTROLLERS.items():
        meta = _meta(f"system:controller:{name}", labels={TO_CONTROLLERS: "true"})
        yield _object("ClusterRole", meta, rules=list(rules))
    for name, part in _PARTS.items():
        meta = _meta(f"system:aggregate-to-{name}", labels={f"{AGGREGATE}{name}": "true"})
        yield _object("ClusterRole", meta, rules=list(part))
    gathered: tuple[Tree, ...] = ()
    for name in ("view", "edit", "admin"):
        gathered = (*_PARTS[name], *gathered)
        target, source = _AGGREGATED[name]
        meta = _meta(name, labels={f"{AGGREGATE}{target}": "true"} if target else None)
        yield _aggregated(meta, f"{AGGREGATE}{source}", gathered)
    every = tuple(one for rules in CONTROLLERS.values() for one in rules)
    yield _aggregated(_meta("kubelib:controllers"), TO_CONTROLLERS, every)


def _aggregated(meta: Tree, label: str, rules: Iterable[Tree]) -> Tree:
    selectors = [{"matchLabels": {label: "true"}}]
    unique: list[Tree] = []
    for one in rules:
        if one not in unique:
            unique.append(one)
    return _object("ClusterRole", meta, aggregationRule={"clusterRoleSelectors": selectors}, rules=unique)


def _group(name: str) -> Tree:
    return {"kind": "Group", "apiGroup": RBAC, "name": name}


def _user(name: str) -> Tree:
    return {"kind": "User", "apiGroup": RBAC, "name": name}


def _account(name: str) -> Tree:
    return {"kind": "ServiceAccount", "namespace": "kube-system", "name": name}


_BINDINGS: dict[str, tuple[str, tuple[Tree, ...]]] = {
    # binding: (role, subjects)
    "cluster-admin": ("cluster-admin", (_group("system:masters"),)),
    "system:monitoring": ("system:monitoring", (_group("system:monitoring"),)),
    "system:discovery": ("system:discovery", (_group("system:authenticated"),)),
    "system:basic-user": ("system:basic-user", (_group("system:authenticated"),)),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        (_group("system:authenticated"), _group("system:unauthenticated")),
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        (_group("system:serviceaccounts"),),
    ),
    "system:cluster-trust-bundle-discovery": (
        "system:cluster-trust-bundle-discovery",
        (_group("system:serviceaccounts"),),
    ),
    "system:node": ("system:node", ()),  # nodes have the node authorizer, who knows which Pods are theirs
    "system:node-proxier": ("system:node-proxier", (_user("system:kube-proxy"),)),
    "system:kube-dns": ("system:kube-dns", (_account("kube-dns"),)),
    "system:kube-scheduler": ("system:kube-scheduler", (_user("system:kube-scheduler"),)),
    "system:volume-scheduler": ("system:volume-scheduler", (_user("system:kube-scheduler"),)),
    "system:kube-controller-manager": (
        "system:kube-controller-manager",
        (_user("system:kube-controller-manager"),),
    ),
    "kubelib:controllers": ("kubelib:controllers", (_user("system:kube-controller-manager"),)),
    "kubelib:elastic": ("kubelib:elastic", (_user("system:cluster-autoscaler"),)),
    "kubelib:transactions": ("kubelib:transactions", (_user("system:kube-scheduler"),)),
}


def cluster_role_bindings() -> Iterator[Tree]:
    """Yield who has the built-in cluster roles."""
    for name, (role, subjects) in _BINDINGS.items():
        yield _binding("ClusterRoleBinding", _meta(name), "ClusterRole", role, subjects)
    for controller in CONTROLLERS:
        name = f"system:controller:{controller}"
        yield _binding("ClusterRoleBinding", _meta(name), "ClusterRole", name, (_account(controller),))


def _binding(kind: str, meta: Tree, role_kind: str, role: str, subjects: Sequence[Tree]) -> Tree:
    reference = {"apiGroup": RBAC, "kind": role_kind, "name": role}
    return _object(kind, meta, roleRef=reference, subjects=list(subjects))


_READER = "extension-apiserver-authentication-reader"
_OTHER_NAMES = {_READER: f"system::{_READER}"}
"""Bindings that are not called as their roles are."""


def _namespaced() -> Iterator[tuple[str, str, tuple[Tree, ...], tuple[Tree, ...]]]:
    """Yield the roles of single namespaces: namespace, name, rules, subjects."""
    yield (
        "kube-system",
        _READER,
        (rule(READ, "core", "configmaps", "extension-apiserver-authentication"),),
        (_user("system:kube-controller-manager"), _user("system:kube-scheduler")),
    )
    for name in ("kube-controller-manager", "kube-scheduler"):
        yield (
            "kube-system",
            f"system::leader-locking-{name}",
            (
                rule("watch", "core", "configmaps"),
                rule("get update", "core", "configmaps", name),
            ),
            (_user(f"system:{name}"), _account(name)),
        )
    provider = "system:controller:cloud-provider"
    maps = (rule("create get list watch", "core", "configmaps"),)
    yield "kube-system", provider, maps, (_account("cloud-provider"),)
    cleaner = "system:controller:token-cleaner"
    secrets = (rule("delete get list watch", "core", "secrets"), EVENTS)
    yield "kube-system", cleaner, secrets, (_account("token-cleaner"),)
    signer = "system:controller:bootstrap-signer"
    yield "kube-system", signer, (rule(READ, "core", "secrets"),), (_account("bootstrap-signer"),)
    yield (
        "kube-public",
        signer,
        (
            rule(READ, "core", "configmaps"),
            rule("update", "core", "configmaps", "cluster-info"),
            EVENTS,
        ),
        (_account("bootstrap-signer"),),
    )


async def ensure_policy(registries: ResourceRegistries) -> None:
    """Create the built-in roles and bindings that are missing, and complete those that lack something."""
    kinds = {kind.kind: kind for kind in (ClusterRole, ClusterRoleBinding, Role, RoleBinding)}
    wanted = [*cluster_roles(), *cluster_role_bindings()]
    for namespace, name, rules, subjects in _namespaced():
        wanted.append(_object("Role", _meta(name, namespace), rules=list(rules)))
        meta = _meta(_OTHER_NAMES.get(name, name), namespace)
        wanted.append(_binding("RoleBinding", meta, "Role", name, subjects))
    # All at once: a store that commits in groups then writes to its disk a few times only.
    async with anyio.create_task_group() as group:
        for tree in wanted:
            group.start_soon(_ensure, registries, kinds[tree["kind"]], tree)


async def _ensure(registries: ResourceRegistries, kind: Any, wanted: Tree) -> None:
    registry = registries.of(registries.scheme.of(kind))
    meta = wanted["metadata"]
    key = Key(meta.get("namespace", ""), meta["name"])
    while True:
        found = registry.cache.get(key)
        try:
            if found is None:
                await registry.create(wanted, namespace=key.namespace, options=OF_THE_SERVER)
                return
            tree = found.tree()
            if _leads_elsewhere(tree, wanted):
                # Where a binding leads cannot be changed: it is made anew, as whoever it names must not get another role.
                await _delete(registry, key, tree["metadata"]["uid"])
                continue
            completed = _completed(tree, wanted)
            if completed is None:
                return
            await registry.update(key, completed, options=OF_THE_SERVER)
            return
        except (AlreadyExists, Conflict):
            await anyio.sleep(0.01)  # another API server does the same: see what it has done


async def _delete(registry: Any, key: Key, uid: str) -> None:
    with contextlib.suppress(NotFound):
        await registry.delete(key, preconditions=Preconditions(uid))


def _leads_elsewhere(tree: Tree, wanted: Tree) -> bool:
    """Return whether a binding gives another role, and does not want to be left alone."""
    if "roleRef" not in wanted or (tree["metadata"].get("annotations") or {}).get(AUTOUPDATE) == "false":
        return False
    return bool(tree.get("roleRef") != wanted["roleRef"])


def _completed(tree: Tree, wanted: Tree) -> Tree | None:
    """Return a role or binding with what it lacks, or None if it lacks nothing or wants to be left alone."""
    meta = tree["metadata"]
    if (meta.get("annotations") or {}).get(AUTOUPDATE) == "false":
        return None
    lacking = {
        part: {
            name: value
            for name, value in wanted["metadata"][part].items()
            if name not in (meta.get(part) or {})
        }
        for part in ("labels", "annotations")
    }
    part = "subjects" if "subjects" in wanted else "rules"
    present = tree.get(part) or []
    missing: list[Tree] = []
    if "aggregationRule" in wanted:  # what such a role holds is gathered, and kept, by the controller
        gathers = (tree.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        missing = [one for one in wanted["aggregationRule"]["clusterRoleSelectors"] if one not in gathers]
        tree["aggregationRule"] = {"clusterRoleSelectors": [*gathers, *missing]}
        added: list[Any] = []
    elif part == "subjects":
        added = [item for item in wanted[part] if item not in present]
    else:
        added = uncovered(present, wanted[part])
    if not added and not missing and not any(lacking.values()):
        return None
    for name, values in lacking.items():
        meta[name] = {**(meta.get(name) or {}), **values}
    tree[part] = [*present, *added]
    return tree
