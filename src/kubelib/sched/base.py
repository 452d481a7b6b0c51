"""What a scheduling policy is made of. Judging is pure, synchronous and over many nodes at once; only committing
touches the world.
"""

from collections.abc import Callable, Sequence, Set
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import attrs

from kubelib.sched.arrays import BoolColumn as BoolColumn
from kubelib.sched.arrays import FloatColumn as FloatColumn
from kubelib.sched.arrays import Rows as Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kubelib.sched.nodes import NodeTable
    from kubelib.sched.pods import PodInfo

Happening = Literal[
    "node", "new node", "lost node", "node room", "node labels", "node taints", "node features",
    "pod placed", "neighbour", "pod gone", "storage", "own claim", "supply", "devices",
]  # fmt: skip
"""What may help a Pod that fits nowhere. Of nodes: that anything about one has changed; that one is new, or gone; what of one is other
than before (what it offers; its labels; its taints, or whether it is cordoned; what it declares that it can do). Of Pods: that one
was put on a node, or one that the Pod's own terms of affinity or spreading mean, or has left one. Of storage: that a claim, volume,
class or limit is new or has changed, or one of the Pod's own claims or the volume kept for it, or what is there for all claims.
Devices, a class of them or a claim to some are new or have changed.
"""

T = TypeVar("T")

ANYTHING: frozenset[Happening] = frozenset({"node", "pod placed", "pod gone", "storage", "devices"})


class Filter(Protocol):
    """A condition that a node must meet.

    The verdict on a row may depend on the Pod's `shape` and on that row of the table, and on nothing else: it is kept
    and used again for every Pod of the shape until the row changes. One that must look further has `concerns` too:
    see `SupportsOtherRows`.
    """

    name: str

    def fits(self, pod: "PodInfo", nodes: "NodeTable", rows: Rows) -> BoolColumn | bool:
        """Return, for each of `rows`, whether that node meets the condition; a plain bool says so of all of them.

        `rows` is what columns of the table are indexed with: a slice of all rows, or an array of some.
        """
        ...

    def reasons(self, pod: "PodInfo", nodes: "NodeTable", row: int) -> Sequence[str]:
        """Return what the user reads of a node that does not: ``Insufficient cpu``."""
        ...


class Score(Protocol):
    """A preference among the nodes that fit. What holds for the verdicts of a `Filter` holds for scores."""

    name: str

    def score(self, pod: "PodInfo", nodes: "NodeTable", rows: Rows) -> FloatColumn | float:
        """Return, for each of `rows`, 0 (worst) to 100 (best); a plain number says so of all of them."""
        ...


@runtime_checkable
class SupportsOtherRows(Protocol):
    """A filter or score whose verdict on one row depends on others, as that of Pod affinity does.

    It is asked anew for every Pod that it concerns; a score then gets only the rows that passed all filters.
    """

    def concerns(self, pod: "PodInfo", nodes: "NodeTable") -> bool:
        """Return whether it has anything to say about a Pod. Must be quick: it is asked for every Pod."""
        ...


@runtime_checkable
class SupportsRefusal(Protocol):
    """A filter that knows of Pods that can be nowhere, for reasons that have nothing to do with nodes."""

    def refuses(self, pod: "PodInfo", nodes: "NodeTable") -> str:
        """Return why, which the user reads in place of counted reasons; empty if the nodes decide. Then `fits` fails all."""
        ...


@runtime_checkable
class SupportsCandidates(Protocol):
    """A filter that knows of Pods which nodes they must be on by name: others are counted for that, whatever else is wrong with them."""

    name: str

    def candidates(self, pod: "PodInfo") -> Set[str] | None:
        """Return the names of all nodes that may do; None if names have nothing to do with it."""
        ...


@runtime_checkable
class SupportsOneRowFilter(Protocol):
    """A filter that also judges single rows, without the cost of whole columns: most placements change just one."""

    def fits_row(self, pod: "PodInfo", nodes: "NodeTable", row: int) -> bool:
        """Return what `fits` says of this row."""
        ...


@runtime_checkable
class SupportsOneRowScore(Protocol):
    """A score that also judges single rows, without the cost of whole columns."""

    def score_row(self, pod: "PodInfo", nodes: "NodeTable", row: int) -> float:
        """Return what `score` says of this row, to the last bit: a difference would look like a preference."""
        ...


@runtime_checkable
class SupportsRetryOn(Protocol):
    """A filter that knows what can change its mind; others are asked again after anything."""

    retry_on: frozenset[Happening]


@runtime_checkable
class SupportsPreemption(Protocol):
    """A filter that knows where it may be satisfied if Pods of lower priority leave.

    Of others, those that may change their mind when a Pod is gone are taken to be satisfiable anywhere, the rest nowhere but where they are.
    """

    def may_pass(self, pod: "PodInfo", nodes: "NodeTable") -> BoolColumn | bool:
        """Return, for all rows, whether the node could pass with other Pods on it, or fewer."""
        ...


@runtime_checkable
class SupportsRoom(Protocol):
    """A filter that asks for room and nothing else, and can say what more of it would mean."""

    def fits_with(self, pod: "PodInfo", nodes: "NodeTable", extra: "NDArray[np.int64]") -> BoolColumn | bool:
        """Judge all rows as if that much more of each resource (in the order of ``nodes.free``) were free, or less."""
        ...


@runtime_checkable
class SupportsCounting(Protocol):
    """A filter that counts its reasons over many nodes at once."""

    def count_reasons(
        self,
        pod: "PodInfo",
        nodes: "NodeTable",
        rows: "NDArray[np.int64]",
        extra: "NDArray[np.int64] | None" = None,
    ) -> dict[str, int]:
        """Return how often each reason stands against `rows`, all of which failed; `extra` is that of `SupportsRoom`."""
        ...


class Chooser(Protocol):
    """Picks one of the nodes that fit."""

    def choose(self, fits: BoolColumn, scores: FloatColumn, random: Random) -> int:
        """Return the row of the chosen node. At least one row fits; those that do not have a score of -inf."""
        ...


class Watch(Protocol):
    """Limits how long plug-ins of others may take."""

    def begin(self, pod: "PodInfo") -> None:
        """Begin a decision. Raises `kubelib.sched.guarding.TookTooLong` for a Pod that is not to be decided about now."""
        ...

    def call(self, title: str, function: Callable[..., T], *args: Any) -> T:
        """Call a plug-in. Raises `kubelib.sched.guarding.TookTooLong`, which gives its `title`."""
        ...


@attrs.frozen(kw_only=True)
class Policy:
    """How nodes are chosen: all filters must pass, scores are summed by weight, the chooser breaks ties.

    Filters stand in the order in which their reasons are given: a node is counted for the first that it fails.
    """

    name: str = "default-scheduler"
    filters: Sequence[Filter]
    scores: Sequence[tuple[Score, float]] = ()
    choose: Chooser
    preempts: bool = True
    """Whether Pods of lower priority may have to leave for one that fits nowhere."""
    watch: Watch | None = None
    """What limits the time of plug-ins that are not this library's; None: they have as long as they like."""

    @property
    def by_services(self) -> bool:
        """Whether something in it looks at Services, of which a scheduler otherwise need not know."""
        parts = (*self.filters, *(score for score, _ in self.scores))
        return any(getattr(part, "by_services", False) for part in parts)
