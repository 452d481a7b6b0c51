"""Scores: 0 to 100 for each node."""

from typing import Any

import numpy as np

from kubelib.sched.base import FloatColumn, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import term_matches, tolerates

LEAST_OF_IMAGES = 23 * 1024 * 1024
"""Bytes of images that do not matter: fetching them takes no time to speak of."""
MOST_OF_IMAGES = 1000 * 1024 * 1024
"""Bytes of images, for each container, beyond which more do not matter."""
ZONE = "topology.kubernetes.io/zone"
ONE_ZONE = 2
"""How many values the label has where all nodes that have it are in one zone: that one, and none."""


class LeastAllocated:
    """Prefers nodes with much room left."""

    name = "LeastAllocated"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        cpu, memory = nodes.shares(pod, rows)
        return np.asarray(100.0 - 50.0 * (cpu + memory))

    def score_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> float:
        """Judge one node."""
        cpu, memory = nodes.shares_of_row(pod, row)
        return 100.0 - 50.0 * (cpu + memory)


class MostAllocated:
    """Prefers nodes that are nearly full, so that others stay empty."""

    name = "MostAllocated"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        cpu, memory = nodes.shares(pod, rows)
        return np.asarray(50.0 * (cpu + memory))

    def score_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> float:
        """Judge one node."""
        cpu, memory = nodes.shares_of_row(pod, row)
        return 50.0 * (cpu + memory)


class BalancedAllocation:
    """Prefers nodes whose cpu and memory are used in the same proportion."""

    name = "BalancedAllocation"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        cpu, memory = nodes.shares(pod, rows)
        return np.asarray(100.0 - 50.0 * np.abs(cpu - memory))

    def score_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> float:
        """Judge one node."""
        cpu, memory = nodes.shares_of_row(pod, row)
        return 100.0 - 50.0 * abs(cpu - memory)


class SpreadOwner:
    """Prefers nodes with few Pods of the same controller."""

    name = "SelectorSpread"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        if not pod.owner:
            return 0.0
        return np.asarray(100.0 / (1.0 + nodes.owned(pod.owner, rows)), np.float64)


class SpreadZones:
    """Prefers zones with few Pods of the same controller, where nodes are in several.

    Beside `SpreadOwner` it has twice the weight, as zones had in Kubernetes' SelectorSpread: a zone that fails takes more along.
    """

    name = "ZoneSpread"

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods of controllers are concerned, and only where there is more than one zone."""
        return bool(pod.owner) and len(nodes.label(ZONE).values) > ONE_ZONE

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes: those without a zone are as good as the worst."""
        counts = nodes.owners.get(pod.owner)
        if not counts:
            return 0.0
        zones = nodes.label(ZONE)
        there = np.fromiter(counts, np.int64, len(counts))
        each = np.fromiter(counts.values(), np.float64, len(counts))
        totals = np.bincount(zones.codes[there], each, len(zones.values))
        most = totals[1:].max()
        if not most:
            return 0.0
        points = 100.0 * (most - totals) / most
        points[0] = 0.0
        return np.asarray(points[zones.codes[rows]], np.float64)


class PrefersNodeAffinity:
    """Prefers nodes that meet the Pod's preferred node affinity."""

    name = "NodeAffinity"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        if pod.affinity is None:
            return 0.0
        preferred = pod.affinity.preferred_during_scheduling_ignored_during_execution
        total = sum(term.weight for term in preferred)
        score: Any = 0.0
        for term in preferred:
            score = score + (100.0 * term.weight / total) * term_matches(term.preference, nodes, rows)
        return score  # type: ignore[no-any-return]


class HasImages:
    """Prefers nodes that have the Pod's images already: by how much of them, and by how many nodes have them.

    Images that few nodes have count little, so that not all Pods go where the first one went.
    """

    name = "ImageLocality"

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods of whose images some node may have enough to matter are concerned."""
        return nodes.images.at_most(pod.images) > LEAST_OF_IMAGES

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        there = np.zeros(nodes.size, np.int64)
        for name in pod.images:
            sizes = nodes.images.sizes(name)
            for row, size in sizes.items():
                there[row] += size * len(sizes) // len(nodes)
        most = MOST_OF_IMAGES * len(pod.images)
        there = np.clip(there[rows], LEAST_OF_IMAGES, most)
        return np.asarray(100 * (there - LEAST_OF_IMAGES) // (most - LEAST_OF_IMAGES), np.float64)


class PrefersUntainted:
    """Prefers nodes without taints that prefer to keep the Pod away."""

    name = "TaintToleration"

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        if len(nodes.taints.values) == 1:
            return 100.0
        return nodes.taints.rate(
            lambda taints: (
                100.0
                / (
                    1
                    + sum(
                        taint.effect == "PreferNoSchedule"
                        and not any(tolerates(t, taint) for t in pod.tolerations)
                        for taint in taints
                    )
                )
            ),
            rows,
        )
