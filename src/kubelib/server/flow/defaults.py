"""The priority levels and flow schemas that every cluster has, as kube-apiserver makes and keeps them.

What is mandatory always has its specification. What is only suggested keeps it while its annotation says ``true``; an
administrator who wants another one sets the annotation to ``false``.
"""

from collections.abc import Iterator
from typing import Any

import anyio

from kubelib.api.errors import ApiError, NotFound
from kubelib.api.flowcontrol import FlowSchema, PriorityLevelConfiguration
from kubelib.api.mandatoryflows import FLOW_SCHEMAS, PRIORITY_LEVELS, everything, fixed, groups
from kubelib.api.meta import Key
from kubelib.api.scheme import Tree
from kubelib.registry.base import WriteOptions
from kubelib.registry.registries import ResourceRegistries

API_VERSION = "flowcontrol.apiserver.k8s.io/v1"
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
PRODUCER = WriteOptions(manager="api-priority-and-fairness-config-producer-v1")
CONSUMER = WriteOptions(manager="api-priority-and-fairness-config-consumer-v1")

_LEVELS = (
    # name, shares, percent that may be lent, queues, hand
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
)
QUEUE_LENGTH = 50


def _users(*names: str) -> list[Tree]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts(*names: str) -> list[Tree]:
    return [
        {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}}
        for name in names
    ]


def _of(subjects: list[Tree], *rules: Tree) -> Tree:
    return {"subjects": subjects, "resourceRules": list(rules)}


def _rule(verbs: str, group: str, resources: str, *, cluster: bool = False) -> Tree:
    rule: Tree = {
        "verbs": verbs.split(),
        "apiGroups": [group],
        "resources": resources.split(),
        "namespaces": ["*"],
    }
    if cluster:
        rule["clusterScope"] = True
    return rule


_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
_LEASES = _rule("get create update", "coordination.k8s.io", "leases")
_SCHEMAS: tuple[tuple[str, str, int, str, Tree], ...] = (
    # name, level, precedence, what tells flows apart, rule
    (
        "probes",
        "exempt",
        2,
        "",
        {
            "subjects": groups("system:unauthenticated", "system:authenticated"),
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
        },
    ),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        _of([*_users(_MANAGER, _SCHEDULER), *_accounts("*")], _LEASES),
    ),
    (
        "endpoint-controller",
        "workload-high",
        150,
        "ByUser",
        _of(
            [*_users(_MANAGER), *_accounts("endpoint-controller", "endpointslicemirroring-controller")],
            _rule("get create update", "", "endpoints"),
        ),
    ),
    ("workload-leader-election", "leader-election", 200, "ByUser", _of(_accounts("*"), _LEASES)),
    (
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        _of(
            groups("system:nodes"),
            _rule("*", "", "nodes nodes/status", cluster=True),
            _rule("*", "coordination.k8s.io", "leases"),
        ),
    ),
    ("system-nodes", "system", 500, "ByUser", everything(groups("system:nodes"))),
    ("kube-controller-manager", "workload-high", 800, "ByNamespace", everything(_users(_MANAGER))),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", everything(_users(_SCHEDULER))),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", everything(_accounts("*"))),
    ("service-accounts", "workload-low", 9000, "ByUser", everything(groups("system:serviceaccounts"))),
    (
        "global-default",
        "global-default",
        9900,
        "ByUser",
        everything(groups("system:unauthenticated", "system:authenticated")),
    ),
)


def priority_levels() -> Iterator[Tree]:
    """Yield the built-in priority levels."""
    yield _object("PriorityLevelConfiguration", "exempt", PRIORITY_LEVELS["exempt"])
    for name, shares, lendable, queues, hand in _LEVELS:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}
        limited = {
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing},
        }
        yield _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})
    yield _object("PriorityLevelConfiguration", "catch-all", PRIORITY_LEVELS["catch-all"])


def flow_schemas() -> Iterator[Tree]:
    """Yield the built-in flow schemas."""
    yield _object("FlowSchema", "exempt", FLOW_SCHEMAS["exempt"])
    for name, level, precedence, method, rule in _SCHEMAS:
        spec: Tree = {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "rules": [rule],
        }
        if method:
            spec["distinguisherMethod"] = {"type": method}
        yield _object("FlowSchema", name, spec)
    yield _object("FlowSchema", "catch-all", FLOW_SCHEMAS["catch-all"])


def _object(kind: str, name: str, spec: Tree) -> Tree:
    meta = {"name": name, "annotations": {AUTOUPDATE: "true"}}
    return {"kind": kind, "apiVersion": API_VERSION, "metadata": meta, "spec": spec}


async def ensure_flow_objects(registries: ResourceRegistries) -> None:
    """Create the built-in objects that are missing, and give back their specification to those that are to have it."""
    kinds: dict[str, Any] = {
        "FlowSchema": FlowSchema,
        "PriorityLevelConfiguration": PriorityLevelConfiguration,
    }
    async with anyio.create_task_group() as group:
        for tree in (*priority_levels(), *flow_schemas()):
            group.start_soon(_ensure, registries, kinds[tree["kind"]], tree)


async def _ensure(registries: ResourceRegistries, kind: Any, wanted: Tree) -> None:
    registry = registries.of(registries.scheme.of(kind))
    key = Key("", wanted["metadata"]["name"])
    found = registry.cache.get(key)
    try:
        if found is None:
            await registry.create(wanted, options=PRODUCER)
            return
        tree = found.tree()
        annotation = (tree["metadata"].get("annotations") or {}).get(AUTOUPDATE)
        if (fixed_now := fixed(wanted["kind"], key.name, tree["spec"])) is not None:
            ours, wanted = True, {**wanted, "spec": fixed_now}
        elif annotation is None:
            ours = tree["metadata"].get("generation", 1) == 1
        else:
            ours = annotation == "true"
        if not ours or (tree["spec"] == wanted["spec"] and annotation == "true"):
            return
        tree["metadata"].setdefault("annotations", {})[AUTOUPDATE] = "true"
        tree["spec"] = wanted["spec"]
        await registry.update(key, tree, options=PRODUCER)
    except ApiError:
        return  # somebody else writes it: it is looked at again


async def show_dangling(registries: ResourceRegistries, now: str) -> None:
    """Note in the status of each flow schema whether its priority level exists."""
    schemas = registries.of(registries.scheme.of(FlowSchema))
    levels = registries.cache_of(PriorityLevelConfiguration)
    for document in list(schemas.cache.all()):
        tree = document.tree()
        level = tree["spec"]["priorityLevelConfiguration"]["name"]
        there = levels.get(Key("", level)) is not None
        condition = {
            "type": "Dangling",
            "status": "False" if there else "True",
            "lastTransitionTime": now,
            "reason": "Found" if there else "NotFound",
            "message": "This FlowSchema references the PriorityLevelConfiguration object named "
            f'"{level}" and {"it exists" if there else "there is no such object"}',
        }
        conditions = (tree.get("status") or {}).get("conditions") or []
        before = next((c for c in conditions if c.get("type") == "Dangling"), None)
        if before is not None and all(before.get(p) == condition[p] for p in ("status", "reason", "message")):
            continue
        tree["status"] = {"conditions": [*(c for c in conditions if c is not before), condition]}
        try:
            await schemas.update(document.key, tree, subresource="status", options=CONSUMER)
        except (ApiError, NotFound):
            continue
