"""Which claims of a transaction conflict, claim by claim; `columns` says the same of many equal ones at once.

The Binding registry and the cell simulator go by these rules: each says what its machines have left, the order in which claims are
looked at and what one conflict means for the others is decided here.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

C = TypeVar("C")
W = TypeVar("W")


def judge(
    claims: Iterable[C],
    take: Callable[[C], W | None],
    *,
    changed: Callable[[C], W | None] | None = None,
) -> list[W | None]:
    """Return for each claim why it conflicts, or None.

    `take` takes what a claim asks for, beside the claims before it, or returns why it cannot: *fine* detection. With `changed`, which
    returns what is wrong if a machine has taken claims since the scheduler looked, detection is *coarse* as well. That must say
    the same of all claims of the transaction on a machine, own ones not being counted: so none of them can make up for
    those of another.
    """
    if changed is None:
        return [take(claim) for claim in claims]
    found: list[W | None] = []
    for claim in claims:
        why = changed(claim)
        found.append(take(claim) if why is None else why)
    return found
