"""By which figures schedulers are judged, in a cluster and in the simulator alike; the definitions are those of the Omega paper.

An *attempt* is a decision about a job or a batch of Pods, and the transaction that it led to. Its seconds are *useful* if no claim
conflicted, *wasted* if one did, and *fruitless* if nothing could be placed, so that there was no transaction.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import fsum
from typing import Literal

import attrs

from kubelib.transactions.base import Result

Use = Literal["useful", "wasted", "fruitless"]

KEPT_WAITS = 10_000


def use_of(placed: int, landed: int) -> Use:
    """Return what an attempt was worth that found nodes for so many claims, of which so many landed."""
    if not placed:
        return "fruitless"
    return "useful" if landed == placed else "wasted"


def busyness(useful: float, wasted: float, elapsed: float) -> float:
    """Return the share of time that went into decisions that led to a transaction."""
    return (useful + wasted) / elapsed if elapsed else 0.0


def conflict_fraction(failed: int, succeeded: int) -> float:
    """Return failed transactions per successful one; infinite if there are only failed ones. One fails if any of its claims conflicts."""
    if not succeeded:
        return float("inf") if failed else 0.0
    return failed / succeeded


def fairness(shares: Iterable[float]) -> float:
    """Return Jain's index of shares: 1 if all are equal, 1/n if one of n has everything; 1 if nobody has anything."""
    given = list(shares)
    squares = fsum(share * share for share in given)
    return fsum(given) ** 2 / (len(given) * squares) if squares else 1.0


def place_of(share: float, count: int) -> int:
    """Return which of so many values in order is the one below which a share of them lies."""
    return int((count - 1) * share)


def _share(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lie; NaN of none."""
    return ordered[place_of(share, len(ordered))] if ordered else float("nan")


@attrs.frozen
class Spread:
    """The mean of some values and their 90th and 99th percentile; NaN if there are none."""

    mean: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of values."""
        mean = fsum(values) / len(values) if values else float("nan")
        ordered = sorted(values)
        return cls(mean, _share(ordered, 0.9), _share(ordered, 0.99))


class Waits:
    """How long Pods or jobs waited, in seconds: all of them counted and summed up, the latest kept."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._latest: deque[float] = deque(maxlen=KEPT_WAITS)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.total += seconds
        self._latest.append(seconds)

    @property
    def spread(self) -> Spread:
        """The spread of the latest ones."""
        return Spread.of(self._latest)


@attrs.define
class Books:
    """What a scheduler did since `began`, by the loop's clock."""

    name: str
    began: float = 0.0
    useful: float = 0.0
    wasted: float = 0.0
    fruitless: float = 0.0
    succeeded: int = 0
    """Transactions without conflict."""
    failed: int = 0
    """Transactions of which a claim conflicted."""
    retried: int = 0
    """Transactions of jobs or batches in which somebody had been tried before."""
    claims_landed: int = 0
    claims_refused: int = 0
    no_room: int = 0
    """Attempts that found no node at all."""
    abandoned: int = 0
    """Pods that went while they waited."""
    first_wait: Waits = attrs.field(factory=Waits)
    """From when a Pod came to the first attempt."""
    wait: Waits = attrs.field(factory=Waits)
    """From when a Pod came until it had a node."""

    def note(self, seconds: float, placed: int, landed: int, *, again: bool = False) -> None:
        """Book an attempt that took so long, found nodes for `placed` claims, and landed some; `again` if it was a retry."""
        use = use_of(placed, landed)
        if use == "fruitless":
            self.fruitless += seconds
            self.no_room += 1
            return
        self.claims_landed += landed
        self.claims_refused += placed - landed
        self.retried += again
        if use == "useful":
            self.useful += seconds
            self.succeeded += 1
        else:
            self.wasted += seconds
            self.failed += 1

    def busyness(self, now: float) -> float:
        """Return the share of time since `began` that went into decisions with a transaction."""
        return busyness(self.useful, self.wasted, now - self.began)

    @property
    def conflict_fraction(self) -> float:
        """Failed transactions per successful one."""
        return conflict_fraction(self.failed, self.succeeded)


MOST_NAMES = 100
"""Schedulers name themselves: those beyond so many are counted as ``other``."""


class Landings:
    """What became of transactions and claims where they land, by scheduler."""

    def __init__(self) -> None:
        self.transactions: Counter[tuple[str, str]] = Counter()
        """By scheduler and outcome: ``succeeded``, ``failed`` (with a conflict), ``repeated`` (had been carried out before)."""
        self.claims: Counter[tuple[str, str]] = Counter()
        """By scheduler and cause; ``Landed`` for those that did."""
        self._names: set[str] = set()

    def count(self, scheduler: str, result: Result) -> None:
        """Count a transaction."""
        if scheduler not in self._names:
            if len(self._names) >= MOST_NAMES:
                scheduler = "other"
            self._names.add(scheduler)
        if result.repeated:
            self.transactions[scheduler, "repeated"] += 1
            return
        self.transactions[scheduler, "failed" if result.conflicts else "succeeded"] += 1
        for outcome in result.outcomes:
            self.claims[scheduler, outcome.cause or ("Landed" if outcome.error is None else "Refused")] += 1

    def conflict_fraction(self, scheduler: str) -> float:
        """Return failed transactions per successful one of a scheduler."""
        return conflict_fraction(
            self.transactions[scheduler, "failed"], self.transactions[scheduler, "succeeded"]
        )
