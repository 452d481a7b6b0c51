"""What an object uses of which quota. Pure.

The names, scopes and sums are those of Kubernetes' quota evaluators (``pkg/quota/v1/evaluator``): every kind counts under
``count/``, Pods, Services and claims under further names.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from kubelib.api.podresources import Amounts, add, amounts, pod_limits, pod_requests, qos_class
from kubelib.api.quantity import Quantity
from kubelib.api.scheme import Resource, Tree
from kubelib.api.times import later, parse_time
from kubelib.api.validation.resources import is_extended, is_huge_page

ONE = Quantity(10**9)
_ALIASED = {
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
}
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_POD_NAMES = {"pods", *_COMPUTE, *(f"{part}.{name}" for part in ("requests", "limits") for name in _COMPUTE)}
_SERVICE_NAMES = {"services.nodeports", "services.loadbalancers"}
_OF_CLASS = ".storageclass.storage.k8s.io/"
_MUST_BE_SAID = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})


def counts(resource: Resource, name: str) -> bool:
    """Return whether objects of a resource use of what a quota limits under `name`."""
    if name == f"count/{resource.group_resource}":
        return True
    if resource.group:
        return False
    plural = resource.plural
    if name == plural and plural in _ALIASED:
        return True
    if plural == "pods":
        plain = name.removeprefix("requests.")
        return name in _POD_NAMES or is_huge_page(plain) or (plain != name and is_extended(plain))
    if plural == "services":
        return name in _SERVICE_NAMES
    if plural == "persistentvolumeclaims":
        return name == "requests.storage" or _OF_CLASS in name
    return False


def usage_of(resource: Resource, tree: Tree, now: datetime) -> Amounts:
    """Return what an object uses. A Pod that has ended uses no more than its place in the store."""
    used = {f"count/{resource.group_resource}": ONE}
    if resource.group:
        return used
    plural = resource.plural
    if plural in _ALIASED:
        used[plural] = ONE
    spec: Tree = tree.get("spec") or {}
    if plural == "pods" and is_live(tree, now):
        status = tree.get("status")
        add(used, {"pods": ONE, **_computed(pod_requests(spec, status), pod_limits(spec, status))})
    elif plural == "services":
        used.update(_of_service(spec))
    elif plural == "persistentvolumeclaims":
        used.update(_of_claim(tree, spec))
    return used


def is_live(pod: Tree, now: datetime) -> bool:
    """Return whether a Pod uses resources: it has not ended, nor should it have."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return False
    meta = pod.get("metadata") or {}
    deleted, grace = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    if deleted is None or grace is None:
        return True
    return now <= later(parse_time(deleted), grace)


def _computed(requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Amounts:
    used: Amounts = {}
    for name, amount in requests.items():
        if name in _COMPUTE or is_huge_page(name):
            used[name] = used[f"requests.{name}"] = amount
        elif is_extended(name):
            used[f"requests.{name}"] = amount
    used.update({f"limits.{name}": limits[name] for name in _COMPUTE if name in limits})
    return used


def _of_service(spec: Tree) -> Amounts:
    kind, ports = spec.get("type"), spec.get("ports") or ()
    node_ports = 0
    if kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    ):
        node_ports = len(ports)
    elif kind == "LoadBalancer":
        node_ports = sum(1 for port in ports if port.get("nodePort"))
    return {
        "services.nodeports": Quantity(node_ports * 10**9),
        "services.loadbalancers": Quantity(10**9 if kind == "LoadBalancer" else 0),
    }


def _of_claim(tree: Tree, spec: Tree) -> Amounts:
    annotations = (tree.get("metadata") or {}).get("annotations") or {}
    name = annotations.get("volume.beta.kubernetes.io/storage-class") or spec.get("storageClassName")
    used: Amounts = {}
    if name:
        used[f"{name}{_OF_CLASS}persistentvolumeclaims"] = ONE
    storage = amounts((spec.get("resources") or {}).get("requests")).get("storage")
    allocated = amounts((tree.get("status") or {}).get("allocatedResources")).get("storage")
    if allocated is not None and (storage is None or allocated > storage):
        storage = allocated
    if storage is not None:
        used["requests.storage"] = storage
        if name:
            used[f"{name}{_OF_CLASS}requests.storage"] = storage
    return used


def unsaid(pod: Tree, names: Iterable[str]) -> str:
    """Return what a Pod's containers must say because a quota limits it, empty if they say all of it."""
    spec: Tree = pod.get("spec") or {}
    required = _MUST_BE_SAID.intersection(names)
    if not required:
        return ""
    whole = _said(spec)
    missing: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for name in required - whole - _said(container):
            missing.setdefault(name, set()).add(container.get("name") or "")
    if not missing:
        return ""
    parts = [f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)]
    return f"must specify {'; '.join(parts)}"


def _said(holder: Tree) -> set[str]:
    resources = holder.get("resources") or {}
    return set(_computed(amounts(resources.get("requests")), amounts(resources.get("limits"))))


# Scopes


def selectors_of(spec: Tree) -> list[Tree]:
    """Return what an object must be like for a quota to count it."""
    scopes = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return [*scopes, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def in_scopes(resource: Resource, tree: Tree, selectors: Sequence[Tree]) -> bool:
    """Return whether an object is like that."""
    return all(_in_scope(resource, tree, selector) for selector in selectors)


def _in_scope(resource: Resource, tree: Tree, selector: Tree) -> bool:
    spec: Tree = tree.get("spec") or {}
    kind = resource.kind if not resource.group else ""
    match kind, selector.get("scopeName"):
        case "Pod", "Terminating":
            return _ends(spec)
        case "Pod", "NotTerminating":
            return not _ends(spec)
        case "Pod", "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "Pod", "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "Pod", "PriorityClass":
            return _matches(selector, spec.get("priorityClassName") or "")
        case "Pod", "CrossNamespacePodAffinity":
            return _looks_abroad(spec)
        case "PersistentVolumeClaim", "VolumeAttributesClass":
            return _matches(selector, spec.get("volumeAttributesClassName") or "")
    return False


def _ends(spec: Tree) -> bool:
    deadline = spec.get("activeDeadlineSeconds")
    return deadline is not None and deadline >= 0


def _matches(selector: Tree, value: str) -> bool:
    values = selector.get("values") or ()
    match selector.get("operator"):
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case "In":
            return bool(value) and value in values
    return not value or value not in values


def _looks_abroad(spec: Tree) -> bool:
    affinity = spec.get("affinity") or {}
    for part in ("podAffinity", "podAntiAffinity"):
        wishes = affinity.get(part) or {}
        terms = [
            *(wishes.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
            *(
                wish.get("podAffinityTerm") or {}
                for wish in wishes.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
            ),
        ]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
