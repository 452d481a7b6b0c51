"""A scheduler's judgement, node by node, slow and plain: what the engine is compared with."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kubelib.api.core.affinity import PodAffinityTerm, TopologySpreadConstraint
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.quantity import parse_quantity
from kubelib.labels.selector import selector_from_label_selector

Placement = Sequence[tuple[Pod, Node]]
NAMESPACES: Mapping[str, Mapping[str, str]] = {"default": {"team": "a"}, "other": {"team": "b"}}
"""The namespaces that there are, with their labels."""


def amount(name: str, text: str) -> int:
    quantity = parse_quantity(text)
    return quantity.milli() if name == "cpu" else quantity.value()


def requests(pod: Pod) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in pod.spec.containers:
        for name, text in container.resources.requests.items():
            total[name] = total.get(name, 0) + amount(name, text)
    for container in pod.spec.init_containers:
        for name, text in container.resources.requests.items():
            total[name] = max(total.get(name, 0), amount(name, text))
    for name, text in pod.spec.overhead.items():
        total[name] = total.get(name, 0) + amount(name, text)
    return total


def tolerated(pod: Pod, taint: Any) -> bool:
    return any(
        t.effect in ("", taint.effect)
        and t.key in ("", taint.key)
        and (t.operator == "Exists" or (t.key and t.value == taint.value))
        for t in pod.spec.tolerations
    )


def meets(requirement: Any, labels: Any) -> bool:
    value = labels.get(requirement.key)
    if requirement.operator == "In":
        return value in requirement.values
    if requirement.operator == "NotIn":
        return value not in requirement.values
    if requirement.operator == "Exists":
        return value is not None
    if requirement.operator == "DoesNotExist":
        return value is None
    if value is None or not value.isdigit():
        return False
    bound = int(requirement.values[0])
    return int(value) > bound if requirement.operator == "Gt" else int(value) < bound


def affine(pod: Pod, node: Node) -> bool:
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in pod.spec.node_selector.items()):
        return False
    affinity = pod.spec.affinity
    if affinity is None or affinity.node_affinity is None:
        return True
    required = affinity.node_affinity.required_during_scheduling_ignored_during_execution
    if required is None:
        return True
    return any(
        (term.match_expressions or term.match_fields)
        and all(meets(r, labels) for r in term.match_expressions)
        and all(meets(r, {"metadata.name": node.metadata.name}) for r in term.match_fields)
        for term in required.node_selector_terms
    )


def means(term: PodAffinityTerm, owner: Pod, other: Pod) -> bool:
    mine, theirs = owner.metadata.labels, other.metadata.labels
    named = term.namespaces
    if not named and term.namespace_selector is None:
        named = (owner.metadata.namespace,)
    chosen = selector_from_label_selector(term.namespace_selector)
    return (
        (other.metadata.namespace in named or chosen.matches(NAMESPACES[other.metadata.namespace]))
        and selector_from_label_selector(term.label_selector).matches(theirs)
        and all(theirs.get(key) == mine[key] for key in term.match_label_keys if key in mine)
        and all(theirs.get(key) != mine[key] for key in term.mismatch_label_keys if key in mine)
    )


def away(pod: Pod) -> Sequence[PodAffinityTerm]:
    affinity = pod.spec.affinity
    anti = affinity.pod_anti_affinity if affinity is not None else None
    return anti.required_during_scheduling_ignored_during_execution if anti is not None else ()


def near(pod: Pod) -> Sequence[PodAffinityTerm]:
    affinity = pod.spec.affinity
    part = affinity.pod_affinity if affinity is not None else None
    return part.required_during_scheduling_ignored_during_execution if part is not None else ()


def same_place(key: str, one: Node, other: Node) -> bool:
    return key in one.metadata.labels and one.metadata.labels[key] == other.metadata.labels.get(key)


def keeps_company(pod: Pod, node: Node, placed: Placement) -> bool:
    for other, there in placed:
        if any(means(t, pod, other) and same_place(t.topology_key, node, there) for t in away(pod)):
            return False
        if any(means(t, other, pod) and same_place(t.topology_key, node, there) for t in away(other)):
            return False
    terms = near(pod)
    if not terms:
        return True
    company = [(p, n) for p, n in placed if all(means(t, pod, p) for t in terms)]
    if not any(t.topology_key in n.metadata.labels for t in terms for _, n in company):
        return all(means(t, pod, pod) and t.topology_key in node.metadata.labels for t in terms)
    return all(any(same_place(t.topology_key, node, n) for _, n in company) for t in terms)


def is_counted(constraint: TopologySpreadConstraint, pod: Pod, other: Pod) -> bool:
    mine, theirs = pod.metadata.labels, other.metadata.labels
    return (
        other.metadata.namespace == pod.metadata.namespace
        and selector_from_label_selector(constraint.label_selector).matches(theirs)
        and all(theirs.get(key) == mine[key] for key in constraint.match_label_keys if key in mine)
    )


def taints_tolerated(pod: Pod, node: Node) -> bool:
    return all(tolerated(pod, taint) for taint in node.spec.taints if taint.effect != "PreferNoSchedule")


def spreads(pod: Pod, node: Node, nodes: Sequence[Node], placed: Placement) -> bool:
    required = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "DoNotSchedule"]
    keys = [c.topology_key for c in required]
    if any(key not in node.metadata.labels for key in keys):
        return False
    labelled = [n for n in nodes if all(k in n.metadata.labels for k in keys)]
    for constraint in required:
        eligible = [
            n
            for n in labelled
            if (constraint.node_affinity_policy == "Ignore" or affine(pod, n))
            and (constraint.node_taints_policy != "Honor" or taints_tolerated(pod, n))
        ]
        counted = [
            n
            for p, n in placed
            if n in eligible and p.metadata.deletion_timestamp is None and is_counted(constraint, pod, p)
        ]

        def count(value: str, key: str = constraint.topology_key, counted: Any = counted) -> int:
            return sum(n.metadata.labels[key] == value for n in counted)

        places = {n.metadata.labels[constraint.topology_key] for n in eligible}
        least = min(map(count, places), default=0)
        if len(places) < (constraint.min_domains or 1):
            least = 0
        own = int(is_counted(constraint, pod, pod))
        if count(node.metadata.labels[constraint.topology_key]) + own - least > constraint.max_skew:
            return False
    return True


def room(pod: Pod, node: Node, placed: Placement) -> bool:
    there = [requests(p) for p, n in placed if n is node]
    offered = node.status.allocatable
    if len(there) >= int(offered["pods"]):
        return False
    for name, wanted in requests(pod).items():
        capacity = amount(name, offered.get(name, "0"))
        if wanted and sum(r.get(name, 0) for r in there) + wanted > capacity:
            return False
    return True


def ports(pod: Pod) -> list[tuple[str, str, int]]:
    return [
        (p.host_ip or "0.0.0.0", p.protocol or "TCP", p.host_port)
        for c in pod.spec.containers
        for p in c.ports
        if p.host_port
    ]


def ports_free(pod: Pod, node: Node, placed: Placement) -> bool:
    taken = [port for p, n in placed if n is node for port in ports(p)]
    return not any(
        a[1:] == b[1:] and (a[0] == b[0] or "0.0.0.0" in (a[0], b[0])) for a in ports(pod) for b in taken
    )


def declared(pod: Pod, node: Node) -> bool:
    rules = [rule.action for c in pod.spec.containers for rule in c.restart_policy_rules]
    wanted = "RestartAllContainersOnContainerExits"
    return "RestartAllContainers" not in rules or wanted in node.status.declared_features


def fits(pod: Pod, node: Node, nodes: Sequence[Node], placed: Placement) -> bool:
    cordon_tolerated = any(
        t.operator == "Exists"
        and t.key in ("", "node.kubernetes.io/unschedulable")
        and t.effect in ("", "NoSchedule")
        for t in pod.spec.tolerations
    )
    return (
        (not node.spec.unschedulable or cordon_tolerated)
        and taints_tolerated(pod, node)
        and declared(pod, node)
        and affine(pod, node)
        and ports_free(pod, node, placed)
        and room(pod, node, placed)
        and spreads(pod, node, nodes, placed)
        and keeps_company(pod, node, placed)
    )


# Storage


class Storage:
    """What is known of storage, by name."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.volumes: dict[str, Any] = {}
        self.classes: dict[str, Any] = {}
        self.limits: dict[str, dict[str, int]] = {}
        self.counting: set[str] = set()
        self.drivers: dict[str, set[str]] = {}
        self.indispensable: set[str] = set()
        self.capacities: list[Any] = []


def claims_of(pod: Pod) -> list[str]:
    return [v.persistent_volume_claim.claim_name for v in pod.spec.volumes if v.persistent_volume_claim]


def reached(volume: Any, node: Node) -> bool:
    affinity = volume.spec.node_affinity
    return affinity is None or any(
        all(meets(r, node.metadata.labels) for r in term.match_expressions)
        for term in affinity.required.node_selector_terms
    )


def in_zone(volume: Any, node: Node) -> bool:
    key = "topology.kubernetes.io/zone"
    wanted, there = volume.metadata.labels.get(key), node.metadata.labels.get(key)
    return wanted is None or there is None or there in wanted.split("__")


def late_claims_fit(claims: Sequence[Any], node: Node, storage: Storage) -> bool:
    return given_volumes(claims, node, storage) is not None


def given_volumes(claims: Sequence[Any], node: Node, storage: Storage) -> dict[str, str] | None:
    """Return which claim gets which volume that is there; None if one of them can have none."""
    given: dict[str, str] = {}
    for claim in sorted(claims, key=lambda c: (int(c.spec.resources.requests["storage"]), c.metadata.name)):
        selected = claim.metadata.annotations.get("volume.kubernetes.io/selected-node")
        if selected:
            if selected != node.metadata.name:
                return None
            continue
        size = int(claim.spec.resources.requests["storage"])
        found = [
            (int(v.spec.capacity["storage"]), name)
            for name, v in storage.volumes.items()
            if v.spec.claim_ref is None
            and name not in given.values()
            and set(claim.spec.access_modes) <= set(v.spec.access_modes)
            and v.spec.storage_class_name == claim.spec.storage_class_name
            and int(v.spec.capacity["storage"]) >= size
            and reached(v, node)
        ]
        if found:
            given[claim.metadata.name] = min(found)[1]
        elif not can_be_made(storage.classes[claim.spec.storage_class_name], size, node, storage):
            return None
    return given


def can_be_made(storage_class: Any, size: int, node: Node, storage: Storage) -> bool:
    if storage_class.provisioner == "kubernetes.io/no-provisioner":
        return False
    expressions = [e for term in storage_class.allowed_topologies for e in term.match_label_expressions]
    if not all(node.metadata.labels.get(e.key) in e.values for e in expressions):
        return False
    return storage_class.provisioner not in storage.counting or bool(
        room_for(storage_class, size, node, storage)
    )


def room_for(storage_class: Any, size: int, node: Node, storage: Storage) -> list[int]:
    return [
        int(capacity.capacity or 0)
        for capacity in storage.capacities
        if capacity.storage_class_name == storage_class.metadata.name
        and int(capacity.maximum_volume_size or capacity.capacity or 0) >= size
        and has_access(node, capacity.node_topology)
    ]


def has_access(node: Node, topology: Any) -> bool:
    labels = node.metadata.labels
    return (
        topology is not None
        and all(labels.get(key) == value for key, value in topology.match_labels.items())
        and all(meets(e, labels) for e in topology.match_expressions)
    )


def late_claims(pod: Pod, storage: Storage) -> list[Any]:
    claims = [storage.claims[name] for name in claims_of(pod)]
    return [c for c in claims if not c.spec.volume_name]


def points_for_storage(pod: Pod, node: Node, storage: Storage) -> int:
    """Return the points of a node that fits: the less is asked for of what is left, the more."""
    sums: dict[str, tuple[int, int]] = {}
    claims = late_claims(pod, storage)
    given = given_volumes(claims, node, storage) or {}
    for claim in claims:
        name, size = claim.spec.storage_class_name, int(claim.spec.resources.requests["storage"])
        asked, there = sums.get(name, (0, 0))
        if given:
            if claim.metadata.name in given:
                capacity = int(storage.volumes[given[claim.metadata.name]].spec.capacity["storage"])
                sums[name] = asked + size, there + capacity
        elif storage.classes[name].provisioner in storage.counting:
            for capacity in room_for(storage.classes[name], size, node, storage)[:1]:
                sums[name] = asked + size, capacity
    if not sums:
        return 0
    used = [asked * 100 // there if there > 0 and asked <= there else 100 for asked, there in sums.values()]
    # A straight line from 100 to 0, cut off towards zero as in Go.
    return math.floor(sum(100 + int(-100 * u / 100) for u in used) / len(used) + 0.5)


def attached(pod: Pod, storage: Storage) -> set[str]:
    names = [storage.claims[n].spec.volume_name for n in claims_of(pod) if n in storage.claims]
    return {storage.volumes[n].spec.csi.volume_handle for n in names if n in storage.volumes}


def storage_fits(pod: Pod, node: Node, placed: Placement, storage: Storage) -> bool:
    names = claims_of(pod)
    if any(name not in storage.claims for name in names):
        return False
    late = []
    for name in names:
        claim = storage.claims[name]
        used = any(name in claims_of(other) for other, _ in placed)
        if used and "ReadWriteOncePod" in claim.spec.access_modes:
            return False
        if claim.spec.volume_name:
            volume = storage.volumes.get(claim.spec.volume_name)
            if volume is None or not reached(volume, node) or not in_zone(volume, node):
                return False
        elif storage.classes[claim.spec.storage_class_name].volume_binding_mode == "Immediate":
            return False
        else:
            late.append(claim)
    before = set().union(*(attached(p, storage) for p, n in placed if n is node))
    wanted = attached(pod, storage) | {n for n in names if not storage.claims[n].spec.volume_name and
                                       storage.classes[storage.claims[n].spec.storage_class_name].provisioner == "disk.example"}  # fmt: skip
    runs = storage.drivers.get(node.metadata.name, set())
    if wanted and not storage.indispensable <= runs:
        return False
    waiting = {
        n
        for p, there in placed
        if there is node
        for n in claims_of(p)
        if n in storage.claims
        and not storage.claims[n].spec.volume_name
        and storage.classes[storage.claims[n].spec.storage_class_name].provisioner == "disk.example"
    }
    limit = storage.limits.get(node.metadata.name, {}).get("disk.example")
    if limit is not None and not wanted <= before | waiting and len(wanted | before | waiting) > limit:
        return False
    disks = [
        (v.gce_persistent_disk.pd_name, v.gce_persistent_disk.read_only)
        for v in pod.spec.volumes
        if v.gce_persistent_disk
    ]
    for other, there in placed:
        for volume in other.spec.volumes if there is node else ():
            disk = volume.gce_persistent_disk
            if disk and any(name == disk.pd_name and not (ro and disk.read_only) for name, ro in disks):
                return False
    return late_claims_fit(late, node, storage)
