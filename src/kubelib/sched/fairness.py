"""Who is offered what in two-level scheduling: dominant-resource fairness, and offers that lock what they contain.

Pure rules and a ledger over columns: a resource is a column with a row per machine, so that a cluster and a simulated cell
use the same. Fairness is that of Ghodsi et al., "Dominant Resource Fairness" (NSDI 2011).
"""

from collections.abc import Sequence

import attrs
import numpy as np

from kubelib.transactions.columns import Bools, Floats


def dominant_share(used: Sequence[float], total: Sequence[float], weight: float = 1.0) -> float:
    """Return the largest of a user's shares of the resources, divided by the user's weight.

    A resource of which there is none counts for nothing.

    >>> dominant_share([2.0, 8.0], [9.0, 18.0])
    0.4444444444444444
    """
    shares = [mine / all_of_it for mine, all_of_it in zip(used, total, strict=True) if all_of_it > 0]
    return max(shares, default=0.0) / weight


def neediest(
    used: Sequence[Sequence[float]], total: Sequence[float], weights: Sequence[float] | None = None
) -> int:
    """Return the position of the user with the smallest dominant share, of several the first.

    Raises ValueError if there are no users.

    >>> neediest([[3.0, 0.0], [0.0, 4.0]], [9.0, 18.0])
    1
    """
    if not used:
        raise ValueError("There is nobody to choose from.")
    weighed = weights or [1.0] * len(used)
    shares = [dominant_share(mine, total, weight) for mine, weight in zip(used, weighed, strict=True)]
    return shares.index(min(shares))


def fair_shares(
    needs: Sequence[Sequence[float]], total: Sequence[float], weights: Sequence[float] | None = None
) -> list[int]:
    """Return how many tasks each user gets if tasks are given one by one to the neediest until nothing fits.

    `needs` is what one task of each user asks for. A user whose next task does not fit is passed over.
    Raises ValueError for tasks that ask for nothing, of which any number fits.

    >>> fair_shares([[1.0, 4.0], [3.0, 1.0]], [9.0, 18.0])
    [3, 2]
    """
    if any(max(need, default=0.0) <= 0 for need in needs):
        raise ValueError("A task that asks for nothing fits any number of times.")
    counts = [0] * len(needs)
    free = list(total)
    active = list(range(len(needs)))
    while active:
        used = [[counts[user] * amount for amount in needs[user]] for user in active]
        chosen = active[neediest(used, total, [weights[user] for user in active] if weights else None)]
        need = needs[chosen]
        if all(amount <= there + 1e-9 for amount, there in zip(need, free, strict=True)):
            counts[chosen] += 1
            free = [there - amount for amount, there in zip(need, free, strict=True)]
        else:
            active.remove(chosen)
    return counts


@attrs.frozen(eq=False)
class Offer:
    """What a framework may use until it answers: for each resource an amount per machine."""

    framework: str
    amounts: tuple[Floats, ...]
    totals: tuple[float, ...]
    """How much of each resource is offered."""


class Offers:
    """The resource manager's book of open offers: what one contains is kept from all others until it is settled.

    `total` has a column per resource. What is in use is the caller's to know, and is passed in.
    """

    def __init__(self, total: tuple[Floats, ...]) -> None:
        self._total = total
        self._open: list[Offer] = []
        self._locked = tuple(np.zeros_like(column) for column in total)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def locked(self) -> tuple[Floats, ...]:
        """What open offers contain; not to be changed."""
        return self._locked

    def make(self, framework: str, used: tuple[Floats, ...], machines: Bools | None = None) -> Offer:
        """Offer and lock all that is neither in use nor offered to somebody else, of all `machines` or of some."""
        amounts = []
        for there, taken, locked in zip(self._total, used, self._locked, strict=True):
            amount = there - taken
            if self._open:
                amount -= locked
            # a machine that was lost under an open offer has less than nothing to give
            np.maximum(amount, 0.0, out=amount)
            if machines is not None:
                amount[~machines] = 0.0
            locked += amount
            amounts.append(amount)
        offer = Offer(framework, tuple(amounts), tuple(float(amount.sum()) for amount in amounts))
        self._open.append(offer)
        return offer

    def settle(self, offer: Offer) -> None:
        """Unlock what an offer contained, when it is answered or withdrawn.

        Raises ValueError if the offer is not open.
        """
        if not any(offer is other for other in self._open):
            raise ValueError(f"The offer to {offer.framework} is not open.")
        self._open = [other for other in self._open if other is not offer]
        for locked, amount in zip(self._locked, offer.amounts, strict=True):
            if self._open:
                locked -= amount
            else:
                # exactly nothing, whatever was rounded on the way
                locked[:] = 0.0
