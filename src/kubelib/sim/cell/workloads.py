"""Synthetic workloads: a general generator, and the paper-like day that the reference results are about."""

from collections.abc import Callable
from math import floor, log
from random import Random

import attrs

from kubelib.sim.cell.base import Cell, Job, Workload

PRODUCTION = 9
"""The priority of service jobs: the lowest that Google's trace of 2011 calls production."""
PRIORITIES = (0, PRODUCTION)
"""Those of batch and of service jobs."""
MOST_JOBS = 10_000_000
"""More jobs of a workload are not made: they would take hours, and more memory than most machines have."""
_MARGIN = 0.1  # a task leaves at least this much of a machine to others


@attrs.frozen
class Shape:
    """How the jobs of a workload are drawn.

    Gaps between jobs, durations and requests are exponential with the given means; the number of tasks has a Pareto
    tail with exponent `tail`, cut at `most`.
    """

    gap: float
    tail: float
    most: int
    duration: float
    cpu: float
    memory: float

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} of a workload's shape is {value}: give a number above 0.")


BATCH = Shape(gap=4.0, tail=0.7, most=2000, duration=600.0, cpu=0.5, memory=1.5)
SERVICE = Shape(gap=120.0, tail=1.1, most=200, duration=86_400.0, cpu=0.8, memory=2.0)


class _Draws:
    """The inverse distribution functions over one stream of uniform numbers."""

    def __init__(self, seed: int, shape: Shape, cell: Cell) -> None:
        self._uniform: Callable[[], float] = Random(seed).random
        self._shape = shape
        self._cpu = max(group.cpu for group in cell.machines)
        self._memory = max(group.memory for group in cell.machines)
        if min(self._cpu, self._memory) <= _MARGIN:
            raise ValueError(f"Machines must have more than {_MARGIN} CPUs and GB for a synthetic workload.")

    def exponential(self, mean: float) -> float:
        return -mean * log(1.0 - self._uniform())

    def size(self) -> int:
        free: float = (1.0 - self._uniform()) ** (-1.0 / self._shape.tail)
        return floor(min(free, self._shape.most))

    def request(self, mean: float, machine: float) -> float:
        while True:
            value = round(self.exponential(mean), 6)
            if 0 < value < machine - _MARGIN:
                return value

    def cpu(self) -> float:
        return self.request(self._shape.cpu, self._cpu)

    def memory(self) -> float:
        return self.request(self._shape.memory, self._memory)


def generate(name: str, shape: Shape, seed: int, cell: Cell, horizon: float, priority: int = 0) -> Workload:
    """Return the jobs of a shape that are submitted before the horizon, all of one priority."""
    if horizon / shape.gap > MOST_JOBS:
        raise ValueError(
            f"Workload {name} would have {horizon / shape.gap:.1g} jobs: give less load or a shorter horizon, for at most {MOST_JOBS:,}."
        )
    draws = _Draws(seed, shape, cell)
    jobs = []
    time = draws.exponential(shape.gap)
    while time < horizon:
        size = draws.size()
        duration = round(max(draws.exponential(shape.duration), 0.001), 6)
        jobs.append(Job(round(time, 6), size, duration, draws.cpu(), draws.memory(), priority))
        time += draws.exponential(shape.gap)
    return Workload.of(name, jobs)


def generate_prefill(
    shape: Shape, seed: int, cell: Cell, horizon: float, share: float, priority: int = 0
) -> Workload:
    """Return jobs that together ask for up to `share` of the cell's CPUs and outlast the horizon."""
    if not 0 <= share <= 1:
        raise ValueError(f"A prefill of {share} is no share of a cell: give a number from 0 to 1.")
    draws = _Draws(seed, shape, cell)
    limit = share * sum(group.count * group.cpu for group in cell.machines)
    jobs: list[Job] = []
    used = 0.0
    while True:
        job = Job(0.0, draws.size(), 1.5 * horizon, draws.cpu(), draws.memory(), priority)
        used += job.tasks * job.cpu
        if used >= limit:
            return Workload.of("prefill", jobs)
        jobs.append(job)


@attrs.frozen
class Day:
    """The workloads of a run and what the cell holds before it."""

    batch: Workload
    service: Workload
    prefill: Workload


def paper_like(
    *,
    seed: int = 1,
    load: float = 1.0,
    cell: Cell | None = None,
    horizon: float = 86_400.0,
    prefill: float = 0.6,
    priorities: tuple[int, int] = PRIORITIES,
) -> Day:
    """Return a day as the paper describes its cells: most jobs are batch, service jobs hold most of the resources.

    `load` multiplies the arrival rate of batch jobs. A cell of another size gets more or fewer jobs only by `load`.
    `priorities` are those of batch and of service jobs; what was there before has that of service jobs.
    """
    if not (0 < load < float("inf") and 0 < BATCH.gap / load < float("inf")):
        raise ValueError(f"A load of {load} is none: give a number above 0.")
    cell = cell or Cell()
    batch = attrs.evolve(BATCH, gap=BATCH.gap / load)
    return Day(
        generate("batch", batch, 10 * seed + 1, cell, horizon, priorities[0]),
        generate("service", SERVICE, 10 * seed + 2, cell, horizon, priorities[1]),
        generate_prefill(SERVICE, 10 * seed + 3, cell, horizon, prefill, priorities[1]),
    )
