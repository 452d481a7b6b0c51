"""What schedulers commit: a transaction of claims, and what becomes of each. Values only."""

from collections.abc import Iterable
from math import isfinite
from typing import Literal

import attrs

from kubelib.api.errors import ApiError
from kubelib.api.meta import Key

Detection = Literal["fine", "coarse"]
"""When a claim conflicts: its node has no room left for it, or has been given any Pod since the scheduler looked."""
Commit = Literal["incremental", "all-or-nothing"]
"""What lands: claims without conflict, or all of them if none conflicts."""
Cause = Literal["", "NoRoom", "Outdated", "Together", "Assigned", "Gone", "Refused"]
"""Why a claim did not land.

*NoRoom*: too little is left on the node. *Outdated*: the node was given a Pod after the scheduler looked. *Together*: another
claim of the transaction did not land. *Assigned*: the Pod has a node. *Gone*: there is no such Pod, or no more. *Refused*: the Pod
cannot be bound as it is, or a policy of the commit point says no.
"""
CONFLICTS: frozenset[Cause] = frozenset({"NoRoom", "Outdated"})
"""The causes that are conflicts in the sense of Omega: another scheduler was quicker with the node."""


Party = Literal["scheduler", "namespace"]
"""Among whom a cluster is shared: schedulers, by ``spec.schedulerName`` of the Pods, or tenants, by their namespace."""


def _not_negative(owner: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not (isfinite(value) and value >= 0):
        raise ValueError(
            f"{attribute.name} of {type(owner).__name__} is {value}: give 0 or a number above it."
        )


@attrs.frozen
class DecisionTime:
    """How long a scheduler thinks about a job, in seconds: ``t_job + t_task`` for each task that is not placed yet."""

    t_job: float = attrs.field(default=0.1, validator=_not_negative)
    t_task: float = attrs.field(default=0.005, validator=_not_negative)

    def of(self, tasks: int) -> float:
        """Return the time for so many tasks."""
        return self.t_job + self.t_task * tasks


@attrs.frozen
class Claim:
    """One placement that a scheduler asks for."""

    pod: Key
    uid: str
    """The Pod must have it; empty: whichever Pod has the name."""
    node: str
    seen: int = 0
    """The resource version of Pods as of which the scheduler knew the node: what coarse detection compares with."""


def _in_order(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    return tuple(claims)


@attrs.frozen(kw_only=True)
class Transaction:
    """Claims that a scheduler commits at once, in order."""

    claims: tuple[Claim, ...] = attrs.field(converter=_in_order)
    id: str = ""
    """Tells it from all others: sent again, it is answered as it was, and carried out once. Empty: it is never sent again."""
    scheduler: str = ""
    """Who commits it, for people and plug-ins."""
    detection: Detection = "fine"
    commit: Commit = "incremental"

    def __attrs_post_init__(self) -> None:
        if len({claim.pod for claim in self.claims}) < len(self.claims):
            raise ValueError("A transaction has at most one claim for a Pod.")

    @classmethod
    def of(cls, claims: Iterable[Claim], commit: Commit = "incremental") -> "Transaction":
        """Return a plain transaction."""
        return cls(claims=tuple(claims), commit=commit)


@attrs.frozen
class Outcome:
    """What became of a claim: bound, or the error that says why not."""

    claim: Claim
    error: ApiError | None = None
    cause: Cause = ""


@attrs.frozen
class Result:
    """What became of a transaction: an outcome for each claim, in their order."""

    outcomes: tuple[Outcome, ...]
    revision: int = 0
    """The resource version at which its claims landed; 0 if none did."""
    repeated: bool = False
    """Whether it had been carried out before."""

    @property
    def landed(self) -> int:
        """How many claims landed."""
        return sum(outcome.error is None for outcome in self.outcomes)

    @property
    def conflicts(self) -> int:
        """How many claims conflicted with those of other schedulers."""
        return sum(outcome.cause in CONFLICTS for outcome in self.outcomes)
