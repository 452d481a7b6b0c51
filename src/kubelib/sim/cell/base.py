"""What a cell simulation is made of: machines, jobs and workloads.

Times are in seconds of simulated time, resources in CPUs and GB. Everything here is a value that refuses what cannot be
simulated with a `ValueError` of one sentence.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kubelib.labels.parse import SelectorError, parse_selector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
else:
    Floats = Integers = Any


RESOURCE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
"""What the name of a further resource is like: ``gpu``, ``example.com/disk``."""
MOST_MACHINES = 10_000_000
"""What larger cells take is more memory than most machines have."""


def positive(owner: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    """Refuse what is not a finite number above 0."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} of {type(owner).__name__} is {value}: give a number above 0.")


def not_negative(owner: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    """Refuse what is not a finite number from 0."""
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(
            f"{attribute.name} of {type(owner).__name__} is {value}: give 0 or a number above it."
        )


def amounts(owner: object, attribute: "attrs.Attribute[Any]", value: Mapping[str, float]) -> None:
    """Refuse what is no amounts of further resources by name."""
    for name, amount in value.items():
        if name in ("cpu", "memory") or not RESOURCE.fullmatch(name):
            raise ValueError(
                f"{attribute.name} of {type(owner).__name__} has {name!r}, which is no name of a further resource."
            )
        if not (np.isfinite(amount) and amount >= 0):
            raise ValueError(f"{name} of {type(owner).__name__} is {amount}: give 0 or a number above it.")


@attrs.frozen
class Machines:
    """A number of equal machines, with the labels by which constraints choose them, and what they have beside CPUs and memory."""

    count: int
    cpu: float = attrs.field(validator=positive)
    memory: float = attrs.field(validator=positive)
    labels: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    more: Mapping[str, float] = attrs.field(factory=dict, hash=False, validator=amounts)
    """Further resources by name, in units of their own: ``{"gpu": 8}``."""

    def fits(self, job: "Job") -> bool:
        """Return whether a task of a job fits on an empty one, whatever the job's constraint."""
        return (
            job.cpu <= self.cpu
            and job.memory <= self.memory
            and all(amount <= self.more.get(name, 0.0) for name, amount in job.more.items())
        )

    def __attrs_post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count of Machines is {self.count}: give a number above 0.")


@attrs.frozen
class Cell:
    """The machines of a cell, in groups of equal ones."""

    machines: tuple[Machines, ...] = (Machines(10_000, 4.0, 16.0),)

    def __attrs_post_init__(self) -> None:
        if not self.machines:
            raise ValueError("A cell needs machines: give at least one group of them.")
        if self.size > MOST_MACHINES:
            raise ValueError(
                f"A cell of {self.size:,} machines is too large: give at most {MOST_MACHINES:,}."
            )

    @property
    def size(self) -> int:
        """The number of machines."""
        return sum(group.count for group in self.machines)

    @property
    def more(self) -> tuple[str, ...]:
        """The names of the resources that any machine has beside CPUs and memory."""
        return tuple(dict.fromkeys(name for group in self.machines for name in group.more))

    def eligible(self, constraint: str) -> tuple[bool, ...]:
        """Return for each group of machines whether a label selector matches it; the empty one matches all.

        Raises ValueError if the selector cannot be read.
        """
        try:
            selector = parse_selector(constraint)
        except SelectorError as error:
            raise ValueError(f"The constraint {constraint!r} is no label selector: {error}.") from None
        return tuple(selector.matches(group.labels) for group in self.machines)

    def capacities(self) -> tuple[Floats, ...]:
        """Return what every machine has, by resource: CPUs, GB, then further ones in the order of `more`."""
        columns = [
            [float(group.cpu) for group in self.machines],
            [float(group.memory) for group in self.machines],
            *([float(group.more.get(name, 0.0)) for group in self.machines] for name in self.more),
        ]
        return tuple(np.repeat(column, [group.count for group in self.machines]) for column in columns)


@attrs.frozen
class Job:
    """So many equal tasks, asked for at one moment; each holds exactly what it asks for, for `duration`."""

    submit: float
    tasks: int
    duration: float
    cpu: float
    memory: float
    priority: int = 0
    constraint: str = ""
    """A label selector over machines, as ``zone in (a, b), cores > 4``."""
    more: Mapping[str, float] = attrs.field(factory=dict, hash=False, validator=amounts)
    """What a task asks for of further resources."""


def _column(values: Any) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)


def _whole_column(values: Any) -> Integers:
    return np.ascontiguousarray(values, dtype=np.int64)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _columns(columns: Mapping[str, Any]) -> Mapping[str, Floats]:
    return {name: _column(values) for name, values in columns.items()}


@attrs.frozen(eq=False)
class Workload:
    """The jobs of one kind, as columns in the order of their submission.

    Without `priority` all jobs have priority 0, without `constraint` none has one. `more` has a column for each further resource that
    any job asks for.
    """

    name: str
    submit: Floats = attrs.field(converter=_column)
    tasks: Integers = attrs.field(converter=_whole_column)
    duration: Floats = attrs.field(converter=_column)
    cpu: Floats = attrs.field(converter=_column)
    memory: Floats = attrs.field(converter=_column)
    priority: Integers = attrs.field(converter=_whole_column, default=())
    constraint: tuple[str, ...] = attrs.field(converter=_texts, default=())
    more: Mapping[str, Floats] = attrs.field(converter=_columns, factory=dict)

    def __attrs_post_init__(self) -> None:
        if not len(self.priority):
            object.__setattr__(self, "priority", np.zeros(len(self.submit), dtype=np.int64))
        if not self.constraint:
            object.__setattr__(self, "constraint", ("",) * len(self.submit))
        for name in ("priority", "constraint"):
            if len(getattr(self, name)) != len(self.submit):
                raise ValueError(
                    f"Workload {self.name} has {len(self.submit)} jobs but {len(getattr(self, name))} of {name}."
                )
        for name, column in self.more.items():
            if len(column) != len(self.submit):
                raise ValueError(
                    f"Workload {self.name} has {len(self.submit)} jobs but {len(column)} of {name}."
                )
            wrong = np.flatnonzero(~(np.isfinite(column) & (column >= 0)))
            if len(wrong):
                raise ValueError(
                    f"Job {wrong[0]} of workload {self.name} has {column[wrong[0]]} for {name}: give 0 or a number above it."
                )
        for name in ("tasks", "duration", "cpu", "memory"):
            column = getattr(self, name)
            if len(column) != len(self.submit):
                raise ValueError(
                    f"Workload {self.name} has {len(self.submit)} jobs but {len(column)} of {name}."
                )
            wrong = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
            if len(wrong):
                raise ValueError(
                    f"Job {wrong[0]} of workload {self.name} has {column[wrong[0]]} for {name}: give a number above 0."
                )
        if len(self.submit) and not (
            np.isfinite(self.submit).all() and self.submit[0] >= 0 and (np.diff(self.submit) >= 0).all()
        ):
            raise ValueError(f"Workload {self.name} must give its jobs by rising submission times from 0.")

    @classmethod
    def of(cls, name: str, jobs: "list[Job] | tuple[Job, ...]") -> "Workload":
        """Return the columns of some jobs."""
        rows = sorted(jobs, key=lambda job: job.submit)
        names = dict.fromkeys(name for job in rows for name in job.more)
        return cls(
            name,
            [job.submit for job in rows],
            [job.tasks for job in rows],
            [job.duration for job in rows],
            [job.cpu for job in rows],
            [job.memory for job in rows],
            [job.priority for job in rows],
            [job.constraint for job in rows],
            {name: [job.more.get(name, 0.0) for job in rows] for name in names},
        )

    def __len__(self) -> int:
        return len(self.submit)

    def __iter__(self) -> Iterator[Job]:
        columns = (self.submit, self.tasks, self.duration, self.cpu, self.memory, self.priority)
        rows = zip(*(column.tolist() for column in columns), self.constraint, strict=True)
        if not self.more:
            for row in rows:
                yield Job(*row)
            return
        asked = zip(*(column.tolist() for column in self.more.values()), strict=True)
        for row, need in zip(rows, asked, strict=True):
            more = {name: value for name, value in zip(self.more, need, strict=True) if value}
            yield attrs.evolve(Job(*row), more=more)
