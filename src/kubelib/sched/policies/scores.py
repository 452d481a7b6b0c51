"""Scores: 0 to 100 for each node."""

import numpy as np

from kubelib.sched.base import FloatColumn, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import CPU, MEMORY, PodInfo
from kubelib.sched.policies.filters import term_matches, tolerates

DEFAULT_REQUEST = {CPU: 100, MEMORY: 200 * 1024 * 1024}
"""What a Pod that asks for nothing counts as, as in kube-scheduler."""


def _fractions(pod: PodInfo, nodes: NodeTable, rows: Rows) -> tuple[FloatColumn, FloatColumn]:
    """Return the shares of cpu and memory that would be used with the Pod."""
    shares = []
    for resource in (CPU, MEMORY):
        capacity = np.maximum(nodes.allocatable[resource][rows], 1)
        wanted = pod.requests.get(resource, 0) or DEFAULT_REQUEST[resource]
        shares.append(np.minimum((nodes.used[resource][rows] + wanted) / capacity, 1.0))
    return shares[0], shares[1]


class LeastAllocated:
    """Prefers nodes with much room left."""

    name = "LeastAllocated"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""
        cpu, memory = _fractions(pod, nodes, rows)
        return 100.0 * (1.0 - (cpu + memory) / 2.0)


class MostAllocated:
    """Prefers nodes that are nearly full, so that others stay empty."""

    name = "MostAllocated"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""
        cpu, memory = _fractions(pod, nodes, rows)
        return 100.0 * (cpu + memory) / 2.0


class BalancedAllocation:
    """Prefers nodes whose cpu and memory are used in the same proportion."""

    name = "BalancedAllocation"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""
        cpu, memory = _fractions(pod, nodes, rows)
        return 100.0 * (1.0 - np.abs(cpu - memory) / 2.0)


class SpreadOwner:
    """Prefers nodes with few Pods of the same controller."""

    name = "SelectorSpread"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""
        counts = nodes.owners.get(pod.owner) if pod.owner else None
        if counts is None:
            return np.full(len(rows), 100.0)
        return np.asarray(100.0 / (1.0 + counts[rows]), np.float64)


class PrefersNodeAffinity:
    """Prefers nodes that meet the Pod's preferred node affinity."""

    name = "NodeAffinity"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""
        affinity = pod.affinity.node_affinity if pod.affinity is not None else None
        preferred = (
            affinity.preferred_during_scheduling_ignored_during_execution if affinity is not None else ()
        )
        if not preferred:
            return np.zeros(len(rows))
        total = sum(term.weight for term in preferred) or 1
        return np.fromiter(
            (
                100.0
                * sum(
                    t.weight
                    for t in preferred
                    if term_matches(t.preference, nodes.labels[row], nodes.names[row])
                )
                / total
                for row in map(int, rows)
            ),
            float,
            len(rows),
        )


class PrefersUntainted:
    """Prefers nodes without taints that prefer to keep the Pod away."""

    name = "TaintToleration"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""

        def bad(row: int) -> int:
            return sum(
                taint.effect == "PreferNoSchedule" and not any(tolerates(t, taint) for t in pod.tolerations)
                for taint in nodes.taints[row]
            )

        return np.fromiter((100.0 / (1 + bad(int(row))) for row in rows), float, len(rows))
