"""Which nodes would make waiting Pods fit, at the lowest price. Pure: the scheduler's own engine judges nodes that do not exist yet.

The cheapest set is a packing problem: several ways of filling are tried, and for few Pods all cheaper sets in the order of
their price as well, up to a number of trials.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import attrs

from kubelib.api.core.node import Node
from kubelib.api.meta import Key
from kubelib.sched.cycle import Cycle
from kubelib.sched.elastic.base import NodeTemplate
from kubelib.sched.groups import Groups
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PODS, PodInfo, amount
from kubelib.sched.policies import most_allocated_policy
from kubelib.sched.volumes import StorageObject

FEW_PODS = 64
"""Up to so many Pods, cheaper sets are searched for."""
TRIALS = 200
SETS = 20_000
"""How many sets are tried on, and how many looked at, in a search."""


@attrs.frozen(kw_only=True)
class ClusterView:
    """The cluster as it is planned on."""

    nodes: Sequence[Node]
    pods: Sequence[PodInfo]
    """Those that are on nodes."""
    daemons: Sequence[PodInfo] = ()
    """One Pod of each DaemonSet: a new node gets those that fit it before all others."""
    namespaces: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict)
    storage: Sequence[StorageObject] = ()
    """What is known of it: a Pod with claims of which nothing is known fits nowhere."""
    groups: Groups = attrs.field(factory=Groups)
    """Which Pods are of use only together."""


@attrs.frozen
class Offer:
    """How many more nodes of a template can be had."""

    template: NodeTemplate
    count: int


@attrs.frozen(kw_only=True)
class Growth:
    """What to ask for."""

    wanted: Mapping[str, int] = attrs.field(factory=dict)
    """How many nodes, by template."""
    helped: tuple[PodInfo, ...] = ()
    """The Pods that then fit, which do not without."""
    hopeless: tuple[PodInfo, ...] = ()
    """The Pods that no node that can be had would help."""
    price: float = 0.0


class Rehearsal:
    """A copy of the cluster on which nodes and Pods are tried."""

    def __init__(self, view: ClusterView, random: Random) -> None:
        self.table = NodeTable()
        self._daemons = view.daemons
        self._cycle = Cycle(self.table, most_allocated_policy(), random)
        for name, labels in view.namespaces.items():
            self.table.put_namespace(name, labels)
        for thing in view.storage:
            self.table.volumes.put(thing)
        for node in view.nodes:
            self.table.put_node(node)
        for pod in view.pods:
            self.table.put_pod(pod)

    def add(self, template: NodeTemplate, name: str) -> None:
        """Add a node, with the Pods that DaemonSets would put on it."""
        self.table.put_node(template.node(name))
        row = self.table.rows[name]
        for daemon in self._daemons:
            if self._cycle.passes(daemon, row):
                self.table.put_pod(attrs.evolve(daemon, uid=f"{daemon.uid}/{name}"), name)

    def remove(self, name: str) -> None:
        """Take a node away, and all Pods on it."""
        for pod in self.table.pods_on(self.table.rows[name]):
            self.table.remove_pod(pod.uid)
        self.table.remove_node(name)

    def place(self, pods: Iterable[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """Place Pods one after the other; return those that fitted and those that did not."""
        placed: list[PodInfo] = []
        left: list[PodInfo] = []
        hopeless: set[tuple[object, ...]] = set()
        for pod in pods:
            if pod.plain and pod.shape in hopeless:
                left.append(pod)
                continue
            node = self._cycle.decide(pod).node
            if node:
                self.table.put_pod(pod, node)
                placed.append(pod)
            else:
                left.append(pod)
                if pod.plain:
                    hopeless.add(pod.shape)
        return placed, left

    def withdraw(self, pods: Iterable[PodInfo]) -> None:
        """Take Pods away again."""
        for pod in pods:
            self.table.remove_pod(pod.uid)


def plan_growth(
    view: ClusterView,
    pending: Sequence[PodInfo],
    offers: Sequence[Offer],
    *,
    upcoming: Sequence[tuple[str, NodeTemplate]] = (),
    random: Random,
) -> Growth:
    """Return the cheapest nodes found that help as many of the `pending` Pods as can be helped.

    `upcoming` nodes have been asked for and are filled first. Nothing is asked for on behalf of a group of Pods of which too few could be helped.
    """
    growth, in_vain = _plan_growth(view, pending, offers, upcoming, random), []
    while vain := _in_vain(view.groups, pending, growth):
        in_vain += [pod for pod in pending if pod.group in vain]
        pending = [pod for pod in pending if pod.group not in vain]
        growth = _plan_growth(view, pending, offers, upcoming, random)
    return attrs.evolve(growth, hopeless=(*growth.hopeless, *in_vain)) if in_vain else growth


def _in_vain(groups: Groups, pending: Sequence[PodInfo], growth: Growth) -> set[Key]:
    """Return the groups of which too few Pods would have a node."""
    hopeful: dict[Key, int] = {}
    for pod in pending:
        group = groups.gang(pod)
        if group is not None:
            hopeful[group] = hopeful.get(group, 0) + 1
    for pod in growth.hopeless:
        if pod.group in hopeful:
            hopeful[pod.group] -= 1
    return {group for group, count in hopeful.items() if groups.missing(group, count)}


def _plan_growth(
    view: ClusterView,
    pending: Sequence[PodInfo],
    offers: Sequence[Offer],
    upcoming: Sequence[tuple[str, NodeTemplate]],
    random: Random,
) -> Growth:
    rehearsal = Rehearsal(view, random)
    for name, template in upcoming:
        rehearsal.add(template, name)
    scale = _scale([offer.template for offer in offers])
    ordered = sorted(pending, key=lambda pod: (-pod.priority, -_size(pod, scale), pod.key))
    _, left = rehearsal.place(ordered)
    if not left:
        return Growth()
    return _Planner(rehearsal, left, [offer for offer in offers if offer.count > 0], scale).plan()


def _scale(templates: Sequence[NodeTemplate]) -> dict[str, int]:
    """Return the most that a template has of each resource: the measure of Pods."""
    scale: dict[str, int] = {}
    for template in templates:
        for resource, text in template.capacity.items():
            scale[resource] = max(scale.get(resource, 1), amount(resource, text))
    return scale


def _size(pod: PodInfo, scale: Mapping[str, int]) -> float:
    wanted = {PODS: 1, **pod.requests}
    return (
        max(value / scale[resource] for resource, value in wanted.items() if resource in scale or value == 0)
        if scale
        else 0.0
    )


@attrs.frozen
class _Filling:
    counts: tuple[int, ...]
    left: int
    price: float

    @property
    def rank(self) -> tuple[int, float, int]:
        return self.left, self.price, sum(self.counts)


class _Planner:
    def __init__(
        self, rehearsal: Rehearsal, pods: Sequence[PodInfo], offers: Sequence[Offer], scale: Mapping[str, int]
    ) -> None:
        self._rehearsal = rehearsal
        self._pods = pods
        self._offers = offers
        self._scale = scale

    def plan(self) -> Growth:
        nothing = tuple(0 for _ in self._offers)
        best = _Filling(nothing, len(self._pods), 0.0)
        for first in (None, *range(len(self._offers))):
            best = min(best, self._fill(first), key=lambda filling: filling.rank)
        if best.left < len(self._pods) and len(self._pods) <= FEW_PODS:
            best = self._search(best)
        added = self._add(best.counts)
        placed, left = self._rehearsal.place(self._pods)
        self._undo(added, placed)
        return Growth(
            wanted={o.template.name: n for o, n in zip(self._offers, best.counts, strict=True) if n},
            helped=tuple(placed),
            hopeless=tuple(left),
            price=best.price,
        )

    def _price(self, counts: Sequence[int]) -> float:
        return sum(o.template.price * n for o, n in zip(self._offers, counts, strict=True))

    def _name(self, number: int, index: int) -> str:
        return f"{self._offers[number].template.name}/{index}"  # no real node has such a name

    def _add(self, counts: Sequence[int]) -> list[str]:
        names = []
        for number, count in enumerate(counts):
            for index in range(count):
                names.append(self._name(number, index))
                self._rehearsal.add(self._offers[number].template, names[-1])
        return names

    def _undo(self, names: Sequence[str], placed: Sequence[PodInfo]) -> None:
        self._rehearsal.withdraw(placed)
        for name in names:
            self._rehearsal.remove(name)

    def _fill(self, first: int | None) -> _Filling:
        """Add node after node: of one template while that helps, otherwise of the one that gives most for its price."""
        counts, names, placed = [0] * len(self._offers), [], []
        left = list(self._pods)
        while left:
            tried = self._try_next(range(len(self._offers)) if first is None else (first,), counts, left)
            if tried is None:
                if first is None:
                    break
                first = None
                continue
            names.append(self._name(tried, counts[tried]))
            self._rehearsal.add(self._offers[tried].template, names[-1])
            counts[tried] += 1
            more, left = self._rehearsal.place(left)
            placed += more
        self._undo(names, placed)
        return _Filling(tuple(counts), len(left), self._price(counts))

    def _try_next(self, numbers: Iterable[int], counts: Sequence[int], left: Sequence[PodInfo]) -> int | None:
        best: tuple[float, float, int] | None = None
        for number in numbers:
            offer = self._offers[number]
            if counts[number] >= offer.count:
                continue
            name = self._name(number, counts[number])
            self._rehearsal.add(offer.template, name)
            placed, _ = self._rehearsal.place(left)
            self._undo([name], placed)
            if placed:
                size = sum(_size(pod, self._scale) for pod in placed)
                candidate = (offer.template.price / max(size, 1e-9), -size, number)
                best = candidate if best is None else min(best, candidate)
        return None if best is None else best[2]

    def _search(self, best: _Filling) -> _Filling:
        """Try sets in the order of their price until one does what `best` does, or it is not cheaper."""
        needed: dict[str, int] = {}
        if not best.left:
            for pod in self._pods:
                for resource, value in {PODS: 1, **pod.requests}.items():
                    needed[resource] = needed.get(resource, 0) + value
        nothing = tuple(0 for _ in self._offers)
        heap: list[tuple[float, int, tuple[int, ...]]] = [(0.0, 0, nothing)]
        trials = 0
        for _ in range(SETS):
            if not heap or trials >= TRIALS:
                break
            price, nodes, counts = heapq.heappop(heap)
            if (price, nodes) >= (best.price, sum(best.counts)):
                break
            if nodes and self._may_do(counts, needed):
                trials += 1
                added = self._add(counts)
                placed, left = self._rehearsal.place(self._pods)
                self._undo(added, placed)
                if len(left) <= best.left:
                    return _Filling(counts, len(left), price)
            # Each set is made once: templates are added in their order.
            last = max((n for n, count in enumerate(counts) if count), default=0)
            for number in range(last, len(counts)):
                if counts[number] < self._offers[number].count:
                    more = (*counts[:number], counts[number] + 1, *counts[number + 1 :])
                    heapq.heappush(heap, (self._price(more), nodes + 1, more))
        return best

    def _may_do(self, counts: Sequence[int], needed: Mapping[str, int]) -> bool:
        """Return whether there is as much in all as the Pods need in all: cheap to ask, and mostly not so."""
        for resource, value in needed.items():
            there = sum(
                amount(resource, offer.template.capacity.get(resource, "0")) * count
                for offer, count in zip(self._offers, counts, strict=True)
            )
            if value and there < value:
                return False
        return True
