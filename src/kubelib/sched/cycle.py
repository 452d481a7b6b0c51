"""The decision: which node for a Pod. Pure, synchronous, over all nodes at once.

Pods of one shape are judged once: the judgement is kept, and only rows that have changed since are judged again.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from random import Random
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.sched.base import (
    ANYTHING,
    Filter,
    Happening,
    Policy,
    Rows,
    Score,
    SupportsCandidates,
    SupportsCounting,
    SupportsOneRowFilter,
    SupportsOneRowScore,
    SupportsOtherRows,
    SupportsRefusal,
    SupportsRetryOn,
    SupportsRoom,
)
from kubelib.sched.guarding import BadPlugin, guarded
from kubelib.sched.nodes import NodeTable
from kubelib.sched.nodeselectors import named
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import not_among

KEPT_JUDGEMENTS = 512
UNFIT = float("-inf")
TAKEN = "node(s) had no room beside pods that are on their way there"
FEW = 8
"""Up to so many rows are judged one by one: numpy's cost per call is that of some rows."""


@attrs.frozen
class Verdict:
    """The node that was chosen, or how many nodes failed for which reason."""

    node: str = ""
    reasons: Mapping[str, int] = attrs.field(factory=dict)
    nodes: int = 0
    retry_on: frozenset[Happening] = ANYTHING
    """What may help, of a refusal."""
    outright: str = ""
    """Why no node at all would do, in place of counted reasons."""

    @property
    def message(self) -> str:
        """The refusal as kube-scheduler words it."""
        return refusal(self.nodes, self.reasons, self.outright)


def refusal(nodes: int, reasons: Mapping[str, int], outright: str = "") -> str:
    """Return the sentence that says that no node will do, and why: counts, in the order of their text."""
    if not nodes:
        return "no nodes available to schedule pods"
    counted = outright or ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{nodes} nodes are available: {counted}."


@attrs.define
class _Judgement:
    fits: NDArray[np.bool_]
    scores: NDArray[np.float64]
    """-inf where the Pod does not fit."""
    position: int
    fitting: int
    """How many rows fit."""


class Cycle:
    """Decides for one policy on one table. After a decision the caller counts the Pod in the table."""

    def __init__(self, table: NodeTable, policy: Policy, random: Random) -> None:
        self.table = table
        self.policy = policy = guarded(policy)
        self._watch = policy.watch
        self._random = random
        self._judgements: OrderedDict[tuple[object, ...], _Judgement] = OrderedDict()
        self._filters = [
            (f, f.fits_row if isinstance(f, SupportsOneRowFilter) else None)
            for f in policy.filters
            if not isinstance(f, SupportsOtherRows)
        ]
        # Asking which protocols a filter has is slow: it is asked once.
        self._conditions = [
            (f, isinstance(f, SupportsOtherRows), f if isinstance(f, SupportsCounting) else None)
            for f in policy.filters
        ]
        self._room = [f for f in policy.filters if isinstance(f, SupportsRoom)]
        self._wide_filters = [f for f in policy.filters if isinstance(f, SupportsOtherRows)]
        self._refusing = [
            (f, f if isinstance(f, SupportsOtherRows) else None)
            for f in policy.filters
            if isinstance(f, SupportsRefusal)
        ]
        self._naming = [f for f in policy.filters if isinstance(f, SupportsCandidates)]
        self._scores = [
            (s, s.score_row if isinstance(s, SupportsOneRowScore) else None, w)
            for s, w in policy.scores
            if not isinstance(s, SupportsOtherRows)
        ]
        self._wide_scores = [(s, w) for s, w in policy.scores if isinstance(s, SupportsOtherRows)]

    def decide(self, pod: PodInfo) -> Verdict:
        """Choose a node: the one that was promised to the Pod if it fits there, otherwise the best."""
        table = self.table
        if self._watch is not None:
            self._watch.begin(pod)
        promised = table.rows.get(table.nominated_node(pod.uid))
        if promised is not None and self.fits_on(pod, promised):
            return Verdict(table.names[promised])
        judgement = self._judge(pod)
        if not judgement.fitting:
            return self._refusal(pod)
        fits, scores = judgement.fits, judgement.scores
        filters = [f for f in self._wide_filters if f.concerns(pod, table)]
        wide = [(s, w) for s, w in self._wide_scores if s.concerns(pod, table)]
        if filters or wide:
            fits, scores = self._look_around(pod, fits, scores, filters, wide)
            if not fits.any():
                return self._refusal(pod)
        fits, scores = self._leave_out(pod, fits, scores)
        while fits.any():
            row = self._choose(fits, scores)
            if not table.promised_on(row, pod.priority) or self.fits_on(pod, row):
                return Verdict(table.names[row])
            fits, scores = fits.copy(), scores.copy()
            fits[row], scores[row] = False, UNFIT
        return self._refusal(pod)

    def _choose(self, fits: NDArray[np.bool_], scores: NDArray[np.float64]) -> int:
        row = self.policy.choose.choose(fits, scores, self._random)
        if not (0 <= row < len(fits) and fits[row]):
            name = getattr(self.policy.choose, "name", type(self.policy.choose).__name__)
            raise BadPlugin(f"{name} chose row {row}, which the pod does not fit on")
        return row

    def _leave_out(
        self, pod: PodInfo, fits: NDArray[np.bool_], scores: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Leave out rows that have no room beside what is promised there to others, and those that have refused such a Pod."""
        table = self.table
        promises, doubted = table.promises(pod.priority), table.doubted(pod)
        if promises is None and not doubted:
            return fits, scores
        fits = fits.copy()
        fits[doubted] = False
        if promises is not None and not table.nominated_node(pod.uid):
            for condition in self._room:
                fits &= condition.fits_with(pod, table, -promises)
        return fits, np.where(fits, scores, UNFIT)

    def fits_on(self, pod: PodInfo, row: int) -> bool:
        """Return whether a Pod fits on one row as it is, and beside what is promised there to others of its priority or more."""
        with self._beside(pod, row) as others:
            if others and not self.passes(pod, row):
                return False
        return row not in self.table.doubted(pod) and self.passes(pod, row)

    @contextmanager
    def _beside(self, pod: PodInfo, row: int) -> Iterator[Sequence[PodInfo]]:
        """Count in the block those that are promised room on a row, and of at least the Pod's priority."""
        table = self.table
        others = [other for other in table.promised_on(row, pod.priority) if other.uid != pod.uid]
        if not others:
            yield ()
            return
        with table.trying():
            for other in others:
                table.put_pod(other, table.names[row])
            try:
                yield others
            finally:
                for other in others:
                    table.remove_pod(other.uid)

    def reasons_on(self, pod: PodInfo, row: int) -> Sequence[str]:
        """Return the reasons of the first filter that one row fails, beside what is promised there; none if it passes all."""
        table, alone = self.table, np.array([row])
        with self._beside(pod, row):
            for condition in self.policy.filters:
                if isinstance(condition, SupportsOtherRows) and not condition.concerns(pod, table):
                    continue
                if not np.all(condition.fits(pod, table, alone)):
                    return condition.reasons(pod, table, row)
        return ()

    def passes(self, pod: PodInfo, row: int) -> bool:
        """Return whether one row passes all filters, asked anew."""
        if self._look(pod, row, scored=False) == UNFIT:
            return False
        alone = np.array([row])
        return all(
            bool(np.all(f.fits(pod, self.table, alone)))
            for f in self._wide_filters
            if f.concerns(pod, self.table)
        )

    def _judge(self, pod: PodInfo) -> _Judgement:
        table = self.table
        judgement = self._judgements.get(pod.shape)
        end = table.log_end
        if judgement is None or len(judgement.fits) != table.size or judgement.position < table.log_start:
            fits, scores = self._sweep(pod, slice(0, table.size))
            judgement = _Judgement(fits, scores, end, int(np.count_nonzero(fits)))
            self._judgements[pod.shape] = judgement
            if len(self._judgements) > KEPT_JUDGEMENTS:
                self._judgements.popitem(last=False)
            return judgement
        self._judgements.move_to_end(pod.shape)
        changed = table.log[judgement.position - table.log_start :]
        if len(changed) > 1:
            changed = list(dict.fromkeys(changed))
        if len(changed) <= FEW:
            for row in changed:
                judgement.scores[row] = score = self._look(pod, row)
                fit = score != UNFIT
                if judgement.fits[row] != fit:
                    judgement.fits[row] = fit
                    judgement.fitting += 1 if fit else -1
        else:
            whole = len(changed) > table.size // 2
            rows: Rows = slice(0, table.size) if whole else np.array(changed, np.int64)
            judgement.fits[rows], judgement.scores[rows] = self._sweep(pod, rows)
            judgement.fitting = int(np.count_nonzero(judgement.fits))
        judgement.position = end
        return judgement

    def _look(self, pod: PodInfo, row: int, *, scored: bool = True) -> float:
        """Judge one row: its score, or `UNFIT`."""
        table = self.table
        if not table.present[row]:
            return UNFIT
        alone = slice(row, row + 1)
        for condition, fits_row in self._filters:
            if fits_row is not None:
                if not fits_row(pod, table, row):
                    return UNFIT
            else:
                verdict = condition.fits(pod, table, alone)
                if verdict is not True and not (verdict is not False and verdict[0]):
                    return UNFIT
        total = 0.0
        if not scored:
            return total
        for score, score_row, weight in self._scores:
            if score_row is not None:
                total += weight * score_row(pod, table, row)
            else:
                points = score.score(pod, table, alone)
                total += weight * (float(points[0]) if isinstance(points, np.ndarray) else points)
        if not math.isfinite(total):
            raise BadPlugin(f"a score of {table.names[row]} is {total}")
        return total

    def _sweep(self, pod: PodInfo, rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        table = self.table
        fits = table.present[rows].copy()
        for condition, _ in self._filters:
            verdict = _verdict(condition, condition.fits(pod, table, rows), len(fits))
            if verdict is not True:
                fits &= verdict
        scores = np.zeros(len(fits))
        for score, _, weight in self._scores:
            scores += weight * _points(score, score.score(pod, table, rows), len(fits))
        _require_finite(scores[fits], self.policy.scores)
        # Last: what is said of a node on which the Pod does not fit counts for nothing, whatever it is.
        scores[~fits] = UNFIT
        return fits, scores

    def _look_around(
        self,
        pod: PodInfo,
        fits: NDArray[np.bool_],
        scores: NDArray[np.float64],
        filters: Sequence[Filter],
        wide: Sequence[tuple[Score, float]],
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Apply what depends on other rows. What is kept stays as it is."""
        table = self.table
        if filters:
            fits = fits.copy()
            for condition in filters:
                fits &= _verdict(condition, condition.fits(pod, table, slice(0, table.size)), table.size)
            scores = np.where(fits, scores, UNFIT)
        if wide:
            rows = np.flatnonzero(fits)
            scores = scores.copy()
            for score, weight in wide:
                scores[rows] += weight * _points(score, score.score(pod, table, rows), len(rows))
            _require_finite(scores[rows], wide)
        return fits, scores

    def _refusal(self, pod: PodInfo) -> Verdict:
        """Count the reasons: each node for the first filter that it fails."""
        table = self.table
        for refusing, wide_ranging in self._refusing:
            if wide_ranging is not None and not wide_ranging.concerns(pod, table):
                continue
            if why := refusing.refuses(pod, table):
                return Verdict("", {}, len(table), _retry_on(refusing), why)
        rows = np.flatnonzero(table.present)
        counts: dict[str, int] = {}
        for naming in self._naming:
            candidates = _candidates(naming, pod)
            if candidates is not None:
                among = named(tuple(candidates), table, rows)
                if not among.all():
                    counts[not_among(naming)] = int(np.count_nonzero(~among))
                rows = rows[among]
        retry_on: frozenset[Happening] = frozenset({"new node"})
        for condition, wide, counting in self._conditions:
            if not len(rows):
                break
            if wide and not condition.concerns(pod, table):  # type: ignore[attr-defined]
                continue
            fits = np.broadcast_to(condition.fits(pod, table, rows), len(rows))
            failed = rows[~fits]
            if counting is not None:
                for reason, count in counting.count_reasons(pod, table, failed).items():
                    counts[reason] = counts.get(reason, 0) + count
            else:
                for row in failed:
                    for reason in condition.reasons(pod, table, int(row)):
                        counts[reason] = counts.get(reason, 0) + 1
            if len(failed):
                retry_on |= _retry_on(condition)
            rows = rows[fits]
        if len(rows):
            # Fit to look at, but the room is another's: promised, or taken by somebody of whom we have not heard yet.
            retry_on = ANYTHING
            for row in map(int, self._beside_promises(pod, rows, counts)):
                for reason in self.reasons_on(pod, row) or (TAKEN,):
                    counts[reason] = counts.get(reason, 0) + 1
        return Verdict("", counts, len(table), retry_on)

    def _beside_promises(
        self, pod: PodInfo, rows: NDArray[np.int64], counts: dict[str, int]
    ) -> NDArray[np.int64]:
        """Count what is short of room beside what is promised to others, and return the rows of which that says nothing.

        The same as `reasons_on` for each row, at once: a burst of Pods that preempt finds hundreds of rows promised.
        """
        table = self.table
        promises = table.promises(pod.priority)
        # What filters before that of room look at in other Pods are their ports.
        if promises is None or any(other.ports for other in table.nominees()):
            return rows
        extra = -promises
        own = table.rows.get(table.nominated_node(pod.uid))
        if own is not None:
            extra[:, own] += table.wanted(pod)
        for condition in self._room:
            if isinstance(condition, SupportsCounting):
                fits = np.broadcast_to(condition.fits_with(pod, table, extra), table.size)[rows]
                for reason, count in condition.count_reasons(pod, table, rows[~fits], extra).items():
                    counts[reason] = counts.get(reason, 0) + count
                rows = rows[fits]
        return rows


def _verdict(condition: Filter, verdict: Any, rows: int) -> Any:
    """Return what a filter says of so many rows. Raises `BadPlugin` unless it is a bool, or one for each."""
    if isinstance(verdict, bool | np.bool_):
        return bool(verdict)
    if isinstance(verdict, np.ndarray) and verdict.shape == (rows,) and verdict.dtype == np.bool_:
        return verdict
    raise BadPlugin(
        f"the filter {condition.name} must return a bool, or an array of {rows}: {_shown(verdict)}"
    )


def _candidates(naming: SupportsCandidates, pod: PodInfo) -> Set[str] | None:
    """Return the names of all nodes that may do, or None for any. Raises `BadPlugin` for anything else."""
    names = naming.candidates(pod)
    if names is None or isinstance(names, Set):
        return names
    raise BadPlugin(f"the filter {naming.name} must return a set of names, or None: {_shown(names)}")


def _points(score: Score, points: Any, rows: int) -> Any:
    """Return the points that a score gives to so many rows. Raises `BadPlugin` unless they are a number, or one for each."""
    if isinstance(points, np.ndarray):
        if points.shape == (rows,) and points.dtype.kind in "fiub":
            return points
    elif isinstance(points, int | float | np.number):
        return points
    raise BadPlugin(f"the score {score.name} must return a number, or an array of {rows}: {_shown(points)}")


def _require_finite(scores: NDArray[np.float64], among: Sequence[tuple[Score, float]]) -> None:
    """Raise `BadPlugin` if a score of a node that fits is no number: it would win, or lose, against every other."""
    if not np.isfinite(scores).all():
        names = ", ".join(score.name for score, _ in among)
        raise BadPlugin(f"a score of a node is not a finite number: it is that of one of {names}")


def _shown(returned: Any) -> str:
    if isinstance(returned, np.ndarray):
        return f"it returned an array of shape {returned.shape} and type {returned.dtype}"
    return f"it returned {returned!r}"


def _retry_on(condition: Filter) -> frozenset[Happening]:
    return condition.retry_on if isinstance(condition, SupportsRetryOn) else ANYTHING
