"""How many workers a MapReduce job gets, given what is idle."""

from collections.abc import Iterator
from typing import Protocol

import attrs

from kubelib.sim.mapreduce.model import MapReduceJob


@attrs.frozen
class Idle:
    """What a scheduler sees of the cell: how many more workers of a job fit, and how much is in use, of how much."""

    room: int
    used_cpu: float
    total_cpu: float


class Policy(Protocol):
    """A rule about how far a job may grow."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def limit(self, job: MapReduceJob, idle: Idle) -> int:
        """Return the largest number of workers that the job may have; never less than it asks for."""
        ...


@attrs.frozen
class AsAsked:
    """No more than the job asks for: what clusters do without such a scheduler."""

    name: str = "as asked"

    def limit(self, job: MapReduceJob, idle: Idle) -> int:
        """Return the number asked for."""
        return job.workers


@attrs.frozen
class MaxParallelism:
    """As many as fit, while more workers make the job faster."""

    name: str = "max-parallelism"

    def limit(self, job: MapReduceJob, idle: Idle) -> int:
        """Return how many are of use and have room."""
        return max(job.workers, min(job.most, idle.room))


@attrs.frozen
class GlobalCap:
    """As max-parallelism, but no worker more than asked for that would bring the cell's CPU utilization above a threshold."""

    threshold: float = 0.6
    name: str = "global cap"

    def limit(self, job: MapReduceJob, idle: Idle) -> int:
        """Return how many may be added below the threshold."""
        allowed = max(0.0, self.threshold * idle.total_cpu - idle.used_cpu) / job.cpu
        return max(job.workers, min(job.most, idle.room, int(allowed)))


@attrs.frozen
class RelativeSize:
    """As max-parallelism, but no more than some times what the job asks for."""

    times: int = 4
    name: str = "relative size"

    def limit(self, job: MapReduceJob, idle: Idle) -> int:
        """Return how many the multiple allows."""
        return max(job.workers, min(job.most, idle.room, self.times * job.workers))


def candidates(job: MapReduceJob, limit: int) -> Iterator[int]:
    """Yield the allocations to be tried: what is asked for, doubled up to the limit, the limit, and the ends of both phases."""
    workers = job.workers
    while workers < limit:
        yield workers
        workers *= 2
    yield limit
    for end in (job.maps, job.reduces):
        if job.workers < end < limit:
            yield end


def choose(job: MapReduceJob, policy: Policy, idle: Idle) -> int:
    """Return the allocation with the earliest finish; of equal ones the smallest."""
    limit = policy.limit(job, idle)
    return min(candidates(job, limit), key=lambda workers: (job.seconds(workers), workers))


POLICIES: tuple[Policy, ...] = (MaxParallelism(), RelativeSize(), GlobalCap())
