"""The filter and the score about devices. They look at what is known of claims to them besides rows, and concern only Pods that have some."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from kubelib.sched.base import BoolColumn, FloatColumn, Happening, Rows
from kubelib.sched.devices import ELSEWHERE, Judgement, Needs
from kubelib.sched.nodes import NodeTable
from kubelib.sched.nodeselectors import selector_matches
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.filters import LABELS


def _judged(needs: Needs, nodes: NodeTable, rows: Iterable[int]) -> Iterator[Judgement]:
    return nodes.devices.judge(needs.lacking, ((nodes.names[row], nodes.selects_on(row)) for row in rows))


class HasDevices:
    """The Pod's claims have devices, or can get some, that can be used on the node."""

    name = "DynamicResources"
    retry_on: frozenset[Happening] = LABELS | {"devices"}

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods with claims to devices are concerned."""
        return bool(pod.devices)

    def refuses(self, pod: PodInfo, nodes: NodeTable) -> str:
        """Return why no node at all will do."""
        return nodes.devices.needs(pod).outright

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes."""
        needs = nodes.devices.needs(pod)
        if needs.outright:
            return False
        result: BoolColumn | bool = True
        for selector in needs.where:
            result = selector_matches(selector, nodes, rows) & result
        if not needs.lacking:
            return result
        here = np.broadcast_to(result, len(nodes.present[rows])) & nodes.present[rows]
        numbers = [row for at, row in enumerate(nodes.indices(rows)) if here[at]]
        here[here] = [not found.problem for found in _judged(needs, nodes, numbers)]
        return here

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Name what is wrong."""
        needs = nodes.devices.needs(pod)
        if needs.outright:
            return (needs.outright,)
        problem = next(_judged(needs, nodes, [row])).problem if needs.lacking else ""
        return (problem or ELSEWHERE,)


class PrefersFirstChoices:
    """Prefers nodes on which the Pod's claims get what they would rather have: the best of those that fit gets 100."""

    name = "DynamicResources"

    def concerns(self, pod: PodInfo, nodes: NodeTable) -> bool:
        """Only Pods are concerned that leave a choice."""
        return bool(pod.devices) and any(
            request.first_available
            for claim in nodes.devices.needs(pod).lacking
            for request in claim.spec.devices.requests
        )

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes."""
        judged = _judged(nodes.devices.needs(pod), nodes, nodes.indices(rows))
        points = np.array([found.points for found in judged], np.int64)
        most = points.max(initial=0)
        return np.asarray(100 * points // most, np.float64) if most else 0.0
