"""What of a node table's room is spoken for, or doubtful: nominations, and what lost transactions have taught."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.sched.layers import Layers, Matrix
from kubelib.sched.pods import PodInfo


@attrs.define(eq=False)
class Placed:
    """A Pod on a node, or one that is promised room there; `row` is -1 where the table has no such node."""

    pod: PodInfo
    node: str
    row: int


class Promises(ABC):
    """Room that is promised to Pods, and doubts about room: the part of a `NodeTable` that decisions look at last."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """By row; empty for a row that is free."""
        self.rows: dict[str, int] = {}
        self.allocatable: dict[str, NDArray[np.int64]] = {}
        """By resource; each column is a row of one matrix, and so are those of `used` and `left`."""
        self._nominated: dict[str, Placed] = {}
        self._promised: dict[str, dict[str, Placed]] = {}
        self._promises: Layers | None = None
        self._doubts: dict[int, set[object]] = {}

    @property
    @abstractmethod
    def size(self) -> int:
        """How many rows the columns have."""

    @abstractmethod
    def _learn(self, resources: Iterable[str]) -> None:
        """Make columns for resources that are new."""

    @abstractmethod
    def _note(self, row: int) -> None:
        """Note that a row has changed."""

    def nominate(self, pod: PodInfo, node: str) -> None:
        """Promise room on a node to a Pod that waits until others have left it."""
        known = self._nominated.get(pod.uid)
        if known is not None and known.node == node and known.pod.shape == pod.shape:
            known.pod = pod
            return
        self.withdraw(pod.uid)
        self._learn(pod.requests)
        placed = self._nominated[pod.uid] = Placed(pod, node, -1)
        self._promised.setdefault(node, {})[pod.uid] = placed
        row = self.rows.get(node)
        if row is not None:
            if self._promises is not None:
                self._promises.account(pod, row, 1)
            self._note(row)

    def withdraw(self, uid: str) -> bool:
        """Take a promise back: the Pod is on a node, or gone, or has been promised another; return whether there was one."""
        placed = self._nominated.pop(uid, None)
        if placed is None:
            return False
        del self._promised[placed.node][uid]
        if not self._promised[placed.node]:
            del self._promised[placed.node]
        row = self.rows.get(placed.node)
        if row is not None:
            if self._promises is not None:
                self._promises.account(placed.pod, row, -1)
            self._note(row)
        return True

    def nominated_node(self, uid: str) -> str:
        """Return the node that is promised to a Pod, or nothing."""
        placed = self._nominated.get(uid)
        return placed.node if placed is not None else ""

    def nominees(self) -> Iterator[PodInfo]:
        """Return the Pods that have been promised a node."""
        return (placed.pod for placed in self._nominated.values())

    def promised_on(self, row: int, priority: int) -> list[PodInfo]:
        """Return the Pods of at least this priority that are promised room on a row."""
        if not self._nominated:
            return []
        there = self._promised.get(self.names[row], {})
        return [placed.pod for placed in there.values() if placed.pod.priority >= priority]

    def nominated_below(self, node: str, priority: int) -> list[PodInfo]:
        """Return the Pods of less than this priority that are promised room on a node."""
        there = self._promised.get(node, {})
        return [placed.pod for placed in there.values() if placed.pod.priority < priority]

    def promises(self, priority: int) -> Matrix | None:
        """Return what is promised on all rows to Pods of at least this priority; None if nothing is."""
        if not self._nominated:
            return None
        if self._promises is None:
            self._promises = Layers(self.allocatable, self.size)
            for placed in self._nominated.values():
                row = self.rows.get(placed.node)
                if row is not None:
                    self._promises.account(placed.pod, row, 1)
        return self._promises.from_on(priority)

    def doubt(self, pod: PodInfo, node: str) -> None:
        """Remember that a node had no room for such a Pod when it was to be bound, until something is heard of the node."""
        row = self.rows.get(node)
        if row is not None:
            self._doubts.setdefault(row, set()).add(pod.shape)

    def doubted(self, pod: PodInfo) -> list[int]:
        """Return the rows about which there is a doubt for such a Pod."""
        return [row for row, shapes in self._doubts.items() if pod.shape in shapes] if self._doubts else []

    def forget_doubts(self) -> None:
        """Trust again what the table says."""
        self._doubts.clear()
