"""An ordinary Python function of one Pod and one node as a filter or a score."""

from collections.abc import Callable, Sequence

import numpy as np

from kubelib.sched.base import ANYTHING, BoolColumn, FloatColumn, Happening, Rows
from kubelib.sched.nodes import NodeInfo, NodeTable
from kubelib.sched.pods import PodInfo

Judge = Callable[[PodInfo, NodeInfo], float]
"""Returns whether the node is fit, or how good it is from 0 to 100. Asked once per shape of Pod and state of node."""


class PerNode:
    """A filter and a score in one: what the function returns is taken for what the policy uses it as."""

    def __init__(self, function: Judge, name: str, reason: str, retry_on: frozenset[Happening]) -> None:
        self.name = name
        self.reason = reason
        self.retry_on = retry_on
        self._function = function

    def fits(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> BoolColumn | bool:
        """Judge the nodes one by one."""
        return self._judge(pod, nodes, rows).astype(bool)

    def reasons(self, pod: PodInfo, nodes: NodeTable, row: int) -> Sequence[str]:
        """Give the reason."""
        return (self.reason,)

    def score(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn | float:
        """Judge the nodes one by one; what lies outside of 0 to 100 is cut off, and what is no number is 0."""
        return np.clip(np.nan_to_num(self._judge(pod, nodes, rows), nan=0.0), 0.0, 100.0)

    def _judge(self, pod: PodInfo, nodes: NodeTable, rows: Rows) -> FloatColumn:
        function, present = self._function, nodes.present
        return np.array(
            [function(pod, nodes.node(row)) if present[row] else 0.0 for row in nodes.indices(rows)],
            np.float64,
        )


def per_node(
    function: Judge,
    *,
    name: str = "",
    reason: str = "",
    retry_on: frozenset[Happening] = ANYTHING,
) -> PerNode:
    """Return a filter or score that asks a function about each node: simple, and slow beside whole columns.

    >>> from kubelib.sched.policies import per_node
    >>> quiet = per_node(lambda pod, node: len(node.pods) < 10, name="Quiet", reason="node(s) were busy")
    """
    name = name or getattr(function, "__name__", "PerNode")
    return PerNode(function, name, reason or f"node(s) didn't pass {name}", retry_on)
