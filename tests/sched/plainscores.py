"""A scheduler's preferences, node by node, slow and plain, in Kubernetes' whole numbers: what the engine is compared with."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.quantity import parse_quantity
from kubelib.labels.selector import selector_from_label_selector
from tests.sched.plain import Placement, affine, means, meets, near, requests, same_place, tolerated

MIB = 1024 * 1024
USUAL = {"cpu": 100, "memory": 200 * MIB}
HOST = "kubernetes.io/hostname"


@attrs.frozen
class View:
    """What is known: all nodes, which of them fit, and where Pods are."""

    nodes: Sequence[Node]
    fitting: Sequence[Node]
    placed: Placement


Points = Mapping[str, int]


def allocatable(node: Node, resource: str) -> int:
    quantity = parse_quantity(node.status.allocatable.get(resource, "0"))
    return quantity.milli() if resource == "cpu" else quantity.value()


def counted(pod: Pod, resource: str) -> int:
    total = 0
    for container in pod.spec.containers:
        if resource in container.resources.requests:
            quantity = parse_quantity(container.resources.requests[resource])
            total += quantity.milli() if resource == "cpu" else quantity.value()
        else:
            total += USUAL[resource]
    return total


def amounts(pod: Pod, node: Node, view: View, resource: str, *, real: bool) -> tuple[int, int, int]:
    """Return what is used, what the Pod wants, and what there is; nothing if the resource does not count."""
    wanted = requests(pod).get(resource, 0)
    if resource not in ("cpu", "memory", "ephemeral-storage") and not wanted:
        return 0, 0, 0
    there = [p for p, n in view.placed if n is node]
    if resource in USUAL and not real:
        return (
            sum(counted(p, resource) for p in there),
            counted(pod, resource),
            allocatable(node, resource),
        )
    return sum(requests(p).get(resource, 0) for p in there), wanted, allocatable(node, resource)


def least(used: int, size: int) -> int:
    return 0 if used > size else (size - used) * 100 // size


def most(used: int, size: int) -> int:
    return min(used, size) * 100 // size


def on_shape(shape: Sequence[tuple[int, int]]) -> Callable[[int, int], int]:
    def rate(used: int, size: int) -> int:
        percent = min(used, size) * 100 // size
        for at, (utilization, score) in enumerate(shape):
            if percent <= utilization:
                if not at:
                    return score * 10
                low, below = shape[at - 1]
                rise, run = (score - below) * 10, utilization - low
                return below * 10 + math.trunc(rise * (percent - low) / run)
        return shape[-1][1] * 10

    return rate


def allocation(
    pod: Pod, view: View, rate: Callable[[int, int], int], weights: Mapping[str, int], ratio: bool = False
) -> Points:
    found = {}
    for node in view.fitting:
        total = weight_sum = 0
        for resource, weight in weights.items():
            used, wanted, size = amounts(pod, node, view, resource, real=False)
            if not size:
                continue
            points = rate(used + wanted, size)
            if points > 0 or not ratio:
                total, weight_sum = total + points * weight, weight_sum + weight
        if not weight_sum:
            found[node.metadata.name] = 0
        elif ratio:
            found[node.metadata.name] = math.floor(total / weight_sum + 0.5)
        else:
            found[node.metadata.name] = total // weight_sum
    return found


def balance(shares: Sequence[float]) -> int:
    if len(shares) < 2:
        return 100
    mean = sum(shares) / len(shares)
    deviation = math.sqrt(sum((s - mean) * (s - mean) for s in shares) / len(shares))
    if len(shares) == 2:
        deviation = abs((shares[0] - shares[1]) / 2)
    return int((1 - deviation) * 100)


def balanced(pod: Pod, view: View, resources: Sequence[str]) -> Points:
    if not any(requests(pod).get(r) for r in resources):
        return {node.metadata.name: 0 for node in view.fitting}
    found = {}
    for node in view.fitting:
        all_of = [amounts(pod, node, view, r, real=True) for r in resources]
        after = [min((used + wanted) / size, 1.0) for used, wanted, size in all_of if size]
        before = [min(used / size, 1.0) for used, _, size in all_of if size]
        found[node.metadata.name] = 50 + (50 + balance(after) - balance(before)) // 2
    return found


def normalised(raw: Points, *, reverse: bool = False) -> Points:
    highest = max(raw.values(), default=0)
    if not highest:
        return dict.fromkeys(raw, 100 if reverse else 0)
    return {n: 100 - 100 * v // highest if reverse else 100 * v // highest for n, v in raw.items()}


def untainted(pod: Pod, view: View) -> Points:
    return normalised(
        {
            node.metadata.name: sum(
                t.effect == "PreferNoSchedule" and not tolerated(pod, t) for t in node.spec.taints
            )
            for node in view.fitting
        },
        reverse=True,
    )


def node_affinity(pod: Pod, view: View) -> Points:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    terms = affinity.preferred_during_scheduling_ignored_during_execution if affinity else ()
    return normalised(
        {
            node.metadata.name: sum(
                term.weight
                for term in terms
                if (term.preference.match_expressions or term.preference.match_fields)
                and all(meets(r, node.metadata.labels) for r in term.preference.match_expressions)
                and all(meets(r, {"metadata.name": node.metadata.name}) for r in term.preference.match_fields)
            )
            for node in view.fitting
        }
    )


def preferred(pod: Pod, side: str) -> Sequence[Any]:
    part = getattr(pod.spec.affinity, side) if pod.spec.affinity else None
    return part.preferred_during_scheduling_ignored_during_execution if part else ()


def company(pod: Pod, view: View) -> Points:
    raw = {}
    for node in view.fitting:
        total = 0
        for other, there in view.placed:
            for sign, side in ((1, "pod_affinity"), (-1, "pod_anti_affinity")):
                for owner, meant in ((pod, other), (other, pod)):
                    for weighted in preferred(owner, side):
                        term = weighted.pod_affinity_term
                        if means(term, owner, meant) and same_place(term.topology_key, node, there):
                            total += sign * weighted.weight
            for term in near(other):
                if means(term, other, pod) and same_place(term.topology_key, node, there):
                    total += 1
        raw[node.metadata.name] = total
    low, high = min(raw.values()), max(raw.values())
    if low == high:
        return dict.fromkeys(raw, 0)
    return {name: int(100.0 * ((value - low) / (high - low))) for name, value in raw.items()}


def even(pod: Pod, view: View) -> Points:
    soft = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "ScheduleAnyway"]
    keys = [c.topology_key for c in soft]
    names = [node.metadata.name for node in view.fitting]
    if not soft:
        return dict.fromkeys(names, 0)
    known = [n for n in view.fitting if all(k in n.metadata.labels for k in keys)]
    raw = {}
    for node in known:
        total = 0.0
        for constraint in soft:
            key = constraint.topology_key
            selector = selector_from_label_selector(constraint.label_selector)

            def counts(other: Node, constraint: Any = constraint) -> bool:
                return (
                    all(k in other.metadata.labels for k in keys)
                    and (constraint.node_affinity_policy == "Ignore" or affine(pod, other))
                    and (
                        constraint.node_taints_policy != "Honor"
                        or all(tolerated(pod, t) or t.effect == "PreferNoSchedule" for t in other.spec.taints)
                    )
                )

            count = sum(
                other.metadata.namespace == pod.metadata.namespace
                and other.metadata.deletion_timestamp is None
                and selector.matches(other.metadata.labels)
                and (there is node if key == HOST else same_place(key, node, there) and counts(there))
                for other, there in view.placed
            )
            places = len(known) if key == HOST else len({n.metadata.labels[key] for n in known})
            total += count * math.log(places + 2) + float(constraint.max_skew - 1)
        raw[node.metadata.name] = math.floor(total + 0.5)
    low, high = min(raw.values(), default=0), max(raw.values(), default=0)
    found = dict.fromkeys(names, 0)
    for name, value in raw.items():
        found[name] = 100 * (high + low - value) // high if high else 100
    return found


def images(pod: Pod, view: View) -> Points:
    def has(node: Node, image: str) -> int:
        name = image if ":" in image else f"{image}:latest"
        return next((i.size_bytes for i in node.status.images if name in i.names), 0)

    found = {}
    names = [c.image for c in pod.spec.containers]
    for node in view.fitting:
        total = 0
        for image in names:
            if size := has(node, image):
                total += int(size * (sum(bool(has(n, image)) for n in view.nodes) / len(view.nodes)))
        ceiling = 1000 * MIB * len(names)
        total = min(max(total, 23 * MIB), ceiling)
        found[node.metadata.name] = 100 * (total - 23 * MIB) // (ceiling - 23 * MIB)
    return found
