"""What a scheduling policy is made of. Judging is pure, synchronous and over all nodes at once; only committing
touches the world.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kubelib.sched.nodes import NodeTable
    from kubelib.sched.pods import PodInfo

    BoolColumn = NDArray[np.bool_]
    FloatColumn = NDArray[np.float64]
    IndexColumn = NDArray[np.int64]
else:
    BoolColumn = FloatColumn = IndexColumn = Any


class Filter(Protocol):
    """A condition that a node must meet."""

    name: str
    reason: str
    """What the user reads when a node fails it: ``Insufficient cpu`` is counted per node in the Pod's condition."""

    def fits(self, pod: "PodInfo", nodes: "NodeTable") -> BoolColumn:
        """Return, for each row of the table, whether the node meets the condition."""
        ...


class Score(Protocol):
    """A preference among the nodes that fit."""

    name: str

    def score(self, pod: "PodInfo", nodes: "NodeTable") -> FloatColumn:
        """Return, for each row of the table, 0 (worst) to 100 (best)."""
        ...


class Chooser(Protocol):
    """Picks one of the nodes that fit."""

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Return the row of the chosen node. At least one row fits."""
        ...


@attrs.frozen(kw_only=True)
class Policy:
    """How nodes are chosen: all filters must pass, scores are summed by weight, the chooser breaks ties."""

    name: str = "default-scheduler"
    filters: Sequence[Filter]
    scores: Sequence[tuple[Score, float]] = ()
    choose: Chooser
