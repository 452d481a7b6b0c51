"""All that determines a run, refused if it cannot be simulated."""

from typing import Literal

import attrs
import numpy as np

from kubelib.sim.cell.architecture import Architecture
from kubelib.sim.cell.base import Cell, Workload, positive

Engine = Literal["python", "numba"]


@attrs.frozen
class Failures:
    """Machines fail on their own, each after `between` seconds in the mean, and come back after `repair` in the mean.

    Both times are exponential. Tasks on a machine that fails are killed and go back to their scheduler; those of the
    prefill are lost.
    """

    between: float = attrs.field(validator=positive)
    repair: float = attrs.field(validator=positive)


@attrs.frozen
class Setup:
    """All that determines a run: the same setup gives the same results.

    `prefill` is placed before the time begins. `blacklist` is the share of machines that no scheduler looks at
    ("pickiness"). With `preemption` a job whose tasks find no room takes the place of tasks of lower priority, which go
    back to their schedulers; whom to evict is decided at the commit, on the live state. With `exact` the run replays the simulator that came with the paper number for number: its random
    numbers, its placement order, and the quirks of its commits (docs/omega.md). With the engine *numba* what `can_be_compiled` runs
    as machine code, and all else as always: the results are the same to the last bit.
    """

    cell: Cell
    workloads: tuple[Workload, ...]
    architecture: Architecture
    prefill: Workload | None = None
    horizon: float = attrs.field(default=86_400.0, validator=positive)
    seed: int = 42
    blacklist: float = 0.0
    exact: bool = False
    preemption: bool = False
    failures: Failures | None = None
    engine: Engine = "python"

    @property
    def can_be_compiled(self) -> bool:
        """Whether there is a compiled run of it: not of commit points, constraints, preemption, failures and further resources."""
        workloads = (*self.workloads, *([self.prefill] if self.prefill else []))
        return not (
            self.preemption
            or self.failures
            or self.architecture.has_commit_point
            or self.cell.more
            or any(any(workload.constraint) for workload in workloads)
        )

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.blacklist < 1:
            raise ValueError(
                f"A blacklist of {self.blacklist} leaves no machine: give a share from 0 to below 1."
            )
        names = [workload.name for workload in self.workloads]
        if len(set(names)) != len(names):
            raise ValueError("Workloads need different names.")
        served = {name for scheduler in self.architecture.schedulers for name in scheduler.decides}
        for workload in self.workloads:
            if workload.name not in served:
                raise ValueError(
                    f"No scheduler serves workload {workload.name}: give one a decision time for it."
                )
        self._check_modes()
        self._check_sizes()
        for scheduler in self.architecture.schedulers:
            if (
                scheduler.machines
                and not 0 <= scheduler.machines[0] < scheduler.machines[1] <= self.cell.size
            ):
                raise ValueError(
                    f"Scheduler {scheduler.name} has machines that the cell of {self.cell.size} has not."
                )

    def _check_modes(self) -> None:
        if self.preemption and self.architecture.sharing == "two-level":
            raise ValueError(
                "Schedulers of a two-level architecture see only what is free and cannot preempt."
            )
        beyond = {
            "two-level sharing": self.architecture.sharing == "two-level",
            "preemption": self.preemption,
            "failures": self.failures is not None,
            "a commit point": self.architecture.has_commit_point,
            "further resources": bool(self.cell.more),
            "constraints": any(any(workload.constraint) for workload in self.workloads),
        }
        if self.exact and (names := [name for name, used in beyond.items() if used]):
            raise ValueError(f"An exact run replays a simulator without {' and '.join(names)}.")

    def _check_sizes(self) -> None:
        for workload in (*self.workloads, *([self.prefill] if self.prefill else [])):
            distinct = sorted(set(workload.constraint))
            eligible = np.array([self.cell.eligible(text) for text in distinct], dtype=bool)
            which = np.array([distinct.index(text) for text in workload.constraint], dtype=int)
            fits = np.zeros(len(workload), dtype=bool)
            for number, group in enumerate(self.cell.machines):
                if len(workload):
                    chosen = eligible[which, number]
                    chosen &= (workload.cpu <= group.cpu) & (workload.memory <= group.memory)
                    for name, column in workload.more.items():
                        chosen &= column <= group.more.get(name, 0.0)
                    fits |= chosen
            if not fits.all():
                job = int(np.flatnonzero(~fits)[0])
                constraint = workload.constraint[job]
                more = "".join(
                    f" and {column[job]:g} of {name}" for name, column in workload.more.items() if column[job]
                )
                raise ValueError(
                    f"A task of job {job} of workload {workload.name} asks for {workload.cpu[job]:g} CPUs and"
                    f" {workload.memory[job]:g} GB{more}{f' where {constraint}' if constraint else ''},"
                    " which no machine of the cell has."
                )
