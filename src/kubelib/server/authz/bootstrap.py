"""The roles that every cluster has, and who has them, as kube-apiserver makes them at its start.

A role that somebody has changed keeps what was added to it and gets back what is missing, unless its annotation
``rbac.authorization.kubernetes.io/autoupdate`` says ``false``; so do bindings and their subjects.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import anyio

from kubelib.api.errors import AlreadyExists, Conflict
from kubelib.api.meta import Key
from kubelib.api.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from kubelib.api.scheme import Tree
from kubelib.registry.registries import ResourceRegistries

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING = "kubernetes.io/bootstrapping"
GROUP = "rbac.authorization.k8s.io"
AGGREGATE = f"{GROUP}/aggregate-to-"
TO_CONTROLLERS = "rbac.kubelib.dev/aggregate-to-controllers"
"""Marks the roles of controllers: a controller manager, which runs all of them as itself, has them all."""

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_CONTROL = "create delete get list patch update watch"


def _rule(verbs: str, groups: str, resources: str, names: str = "") -> Tree:
    """Return a rule; ``core`` stands for the group without a name."""
    rule: Tree = {
        "verbs": verbs.split(),
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
    }
    if names:
        rule["resourceNames"] = names.split()
    return rule


def _paths(verbs: str, paths: str) -> Tree:
    return {"verbs": verbs.split(), "nonResourceURLs": paths.split()}


_EVENTS = _rule("create patch update", "core events.k8s.io", "events")
_HEALTH = "/healthz /livez /readyz /version /version/"

_WORKLOADS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets"
    " statefulsets/scale"
)
_SEEN_WORKLOADS = (
    "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets"
    " replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"
)

_EDIT: tuple[Tree, ...] = (
    _rule(
        "get list watch", "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"
    ),
    _rule("impersonate", "core", "serviceaccounts"),
    _rule(_WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    _rule("create", "core", "pods/eviction"),
    _rule(
        _WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets"
        " serviceaccounts services services/proxy",
    ),
    _rule("create", "core", "serviceaccounts/token"),
    _rule(_WRITE, "apps", _WORKLOADS),
    _rule(_WRITE, "autoscaling", "horizontalpodautoscalers"),
    _rule(_WRITE, "batch", "cronjobs jobs"),
    _rule(_WRITE, "policy", "poddisruptionbudgets"),
    _rule(_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    _rule(_CONTROL + " deletecollection", "coordination.k8s.io", "leases"),
    _rule(_WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
)
_VIEW: tuple[Tree, ...] = (
    _rule(
        _READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers"
        " replicationcontrollers/scale serviceaccounts services services/status",
    ),
    _rule(
        _READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status"
        " resourcequotas resourcequotas/status",
    ),
    _rule(_READ, "core", "namespaces"),
    _rule(_READ, "discovery.k8s.io", "endpointslices"),
    _rule(_READ, "apps", _SEEN_WORKLOADS),
    _rule(_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    _rule(_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    _rule(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    _rule(_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    _rule(_READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
)
_ADMIN: tuple[Tree, ...] = (
    _rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    _rule(_CONTROL + " deletecollection", GROUP, "rolebindings roles"),
)

_PLAIN: dict[str, tuple[Tree, ...]] = {
    "cluster-admin": (_rule("*", "*", "*"), _paths("*", "*")),
    "system:discovery": (_paths("get", f"/api /api/* /apis /apis/* /openapi /openapi/* {_HEALTH}"),),
    "system:public-info-viewer": (_paths("get", _HEALTH),),
    "system:monitoring": (
        _paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
    ),
    "system:basic-user": (
        _rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        _rule("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:service-account-issuer-discovery": (
        _paths(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ),
    ),
    "system:auth-delegator": (
        _rule("create", "authentication.k8s.io", "tokenreviews"),
        _rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:kubelet-api-admin": (
        _rule(_READ, "core", "nodes"),
        _rule("proxy", "core", "nodes"),
        _rule(
            "*",
            "core",
            "nodes/checkpoint nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec"
            " nodes/stats",
        ),
    ),
    "system:node-bootstrapper": (_rule(_CONTROL, "certificates.k8s.io", "certificatesigningrequests"),),
    "system:node-problem-detector": (
        _rule("get", "core", "nodes"),
        _rule("patch", "core", "nodes/status"),
        _EVENTS,
    ),
    "system:node": (
        _rule("create", "authentication.k8s.io", "tokenreviews"),
        _rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
        _rule(_READ, "core", "services"),
        _rule("create get list watch", "core", "nodes"),
        _rule("patch update", "core", "nodes nodes/status"),
        _EVENTS,
        _rule("create delete get list watch", "core", "pods"),
        _rule("patch update", "core", "pods/status"),
        _rule("create", "core", "pods/eviction"),
        _rule(_READ, "core", "configmaps secrets"),
        _rule("get", "core", "persistentvolumeclaims persistentvolumes"),
        _rule("create get", "core", "serviceaccounts serviceaccounts/token"),
        _rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        _rule("create delete get patch update", "coordination.k8s.io", "leases"),
        _rule(_READ, "storage.k8s.io", "csidrivers volumeattachments"),
        _rule("create delete get patch update", "storage.k8s.io", "csinodes"),
        _rule(_READ, "node.k8s.io", "runtimeclasses"),
    ),
    "system:node-proxier": (
        _rule("list watch", "core", "endpoints services"),
        _rule(_READ, "core", "nodes"),
        _EVENTS,
        _rule("list watch", "discovery.k8s.io", "endpointslices"),
        _rule("list watch", "networking.k8s.io", "servicecidrs"),
    ),
    "system:kube-dns": (_rule("list watch", "core", "endpoints services"),),
    "system:kube-aggregator": (_rule(_READ, "core", "endpoints services"),),
    "system:persistent-volume-provisioner": (
        _rule("create delete get list watch", "core", "persistentvolumes"),
        _rule("get list update watch", "core", "persistentvolumeclaims"),
        _rule(_READ, "storage.k8s.io", "storageclasses"),
        _rule("watch", "core", "events"),
        _EVENTS,
    ),
    "system:volume-scheduler": (
        _rule("get list patch update watch", "core", "persistentvolumes"),
        _rule(_READ, "storage.k8s.io", "storageclasses"),
        _rule("get list patch update watch", "core", "persistentvolumeclaims"),
    ),
    "system:kube-scheduler": (
        _EVENTS,
        _rule("create", "coordination.k8s.io", "leases"),
        _rule("get list patch update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
        _rule(_READ, "core", "nodes"),
        _rule("delete get list watch", "core", "pods"),
        _rule("create", "core", "bindings pods/binding"),
        _rule("patch update", "core", "pods/status"),
        _rule(_READ, "core", "replicationcontrollers services"),
        _rule(_READ, "apps", "replicasets statefulsets"),
        _rule(_READ, "policy", "poddisruptionbudgets"),
        _rule(_READ, "core", "persistentvolumeclaims persistentvolumes"),
        _rule("create", "authentication.k8s.io", "tokenreviews"),
        _rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        _rule(_READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities volumeattachments"),
        _rule(_READ, "core", "namespaces"),
        _rule(_READ, "resource.k8s.io", "deviceclasses resourceclaims resourceslices"),
        _rule(_READ, "scheduling.k8s.io", "podgroups"),
        _rule("patch update", "scheduling.k8s.io", "podgroups/status"),
        _rule("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"),
    ),
    "kubelib:transactions": (_rule("create", "scheduling.kubelib.dev", "transactions"),),
    "system:kube-controller-manager": (
        _EVENTS,
        _rule("create", "coordination.k8s.io", "leases"),
        _rule("get list update watch", "coordination.k8s.io", "leases", "kube-controller-manager"),
        _rule("create", "core", "secrets serviceaccounts"),
        _rule("delete", "core", "secrets"),
        _rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
        _rule("update", "core", "secrets serviceaccounts"),
        _rule("create", "authentication.k8s.io", "tokenreviews"),
        _rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        _rule("list watch", "*", "*"),
        _rule("create", "core", "serviceaccounts/token"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        _rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        _rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{short}-approver": (
            _rule("approve", "certificates.k8s.io", "signers", f"kubernetes.io/{signer}"),
        )
        for short, signer in (
            ("kube-apiserver-client", "kube-apiserver-client"),
            ("kube-apiserver-client-kubelet", "kube-apiserver-client-kubelet"),
            ("kubelet-serving", "kubelet-serving"),
            ("legacy-unknown", "legacy-unknown"),
        )
    },
}

NODE_RULES = _PLAIN["system:node"]
"""What nodes may do, as far as it does not depend on which Pods they run."""

_CONTROLLERS: dict[str, tuple[Tree, ...]] = {
    "attachdetach-controller": (
        _rule("list watch", "core", "persistentvolumeclaims persistentvolumes"),
        _rule(_READ, "core", "nodes"),
        _rule("patch update", "core", "nodes/status"),
        _rule("list watch", "core", "pods"),
        _EVENTS,
        _rule("create delete get list watch", "storage.k8s.io", "volumeattachments"),
    ),
    "certificate-controller": (
        _rule("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        _rule(
            "update",
            "certificates.k8s.io",
            "certificatesigningrequests/approval certificatesigningrequests/status",
        ),
        _rule("approve sign", "certificates.k8s.io", "signers"),
        _rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        _EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        _rule("escalate get list patch update watch", GROUP, "clusterroles"),
    ),
    "cronjob-controller": (
        _rule("get list update watch", "batch", "cronjobs"),
        _rule(_CONTROL, "batch", "jobs"),
        _rule("update", "batch", "cronjobs/finalizers cronjobs/status"),
        _rule("delete list", "core", "pods"),
        _EVENTS,
    ),
    "daemon-set-controller": (
        _rule(_READ, "apps", "daemonsets"),
        _rule("update", "apps", "daemonsets/finalizers daemonsets/status"),
        _rule("list watch", "core", "nodes"),
        _rule("create delete list patch watch", "core", "pods"),
        _rule("create", "core", "pods/binding"),
        _rule(_CONTROL, "apps", "controllerrevisions"),
        _EVENTS,
    ),
    "deployment-controller": (
        _rule("get list update watch", "apps", "deployments"),
        _rule("update", "apps", "deployments/finalizers deployments/status"),
        _rule(_CONTROL, "apps", "replicasets"),
        _rule("get list update watch", "core", "pods"),
        _EVENTS,
    ),
    "disruption-controller": (
        _rule(_READ, "apps", "deployments replicasets statefulsets"),
        _rule(_READ, "core", "replicationcontrollers"),
        _rule(_READ, "policy", "poddisruptionbudgets"),
        _rule("get", "*", "*/scale"),
        _rule("update", "policy", "poddisruptionbudgets/status"),
        _rule("patch update", "core", "pods/status"),
        _rule("list watch", "core", "pods"),
        _EVENTS,
    ),
    "endpoint-controller": (
        _rule(_READ, "core", "pods services"),
        _rule("create delete get list update watch", "core", "endpoints"),
        _rule("create", "core", "endpoints/restricted"),
        _EVENTS,
    ),
    "endpointslice-controller": (
        _rule(_READ, "core", "nodes pods services"),
        _rule("update", "core", "services/finalizers"),
        _rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
        _rule("create", "discovery.k8s.io", "endpointslices/restricted"),
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        _rule(_READ, "core", "endpoints services"),
        _rule("update", "core", "endpoints/finalizers services/finalizers"),
        _rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
        _rule("create", "discovery.k8s.io", "endpointslices/restricted"),
        _EVENTS,
    ),
    "ephemeral-volume-controller": (
        _rule(_READ, "core", "pods"),
        _rule("update", "core", "pods/finalizers"),
        _rule("create get list watch", "core", "persistentvolumeclaims"),
        _EVENTS,
    ),
    "expand-controller": (
        _rule("get list patch update watch", "core", "persistentvolumes"),
        _rule("patch update", "core", "persistentvolumeclaims/status"),
        _rule(_READ, "core", "persistentvolumeclaims"),
        _EVENTS,
    ),
    "generic-garbage-collector": (
        _rule("delete get list patch update watch", "*", "*"),
        _EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        _rule(_READ, "autoscaling", "horizontalpodautoscalers"),
        _rule("update", "autoscaling", "horizontalpodautoscalers/status"),
        # Ours changes the number alone, with a patch.
        _rule("get patch update", "*", "*/scale"),
        _rule("list", "core", "pods"),
        _rule("list", "metrics.k8s.io", "pods"),
        _rule("get list", "custom.metrics.k8s.io external.metrics.k8s.io", "*"),
        _EVENTS,
    ),
    "job-controller": (
        _rule("get list patch update watch", "batch", "jobs"),
        _rule("update", "batch", "jobs/finalizers jobs/status"),
        _rule("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "namespace-controller": (
        _rule("delete get list watch", "core", "namespaces"),
        _rule("update", "core", "namespaces/finalize namespaces/status"),
        _rule("delete deletecollection get list", "*", "*"),
        _EVENTS,
    ),
    "node-controller": (
        _rule("delete get list patch update watch", "core", "nodes"),
        _rule("patch update", "core", "nodes/status"),
        _rule("patch update", "core", "pods/status"),
        _rule("delete get list watch", "core", "pods"),
        _rule(_READ, "coordination.k8s.io", "leases"),
        _EVENTS,
    ),
    "persistent-volume-binder": (
        _rule("create delete get list update watch", "core", "persistentvolumes"),
        _rule("update", "core", "persistentvolumes/status persistentvolumeclaims/status"),
        _rule("get list update watch", "core", "persistentvolumeclaims"),
        _rule(_READ, "storage.k8s.io", "storageclasses"),
        _EVENTS,
    ),
    "pod-garbage-collector": (
        _rule("delete list watch", "core", "pods"),
        _rule("get list watch", "core", "nodes"),
        _rule("patch update", "core", "pods/status"),
        _EVENTS,
    ),
    "pv-protection-controller": (
        _rule("get list update watch", "core", "persistentvolumes"),
        _EVENTS,
    ),
    "pvc-protection-controller": (
        _rule("get list update watch", "core", "persistentvolumeclaims"),
        _rule(_READ, "core", "pods"),
        _EVENTS,
    ),
    "replicaset-controller": (
        _rule("get list update watch", "apps", "replicasets"),
        _rule("update", "apps", "replicasets/finalizers replicasets/status"),
        _rule("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "replication-controller": (
        _rule("get list update watch", "core", "replicationcontrollers"),
        _rule("update", "core", "replicationcontrollers/finalizers replicationcontrollers/status"),
        _rule("create delete list patch watch", "core", "pods"),
        _EVENTS,
    ),
    "resourcequota-controller": (
        _rule("list watch", "*", "*"),
        _rule("update", "core", "resourcequotas/status"),
        _EVENTS,
    ),
    "root-ca-cert-publisher": (
        _rule("create get list update watch", "core", "configmaps"),
        _rule("list watch", "core", "namespaces"),
        _EVENTS,
    ),
    "service-account-controller": (
        _rule("create get list watch", "core", "serviceaccounts"),
        _rule("list watch", "core", "namespaces"),
        _EVENTS,
    ),
    "statefulset-controller": (
        _rule("list watch", "core", "pods"),
        _rule(_READ, "apps", "statefulsets"),
        _rule("update", "apps", "statefulsets/finalizers statefulsets/status"),
        _rule("create delete get patch update", "core", "pods"),
        _rule(_CONTROL, "apps", "controllerrevisions"),
        _rule("create delete get list patch update watch", "core", "persistentvolumeclaims"),
        _EVENTS,
    ),
    "token-cleaner": (
        _rule("delete get list watch", "core", "secrets"),
        _EVENTS,
    ),
    "ttl-after-finished-controller": (
        _rule("delete get list watch", "batch", "jobs"),
        _EVENTS,
    ),
    "validatingadmissionpolicy-status-controller": (
        _rule(_READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        _rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        _EVENTS,
    ),
}

_AGGREGATED = {
    # role: (label that it carries itself, labels by which it gathers)
    "admin": ("", "admin"),
    "edit": ("admin", "edit"),
    "view": ("edit", "view"),
}
_PARTS = {"admin": _ADMIN, "edit": _EDIT, "view": _VIEW}


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
    return {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": meta, **rest}


def cluster_roles() -> Iterator[Tree]:
    """Yield the built-in cluster roles. Aggregated ones come with the rules that they start from."""
    for name, rules in _PLAIN.items():
        yield _object("ClusterRole", _meta(name), rules=list(rules))
    for name, rules in _CONTROLLERS.items():
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
    every = tuple(rule for rules in _CONTROLLERS.values() for rule in rules)
    yield _aggregated(_meta("kubelib:controllers"), TO_CONTROLLERS, every)


def _aggregated(meta: Tree, label: str, rules: Iterable[Tree]) -> Tree:
    selectors = [{"matchLabels": {label: "true"}}]
    unique: list[Tree] = []
    for rule in rules:
        if rule not in unique:
            unique.append(rule)
    return _object("ClusterRole", meta, aggregationRule={"clusterRoleSelectors": selectors}, rules=unique)


def _group(name: str) -> Tree:
    return {"kind": "Group", "apiGroup": GROUP, "name": name}


def _user(name: str) -> Tree:
    return {"kind": "User", "apiGroup": GROUP, "name": name}


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
    "kubelib:transactions": ("kubelib:transactions", (_user("system:kube-scheduler"),)),
}


def cluster_role_bindings() -> Iterator[Tree]:
    """Yield who has the built-in cluster roles."""
    for name, (role, subjects) in _BINDINGS.items():
        yield _binding("ClusterRoleBinding", _meta(name), "ClusterRole", role, subjects)
    for controller in _CONTROLLERS:
        name = f"system:controller:{controller}"
        yield _binding("ClusterRoleBinding", _meta(name), "ClusterRole", name, (_account(controller),))


def _binding(kind: str, meta: Tree, role_kind: str, role: str, subjects: Sequence[Tree]) -> Tree:
    reference = {"apiGroup": GROUP, "kind": role_kind, "name": role}
    return _object(kind, meta, roleRef=reference, subjects=list(subjects))


def _namespaced() -> Iterator[tuple[str, str, tuple[Tree, ...], tuple[Tree, ...]]]:
    """Yield the roles of single namespaces: namespace, name, rules, subjects."""
    yield (
        "kube-system",
        "extension-apiserver-authentication-reader",
        (_rule(_READ, "core", "configmaps", "extension-apiserver-authentication"),),
        (_user("system:kube-controller-manager"), _user("system:kube-scheduler")),
    )
    for name in ("kube-controller-manager", "kube-scheduler"):
        yield (
            "kube-system",
            f"system::leader-locking-{name}",
            (
                _rule("watch", "core", "configmaps"),
                _rule("get update", "core", "configmaps", name),
            ),
            (_user(f"system:{name}"), _account(name)),
        )
    signer = "system:controller:bootstrap-signer"
    yield "kube-system", signer, (_rule(_READ, "core", "secrets"),), (_account("bootstrap-signer"),)
    yield (
        "kube-public",
        signer,
        (
            _rule(_READ, "core", "configmaps"),
            _rule("update", "core", "configmaps", "cluster-info"),
            _EVENTS,
        ),
        (_account("bootstrap-signer"),),
    )


async def ensure_policy(registries: ResourceRegistries) -> None:
    """Create the built-in roles and bindings that are missing, and complete those that lack something."""
    kinds = {kind.kind: kind for kind in (ClusterRole, ClusterRoleBinding, Role, RoleBinding)}
    wanted = [*cluster_roles(), *cluster_role_bindings()]
    for namespace, name, rules, subjects in _namespaced():
        meta = _meta(name, namespace)
        wanted.append(_object("Role", meta, rules=list(rules)))
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
                await registry.create(wanted, namespace=key.namespace)
                return
            completed = _completed(found.tree(), wanted)
            if completed is None:
                return
            await registry.update(key, completed)
            return
        except (AlreadyExists, Conflict):
            await anyio.sleep(0.01)  # another API server does the same: see what it has done


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
    # What an aggregated role holds is gathered, and kept, by the controller.
    added = [] if "aggregationRule" in wanted else [item for item in wanted[part] if item not in present]
    if not added and not any(lacking.values()):
        return None
    for name, values in lacking.items():
        meta[name] = {**(meta.get(name) or {}), **values}
    tree[part] = [*present, *added]
    return tree
