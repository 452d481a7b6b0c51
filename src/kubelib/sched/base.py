"""What a scheduling policy is made of. Judging is pure, synchronous and over many nodes at once; only committing
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
    Rows = NDArray[np.int64]
else:
    BoolColumn = FloatColumn = Rows = Any


class Filter(Protocol):
    """A condition that a node must meet. It looks at the rows it is asked about and at nothing else."""

    name: str

    def fits(self, pod: "PodInfo", nodes: "NodeTable", rows: Rows) -> BoolColumn:
        """Return, for each of `rows`, whether that node meets the condition."""
        ...

    def reasons(self, pod: "PodInfo", nodes: "NodeTable", row: int) -> Sequence[str]:
        """Return what the user reads of a node that does not: ``Insufficient cpu``."""
        ...


class Score(Protocol):
    """A preference among the nodes that fit."""

    name: str

    def score(self, pod: "PodInfo", nodes: "NodeTable", rows: Rows) -> FloatColumn:
        """Return, for each of `rows`, 0 (worst) to 100 (best)."""
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
