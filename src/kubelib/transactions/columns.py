"""Which claims of a transaction conflict: pure rules over columns, for any number of machines and resources.

A transaction is a list of claims in order; each puts one of several equal tasks on a machine.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Bools = NDArray[np.bool_]
else:
    Floats = Integers = Bools = Any


def turns(machines: Integers) -> Integers:
    """Return for each claim how many earlier claims of the transaction are on the same machine."""
    turn = np.zeros(len(machines), dtype=np.int64)
    order = machines.argsort(kind="stable")
    ordered = machines[order]
    again = ordered[1:] == ordered[:-1]
    if np.count_nonzero(again):
        positions = np.arange(len(machines))
        starts = positions.copy()
        starts[1:][again] = 0
        turn[order] = positions - np.maximum.accumulate(starts)
    return turn


def overfull(
    machines: Integers, used: "tuple[Floats, ...]", total: "tuple[Floats, ...]", need: "tuple[float, ...]"
) -> Bools:
    """Return for each claim whether its machine lacks room for it and for the claims before it (*fine* detection).

    `used` and `total` have a column per resource, with a row per machine; `need` is what one task asks for.
    """
    upto: Integers | int = 1
    again = repeats(machines, len(used[0]))
    if len(again):
        upto = np.ones(len(machines), dtype=np.int64)
        upto[again] = turns(machines[again]) + 2
    conflicts: Bools | None = None
    for taken, there, amount in zip(used, total, need, strict=True):
        lacking = taken.take(machines) + upto * amount > there.take(machines)
        conflicts = lacking if conflicts is None else conflicts | lacking
    assert conflicts is not None
    return conflicts


def repeats(machines: Integers, count: int) -> Integers:
    """Return in order which claims are not the first of the transaction on their machine, of `count` machines."""
    positions = np.arange(len(machines))
    first = np.empty(count, dtype=np.int64)
    # of claims on the same machine the last one written stays, which is the first
    first[machines[::-1]] = positions[::-1]
    repeated: Integers = (first.take(machines) != positions).nonzero()[0]
    return repeated


def outdated(machines: Integers, seen: Integers, now: Integers) -> Bools:
    """Return for each claim whether its machine has taken claims since the scheduler looked (*coarse* detection).

    `seen` and `now` are sequence numbers by machine. All claims of a transaction on such a machine conflict: numbers
    are compared as of its start, so that its own claims can never make up for those of another.
    """
    conflicts: Bools = seen[machines] != now[machines]
    return conflicts


def landing(conflicts: Bools, together: bool) -> Bools:
    """Return which claims land: those without conflict, or, if they go `together`, all or none."""
    if together and conflicts.any():
        return np.zeros(len(conflicts), dtype=bool)
    return ~conflicts
