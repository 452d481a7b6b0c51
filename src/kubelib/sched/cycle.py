"""The decision: which node for a Pod. Pure, synchronous, over all nodes at once.

Pods of one shape are judged once: the judgement is kept, and only rows that have changed since are judged again.
"""

from collections.abc import Mapping
from random import Random

import attrs
import numpy as np
from numpy.typing import NDArray

from kubelib.sched.base import Policy
from kubelib.sched.nodes import NodeTable
from kubelib.sched.pods import PodInfo


@attrs.frozen
class Verdict:
    """The node that was chosen, or how many nodes failed for which reason."""

    node: str = ""
    reasons: Mapping[str, int] = attrs.field(factory=dict)
    nodes: int = 0

    @property
    def message(self) -> str:
        """The refusal as kube-scheduler words it: counts in order of reason."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        counted = ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items()))
        return f"0/{self.nodes} nodes are available: {counted}."


@attrs.define
class _Judgement:
    fits: NDArray[np.bool_]
    scores: NDArray[np.float64]
    position: int
    generation: int
    size: int


class Cycle:
    """Decides for one policy on one table. After a decision the caller counts the Pod in the table."""

    def __init__(self, table: NodeTable, policy: Policy, random: Random) -> None:
        self.table = table
        self.policy = policy
        self._random = random
        self._judgements: dict[tuple[object, ...], _Judgement] = {}

    def decide(self, pod: PodInfo) -> Verdict:
        """Choose a node."""
        judgement = self._judge(pod)
        if not judgement.fits.any():
            return Verdict("", self._reasons(pod), len(self.table))
        row = self.policy.choose.choose(judgement.fits, judgement.scores, self._random)
        return Verdict(self.table.names[row])

    def _judge(self, pod: PodInfo) -> _Judgement:
        table = self.table
        judgement = self._judgements.get(pod.shape)
        end = len(table.log)
        if judgement is None or judgement.generation != table.generation or judgement.size != table.size:
            if len(self._judgements) > 2000:
                self._judgements.clear()
            everything = np.arange(table.size)
            fits, scores = self._sweep(pod, everything)
            judgement = _Judgement(fits, scores, end, table.generation, table.size)
            self._judgements[pod.shape] = judgement
        elif judgement.position < end:
            rows = np.unique(np.asarray(table.log[judgement.position : end], np.int64))
            judgement.fits[rows], judgement.scores[rows] = self._sweep(pod, rows)
            judgement.position = end
        return judgement

    def _sweep(self, pod: PodInfo, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        table, policy = self.table, self.policy
        fits = table.present[rows].copy()
        for condition in policy.filters:
            fits &= condition.fits(pod, table, rows)
        scores = np.zeros(len(rows))
        for score, weight in policy.scores:
            scores += weight * score.score(pod, table, rows)
        return fits, scores

    def _reasons(self, pod: PodInfo) -> dict[str, int]:
        """Count, node by node, the first reason for which each does not fit."""
        table = self.table
        rows = np.flatnonzero(table.present)
        left = np.ones(len(rows), bool)
        counts: dict[str, int] = {}
        for condition in self.policy.filters:
            failed = left & ~condition.fits(pod, table, rows)
            if failed.any():
                for row in rows[failed]:
                    for reason in condition.reasons(pod, table, int(row)):
                        counts[reason] = counts.get(reason, 0) + 1
                left &= ~failed
        return counts
