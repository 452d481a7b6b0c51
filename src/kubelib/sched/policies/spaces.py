"""The score of storage: how much of it is left where a Pod's claims would get their volumes."""

import numpy as np
from numpy.typing import NDArray

from kubelib.api.claiming import class_of, requested
from kubelib.api.quantity import parse_quantity
from kubelib.sched.base import FloatColumn, Rows
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.allocation import Shape, on_shape
from kubelib.sched.policies.storage import Arrangement, arrange, offers_for, selects

MUCH_IS_LEFT: Shape = ((0, 10), (100, 0))

Column = NDArray[np.int64]


class _Sums:
    """By storage class: how much is asked for of how much, on each row."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._classes: dict[str, tuple[Column, Column]] = {}

    def of(self, storage_class: str) -> tuple[Column, Column]:
        """Return the columns of one class."""
        if storage_class not in self._classes:
            self._classes[storage_class] = np.zeros(self._size, np.int64), np.zeros(self._size, np.int64)
        return self._classes[storage_class]

    def points(self, rates: NDArray[np.int64]) -> FloatColumn:
        """Return the mean of the points of all classes of which something is asked for on a row; 0 for none."""
        total, classes = np.zeros(self._size, np.int64), np.zeros(self._size, np.int64)
        for asked, there in self._classes.values():
            counts = (asked > 0) | (there > 0)
            percent = np.full(self._size, 100, np.int64)
            fits = (there > 0) & (asked <= there)
            percent[fits] = asked[fits] * 100 // there[fits]
            total += np.where(counts, rates[percent], 0)
            classes += counts
        return np.floor(total / np.maximum(classes, 1) + 0.5)


class PrefersSpace:
    """Prefers nodes where much storage is left for the Pod's late claims: of volumes that are there, or of what drivers can make."""

    name = "VolumeBinding"

    def __init__(self, shape: Shape = MUCH_IS_LEFT) -> None:
        """Make one. The `shape` says how many points, up to ten, are given for how many percent in use."""
        self._rates = np.array([on_shape(shape, percent) for percent in range(101)], np.int64)

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods are concerned with claims that get volumes when a node has been chosen."""
        return bool(pod.claims) and bool(nodes.volumes.wanted(pod).late)

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        given = arrange(pod, nodes, rows)
        size = len(given.fits)
        static = np.zeros(size, bool)
        for _, _, there in given.given:
            static |= there
        found = self._of_volumes(given, size)
        if not static.all():
            found = np.where(static, found, self._of_drivers(pod, nodes, rows, size))
        return found

    def _of_volumes(self, given: Arrangement, size: int) -> FloatColumn:
        sums = _Sums(size)
        for claim, volume, here in given.given:
            asked, there = sums.of(class_of(volume))
            asked[here] += requested(claim).value()
            there[here] += parse_quantity(volume.spec.capacity.get("storage", "0")).value()
        return sums.points(self._rates)

    def _of_drivers(self, pod: PodInfo, nodes: NodeTable, rows: Rows, size: int) -> FloatColumn:
        sums = _Sums(size)
        for claim in nodes.volumes.wanted(pod).late:
            lacking = np.ones(size, bool)
            for topology, amount in offers_for(claim, nodes) or ():
                here = lacking & selects(topology, nodes, rows)
                asked, there = sums.of(class_of(claim))
                asked[here] += requested(claim).value()
                there[here] = amount
                lacking &= ~here
        return sums.points(self._rates)
