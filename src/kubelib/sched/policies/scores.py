"""Scores: 0 to 100 for each node. Those of resources are in `allocation`, those that look at other Pods in `neighbours`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kubelib.api.core.affinity import PreferredSchedulingTerm
from kubelib.api.core.node import Taint
from kubelib.api.tolerations import tolerates
from kubelib.sched.base import FloatColumn, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.nodeselectors import term_matches
from kubelib.sched.pods import PodInfo

LEAST_OF_IMAGES = 23 * 1024 * 1024
"""Bytes of images that do not matter: fetching them takes no time to speak of."""
MOST_OF_IMAGES = 1000 * 1024 * 1024
"""Bytes of images, for each container, beyond which more do not matter."""
ZONE = "topology.kubernetes.io/zone"
ONE_ZONE = 2
"""How many values the label has where all nodes that have it are in one zone: that one, and none."""


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
    """Prefers nodes that meet the Pod's preferred node affinity: the best of those that fit gets 100."""

    name = "NodeAffinity"

    def __init__(self, added: Sequence[PreferredSchedulingTerm] = ()) -> None:
        """Make one. The terms `added` are preferred for every Pod."""
        self._added = tuple(added)

    def _terms(self, pod: PodInfo) -> Sequence[PreferredSchedulingTerm]:
        own = pod.affinity.preferred_during_scheduling_ignored_during_execution if pod.affinity else ()
        return (*self._added, *own)

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether anything is preferred."""
        return bool(
            self._added
            or (pod.affinity and pod.affinity.preferred_during_scheduling_ignored_during_execution)
        )

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        total: Any = 0
        for term in self._terms(pod):
            total = total + term.weight * np.asarray(term_matches(term.preference, nodes, rows), np.int64)
        most = np.max(total, initial=0)
        return np.asarray(100 * total // most, np.float64) if most else 0.0


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
            spread = len(sizes) / len(nodes)
            for row, size in sizes.items():
                there[row] += int(size * spread)
        most = MOST_OF_IMAGES * len(pod.images)
        there = np.clip(there[rows], LEAST_OF_IMAGES, most)
        return np.asarray(100 * (there - LEAST_OF_IMAGES) // (most - LEAST_OF_IMAGES), np.float64)


class PrefersUntainted:
    """Prefers nodes with few taints that prefer to keep the Pod away: the worst of those that fit gets 0."""

    name = "TaintToleration"

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether any node has such a taint."""
        values = nodes.taints.values
        return len(values) > 1 and any(t.effect == "PreferNoSchedule" for taints in values for t in taints)

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""

        def unwelcome(taints: Sequence[Taint]) -> float:
            return sum(
                taint.effect == "PreferNoSchedule" and not any(tolerates(t, taint) for t in pod.tolerations)
                for taint in taints
            )

        counts = nodes.taints.rate(unwelcome, rows)
        most = counts.max(initial=0.0)
        return np.asarray(100.0 - np.floor(100.0 * counts / most)) if most else 100.0
