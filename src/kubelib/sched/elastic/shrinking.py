"""Which nodes are not needed: their Pods would fit on others, and may move. Pure. The rules are those of the cluster autoscaler."""

from collections.abc import Mapping, Sequence
from random import Random

import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.sched.budgets import Budgets
from kubelib.sched.elastic.planning import ClusterView, Rehearsal
from kubelib.sched.pods import CPU, MEMORY, PodInfo, amount, pod_requests

MIRROR = "kubernetes.io/config.mirror"
SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"
DISABLED = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
SYSTEM = "kube-system"


@attrs.frozen
class Spare:
    """A node that is not needed, and the Pods that must move before it goes."""

    node: str
    pods: tuple[PodInfo, ...]


def is_over(pod: Pod) -> bool:
    """Return whether a Pod has ended."""
    return pod.status.phase in ("Succeeded", "Failed")


def stays(pod: Pod) -> bool:
    """Return whether a Pod goes with its node: a static one, or a DaemonSet's."""
    owners = pod.metadata.owner_references
    return MIRROR in pod.metadata.annotations or any(o.controller and o.kind == "DaemonSet" for o in owners)


def why_not_moved(pod: Pod, *, budgeted: bool) -> str:
    """Return why a Pod must stay where it is; empty if it may be evicted. `budgeted`: a disruption budget is about it."""
    safe = pod.metadata.annotations.get(SAFE)
    if safe == "true" or is_over(pod) or stays(pod) or pod.metadata.deletion_timestamp is not None:
        return ""
    if safe == "false":
        return f"it has the annotation {SAFE}=false"
    if not any(owner.controller for owner in pod.metadata.owner_references):
        return "no controller would make it again"
    if pod.metadata.namespace == SYSTEM and not budgeted:
        return f"it is in {SYSTEM} without a disruption budget"
    if any(volume.empty_dir is not None or volume.host_path is not None for volume in pod.spec.volumes):
        return "it has local storage"
    return ""


def utilisation(node: Node, pods: Sequence[Pod]) -> float:
    """Return the larger of the shares of cpu and memory that Pods ask for; 0 for a node that has none of them."""
    offered = node.status.allocatable or node.status.capacity
    wanted = [pod_requests(pod) for pod in pods if not is_over(pod)]
    shares = [0.0]
    for resource in (CPU, MEMORY):
        there = amount(resource, offered.get(resource, "0"))
        if there:
            shares.append(sum(requests.get(resource, 0) for requests in wanted) / there)
    return max(shares)


def find_spare(
    view: ClusterView,
    pods: Mapping[str, Sequence[Pod]],
    candidates: Sequence[str],
    *,
    budgets: Budgets,
    threshold: float = 0.5,
    random: Random,
) -> list[Spare]:
    """Return those `candidates`, the emptiest first, that could all go together: nothing would be without a place.

    `pods` are those on each node. A node of which more than the share `threshold` is asked for is kept, as is one with a Pod that must
    not move, and one that takes in what others lose.
    """
    rehearsal = Rehearsal(view, random)
    nodes = {node.metadata.name: node for node in view.nodes}
    used = {name: utilisation(nodes[name], pods.get(name, ())) for name in candidates if name in nodes}
    found: list[Spare] = []
    moving: list[PodInfo] = []
    taken: set[str] = set()
    for name in sorted(used, key=lambda name: (used[name], name)):
        if (
            used[name] >= threshold
            or name in taken
            or nodes[name].metadata.annotations.get(DISABLED) == "true"
        ):
            continue
        spare = _spare(name, pods.get(name, ()), budgets, moving)
        if spare is None:
            continue
        before = rehearsal.table.pods_on(rehearsal.table.rows[name])
        rehearsal.remove(name)
        wanderers = [attrs.evolve(pod, node="", nominated="") for pod in spare.pods]
        placed, left = rehearsal.place(wanderers)
        if left:
            rehearsal.withdraw(placed)
            rehearsal.table.put_node(nodes[name])
            for pod in before:
                rehearsal.table.put_pod(pod, name)
            continue
        taken |= {rehearsal.table.node_of(pod.uid) for pod in placed}
        moving += spare.pods
        found.append(spare)
    return found


def _spare(name: str, pods: Sequence[Pod], budgets: Budgets, moving: Sequence[PodInfo]) -> Spare | None:
    """Return what must move from a node; None if something there must not, beside what is `moving` already.

    As in the cluster autoscaler, it is enough that budgets let the Pods go one after the other.
    """
    infos = []
    for pod in pods:
        if is_over(pod) or stays(pod) or pod.metadata.deletion_timestamp is not None:
            continue
        info = PodInfo.of(pod)
        if why_not_moved(pod, budgeted=budgets.concern(info)):
            return None
        violating, _ = budgets.split([*moving, info])
        if info in violating:
            return None
        infos.append(info)
    return Spare(name, tuple(infos))
