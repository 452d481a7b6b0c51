"""Policies: which nodes fit, which are better, which is chosen."""

from collections.abc import Callable, Sequence
from random import Random

import numpy as np

from kubelib.sched.base import BoolColumn, Filter, FloatColumn, Policy, Rows, Score
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import (
    FitsResources,
    HasFreePorts,
    IsSchedulable,
    MatchesNodeAffinity,
    ToleratesTaints,
)
from kubelib.sched.policies.scores import (
    BalancedAllocation,
    LeastAllocated,
    MostAllocated,
    PrefersNodeAffinity,
    PrefersUntainted,
    SpreadOwner,
)


class Best:
    """Picks the best score; the injected Random breaks ties."""

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Pick a row."""
        masked = np.where(fits, scores, -1.0)
        best = int(masked.argmax())
        ties = np.flatnonzero(masked == masked[best])
        return int(ties[random.randrange(len(ties))]) if len(ties) > 1 else best


class AnyOf:
    """Picks any node that fits."""

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Pick a row."""
        rows = np.flatnonzero(fits)
        return int(rows[random.randrange(len(rows))])


class InTurn:
    """Picks the next node that fits, in order of rows."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Pick a row."""
        rows = np.flatnonzero(fits)
        later = rows[rows > self._last]
        self._last = int(later[0] if len(later) else rows[0])
        return self._last


FILTERS: tuple[Filter, ...] = (
    IsSchedulable(),
    ToleratesTaints(),
    MatchesNodeAffinity(),
    HasFreePorts(),
    FitsResources(),
)


def default_policy() -> Policy:
    """Room and balance, few of the same controller on one node, preferences of the Pod."""
    return Policy(
        filters=FILTERS,
        scores=(
            (LeastAllocated(), 1.0),
            (BalancedAllocation(), 1.0),
            (SpreadOwner(), 2.0),
            (PrefersNodeAffinity(), 2.0),
            (PrefersUntainted(), 3.0),
        ),
        choose=Best(),
    )


def random_policy() -> Policy:
    """Any node that fits."""
    return Policy(filters=FILTERS, choose=AnyOf())


def round_robin_policy() -> Policy:
    """Node after node."""
    return Policy(filters=FILTERS, choose=InTurn())


def least_allocated_policy() -> Policy:
    """The node with the most room left."""
    return Policy(filters=FILTERS, scores=((LeastAllocated(), 1.0),), choose=Best())


def most_allocated_policy() -> Policy:
    """The fullest node that fits."""
    return Policy(filters=FILTERS, scores=((MostAllocated(), 1.0),), choose=Best())


def spread_policy() -> Policy:
    """The node with the fewest Pods of the same controller."""
    return Policy(filters=FILTERS, scores=((SpreadOwner(), 1.0), (LeastAllocated(), 0.01)), choose=Best())


POLICIES: dict[str, Callable[[], Policy]] = {
    "default": default_policy,
    "random": random_policy,
    "round-robin": round_robin_policy,
    "least-allocated": least_allocated_policy,
    "most-allocated": most_allocated_policy,
    "spread": spread_policy,
}


class PerNodeFilter:
    """An ordinary function of a Pod and a node's name and labels as a filter."""

    def __init__(self, name: str, function: Callable[[PodInfo, str, NodeTable], bool], reason: str) -> None:
        self.name = name
        self._function = function
        self._reason = reason

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn:
        """Judge the nodes."""
        names = nodes.names
        return np.fromiter(
            (bool(names[r]) and self._function(pod, names[r], nodes) for r in map(int, rows)), bool, len(rows)
        )

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Say so."""
        return (self._reason,)


class PerNodeScore:
    """An ordinary function of a Pod and a node's name as a score from 0 to 100."""

    def __init__(self, name: str, function: Callable[[PodInfo, str, NodeTable], float]) -> None:
        self.name = name
        self._function = function

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        """Judge the nodes."""
        names = nodes.names
        return np.fromiter(
            (self._function(pod, names[r], nodes) if names[r] else 0.0 for r in map(int, rows)),
            float,
            len(rows),
        )


__all__ = [
    "FILTERS",
    "POLICIES",
    "AnyOf",
    "Best",
    "InTurn",
    "PerNodeFilter",
    "PerNodeScore",
    "Policy",
    "Score",
    "default_policy",
    "least_allocated_policy",
    "most_allocated_policy",
    "random_policy",
    "round_robin_policy",
    "spread_policy",
]
