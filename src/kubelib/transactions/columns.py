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


def overfull(
    machines: Integers,
    used: "tuple[Floats, ...]",
    total: "tuple[Floats | float, ...]",
    need: "tuple[float, ...]",
) -> Bools:
    """Return for each claim whether its machine lacks room for it and for the claims before it (*fine* detection).

    `used` and `total` have a column per resource, with a row per machine; a number stands for a column of equal ones. `need` is
    what one task asks for.
    """
    upto = turns(machines, len(used[0]))
    conflicts: Bools | None = None
    for taken, there, amount in zip(used, total, need, strict=True):
        lacking = taken.take(machines) + upto * amount > rows_of(there, machines)
        conflicts = lacking if conflicts is None else conflicts | lacking
    assert conflicts is not None
    return conflicts


def rows_of(column: "Floats | float", machines: Integers) -> "Floats | float":
    """Return what a column says of some machines; a number says the same of all."""
    return column if isinstance(column, float) else column.take(machines)


def turns(machines: Integers, count: int) -> "Floats | float":
    """Return for each claim the how many-th of the transaction it is on its machine, of `count` machines; 1 if each is the first there."""
    order = in_order(machines, count)
    ordered = machines[order]
    differs = ordered[1:] != ordered[:-1]
    if np.count_nonzero(differs) + 1 >= len(machines):
        return 1.0
    positions = np.arange(1.0, len(machines) + 1)
    starts = np.zeros(len(machines))
    np.copyto(starts[1:], positions[:-1], where=differs)
    turn = np.empty(len(machines))
    turn[order] = positions - np.maximum.accumulate(starts)
    return turn


def in_order(machines: Integers, count: int) -> Integers:
    """Return the order that sorts claims by their machine, of `count` machines, those on the same one as they were."""
    # numpy sorts 16 bits at a time without comparing anything, several times as fast
    order = machines.astype(np.uint16).argsort(kind="stable")
    for shift in range(16, (count - 1).bit_length(), 16):
        order = order[(machines >> shift).astype(np.uint16)[order].argsort(kind="stable")]
    return order


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
