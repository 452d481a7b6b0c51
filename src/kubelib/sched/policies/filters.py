"""Filters with kube-scheduler's semantics and words."""

from collections.abc import Collection, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from kubelib.api.core.node import Taint
from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement
from kubelib.api.tolerations import tolerates
from kubelib.api.validation.resources import is_extended
from kubelib.sched.base import BoolColumn, Happening, Rows, SupportsCandidates
from kubelib.sched.nodes import NodeTable
from kubelib.sched.nodeselectors import named, selector_matches
from kubelib.sched.pods import EVERYWHERE, PODS, PodInfo

NEW: frozenset[Happening] = frozenset({"new node"})
TAINTS: frozenset[Happening] = NEW | {"node taints"}
LABELS: frozenset[Happening] = NEW | {"node labels"}


class FitsResources:
    """There is room for what the Pod asks for, and for one Pod more."""

    name = "NodeResourcesFit"
    retry_on: frozenset[Happening] = NEW | {"node room", "pod gone"}

    def __init__(self, ignored: Collection[str] = (), groups: Collection[str] = ()) -> None:
        """Make one. Extended resources that are `ignored`, or of these `groups` (what is before the slash), are another's to mind."""
        self._ignored = frozenset(ignored)
        self._groups = frozenset(groups)

    def _asked(self, pod: PodInfo) -> Mapping[str, int]:
        """Return what a Pod asks for that is looked at."""
        if not (self._ignored or self._groups):
            return pod.requests
        return {name: wanted for name, wanted in pod.requests.items() if not self._is_ignored(name)}

    def _is_ignored(self, resource: str) -> bool:
        named = resource in self._ignored or resource.partition("/")[0] in self._groups
        return named and is_extended(resource)

    def _is_unknown(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether a Pod asks for what no node has."""
        return any(
            wanted and resource not in nodes.allocatable for resource, wanted in self._asked(pod).items()
        )

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        if self._is_unknown(pod, nodes):
            return False
        return self._offers(pod, nodes, nodes.free[:, rows])

    def _offers(self, pod: PodInfo, nodes: NodeTable, offer: NDArray[np.int64]) -> BoolColumn:
        wanted = nodes.wanted(pod)
        # What is not asked for may be short already.
        asked = wanted > 0
        if self._ignored or self._groups:
            asked &= ~np.array([self._is_ignored(resource) for resource in nodes.allocatable])
        if asked.all():
            return np.asarray((offer >= wanted[:, None]).all(axis=0))
        return np.asarray((offer[asked] >= wanted[asked, None]).all(axis=0))

    def fits_with(self, pod: PodInfo, nodes: NodeTable, extra: NDArray[np.int64]) -> BoolColumn | bool:
        """Judge all nodes as if so much more were free."""
        if self._is_unknown(pod, nodes):
            return False
        return self._offers(pod, nodes, nodes.free + extra)

    def may_pass(self, pod: PodInfo, nodes: NodeTable) -> BoolColumn | bool:
        """Return where the Pod fits if it is alone."""
        if self._is_unknown(pod, nodes):
            return False
        return self._offers(pod, nodes, np.array(list(nodes.allocatable.values())))

    def count_reasons(
        self, pod: PodInfo, nodes: NodeTable, rows: NDArray[np.int64], extra: NDArray[np.int64] | None = None
    ) -> dict[str, int]:
        """Count what is short."""
        free = nodes.free[:, rows] if extra is None else nodes.free[:, rows] + extra[:, rows]
        left = dict(zip(nodes.allocatable, free, strict=True))
        short = {"Too many pods": int(np.count_nonzero(left[PODS] < 1))}
        for resource, wanted in self._asked(pod).items():
            if wanted:
                known = resource in left
                short[f"Insufficient {resource}"] = (
                    int(np.count_nonzero(left[resource] < wanted)) if known else len(rows)
                )
        return {reason: count for reason, count in short.items() if count}

    def fits_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> bool:
        """Judge one node."""
        left = nodes.left
        for resource, wanted in self._asked(pod).items():
            if wanted and (resource not in left or left[resource][row] < wanted):
                return False
        return bool(left[PODS][row] >= 1)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is short."""
        left = nodes.left
        reasons = [] if left[PODS][row] >= 1 else ["Too many pods"]
        for resource, wanted in self._asked(pod).items():
            if wanted and (resource not in left or left[resource][row] < wanted):
                reasons.append(f"Insufficient {resource}")
        return reasons


class HasName:
    """The node is the one that the Pod names, if it names one."""

    name = "NodeName"
    retry_on: frozenset[Happening] = NEW

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        return not pod.node or named((pod.node,), nodes, rows)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) didn't match the requested node name",)


class IsSchedulable:
    """The node is not cordoned, unless the Pod tolerates it."""

    name = "NodeUnschedulable"
    retry_on: frozenset[Happening] = TAINTS
    _taint = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        return any(tolerates(t, self._taint) for t in pod.tolerations) or nodes.schedulable[rows]

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) were unschedulable",)


def untolerated(
    pod: PodInfo, taints: Sequence[Taint], effects: Sequence[str] = ("NoSchedule", "NoExecute")
) -> Taint | None:
    """Return the first taint with one of `effects` that the Pod does not put up with."""
    for taint in taints:
        if taint.effect in effects and not any(tolerates(t, taint) for t in pod.tolerations):
            return taint
    return None


class ToleratesTaints:
    """The Pod tolerates every taint of the node that keeps Pods away."""

    name = "TaintToleration"
    retry_on: frozenset[Happening] = TAINTS

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        if len(nodes.taints.values) == 1:
            return True
        return nodes.taints.judge(lambda taints: untolerated(pod, taints) is None, rows)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so; which taint it is may be nothing for those who read Pods."""
        return ("node(s) had untolerated taint(s)",)


class MatchesNodeAffinity:
    """The node has the labels that the Pod's node selector and required node affinity ask for."""

    name = "NodeAffinity"
    retry_on: frozenset[Happening] = LABELS

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        result = self._added(nodes, rows)
        for key, value in pod.node_selector.items():
            result = nodes.label(key).among((value,), rows) & result
        required = (
            pod.affinity.required_during_scheduling_ignored_during_execution
            if pod.affinity is not None
            else None
        )
        if required is not None:
            result = selector_matches(required, nodes, rows) & result
        return result

    def _added(self, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        return True

    def candidates(self, pod: PodInfo) -> Set[str] | None:
        """Return the names of the nodes that the Pod's required affinity leaves, as that of a DaemonSet's Pods does; None: any."""
        if pod.affinity is None:
            return None
        required = pod.affinity.required_during_scheduling_ignored_during_execution
        if required is None or not required.node_selector_terms:
            return None
        names: set[str] = set()
        for term in required.node_selector_terms:
            named = [set(r.values) for r in term.match_fields if _is_name(r)]
            if not named:
                return None
            names |= set.intersection(*named)
        return names

    def refuses(self, pod: PodInfo, nodes: NodeTable) -> str:
        """Say that no node can have two names at once."""
        return "pod affinity terms conflict" if self.candidates(pod) == set() else ""

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        candidates = self.candidates(pod)
        if candidates is not None and nodes.names[row] not in candidates:
            return (not_among(self),)
        return ("node(s) didn't match Pod's node affinity/selector",)


def _is_name(requirement: NodeSelectorRequirement) -> bool:
    return requirement.key == "metadata.name" and requirement.operator == "In"


def not_among(condition: SupportsCandidates) -> str:
    """Return the reason against nodes that are not among the candidates which a filter leaves."""
    return f"node(s) didn't satisfy plugin(s) [{condition.name}]"


class IsAllowed(MatchesNodeAffinity):
    """The node has the labels that the Pod asks for, and those that all Pods of a profile need."""

    def __init__(self, added: NodeSelector) -> None:
        self._selector = added

    def _added(self, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        return selector_matches(self._selector, nodes, rows)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say whose wish it is that the node does not meet."""
        if not np.all(selector_matches(self._selector, nodes, np.array([row]))):
            return ("node(s) didn't match scheduler-enforced node affinity",)
        return super().reasons(pod, nodes, row)


class HasFreePorts:
    """No Pod on the node has a host port that this one wants."""

    name = "NodePorts"
    retry_on: frozenset[Happening] = NEW | {"pod gone"}

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        if not pod.ports:
            return True
        free = np.ones(nodes.size, bool)
        for address, protocol, number in pod.ports:
            for row, addresses in nodes.ports.get((protocol, number), {}).items():
                if address == EVERYWHERE or address in addresses or EVERYWHERE in addresses:
                    free[row] = False
        return free[rows]

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) didn't have free ports for the requested pod ports",)


class HasFeatures:
    """The node has declared all features that the Pod needs."""

    name = "NodeDeclaredFeatures"
    retry_on: frozenset[Happening] = NEW | {"node features"}

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        if not pod.features:
            return True
        return nodes.features.judge(set(pod.features).issubset, rows)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) didn't match Pod's required features",)
