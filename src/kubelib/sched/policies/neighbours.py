"""Pod affinity and anti-affinity, and topology spread: where a Pod goes by where other Pods are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kubelib.sched.base import BoolColumn, FloatColumn, Happening, Rows
from kubelib.sched.nodes import Column, NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import LABELS, TAINTS, MatchesNodeAffinity, ToleratesTaints
from kubelib.sched.selectors import PodSelector, PodTerm, SpreadTerm

HOSTNAME = "kubernetes.io/hostname"


def _near(nodes: NodeTable, topology: str, counts: Column, rows: Rows) -> Column:
    """Return how many of the counted Pods are in the same place as each row; none where the label is missing."""
    places = nodes.label(topology)
    return np.asarray(places.totals(counts)[places.codes[rows]], np.int64)


def _means(pods: PodSelector, pod: PodInfo, nodes: NodeTable) -> bool:
    return pods.matches(pod.namespace, pod.labels, nodes.namespaces)


COMPANY: frozenset[Happening] = LABELS | {"lost node", "neighbour", "pod gone"}
SPREAD: frozenset[Happening] = COMPANY | TAINTS


class KeepsCompany:
    """Required Pod affinity and anti-affinity, the Pod's own and that of the Pods that are there."""

    name = "InterPodAffinity"
    retry_on = COMPANY

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether the Pod, or any other, requires anything."""
        return bool(pod.near or pod.away or nodes.wishes)

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        return (
            self._affine(pod, nodes, rows) & self._apart(pod, nodes, rows) & self._welcome(pod, nodes, rows)
        )

    def may_pass(self, pod: PodInfo, nodes: NodeTable) -> BoolColumn | bool:
        """Return where Pods are that this one must be near to: that others leave brings none."""
        return self._affine(pod, nodes, slice(0, nodes.size))

    def _affine(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        if not pod.near:
            return True
        labelled: BoolColumn | bool = True
        there: BoolColumn | bool = True
        anywhere = False
        counts = _count_all(pod.near, nodes)
        for term in pod.near:
            labelled = ~nodes.label(term.topology).among((None,), rows) & labelled
            there = (_near(nodes, term.topology, counts, rows) > 0) & there
            anywhere = anywhere or bool(nodes.label(term.topology).totals(counts).any())
        # The first of Pods that want to be with their like must be able to start somewhere.
        if not anywhere and all(_means(term.pods, pod, nodes) for term in pod.near):
            return labelled
        return there

    def _apart(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        result: BoolColumn | bool = True
        for term in pod.away:
            result = (_near(nodes, term.topology, nodes.count(term.pods), rows) == 0) & result
        return result

    def _welcome(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        result: BoolColumn | bool = True
        for (kind, _, term), counts in nodes.wishes.items():
            if kind == "away" and _means(term.pods, pod, nodes):
                result = (_near(nodes, term.topology, counts, rows) == 0) & result
        return result

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say which side objects."""
        one = np.array([row])
        if not np.all(self._affine(pod, nodes, one)):
            return ("node(s) didn't match pod affinity rules",)
        if not np.all(self._apart(pod, nodes, one)):
            return ("node(s) didn't match pod anti-affinity rules",)
        return ("node(s) didn't satisfy existing pods anti-affinity rules",)


def _count_all(terms: Sequence[PodTerm], nodes: NodeTable) -> Column:
    """Count the Pods that all terms mean: one that only some of them mean is no company."""
    if len(terms) == 1:
        return nodes.count(terms[0].pods)
    counts = np.zeros(nodes.size, np.int64)
    for row, pods in nodes.pods_by_row():
        counts[row] = sum(
            all(term.pods.matches(p.namespace, p.labels, nodes.namespaces) for term in terms) for p in pods
        )
    return counts


class LikesCompany:
    """Preferred Pod affinity and anti-affinity, of the Pod and of the Pods that are there.

    The best of the nodes that fit gets 100, the worst 0.
    """

    name = "InterPodAffinity"

    def __init__(self, *, required: int = 1, theirs: bool = True) -> None:
        """Make one. What Pods that are there require counts as if they preferred it with the weight `required`; what they prefer counts if it is to be `theirs` too."""
        self._required = required
        self._theirs = theirs

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether the Pod, or any other, prefers anything."""
        return bool(pod.rather_near or pod.rather_away or nodes.wishes)

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        total: Any = 0
        for sign, terms in ((1, pod.rather_near), (-1, pod.rather_away)):
            for weight, term in terms:
                total = total + sign * weight * _near(nodes, term.topology, nodes.count(term.pods), rows)
        signs = {"near": self._required, "rather near": self._theirs, "rather away": -self._theirs}
        for (kind, weight, term), counts in nodes.wishes.items():
            if (sign := signs.get(kind, 0)) and _means(term.pods, pod, nodes):
                total = total + sign * weight * _near(nodes, term.topology, counts, rows)
        if isinstance(total, int) or not len(total):
            return 0.0
        least, most = int(total.min()), int(total.max())
        return np.floor(100.0 * ((total - least) / (most - least))) if most > least else 0.0


def _chosen(
    pod: PodInfo, nodes: NodeTable, defaults: Sequence[SpreadTerm], *, required: bool
) -> Sequence[SpreadTerm]:
    """Return the Pod's constraints that must be met, or that need not be.

    One without any, of a controller or selected by Services, has the `defaults`.
    """
    terms = [term for term in pod.spread or defaults if term.required == required]
    if pod.spread or pod.owner or not terms or nodes.services.peers(pod) is not None:
        return terms
    return ()


def _count(nodes: NodeTable, term: SpreadTerm, pod: PodInfo) -> Column:
    """Return how many Pods on each row count for a constraint."""
    if term.pods is not None:
        return nodes.count(term.pods)
    peers = nodes.services.peers(pod) if not pod.owner else None
    return nodes.count(peers) if peers is not None else nodes.owned(pod.owner, slice(0, nodes.size))


def _labelled(terms: Sequence[SpreadTerm], nodes: NodeTable) -> BoolColumn:
    """Return which nodes have the labels of all constraints; others count for none."""
    labelled = nodes.present.copy()
    for term in terms:
        labelled &= ~nodes.label(term.topology).among((None,), slice(0, nodes.size))
    return labelled


class _Eligible:
    """Which nodes count for a constraint."""

    def __init__(self) -> None:
        self._affinity = MatchesNodeAffinity()
        self._taints = ToleratesTaints()

    def rows(self, term: SpreadTerm, labelled: BoolColumn, pod: PodInfo, nodes: NodeTable) -> BoolColumn:
        """Return, for all rows, whether they are `labelled` and what the constraint says of affinity and taints holds."""
        everywhere = slice(0, nodes.size)
        eligible = labelled.copy()
        if term.honor_affinity:
            eligible &= self._affinity.fits(pod, nodes, everywhere)
        if term.honor_taints:
            eligible &= self._taints.fits(pod, nodes, everywhere)
        return eligible


class SpreadsEvenly:
    """Topology spread constraints that must be met."""

    name = "PodTopologySpread"

    def __init__(self, defaults: Sequence[SpreadTerm] = ()) -> None:
        """Make one. Pods of controllers and Services that have no constraints have those of the `defaults` that must be met."""
        self._eligible = _Eligible()
        self._defaults = tuple(defaults)
        # Pods without constraints of their own do not say among whom they are spread, and Services count.
        self.retry_on: frozenset[Happening] = SPREAD | {"pod placed", "storage"} if defaults else SPREAD

    @property
    def by_services(self) -> bool:
        """Whether it looks at Services."""
        return bool(self._defaults)

    def _terms(self, pod: PodInfo, nodes: NodeTable) -> Sequence[SpreadTerm]:
        return _chosen(pod, nodes, self._defaults, required=True)

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether the Pod has such constraints."""
        return bool(pod.spread or self._defaults) and bool(self._terms(pod, nodes))

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        terms = self._terms(pod, nodes)
        labelled = _labelled(terms, nodes)
        result = labelled[rows]
        for term in terms:
            result = self._within(term, labelled, pod, nodes)[rows] & result
        return result

    def may_pass(self, pod: PodInfo, nodes: NodeTable) -> BoolColumn | bool:
        """Return which nodes have the labels that the constraints are about."""
        return _labelled(self._terms(pod, nodes), nodes)

    def _within(self, term: SpreadTerm, labelled: BoolColumn, pod: PodInfo, nodes: NodeTable) -> BoolColumn:
        eligible = self._eligible.rows(term, labelled, pod, nodes)
        places = nodes.label(term.topology)
        totals = places.totals(np.where(eligible, _count(nodes, term, pod), 0))
        domains = np.unique(places.codes[eligible])
        least = int(totals[domains].min()) if len(domains) >= max(term.min_domains, 1) else 0
        own = int(term.pods is None or _means(term.pods, pod, nodes))
        # A place without an eligible node has no Pods that count, as in kube-scheduler.
        return np.asarray(totals[places.codes] + own - least <= term.max_skew)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say whether the label is missing or the skew too large, by the first constraint that is not met."""
        reason = "node(s) didn't match pod topology spread constraints"
        terms = self._terms(pod, nodes)
        missing = [number for number, term in enumerate(terms) if nodes.label(term.topology)[row] is None]
        if not missing:
            return (reason,)
        labelled = _labelled(terms, nodes)
        if all(self._within(term, labelled, pod, nodes)[row] for term in terms[: missing[0]]):
            return (f"{reason} (missing required label)",)
        return (reason,)


SYSTEM_DEFAULTS = tuple(
    SpreadTerm(None, topology, skew, required=False)
    for topology, skew in ((HOSTNAME, 3), ("topology.kubernetes.io/zone", 5))
)
"""What kube-scheduler has for Pods of controllers that have no constraints, unless a profile says otherwise."""


class PrefersEven:
    """Topology spread constraints that need not be met."""

    name = "PodTopologySpread"

    def __init__(self, defaults: Sequence[SpreadTerm] = (), *, anywhere: bool = False) -> None:
        """Make one. Pods of controllers and Services that have no constraints have those of the `defaults` that need not be met.

        With `anywhere` nodes need not have the labels of the defaults.
        """
        self._eligible = _Eligible()
        self._defaults = tuple(defaults)
        self._anywhere = anywhere

    @property
    def by_services(self) -> bool:
        """Whether it looks at Services."""
        return bool(self._defaults)

    def _terms(self, pod: PodInfo, nodes: NodeTable) -> Sequence[SpreadTerm]:
        return _chosen(pod, nodes, self._defaults, required=False)

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Return whether the Pod has such constraints."""
        return bool(pod.spread or self._defaults) and bool(self._terms(pod, nodes))

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes: the fewer Pods in the same places, the better; those without a label come last."""
        terms = self._terms(pod, nodes)
        labelled = nodes.present if self._anywhere and not pod.spread else _labelled(terms, nodes)
        known = labelled[rows]
        cost: Any = np.zeros(len(known))
        for term in terms:
            places = nodes.label(term.topology)
            codes = places.codes[rows]
            counts = _count(nodes, term, pod)
            if term.topology == HOSTNAME:
                counts, sizes = counts[rows], int(np.count_nonzero(known))
            else:
                eligible = self._eligible.rows(term, labelled, pod, nodes)
                counts = places.totals(np.where(eligible, counts, 0))[codes]
                sizes = len(np.unique(codes[known]))
            # Of places of which there are many one more Pod is worse. A node without the label costs nothing, if it may have none.
            cost = cost + (counts * math.log(sizes + 2) + float(term.max_skew - 1)) * (codes != 0)
        cost = np.floor(cost + 0.5)
        if not known.any():
            return 0.0
        least, most = cost[known].min(), cost[known].max()
        if not most:
            return np.where(known, 100.0, 0.0)
        return np.where(known, np.floor(100.0 * (most + least - cost) / most), 0.0)
