"""The cluster as a table: a row per node, a numpy column per resource, so that a policy judges all nodes in one sweep.

Every change to a row is noted in a log, from which the judgements of earlier Pods are brought up to date.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.api.core.node import Node, Taint
from kubelib.api.model import replace
from kubelib.sched.arrays import Rows
from kubelib.sched.base import Happening
from kubelib.sched.columns import CodedColumn
from kubelib.sched.devicepools import Selects
from kubelib.sched.devices import Devices
from kubelib.sched.images import Images
from kubelib.sched.layers import Layers
from kubelib.sched.nodeselectors import selector_matches
from kubelib.sched.pods import CPU, MEMORY, PODS, STORAGE, PodInfo, amount
from kubelib.sched.promises import Placed, Promises
from kubelib.sched.selectors import Labels, PodSelector, PodTerm
from kubelib.sched.services import Services
from kubelib.sched.volumes import Volumes

Column = NDArray[np.int64]

Wish = tuple[Literal["near", "away", "rather near", "rather away"], int, PodTerm]
"""What a Pod on a node wants of others: the kind of term, its weight, the term."""

KEPT_COUNTERS = 512


@attrs.frozen
class NodeInfo:
    """One row, for those who judge node by node."""

    name: str
    labels: Labels
    taints: tuple[Taint, ...]
    schedulable: bool
    allocatable: Mapping[str, int]
    used: Mapping[str, int]
    pods: tuple[PodInfo, ...]


class NodeTable(Promises):
    """Nodes and what is placed on them. Rows of nodes that have gone are used again.

    Whether a node is ready is not asked here: one that is not carries a taint that says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.present: NDArray[np.bool_] = np.zeros(0, bool)
        self.schedulable: NDArray[np.bool_] = np.zeros(0, bool)
        self.used: dict[str, Column] = {}
        self.left: dict[str, Column] = {}
        """What is left of each resource; less than nothing where more is used than there is."""
        self.free: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        """The matrix behind `left`, a row per resource in the order of `allocatable`."""
        self.counted: NDArray[np.int64] = np.zeros((2, 0), np.int64)
        """Use of cpu and memory for scores: Pods that ask for nothing count here too."""
        self.labels: list[Labels] = []
        self.taints: CodedColumn[tuple[Taint, ...]] = CodedColumn(0, ())
        self.features: CodedColumn[tuple[str, ...]] = CodedColumn(0, ())
        """What the nodes have declared that they can do."""
        self.ports: dict[tuple[str, int], dict[int, dict[str, int]]] = {}
        """By protocol and number, then by row: how many Pods have that host port on each address."""
        self.owners: dict[str, dict[int, int]] = {}
        """By controller uid, then by row: how many of its Pods are there to stay."""
        self.wishes: dict[Wish, Column] = {}
        """How many Pods on each row have which term of Pod (anti-)affinity."""
        self.namespaces: dict[str, Labels] = {}
        self.volumes = Volumes()
        self.devices = Devices()
        self.services = Services()
        self.images = Images()
        self.log: list[int] = []
        """Rows in the order in which they changed; the first has the position `log_start`."""
        self.log_start = 0
        self._columns: dict[str, CodedColumn[str | None]] = {}
        self._counters: dict[PodSelector, Column] = {}
        self._kept: dict[Hashable, tuple[int, NDArray[np.float64]]] = {}
        self._pods: dict[str, Placed] = {}
        self._on: dict[str, dict[str, Placed]] = {}
        self._free: list[int] = []
        self._layers: Layers | None = None
        self._tallies: list[tuple[Callable[[PodInfo], str], dict[str, dict[str, int]]]] = []
        self._trying = False
        self._resize(0, (CPU, MEMORY, STORAGE, PODS))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """How many rows the columns have."""
        return len(self.present)

    @property
    def log_end(self) -> int:
        """The position of the next change."""
        return self.log_start + len(self.log)

    def indices(self, rows: Rows) -> Iterator[int]:
        """Return the numbers of rows, for those who must look at them one by one."""
        return iter(range(*rows.indices(self.size))) if isinstance(rows, slice) else map(int, rows)

    def node(self, row: int) -> NodeInfo:
        """Return all about one row."""
        return NodeInfo(
            self.names[row],
            self.labels[row],
            self.taints[row],
            bool(self.schedulable[row]),
            {resource: int(column[row]) for resource, column in self.allocatable.items()},
            {resource: int(column[row]) for resource, column in self.used.items()},
            tuple(placed.pod for placed in self._on.get(self.names[row], {}).values()),
        )

    def wanted(self, pod: PodInfo) -> NDArray[np.int64]:
        """Return what a Pod asks for of each resource that is known, in the order of `free`."""
        wanted = [pod.requests.get(resource, 0) for resource in self.allocatable]
        wanted[3] += 1
        return np.array(wanted, np.int64)

    def label(self, key: str) -> CodedColumn[str | None]:
        """Return the values of one label; None where a node does not have it."""
        column = self._columns.get(key)
        if column is None:
            column = CodedColumn(self.size, None)
            for row, labels in enumerate(self.labels):
                if key in labels:
                    column[row] = labels[key]
            self._columns[key] = column
        return column

    def kept(self, make: Callable[["NodeTable", Rows], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return columns that `make` makes of rows. They are kept, by what `make` equals, and made anew where a row has changed."""
        known = self._kept.get(make)
        everywhere = slice(0, self.size)
        if known is None or known[1].shape[1] != self.size or known[0] < self.log_start:
            columns = make(self, everywhere)
        else:
            position, columns = known
            changed = self.log[position - self.log_start :]
            if len(changed) > self.size // 2:
                columns = make(self, everywhere)
            elif changed:
                rows = np.array(changed, np.int64)
                columns[:, rows] = make(self, rows)
        self._kept[make] = self.log_end, columns
        return columns

    def owned(self, owner: str, rows: Rows) -> Column:
        """Return how many Pods of a controller are on each of `rows`."""
        counts = self.owners.get(owner) or {}
        if isinstance(rows, slice) and rows.stop - rows.start == self.size:
            column = np.zeros(self.size, np.int64)
            column[list(counts)] = list(counts.values())
            return column
        found = [counts.get(row, 0) for row in self.indices(rows)]
        return np.array(found, np.int64)

    def count(self, pods: PodSelector) -> Column:
        """Return how many of the Pods that a selector means are on each row. Counted once, then kept."""
        column = self._counters.get(pods)
        if column is None:
            if len(self._counters) >= KEPT_COUNTERS:
                self._counters.clear()
            column = np.zeros(self.size, np.int64)
            for placed in self._pods.values():
                if placed.row >= 0 and self._is_meant(placed.pod, pods):
                    column[placed.row] += 1
            self._counters[pods] = column
        return column

    def _is_meant(self, pod: PodInfo, by: PodSelector) -> bool:
        if by.staying and pod.going:
            return False
        return by.matches(pod.namespace, pod.labels, self.namespaces)

    def pods_by_row(self) -> Iterator[tuple[int, list[PodInfo]]]:
        """Return the rows that have Pods, and these."""
        for name, there in self._on.items():
            row = self.rows.get(name)
            if row is not None:
                yield row, [placed.pod for placed in there.values()]

    # Nodes

    def put_node(self, node: Node) -> Sequence[Happening]:
        """Add or update a node; return what that matters has changed."""
        name, labels = node.metadata.name, node.metadata.labels
        row = self.rows.get(name)
        fresh = row is None
        if row is None:
            if not self._free:
                self._grow()
            row = self.rows[name] = self._free.pop()
            self.names[row] = name
            self.present[row] = True
        changed: list[Happening] = ["new node"] if fresh else []
        if self._offer(row, node):
            changed.append("node room")
        schedulable = not node.spec.unschedulable
        taints = tuple(replace(taint, time_added=None) for taint in node.spec.taints)
        if self.schedulable[row] != schedulable or self.taints[row] != taints:
            self.schedulable[row] = schedulable
            self.taints[row] = taints
            changed.append("node taints")
        if self.features[row] != node.status.declared_features:
            self.features[row] = node.status.declared_features
            changed.append("node features")
        if self.labels[row] != labels:
            self.labels[row] = labels
            for key, column in self._columns.items():
                column[row] = labels.get(key)
            changed.append("node labels")
        self.images.put(row, node.status.images)
        if fresh:
            self._promises = None
            for placed in self._on.get(name, {}).values():
                placed.row = row
                self._account(placed.pod, row, 1)
        if changed:
            self._note(row)
        return changed

    def _offer(self, row: int, node: Node) -> bool:
        offered = node.status.allocatable or node.status.capacity
        changed = False
        self._learn(offered)
        for number, (resource, column) in enumerate(self.allocatable.items()):
            value = amount(resource, offered[resource]) if resource in offered else 0
            if column[row] != value:
                column[row] = value
                self.free[number, row] = value - self.used[resource][row]
                changed = True
        return changed

    def remove_node(self, name: str) -> None:
        """Take a node out; its Pods stay known, should it come back."""
        row = self.rows.get(name)
        if row is None:
            return
        for placed in self._on.get(name, {}).values():
            self._account(placed.pod, row, -1)
            placed.row = -1
        self.images.put(row, ())
        del self.rows[name]
        self._promises = None
        for number, column in enumerate(self.allocatable.values()):
            self.free[number, row] -= column[row]
            column[row] = 0
        for coded in self._columns.values():
            coded[row] = None
        self.names[row], self.labels[row], self.taints[row], self.features[row] = "", {}, (), ()
        self.present[row] = self.schedulable[row] = False
        self._free.append(row)
        self._note(row)

    def put_namespace(self, name: str, labels: Labels | None) -> bool:
        """Learn the labels of a namespace, or that it is gone (None); return whether that is news."""
        if self.namespaces.get(name) == labels:
            return False
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = labels
        self._counters.clear()
        return True

    def _learn(self, resources: Iterable[str]) -> None:
        fresh = [resource for resource in resources if resource not in self.allocatable]
        if fresh:
            self._resize(self.size, (*self.allocatable, *fresh))

    def _resize(self, size: int, resources: Sequence[str]) -> None:
        """Lay the matrices out anew, for more rows or more resources."""
        self._layers = self._promises = None
        offered, used = np.zeros((2, len(resources), size), np.int64)
        for number, resource in enumerate(self.allocatable):
            offered[number, : self.size] = self.allocatable[resource]
            used[number, : self.size] = self.used[resource]
        self.free = offered - used
        self.allocatable = dict(zip(resources, offered, strict=True))
        self.used = dict(zip(resources, used, strict=True))
        self.left = dict(zip(resources, self.free, strict=True))

    def _grow(self) -> None:
        old, new = self.size, max(16, self.size * 2)
        nothing = np.zeros(new - old, np.int64)
        self._resize(new, tuple(self.allocatable))
        self.counted = np.hstack([self.counted, np.zeros((2, new - old), np.int64)])
        self.wishes = {wish: np.concatenate([column, nothing]) for wish, column in self.wishes.items()}
        self._counters = {pods: np.concatenate([column, nothing]) for pods, column in self._counters.items()}
        self.taints.grow(new)
        self.features.grow(new)
        for coded in self._columns.values():
            coded.grow(new)
        self.present = np.concatenate([self.present, nothing.astype(bool)])
        self.schedulable = np.concatenate([self.schedulable, nothing.astype(bool)])
        self.names += [""] * (new - old)
        self.labels += [{}] * (new - old)
        self._free = list(range(new - 1, old - 1, -1))

    def _note(self, row: int) -> None:
        if self._trying:
            return
        self._doubts.pop(row, None)
        self.log.append(row)
        if len(self.log) > 8 * self.size + 4096:
            # Judgements older than this cost a whole sweep to bring up to date anyway.
            dropped = len(self.log) // 2
            del self.log[:dropped]
            self.log_start += dropped

    # Pods

    def put_pod(self, pod: PodInfo, node: str = "") -> bool:
        """Count a Pod on its node, or on the one where it is assumed to be; return whether that changed anything."""
        node = node or pod.node
        known = self._pods.get(pod.uid)
        if known is not None:
            same = known.pod is pod or (known.pod.shape == pod.shape and known.pod.going == pod.going)
            if known.node == node and same:
                known.pod = pod
                return False
            self.remove_pod(pod.uid)
        if not self._trying:
            self.withdraw(pod.uid)
        placed = Placed(pod, node, self.rows.get(node, -1))
        self._pods[pod.uid] = self._on.setdefault(node, {})[pod.uid] = placed
        if placed.row >= 0:
            self._account(pod, placed.row, 1)
            self._note(placed.row)
        return True

    def remove_pod(self, uid: str) -> bool:
        """Count a Pod no more; return whether it was counted."""
        placed = self._pods.pop(uid, None)
        if placed is None:
            return False
        there = self._on[placed.node]
        del there[uid]
        if not there:
            del self._on[placed.node]
        if placed.row >= 0:
            self._account(placed.pod, placed.row, -1)
            self._note(placed.row)
        return True

    def has_pod(self, uid: str) -> bool:
        """Return whether a Pod is counted."""
        return uid in self._pods

    def node_of(self, uid: str) -> str:
        """Return the node on which a Pod is counted, or nothing."""
        placed = self._pods.get(uid)
        return placed.node if placed is not None else ""

    def pod(self, uid: str) -> PodInfo | None:
        """Return a Pod as it is counted, or None."""
        placed = self._pods.get(uid)
        return placed.pod if placed is not None else None

    def pods_on(self, row: int) -> list[PodInfo]:
        """Return the Pods that are counted on a row."""
        return [placed.pod for placed in self._on.get(self.names[row], {}).values()]

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Let Pods be moved about in the block, on trial: what it changes it must change back, and nobody hears of it."""
        before, self._trying = self._trying, True
        try:
            yield
        finally:
            self._trying = before

    # What Pods take up

    def layers(self) -> Layers:
        """Return what the Pods on all rows take up, by priority. Counted when first asked for, then kept."""
        if self._layers is None:
            self._layers = Layers(self.allocatable, self.size)
            for placed in self._pods.values():
                if placed.row >= 0:
                    self._layers.account(placed.pod, placed.row, 1)
        return self._layers

    def tally(self, group: Callable[[PodInfo], str]) -> Mapping[str, Mapping[str, int]]:
        """Return what the Pods of each group take up of each resource. Counted when asked for, and kept up to date."""
        totals: dict[str, dict[str, int]] = {}
        for placed in self._pods.values():
            if placed.row >= 0:
                _count(totals, group, placed.pod, 1)
        self._tallies.append((group, totals))
        return totals

    def _account(self, pod: PodInfo, row: int, sign: int) -> None:
        self._learn(pod.requests)
        for group, totals in self._tallies:
            _count(totals, group, pod, sign)
        if self._layers is not None:
            self._layers.account(pod, row, sign)
        for resource, value in pod.requests.items():
            self.used[resource][row] += sign * value
            self.left[resource][row] -= sign * value
        self.used[PODS][row] += sign
        self.left[PODS][row] -= sign
        self.counted[0, row] += sign * pod.counted[0]
        self.counted[1, row] += sign * pod.counted[1]
        for address, protocol, number in pod.ports:
            on_row = self.ports.setdefault((protocol, number), {}).setdefault(row, {})
            on_row[address] = on_row.get(address, 0) + sign
            if not on_row[address]:
                del on_row[address]
            if not on_row:
                del self.ports[protocol, number][row]
        if pod.owner and not pod.going:
            counts = self.owners.setdefault(pod.owner, {})
            counts[row] = counts.get(row, 0) + sign
            if not counts[row]:
                del counts[row]
            if not counts:
                del self.owners[pod.owner]
        if pod.claims or pod.disks:
            self.volumes.account(pod, row, sign)
        if pod.devices:
            self._account_devices(pod, row, sign)
        for selector, column in self._counters.items():
            if self._is_meant(pod, selector):
                column[row] += sign
        if not pod.plain:
            for wish in _wishes(pod):
                wishes = self.wishes.get(wish)
                if wishes is None:
                    wishes = self.wishes[wish] = np.zeros(self.size, np.int64)
                wishes[row] += sign
                if sign < 0 and not wishes.any():
                    del self.wishes[wish]

    def selects_on(self, row: int) -> Selects:
        """Return what tells whether a node selector matches a node."""
        alone = slice(row, row + 1)
        return lambda selector: bool(np.all(selector_matches(selector, self, alone)))

    def _account_devices(self, pod: PodInfo, row: int, sign: int) -> None:
        """Give devices to those of a Pod's claims that have none, as the filter has seen that it can be done."""
        if sign < 0:
            self.devices.forgo(pod)
        else:
            self.devices.promise(pod, self.devices.choose(pod, self.names[row], self.selects_on(row)))


def _count(
    totals: dict[str, dict[str, int]], group: Callable[[PodInfo], str], pod: PodInfo, sign: int
) -> None:
    total = totals.setdefault(group(pod), {})
    for resource, value in pod.requests.items():
        total[resource] = total.get(resource, 0) + sign * value


def _wishes(pod: PodInfo) -> Iterator[Wish]:
    for term in pod.near:
        yield "near", 1, term
    for term in pod.away:
        yield "away", 1, term
    for weight, term in pod.rather_near:
        yield "rather near", weight, term
    for weight, term in pod.rather_away:
        yield "rather away", weight, term
