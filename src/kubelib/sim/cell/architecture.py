"""How schedulers share a cell, and how long each of them thinks."""

from collections.abc import Mapping
from typing import Literal

import attrs

from kubelib.sim.cell.base import Cell, not_negative, positive
from kubelib.transactions.base import Commit as Commit
from kubelib.transactions.base import DecisionTime as DecisionTime
from kubelib.transactions.base import Detection as Detection
from kubelib.transactions.policies import load_commit_policy

Sharing = Literal["monolithic", "partitioned", "two-level", "shared-state"]


@attrs.frozen
class SchedulerSpec:
    """One scheduler: how long it decides on the jobs of each workload it serves, and which machines it may use.

    `machines` is a range of machine numbers; None is all of them.
    """

    name: str
    decides: Mapping[str, DecisionTime]
    machines: tuple[int, int] | None = None

    @property
    def multi_path(self) -> bool:
        """Whether its workloads differ in decision time."""
        return len(set(self.decides.values())) > 1


@attrs.frozen
class Allocator:
    """How the resource manager of a two-level architecture makes offers, as Mesos does.

    Requests and ends of jobs begin an interval of `batch` seconds, at whose end the scheduler with the smallest dominant
    share among those with jobs gets an offer, after `decision` seconds, if at least `minimum` CPUs are free.
    """

    batch: float = attrs.field(default=1.0, validator=positive)
    decision: float = attrs.field(default=0.001, validator=not_negative)
    minimum: float = attrs.field(default=100.0, validator=not_negative)


@attrs.frozen
class Architecture:
    """How schedulers share the cell.

    *monolithic*: one scheduler decides on the live cell, one job at a time. *partitioned*: the same for several, each on
    machines of its own. *two-level*: an allocator offers all that is free to one scheduler at a time (`Allocator`),
    which decides on all jobs of its queue and answers; nobody else sees what is offered. *shared-state*: each decides on a copy of the cell made when it began to think, then commits
    its claims. A claim conflicts if its machine has no room left (*fine*) or has taken another claim since the copy was made (*coarse*);
    claims that do not conflict land (*incremental*), or only all together (*all-or-nothing*).
    """

    sharing: Sharing
    schedulers: tuple[SchedulerSpec, ...]
    detection: Detection = "fine"
    commit: Commit = "incremental"
    allocator: "Allocator | None" = None
    commit_policies: tuple[str, ...] = ()
    """Who goes first at the commit point of a shared state, as `kubelib.transactions.policies` names them: ``ageing=3:60``."""
    commit_time: float = attrs.field(default=0.0, validator=not_negative)
    """How long the commit point takes for a transaction; others wait meanwhile."""

    @property
    def has_commit_point(self) -> bool:
        """Whether transactions wait for their turn."""
        return bool(self.commit_policies) or self.commit_time > 0

    def __attrs_post_init__(self) -> None:
        names = [scheduler.name for scheduler in self.schedulers]
        if not names or len(set(names)) != len(names):
            raise ValueError("An architecture needs schedulers, each with a name of its own.")
        if self.sharing == "monolithic" and len(names) > 1:
            raise ValueError(
                "A monolithic architecture has one scheduler: give one, or share the cell in another way."
            )
        if self.sharing == "partitioned":
            self._check_partitions()
        if (self.sharing == "two-level") != (self.allocator is not None):
            raise ValueError("Two-level architectures have an allocator, and no others do.")
        if self.has_commit_point and self.sharing != "shared-state":
            raise ValueError("Only schedulers that share their state have a commit point.")
        for text in self.commit_policies:
            try:
                load_commit_policy(text)
            except ValueError as error:
                raise ValueError(f"The commit policy {text!r} cannot be: {error}.") from None

    def _check_partitions(self) -> None:
        taken = 0
        parts = [scheduler.machines or (0, 0) for scheduler in self.schedulers]
        for first, after in sorted(parts):
            if first < taken or after <= first:
                raise ValueError(
                    "Partitions must be ranges of machines that do not overlap, one for each scheduler."
                )
            taken = after

    @classmethod
    def monolithic(
        cls, batch: DecisionTime | None = None, service: DecisionTime | None = None
    ) -> "Architecture":
        """Return one scheduler for both workloads: single path if the decision times are equal, multi path if not."""
        decides = {"batch": batch or DecisionTime(), "service": service or DecisionTime()}
        return cls("monolithic", (SchedulerSpec("scheduler", decides),))

    @classmethod
    def partitioned(
        cls,
        cell: Cell,
        batch_share: float,
        batch: DecisionTime | None = None,
        service: DecisionTime | None = None,
    ) -> "Architecture":
        """Return two schedulers: the first `batch_share` of the machines is for batch jobs, the rest for service jobs."""
        border = round(cell.size * batch_share)
        if not 0 < border < cell.size:
            raise ValueError(
                f"A batch share of {batch_share} leaves one partition empty: give one between 0 and 1."
            )
        return cls(
            "partitioned",
            (
                SchedulerSpec("batch", {"batch": batch or DecisionTime()}, (0, border)),
                SchedulerSpec("service", {"service": service or DecisionTime()}, (border, cell.size)),
            ),
        )

    @classmethod
    def shared_state(
        cls,
        batch: DecisionTime | None = None,
        service: DecisionTime | None = None,
        *,
        batch_schedulers: int = 1,
        detection: Detection = "fine",
        commit: Commit = "incremental",
        commit_policies: tuple[str, ...] = (),
        commit_time: float = 0.0,
    ) -> "Architecture":
        """Return Omega's: some schedulers for batch jobs and one for service jobs, all on all machines."""
        return cls(
            "shared-state",
            _several(batch, service, batch_schedulers),
            detection,
            commit,
            commit_policies=commit_policies,
            commit_time=commit_time,
        )

    @classmethod
    def two_level(
        cls,
        batch: DecisionTime | None = None,
        service: DecisionTime | None = None,
        *,
        batch_schedulers: int = 1,
        allocator: Allocator | None = None,
    ) -> "Architecture":
        """Return Mesos': frameworks for batch jobs and one for service jobs, on what the allocator offers them."""
        return cls(
            "two-level", _several(batch, service, batch_schedulers), allocator=allocator or Allocator()
        )


def _several(
    batch: DecisionTime | None, service: DecisionTime | None, batch_schedulers: int
) -> tuple[SchedulerSpec, ...]:
    if batch_schedulers < 1:
        raise ValueError(f"{batch_schedulers} batch schedulers are none: give a number above 0.")
    decides = {"batch": batch or DecisionTime()}
    schedulers = [SchedulerSpec(f"batch-{number}", decides) for number in range(batch_schedulers)]
    return (*schedulers, SchedulerSpec("service", {"service": service or DecisionTime()}))
