"""Filters with kube-scheduler's semantics and words."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kubelib.api.core.affinity import Toleration
from kubelib.api.core.node import Taint
from kubelib.api.core.references import NodeSelectorRequirement, NodeSelectorTerm
from kubelib.sched.base import BoolColumn, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PODS, PodInfo


def _each(rows: Rows, test: Callable[[int], bool]) -> BoolColumn:
    return np.fromiter((test(int(row)) for row in rows), bool, len(rows))


class FitsResources:
    """There is room for what the Pod asks for, and for one Pod more."""

    name = "NodeResourcesFit"

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn:
        """Judge the nodes."""
        result = nodes.used[PODS][rows] < nodes.allocatable[PODS][rows]
        for resource, wanted in pod.requests.items():
            if not wanted:
                continue
            if resource not in nodes.allocatable:
                return np.zeros(len(rows), bool)
            result &= nodes.used[resource][rows] + wanted <= nodes.allocatable[resource][rows]
        return result

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is short."""
        reasons = []
        if nodes.used[PODS][row] >= nodes.allocatable[PODS][row]:
            reasons.append("Too many pods")
        for resource, wanted in pod.requests.items():
            if wanted and (
                resource not in nodes.allocatable
                or nodes.used[resource][row] + wanted > nodes.allocatable[resource][row]
            ):
                reasons.append(f"Insufficient {resource}")
        return reasons


class IsSchedulable:
    """The node is not cordoned, unless the Pod tolerates it."""

    name = "NodeUnschedulable"
    _taint = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn:
        """Judge the nodes."""
        if any(tolerates(t, self._taint) for t in pod.tolerations):
            return np.ones(len(rows), bool)
        return nodes.schedulable[rows].copy()

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) were unschedulable",)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Return whether a toleration puts up with a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


class ToleratesTaints:
    """The Pod tolerates every taint of the node that keeps Pods away."""

    name = "TaintToleration"

    def _untolerated(self, pod: PodInfo, taints: Sequence[Taint]) -> Taint | None:
        for taint in taints:
            if taint.effect in ("NoSchedule", "NoExecute") and not any(
                tolerates(t, taint) for t in pod.tolerations
            ):
                return taint
        return None

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn:
        """Judge the nodes."""
        taints = nodes.taints
        return _each(rows, lambda row: not taints[row] or self._untolerated(pod, taints[row]) is None)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name the taint."""
        taint = self._untolerated(pod, nodes.taints[row])
        assert taint is not None
        return (f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",)


def _requirement_met(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    value = values.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                number, bound = int(value or ""), int(requirement.values[0])
            except (ValueError, IndexError):
                return False
            return number > bound if requirement.operator == "Gt" else number < bound
    return False


def term_matches(term: NodeSelectorTerm, labels: Mapping[str, str], name: str) -> bool:
    """Return whether a node selector term matches; an empty one matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    return all(_requirement_met(r, labels) for r in term.match_expressions) and all(
        _requirement_met(r, {"metadata.name": name}) for r in term.match_fields
    )


class MatchesNodeAffinity:
    """The node has the labels that the Pod's node selector and required node affinity ask for."""

    name = "NodeAffinity"

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn:
        """Judge the nodes."""
        wanted = pod.node_selector
        affinity = pod.affinity.node_affinity if pod.affinity is not None else None
        required = (
            affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
        )
        if not wanted and required is None:
            return np.ones(len(rows), bool)
        labels, names = nodes.labels, nodes.names

        def test(row: int) -> bool:
            of = labels[row]
            if any(of.get(key) != value for key, value in wanted.items()):
                return False
            return required is None or any(
                term_matches(t, of, names[row]) for t in required.node_selector_terms
            )

        return _each(rows, test)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) didn't match Pod's node affinity/selector",)


class HasFreePorts:
    """No Pod on the node has a host port that this one wants."""

    name = "NodePorts"

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn:
        """Judge the nodes."""
        if not pod.ports:
            return np.ones(len(rows), bool)
        return _each(rows, lambda row: not _ports_clash(pod.ports, nodes.ports[row]))

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return ("node(s) didn't have free ports for the requested pod ports",)


def _ports_clash(wanted: Sequence[tuple[str, str, int]], taken: Mapping[tuple[str, str, int], int]) -> bool:
    everywhere = "0.0.0.0"
    for address, protocol, number in wanted:
        for other, of_protocol, of_number in taken:
            if (protocol, number) == (of_protocol, of_number) and (
                address == other or everywhere in (address, other)
            ):
                return True
    return False
