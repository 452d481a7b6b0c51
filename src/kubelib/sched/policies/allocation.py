"""Scores of what is left on nodes and what is not: Kubernetes' strategies of NodeResourcesFit, and NodeResourcesBalancedAllocation.

Scores are whole numbers as there. Judging one row gives what judging all gives, to the last bit: both divide floats that are
exact up to 2^53, which is 64 TiB in bytes times a hundred.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.sched.base import FloatColumn, Rows
from kubelib.sched.nodes import Column, NodeTable
from kubelib.sched.pods import CPU, MEMORY, PODS, STORAGE, PodInfo

Weights = Mapping[str, float]
"""How much each resource counts."""
CPU_AND_MEMORY: Weights = {CPU: 1.0, MEMORY: 1.0}
Shape = Sequence[tuple[int, int]]
"""Points of a function in the order of their utilization: that in percent, and a score of 0 to 10."""
_NODES_OWN = (CPU, MEMORY, STORAGE, PODS)
_COUNTED = {CPU: 0, MEMORY: 1}


def _concerned(pod: PodInfo, nodes: NodeTable, resources: Iterable[str]) -> tuple[str, ...]:
    """Return the resources that count: those that are not every node's own, only if the Pod asks for them."""
    return tuple(
        resource
        for resource in resources
        if resource in nodes.allocatable and (resource in _NODES_OWN or pod.requests.get(resource, 0) > 0)
    )


def _used(nodes: NodeTable, resource: str, real: bool) -> Column:
    """Return the use of a resource; unless the `real` one is wanted, containers that ask for no cpu or memory count as some."""
    which = None if real else _COUNTED.get(resource)
    return nodes.used[resource] if which is None else nodes.counted[which]


def _wanted(pod: PodInfo, resource: str, real: bool) -> int:
    which = None if real else _COUNTED.get(resource)
    return pod.requests.get(resource, 0) if which is None else pod.counted[which]


@attrs.frozen
class _Amounts:
    """What is used of resources, and what there is, as floats: columns that the table keeps up to date."""

    names: tuple[str, ...]
    real: bool

    def __call__(self, nodes: NodeTable, rows: Rows) -> NDArray[np.float64]:
        count = len(self.names)
        used = np.array([_used(nodes, name, self.real)[rows] for name in self.names], np.float64)
        found = np.empty((2 * count + 2, used.shape[1]))
        found[:count] = used
        sizes = found[count : 2 * count]
        for number, name in enumerate(self.names):
            sizes[number] = nodes.allocatable[name][rows]
        found[2 * count] = (sizes <= 0).any(axis=0) & nodes.present[rows]
        np.maximum(sizes, 1.0, out=sizes)
        if self.real:
            used /= sizes
            found[2 * count + 1] = _balance(np.minimum(used, 1.0, out=used), np.sqrt)
        return found

    def wanted(self, pod: PodInfo) -> NDArray[np.float64]:
        """Return what a Pod adds to what is used."""
        return np.array([[_wanted(pod, name, self.real)] for name in self.names], np.float64)

    def of_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> Iterator[tuple[str, int, int, int]]:
        """Return, for each resource that one node has: what is used, what the Pod wants, what there is."""
        for name in self.names:
            there = int(nodes.allocatable[name][row])
            if there > 0:
                used = int(_used(nodes, name, self.real)[row])
                yield name, used, _wanted(pod, name, self.real), there


class _Strategy(ABC):
    """Rates by what would be used of each resource with the Pod. Containers that ask for no cpu or memory count as some."""

    name = ""

    def __init__(self, resources: Weights = CPU_AND_MEMORY) -> None:
        self.resources = dict(resources)

    @abstractmethod
    def _rate(self, used: Any, there: Any, floor: Any) -> Any:
        """Return the points of one resource. What is used is at most what there is, which is above 0."""

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        amounts = _Amounts(_concerned(pod, nodes, self.resources), real=False)
        count = len(amounts.names)
        if not count:
            return 0.0
        kept = nodes.kept(amounts)[:, rows]
        sizes = kept[count : 2 * count]
        used = kept[:count] + amounts.wanted(pod)
        points = self._rate(np.minimum(used, sizes, out=used), sizes, _floor)
        weights = np.array([self.resources[name] for name in amounts.names])
        counts: Any = self._counts(points)
        if kept[2 * count].any():
            counts = counts & np.array([nodes.allocatable[name][rows] > 0 for name in amounts.names])
        elif counts is True or counts.all():
            return np.asarray(self._mean(weights @ points, weights.sum(), np.floor))
        points *= counts
        return np.asarray(self._mean(weights @ points, np.maximum(weights @ counts, 1e-9), np.floor))

    def score_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> float:
        """Judge one node."""
        total = weights = 0.0
        amounts = _Amounts(_concerned(pod, nodes, self.resources), real=False)
        for name, used, wanted, there in amounts.of_row(pod, nodes, row):
            points = self._rate(min(used + wanted, there), there, math.floor)
            if self._counts(points):
                weight = self.resources[name]
                total, weights = total + weight * points, weights + weight
        return float(self._mean(total, weights, math.floor)) if weights else 0.0

    def _counts(self, points: Any) -> Any:
        return True

    def _mean(self, total: Any, weights: Any, floor: Any) -> Any:
        return floor(total / weights)


class LeastAllocated(_Strategy):
    """Prefers nodes with much room left."""

    name = "LeastAllocated"

    def _rate(self, used: Any, there: Any, floor: Any) -> Any:
        points = there - used
        points *= 100.0
        points /= there
        return floor(points)


class MostAllocated(_Strategy):
    """Prefers nodes that are nearly full, so that others stay empty."""

    name = "MostAllocated"

    def _rate(self, used: Any, there: Any, floor: Any) -> Any:
        points = used * 100.0
        points /= there
        return floor(points)


class RequestedToCapacityRatio(_Strategy):
    """Rates the utilization of each resource by a function of straight lines between points."""

    name = "RequestedToCapacityRatio"

    def __init__(self, shape: Shape, resources: Weights = CPU_AND_MEMORY) -> None:
        super().__init__(resources)
        points = [on_shape(shape, percent) for percent in range(101)]
        self._points: NDArray[np.float64] = np.array(points, np.float64)

    def _rate(self, used: Any, there: Any, floor: Any) -> Any:
        points = used * 100.0
        points /= there
        percent = floor(points)
        if not isinstance(percent, np.ndarray):
            return float(self._points[int(percent)])
        return self._points[percent.astype(np.int64)]

    def _counts(self, points: Any) -> Any:
        # A resource that is worth nothing is left out, as Kubernetes does.
        return points > 0

    def _mean(self, total: Any, weights: Any, floor: Any) -> Any:
        return floor(total / weights + 0.5)


def on_shape(shape: Shape, percent: int) -> int:
    """Return the points, of 100, of so many percent in use."""
    at = bisect_left([utilization for utilization, _ in shape], percent)
    if at == 0 or at == len(shape):
        return shape[min(at, len(shape) - 1)][1] * 10
    (low, below), (high, above) = shape[at - 1], shape[at]
    # Divisions of whole numbers are cut off towards zero, as in Go.
    return below * 10 + int((above - below) * 10 * (percent - low) / (high - low))


class BalancedAllocation:
    """Prefers nodes on which the Pod makes the shares in use of each resource more equal.

    75 where it changes nothing, 50 at worst, 100 at best.
    """

    name = "BalancedAllocation"

    def __init__(self, resources: Sequence[str] = (CPU, MEMORY)) -> None:
        self.resources = tuple(resources)

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        amounts = _Amounts(_concerned(pod, nodes, self.resources), real=True)
        count = len(amounts.names)
        if not any(pod.requests.get(name) for name in amounts.names):
            return 0.0
        kept = nodes.kept(amounts)[:, rows]
        after = kept[:count] + amounts.wanted(pod)
        after /= kept[count : 2 * count]
        np.minimum(after, 1.0, out=after)
        found = np.asarray(_gain(_balance(after, np.sqrt), kept[2 * count + 1], _floor))
        lacking = kept[2 * count]
        if lacking.any():
            # Nodes that lack one of the resources are judged by the others.
            for at, row in enumerate(nodes.indices(rows)):
                if lacking[at]:
                    found[at] = self.score_row(pod, nodes, row)
        return found

    def score_row(self, pod: PodInfo, nodes: NodeTable, row: int) -> float:
        """Judge one node."""
        amounts = _Amounts(_concerned(pod, nodes, self.resources), real=True)
        if not any(pod.requests.get(name) for name in amounts.names):
            return 0.0
        before: list[float] = []
        after: list[float] = []
        for _, used, wanted, there in amounts.of_row(pod, nodes, row):
            before.append(min(used / there, 1.0))
            after.append(min((used + wanted) / there, 1.0))
        return float(_gain(_balance(after, math.sqrt), _balance(before, math.sqrt), math.floor))


def _balance(shares: Any, root: Any) -> Any:
    """Return how equal shares are: 100 if they are, less the standard deviation in percent."""
    if len(shares) < 2:
        return 100.0
    if len(shares) == 2:
        return _whole((1.0 - abs((shares[0] - shares[1]) / 2)) * 100.0)
    mean = sum(shares) / len(shares)
    squares: Any = 0.0
    for share in shares:
        squares = squares + (share - mean) * (share - mean)
    return _whole((1.0 - root(squares / len(shares))) * 100.0)


def _floor(values: Any) -> Any:
    return np.floor(values, out=values)


def _whole(value: Any) -> Any:
    return _floor(value) if isinstance(value, np.ndarray) else float(math.floor(value))


def _gain(after: Any, before: Any, floor: Any) -> Any:
    return 50.0 + floor((50.0 + after - before) / 2)
