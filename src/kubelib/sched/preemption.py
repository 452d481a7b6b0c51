"""Preemption: when a Pod fits nowhere, which Pods of lower priority would have to go so that it does. Pure.

The rules are kube-scheduler's. A first look at all nodes at once tells where it may help and which priority would have to suffer at
least; then nodes are looked at one by one, those where it is lowest first, until there are enough to choose from.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.sched.base import (
    Filter,
    SupportsCounting,
    SupportsOtherRows,
    SupportsPreemption,
    SupportsRetryOn,
    SupportsRoom,
)
from kubelib.sched.budgets import Budgets
from kubelib.sched.cycle import Cycle, refusal
from kubelib.sched.guarding import Guarded
from kubelib.sched.pods import PODS, PodInfo

ENOUGH = 100
"""Of so many nodes the best is taken, once one is among them where no disruption budget is broken; kube-scheduler's least."""
KEPT = 64
NO_VICTIMS = "No preemption victims found for incoming pod"
NEVER = "not eligible due to preemptionPolicy=Never."
NO_HELP = "Preemption is not helpful for scheduling"

Started = Callable[[PodInfo], float]
"""Returns when a Pod was started, in seconds; that of one that was not is now."""


@attrs.frozen
class Plan:
    """A node, and the Pods that would have to leave it: the most important first."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int
    """How many of the victims a disruption budget would have kept."""
    cost: tuple[float, ...]
    """What is compared, the lowest wins: violations, highest priority, sum of priorities, number, latest start."""


@attrs.frozen
class NoPlan:
    """No Pod that may be made to leave would help, and why."""

    message: str


class _Bench(Protocol):
    """A node without its Pods of lower priority, on trial."""

    def fits(self) -> bool: ...
    def put(self, pod: PodInfo) -> None: ...
    def take(self, pod: PodInfo) -> None: ...


@attrs.define
class _Kept:
    position: int
    budgets: int
    plans: dict[int, Plan | None]


class Preemption:
    """Plans preemptions for one cycle of decisions."""

    def __init__(self, cycle: Cycle, budgets: Budgets, *, started: Started, random: Random) -> None:
        self._cycle = cycle
        self.table = cycle.table
        self._budgets = budgets
        self._started = started
        self._random = random
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()
        # Asking which protocols a filter has is slow: it is asked once.
        filters = cycle.policy.filters
        self._room = [f for f in filters if isinstance(f, SupportsRoom)]
        self._wide = [f if isinstance(f, SupportsOtherRows) else None for f in filters]
        self._knowing = {id(f): f for f in filters if isinstance(f, SupportsPreemption)}
        self._yielding = {id(f) for f in filters if _yields(f)}

    @property
    def wanted(self) -> bool:
        """Whether the policy lets Pods be made to leave at all."""
        return self._cycle.policy.preempts

    def plan(self, pod: PodInfo) -> Plan | NoPlan:
        """Return the preemption that hurts least."""
        table, filters = self._cycle.table, self._concerned(pod)
        if not pod.preempts:
            return NoPlan(NEVER)
        if self._cycle.policy.watch is not None:
            self._cycle.policy.watch.begin(pod)
        may = self.helpful(pod)
        layers = table.layers().below(pod.priority)
        pods = list(table.allocatable).index(PODS)
        peopled = np.zeros(table.size, bool)
        for _, matrix in layers:
            peopled |= matrix[pods] > 0
        suffers, fitting, extra = self._who_suffers(pod, layers)
        rows = np.flatnonzero(may & peopled & fitting)
        if len(rows):
            start = self._random.randrange(len(rows))
            rows = np.concatenate([rows[start:], rows[:start]])
            rows = rows[np.argsort(suffers[rows], kind="stable")]
            best = self._best(pod, rows, self._kept_plans(pod, filters))
            if best is not None:
                return best
        return NoPlan(self._explain(pod, may, peopled, fitting, extra))

    def helpful(self, pod: PodInfo) -> NDArray[np.bool_]:
        """Return, for all rows, whether nothing but Pods that might leave keeps a Pod from the node."""
        may: NDArray[np.bool_] = self._cycle.table.present.copy()
        for condition in self._concerned(pod):
            may &= self._may_pass(condition, pod)
        return may

    def hopeful(self, pod: PodInfo, node: str) -> bool:
        """Return whether a Pod could come to fit on a node when others leave it."""
        row = self._cycle.table.rows.get(node)
        return row is not None and bool(self.helpful(pod)[row])

    def _concerned(self, pod: PodInfo) -> list[Filter]:
        table = self._cycle.table
        return [
            f
            for f, wide in zip(self._cycle.policy.filters, self._wide, strict=True)
            if wide is None or wide.concerns(pod, table)
        ]

    def _may_pass(self, condition: Filter, pod: PodInfo) -> NDArray[np.bool_] | bool:
        table = self._cycle.table
        knowing = self._knowing.get(id(condition))
        if knowing is not None:
            return knowing.may_pass(pod, table)
        return id(condition) in self._yielding or condition.fits(pod, table, slice(0, table.size))

    def _who_suffers(
        self, pod: PodInfo, layers: Sequence[tuple[int, NDArray[np.int64]]]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
        """Return, by row, the lowest priority up to which Pods must go so that there is room, whether there is then, and how much more."""
        table = self._cycle.table
        extra = np.zeros_like(table.free)
        promises = table.promises(pod.priority)
        if promises is not None:
            extra -= promises
            own = table.rows.get(table.nominated_node(pod.uid))
            if own is not None:
                extra[:, own] += table.wanted(pod)
        suffers = np.full(table.size, np.inf)
        enough = np.zeros(table.size, bool)
        for level, matrix in layers:
            extra += matrix
            fits = np.ones(table.size, bool)
            for condition in self._room:
                fits &= condition.fits_with(pod, table, extra)
            suffers[fits & ~enough] = level
            enough = enough | fits
        return suffers, enough, extra

    def _best(
        self, pod: PodInfo, rows: NDArray[np.int64], kept: dict[int, Plan | None] | None
    ) -> Plan | None:
        best: Plan | None = None
        found, harmless = 0, False
        arithmetic = kept is not None
        for row in map(int, rows):
            if kept is not None and row in kept:
                plan = kept[row]
            else:
                plan = self.plan_on(pod, row, arithmetic=arithmetic)
                if kept is not None:
                    kept[row] = plan
            if plan is None:
                continue
            if best is None or plan.cost < best.cost:
                best = plan
            found += 1
            harmless = harmless or not plan.violations
            if found >= ENOUGH and harmless:
                break
        return best

    def _kept_plans(self, pod: PodInfo, filters: Sequence[Filter]) -> dict[int, Plan | None] | None:
        """Return what is known of rows for Pods of this shape, if only room matters; then what holds for one row depends on it alone."""
        table, alone = self._cycle.table, slice(0, 1)
        for condition in filters:
            # What one of others says of all nodes at once, with these Pods on them, says nothing of fewer Pods.
            if condition in self._wide or isinstance(condition, Guarded):
                return None
            only_room = condition in self._room or id(condition) not in self._yielding
            if not only_room and condition.fits(pod, table, alone) is not True:
                return None
        if table.nominated_node(pod.uid) or not all(p.plain for p in table.nominees()):
            return None
        key = (pod.shape, pod.priority)
        kept = self._kept.get(key)
        if kept is None or kept.budgets != self._budgets.version or kept.position < table.log_start:
            kept = self._kept[key] = _Kept(table.log_end, self._budgets.version, {})
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        for row in table.log[kept.position - table.log_start :]:
            kept.plans.pop(row, None)
        kept.position = table.log_end
        return kept.plans

    def plan_on(self, pod: PodInfo, row: int, *, arithmetic: bool = False) -> Plan | None:
        """Return who would have to leave one node: all of lower priority go, then those that need not come back, the most important first."""
        lower = self._lower(pod, row)
        if not lower:
            return None
        with (self._sums if arithmetic else self._trial)(pod, row, lower) as bench:
            if not bench.fits():
                return None
            victims: list[PodInfo] = []
            violating, others = self._budgets.split(lower)
            violations = 0
            for number, candidate in enumerate((*violating, *others)):
                bench.put(candidate)
                if not bench.fits():
                    bench.take(candidate)
                    victims.append(candidate)
                    violations += number < len(violating)
        chosen = {victim.uid for victim in victims}
        return self._plan(row, [p for p in lower if p.uid in chosen], violations)

    def _lower(self, pod: PodInfo, row: int) -> list[PodInfo]:
        # Among equals the name decides: the order in which a table holds its Pods depends on what was tried before.
        lower = [p for p in self._cycle.table.pods_on(row) if p.priority < pod.priority]
        return sorted(lower, key=lambda p: (-p.priority, self._started(p), p.key))

    def _plan(self, row: int, victims: Sequence[PodInfo], violations: int) -> Plan:
        highest = victims[0].priority if victims else -(2.0**31)
        # The sum is that of kube-scheduler: as none is below zero, fewer victims weigh less.
        total = sum(victim.priority + 2**31 for victim in victims)
        earliest = min((self._started(v) for v in victims if v.priority == highest), default=0.0)
        cost = (violations, highest, total, len(victims), -earliest)
        return Plan(self._cycle.table.names[row], tuple(victims), violations, cost)

    @contextmanager
    def _trial(self, pod: PodInfo, row: int, lower: Sequence[PodInfo]) -> Iterator[_Bench]:
        table, name = self._cycle.table, self._cycle.table.names[row]
        with table.trying():
            for other in lower:
                table.remove_pod(other.uid)
            bench = _Trial(self._cycle, pod, row)
            try:
                yield bench
            finally:
                # Whoever has been put back meanwhile is there already.
                for other in lower:
                    table.put_pod(other, name)

    @contextmanager
    def _sums(self, pod: PodInfo, row: int, lower: Sequence[PodInfo]) -> Iterator[_Bench]:
        yield _Sums(self._cycle, pod, row, lower)

    def _explain(
        self,
        pod: PodInfo,
        may: NDArray[np.bool_],
        peopled: NDArray[np.bool_],
        fitting: NDArray[np.bool_],
        extra: NDArray[np.int64],
    ) -> str:
        """Say why it does not help: with all Pods of lower priority gone, nodes fail for these reasons."""
        table = self._cycle.table
        reasons = Counter({NO_HELP: int(np.count_nonzero(table.present & ~may))})
        reasons[NO_VICTIMS] = int(np.count_nonzero(may & ~peopled))
        # Where room is short it can be counted; only what else there is must be looked at one by one.
        short = np.flatnonzero(may & peopled & ~fitting)
        for condition in self._cycle.policy.filters:
            if isinstance(condition, SupportsCounting) and len(short):
                reasons.update(condition.count_reasons(pod, table, short, extra))
        for row in map(int, np.flatnonzero(may & peopled & fitting)):
            with self._trial(pod, row, self._lower(pod, row)):
                reasons.update(self._cycle.reasons_on(pod, row))
        return refusal(len(table), {reason: count for reason, count in reasons.items() if count})


def _yields(condition: Filter) -> bool:
    """Return whether a filter may change its mind when Pods leave."""
    return not isinstance(condition, SupportsRetryOn) or "pod gone" in condition.retry_on


class _Trial:
    """Judges by all filters, with the table changed."""

    def __init__(self, cycle: Cycle, pod: PodInfo, row: int) -> None:
        self._cycle, self._pod, self._row = cycle, pod, row

    def fits(self) -> bool:
        return self._cycle.fits_on(self._pod, self._row)

    def put(self, pod: PodInfo) -> None:
        self._cycle.table.put_pod(pod, self._cycle.table.names[self._row])

    def take(self, pod: PodInfo) -> None:
        self._cycle.table.remove_pod(pod.uid)


class _Sums:
    """Judges by room alone."""

    def __init__(self, cycle: Cycle, pod: PodInfo, row: int, lower: Sequence[PodInfo]) -> None:
        table = cycle.table
        self._left = {
            name: int(table.left[name][row]) - wanted for name, wanted in pod.requests.items() if wanted
        }
        self._left[PODS] = int(table.left[PODS][row]) - 1
        for other in lower:
            self.take(other)
        for other in table.promised_on(row, pod.priority):
            self.put(other)

    def fits(self) -> bool:
        return min(self._left.values()) >= 0

    def put(self, pod: PodInfo) -> None:
        left = self._left
        left[PODS] -= 1
        for name, wanted in pod.requests.items():
            if name in left:
                left[name] -= wanted

    def take(self, pod: PodInfo) -> None:
        left = self._left
        left[PODS] += 1
        for name, wanted in pod.requests.items():
            if name in left:
                left[name] += wanted
