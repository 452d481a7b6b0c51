"""MapReduce jobs: how long they take with how many workers, and a workload of them."""

from math import log
from random import Random

import attrs

from kubelib.sim.cell.base import Cell, Job, Workload, not_negative, positive
from kubelib.sim.cell.workloads import BATCH

SIZES = ((5, 0.40), (11, 0.35), (200, 0.20), (1000, 0.05))
"""How many workers jobs ask for: the four sizes at which they cluster, and what share of jobs has each."""


@attrs.frozen
class MapReduceJob:
    """So many map and reduce activities, each of which takes a mean time, run by equal workers; reduces follow maps."""

    submit: float = attrs.field(validator=not_negative)
    workers: int
    maps: int
    reduces: int
    map_seconds: float = attrs.field(validator=positive)
    reduce_seconds: float = attrs.field(validator=positive)
    cpu: float = attrs.field(validator=positive)
    memory: float = attrs.field(validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.workers < 1 or self.maps < 1 or self.reduces < 0:
            raise ValueError("A MapReduce job needs a worker and a map activity at least.")

    @property
    def most(self) -> int:
        """The number of workers from which more are of no use: all maps, or all reduces, run at once."""
        return max(self.maps, self.reduces)

    def seconds(self, workers: int) -> float:
        """Return how long the job takes: twice the workers, half the time, until all activities of a phase run at once."""
        maps = self.maps / min(workers, self.maps) * self.map_seconds
        reduces = self.reduces / min(workers, self.reduces) * self.reduce_seconds if self.reduces else 0.0
        return maps + reduces

    def speedup(self, workers: int) -> float:
        """Return how many times faster the job is than with the workers that it asks for."""
        return self.seconds(self.workers) / self.seconds(workers)


def generate(
    seed: int, rate: float, horizon: float, cell: Cell, *, gaining: float = 0.6, surplus: float = 3.4
) -> list[MapReduceJob]:
    """Return jobs that come at a rate per second until the horizon.

    A share `gaining` of them has more activities than workers: 1 plus an exponential number, of mean `surplus`, for each
    worker. The ratio of real jobs is not public; these defaults give what the paper reports of jobs with room to grow.
    """
    if not (rate > 0 and 0 <= gaining <= 1 and surplus > 0):
        raise ValueError(
            "MapReduce jobs need a rate and a surplus above 0, and a share from 0 to 1 that gains."
        )
    uniform = Random(seed).random
    most_cpu = max(group.cpu for group in cell.machines)
    most_memory = max(group.memory for group in cell.machines)

    def exponential(mean: float) -> float:
        return -mean * log(1.0 - uniform())

    jobs = []
    time = exponential(1 / rate)
    while time < horizon:
        workers = _size(uniform())
        factor = 1.0 + exponential(surplus) if uniform() < gaining else uniform()
        maps = max(1, round(workers * factor))
        jobs.append(
            MapReduceJob(
                submit=time,
                workers=workers,
                maps=maps,
                reduces=max(1, round(maps * (0.2 + 0.8 * uniform()))),
                map_seconds=max(1.0, exponential(90.0)),
                reduce_seconds=max(1.0, exponential(90.0)),
                cpu=min(max(0.01, exponential(BATCH.cpu)), 0.9 * most_cpu),
                memory=min(max(0.01, exponential(BATCH.memory)), 0.9 * most_memory),
            )
        )
        time += exponential(1 / rate)
    return jobs


def _size(draw: float) -> int:
    for size, share in SIZES:
        if draw < share:
            return size
        draw -= share
    return SIZES[-1][0]


def as_asked(jobs: list[MapReduceJob]) -> Workload:
    """Return the jobs with the workers that they ask for, as the cell simulator has them."""
    return Workload.of(
        "mapreduce",
        [Job(job.submit, job.workers, job.seconds(job.workers), job.cpu, job.memory) for job in jobs],
    )
