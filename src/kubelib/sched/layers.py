"""What Pods take up, by priority: how much would be free if all below one were gone."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kubelib.sched.pods import PODS, PodInfo

Matrix = NDArray[np.int64]


class Layers:
    """A matrix per priority: a row per resource, in the order in which they are given, and a column per row of the table."""

    def __init__(self, resources: Iterable[str], size: int) -> None:
        self._number = {resource: number for number, resource in enumerate(resources)}
        self._size = size
        self._matrices: dict[int, Matrix] = {}
        self._pods: dict[int, int] = {}

    def account(self, pod: PodInfo, row: int, sign: int) -> None:
        """Count a Pod (1), or count it no more (-1)."""
        priority = pod.priority
        matrix = self._matrices.get(priority)
        if matrix is None:
            matrix = self._matrices[priority] = np.zeros((len(self._number), self._size), np.int64)
        for resource, value in pod.requests.items():
            matrix[self._number[resource], row] += sign * value
        matrix[self._number[PODS], row] += sign
        self._pods[priority] = self._pods.get(priority, 0) + sign
        if not self._pods[priority]:
            del self._pods[priority], self._matrices[priority]

    def below(self, priority: int) -> list[tuple[int, Matrix]]:
        """Return the priorities below one and what their Pods take up, the lowest first."""
        return [(level, self._matrices[level]) for level in sorted(self._matrices) if level < priority]

    def from_on(self, priority: int) -> Matrix | None:
        """Return what Pods of this priority or a higher one take up; None if there are none."""
        found = [matrix for level, matrix in self._matrices.items() if level >= priority]
        return sum(found[1:], start=found[0].copy()) if found else None
