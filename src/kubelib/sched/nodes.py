"""The cluster as a table: a row per node, a numpy column per resource, so that a policy judges all nodes in one sweep.

Every change to a row is noted in a log, from which the judgements of earlier Pods are brought up to date.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kubelib.api.core.node import Node, Taint
from kubelib.sched.pods import CPU, MEMORY, PODS, STORAGE, PodInfo, amount

Column = NDArray[np.int64]


class NodeTable:
    """Nodes and what is placed on them. Rows of nodes that have gone are used again."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """By row; empty for a row that is free."""
        self.rows: dict[str, int] = {}
        self.allocatable: dict[str, Column] = {}
        self.used: dict[str, Column] = {}
        self.present: NDArray[np.bool_] = np.zeros(0, bool)
        self.schedulable: NDArray[np.bool_] = np.zeros(0, bool)
        self.labels: list[Mapping[str, str]] = []
        self.taints: list[tuple[Taint, ...]] = []
        self.ports: list[dict[tuple[str, str, int], int]] = []
        self.owners: dict[str, Column] = {}
        """By controller uid: how many of its Pods are on each row."""
        self.log: list[int] = []
        """Rows in the order in which they changed."""
        self.generation = 0
        """Counts changes to labels, taints and the set of nodes, after which a judgement starts over."""
        self._pods: dict[str, tuple[PodInfo, int]] = {}
        self._free: list[int] = []
        for resource in (CPU, MEMORY, STORAGE, PODS):
            self._column(resource)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """How many rows the columns have."""
        return len(self.present)

    def _column(self, resource: str) -> tuple[Column, Column]:
        if resource not in self.allocatable:
            self.allocatable[resource] = np.zeros(self.size, np.int64)
            self.used[resource] = np.zeros(self.size, np.int64)
        return self.allocatable[resource], self.used[resource]

    def _grow(self) -> None:
        old = self.size
        new = max(16, old * 2)
        extra = new - old
        for table in (self.allocatable, self.used, self.owners):
            for name, column in table.items():
                table[name] = np.concatenate([column, np.zeros(extra, np.int64)])
        self.present = np.concatenate([self.present, np.zeros(extra, bool)])
        self.schedulable = np.concatenate([self.schedulable, np.zeros(extra, bool)])
        for _ in range(extra):
            self.names.append("")
            self.labels.append({})
            self.taints.append(())
            self.ports.append({})
        self._free = list(range(new - 1, old - 1, -1))

    # Nodes

    def put_node(self, node: Node) -> bool:
        """Add or update a node; return whether anything that matters has changed."""
        name = node.metadata.name
        row = self.rows.get(name)
        fresh = row is None
        if row is None:
            if not self._free:
                self._grow()
            row = self.rows[name] = self._free.pop()
            self.names[row] = name
            self.present[row] = True
        offered = node.status.allocatable or node.status.capacity
        changed = fresh
        for resource in {*offered, *self.allocatable}:
            column, _ = self._column(resource)
            value = amount(resource, offered[resource]) if resource in offered else 0
            if column[row] != value:
                column[row] = value
                changed = True
        schedulable = not node.spec.unschedulable
        if (
            fresh
            or self.schedulable[row] != schedulable
            or self.labels[row] != node.metadata.labels
            or self.taints[row] != node.spec.taints
        ):
            self.schedulable[row] = schedulable
            self.labels[row] = node.metadata.labels
            self.taints[row] = node.spec.taints
            self.generation += 1
            changed = True
        if fresh:
            for info, _ in [p for p in self._pods.values() if p[0].node == name and p[1] < 0]:
                self._place(info, row)
        if changed:
            self.log.append(row)
        return changed

    def remove_node(self, name: str) -> None:
        """Take a node out; its Pods stay known, should it come back."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        for uid, (info, at) in list(self._pods.items()):
            if at == row:
                self._pods[uid] = (info, -1)
        for table in (self.allocatable, self.used, self.owners):
            for column in table.values():
                column[row] = 0
        self.names[row] = ""
        self.present[row] = self.schedulable[row] = False
        self.labels[row], self.taints[row], self.ports[row] = {}, (), {}
        self._free.append(row)
        self.generation += 1
        self.log.append(row)

    # Pods

    def put_pod(self, pod: PodInfo) -> None:
        """Count a Pod on its node. One that is counted already is counted as it is now."""
        known = self._pods.get(pod.uid)
        if known is not None:
            if known[0].node == pod.node and known[0].requests == pod.requests:
                self._pods[pod.uid] = (pod, known[1])
                return
            self.remove_pod(pod.uid)
        self._place(pod, self.rows.get(pod.node, -1))

    def remove_pod(self, uid: str) -> bool:
        """Count a Pod no more; return whether it was counted."""
        known = self._pods.pop(uid, None)
        if known is None:
            return False
        pod, row = known
        if row >= 0:
            self._account(pod, row, -1)
        return True

    def has_pod(self, uid: str) -> bool:
        """Return whether a Pod is counted."""
        return uid in self._pods

    def _place(self, pod: PodInfo, row: int) -> None:
        self._pods[pod.uid] = (pod, row)
        if row >= 0:
            self._account(pod, row, 1)

    def _account(self, pod: PodInfo, row: int, sign: int) -> None:
        for resource, value in pod.requests.items():
            self._column(resource)[1][row] += sign * value
        self.used[PODS][row] += sign
        ports = self.ports[row]
        for port in pod.ports:
            ports[port] = ports.get(port, 0) + sign
            if not ports[port]:
                del ports[port]
        if pod.owner:
            if pod.owner not in self.owners:
                self.owners[pod.owner] = np.zeros(self.size, np.int64)
            self.owners[pod.owner][row] += sign
        self.log.append(row)
