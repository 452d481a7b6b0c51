"""A sweep is a set of points; a point is a choice of every parameter; an executor runs points and hands back rows."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Literal, Protocol, get_args

import attrs

from kubelib.sim.cell.architecture import Allocator, Architecture, Commit, DecisionTime, Detection
from kubelib.sim.cell.base import Cell, Workload
from kubelib.sim.cell.setup import Failures, Setup
from kubelib.sim.cell.workloads import PRODUCTION
from kubelib.sim.traces.synthetic import Demand
from kubelib.transactions.policies import load_commit_policy

MOST_SCHEDULERS = 1_000
"""Each has a copy of the whole cell."""
LONGEST = 1e9
"""Seconds: thirty years."""
MOST_PRIORITY = 1_000_000_000
Scheme = Literal["single-path", "multi-path", "partitioned", "two-level", "shared-state"]
Value = float | int | str | bool
Row = dict[str, Value]
"""A line of the table of results: parameters, then figures; see `kubelib.sim.sweep.points.row_of`."""


def _one_of(kind: object) -> "Callable[[object, attrs.Attribute[str], str], None]":
    def check(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
        if value not in get_args(kind):
            raise ValueError(f"{attribute.name} is {value!r}: give one of {', '.join(get_args(kind))}.")

    return check


def _positive(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} is {value}: give a number above 0.")


def _not_negative(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{attribute.name} is {value}: give 0 or a number above it.")


def _horizon(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 < value <= LONGEST:
        raise ValueError(f"{attribute.name} is {value}: give a number above 0, and at most {LONGEST:,.0f}.")


def _between(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{attribute.name} is {value}: give a share between 0 and 1.")


def _share(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{attribute.name} is {value}: give a share from 0 to below 1.")


def _schedulers(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if not 1 <= value <= MOST_SCHEDULERS:
        raise ValueError(f"{attribute.name} is {value}: give a number from 1 to {MOST_SCHEDULERS:,}.")


def _priority(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if abs(value) > MOST_PRIORITY:
        raise ValueError(
            f"{attribute.name} is {value}: give a number from -{MOST_PRIORITY:,} to {MOST_PRIORITY:,}."
        )


def _policies(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    for text in value.split():
        try:
            load_commit_policy(text)
        except ValueError as error:
            raise ValueError(f"{attribute.name} has {text!r}, which cannot be: {error}.") from None


@attrs.frozen
class Point:
    """The parameters of one simulation; times are in seconds.

    In a single path jobs of both workloads take the decision time of service jobs. `load` multiplies the arrival rate
    of batch jobs; `constrained` is the share of jobs with constraints (`kubelib.sim.traces.synthetic`); `batch_priority` and `service_priority` are those of synthetic jobs. `commit_policy` names policies of the commit point, the first one first, with spaces between them, and `commit_time` is how long that takes for a transaction. `allocator_*` are those of `Allocator` in a two-level cell. Machines fail if `failures_between` is above 0; `batch_share` is that of a partitioned cell.
    """

    architecture: Scheme = attrs.field(default="shared-state", validator=_one_of(Scheme))
    batch_t_job: float = attrs.field(default=0.1, validator=_not_negative)
    batch_t_task: float = attrs.field(default=0.005, validator=_not_negative)
    service_t_job: float = attrs.field(default=0.1, validator=_not_negative)
    service_t_task: float = attrs.field(default=0.005, validator=_not_negative)
    batch_schedulers: int = attrs.field(default=1, validator=_schedulers)
    detection: Detection = attrs.field(default="fine", validator=_one_of(Detection))
    commit: Commit = attrs.field(default="incremental", validator=_one_of(Commit))
    commit_policy: str = attrs.field(default="", validator=_policies)
    commit_time: float = attrs.field(default=0.0, validator=_not_negative)
    allocator_batch: float = attrs.field(default=1.0, validator=_positive)
    allocator_decision: float = attrs.field(default=0.001, validator=_not_negative)
    allocator_minimum: float = attrs.field(default=100.0, validator=_not_negative)
    batch_share: float = attrs.field(default=0.5, validator=_between)
    batch_priority: int = attrs.field(default=0, validator=_priority)
    service_priority: int = attrs.field(default=PRODUCTION, validator=_priority)
    load: float = attrs.field(default=1.0, validator=_positive)
    prefill: float = attrs.field(default=0.6, validator=_share)
    horizon: float = attrs.field(default=86_400.0, validator=_horizon)
    blacklist: float = attrs.field(default=0.0, validator=_share)
    constrained: float = attrs.field(default=0.0, validator=_share)
    preemption: bool = False
    failures_between: float = attrs.field(default=0.0, validator=_not_negative)
    failures_repair: float = attrs.field(default=3_600.0, validator=_positive)
    exact: bool = False
    seed: int = 1

    def schedulers(self, cell: Cell) -> Architecture:
        """Return the architecture that the parameters name; raises ValueError if it is impossible in the cell."""
        batch = DecisionTime(self.batch_t_job, self.batch_t_task)
        service = DecisionTime(self.service_t_job, self.service_t_task)
        policies = tuple(self.commit_policy.split())
        if self.architecture != "shared-state" and (policies or self.commit_time):
            raise ValueError(
                "commit_policy and commit_time are of shared-state cells: others have no commit point."
            )
        allocator = Allocator(self.allocator_batch, self.allocator_decision, self.allocator_minimum)
        if self.architecture != "two-level" and allocator != Allocator():
            raise ValueError("allocator_* are of two-level cells: others have no allocator.")
        match self.architecture:
            case "single-path":
                return Architecture.monolithic(service, service)
            case "multi-path":
                return Architecture.monolithic(batch, service)
            case "partitioned":
                return Architecture.partitioned(cell, self.batch_share, batch, service)
            case "two-level":
                return Architecture.two_level(
                    batch, service, batch_schedulers=self.batch_schedulers, allocator=allocator
                )
            case "shared-state":
                return Architecture.shared_state(
                    batch,
                    service,
                    batch_schedulers=self.batch_schedulers,
                    detection=self.detection,
                    commit=self.commit,
                    commit_policies=policies,
                    commit_time=self.commit_time,
                )

    def setup(self, cell: Cell, workloads: tuple[Workload, ...], prefill: Workload | None) -> Setup:
        """Return the simulation of this point on some workloads."""
        failures = Failures(self.failures_between, self.failures_repair) if self.failures_between else None
        return Setup(
            cell,
            workloads,
            self.schedulers(cell),
            prefill,
            horizon=self.horizon,
            # seed 1 is the one of the published figures
            seed=41 + self.seed,
            blacklist=self.blacklist,
            exact=self.exact,
            preemption=self.preemption,
            failures=failures,
        )

    def check(self, cell: Cell) -> None:
        """Raise ValueError if the point cannot be simulated, whatever its jobs."""
        empty = tuple(Workload.of(name, []) for name in ("batch", "service"))
        self.setup(cell, empty, None)


PARAMETERS = tuple(field.name for field in attrs.fields(Point))


@attrs.frozen(slots=False)
class Work:
    """A point, where it is simulated, and the trace whose jobs it runs; None is the paper-like day."""

    point: Point
    cell: Cell = attrs.field(factory=Cell)
    trace: Path | None = None
    trace_digest: str = ""
    demands: tuple[Demand, ...] = ()
    """What synthetic jobs ask for of the cell's further resources."""

    @cached_property
    def key(self) -> str:
        """What tells this work from all other: equal keys mean equal results."""
        parts = [
            attrs.asdict(self.point),
            attrs.asdict(self.cell),
            self.trace_digest,
            [attrs.asdict(demand) for demand in self.demands],
        ]
        return sha256(dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


@attrs.frozen
class Outcome:
    """The row of a point, and what it cost: seconds of processor time, and the peak of memory of its process in MB."""

    row: Row
    seconds: float
    megabytes: float


class Executor(Protocol):
    """Runs points, wherever."""

    def run(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        """Yield the outcome of each work as it is ready, in any order.

        Raises `PointFailed` for the first that cannot be simulated, and `Lost` if what runs them is lost.
        """
        ...


class SweepError(ValueError):
    """A file is no sweep that could be run, or no table that could be written; the message is a sentence that says why."""


class PointFailed(ValueError):
    """A point cannot be simulated; the message is a sentence."""


class Lost(RuntimeError):
    """Those who ran the points are gone; the message is a sentence."""
