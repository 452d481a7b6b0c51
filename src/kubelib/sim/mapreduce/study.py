"""The case study: a cell with batch and service jobs, and a MapReduce scheduler beside theirs on the shared state."""

from statistics import fmean, pstdev

import attrs
import numpy as np

from kubelib.sim.cell.architecture import Architecture, DecisionTime, SchedulerSpec
from kubelib.sim.cell.base import Cell, Machines
from kubelib.sim.cell.books import Scheduler
from kubelib.sim.cell.results import Results
from kubelib.sim.cell.run import SAMPLED, Event
from kubelib.sim.cell.serial import SerialRun
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.workloads import BATCH, paper_like
from kubelib.sim.mapreduce.model import MapReduceJob, as_asked, generate
from kubelib.sim.mapreduce.policies import Idle, Policy, choose

_SHARE = 0.2
_SAMPLE = 300.0


@attrs.frozen
class Situation:
    """A cell and how full it is: the share of its CPUs that service jobs hold, and how fast batch jobs come."""

    name: str
    machines: int
    prefill: float
    load: float

    def cell(self) -> Cell:
        """Return the machines."""
        return Cell((Machines(self.machines, 4.0, 16.0),))


CELLS = (
    Situation("A: medium, busy", 4_000, 0.65, 0.3),
    Situation("C: large, busy", 10_000, 0.6, 1.0),
    Situation("D: a quarter of C, lightly loaded", 2_500, 0.15, 0.1),
)


class ElasticRun(SerialRun):
    """A run whose scheduler of MapReduce jobs says at the moment of placing how many workers a job gets."""

    def __init__(self, setup: Setup, jobs: list[MapReduceJob], policy: Policy) -> None:
        super().__init__(setup)
        self._jobs = jobs
        self._first = self.rows["mapreduce"].start
        self._policy = policy
        self.chosen: dict[int, int] = {}
        """How many workers the jobs got, by number, that were placed at least in part."""
        self.used: list[tuple[float, float, float]] = []
        """The time, and how much CPU and memory was in use, every five minutes."""
        self.push(0.0, SAMPLED, -1, -1, None)

    def handle(self, event: Event) -> None:
        """Take a sample, or end a decision."""
        now, _, kind, number, job, think = event
        if kind == SAMPLED:
            cpu, memory = self.ledger.usage.now
            self.used.append((now, cpu / self.ledger.totals[0], memory / self.ledger.totals[1]))
            self.push(now + _SAMPLE, SAMPLED, -1, -1, None)
        else:
            self._decided(self.schedulers[number], number, job, now, think)

    def _decided(self, scheduler: Scheduler, number: int, job: int, now: float, think: float) -> None:
        place = job - self._first
        if place >= 0 and place not in self.chosen:
            wanted = self._jobs[place]
            workers = choose(wanted, self._policy, self._idle(wanted))
            self.chosen[place] = workers
            self.jobs.tasks[job] = self.jobs.left[job] = scheduler.asked = workers
            self._duration[job] = wanted.seconds(workers)
        super()._decided(scheduler, number, job, now, think)

    def _idle(self, job: MapReduceJob) -> Idle:
        ledger = self.ledger
        cpus = (ledger.cpu_total - ledger.cpus) / job.cpu
        memories = (ledger.memory_total - ledger.memories) / job.memory
        room = int(np.floor(np.maximum(np.minimum(cpus, memories) + 1e-9, 0.0)).sum())
        return Idle(room, ledger.usage.now[0], ledger.totals[0])


@attrs.frozen
class Study:
    """What a policy did to a cell."""

    policy: str
    cell: str
    speedups: tuple[float, ...]
    """Of each job that was decided on: how many times faster it is than with the workers that it asks for."""
    used: tuple[tuple[float, float, float], ...]
    """The time, and the shares of CPU and memory in use, every five minutes."""
    results: Results

    @property
    def gaining(self) -> float:
        """The share of jobs that are faster, by more than a hundredth."""
        return fmean(speedup > 1.01 for speedup in self.speedups) if self.speedups else 0.0

    def percentile(self, share: float) -> float:
        """Return the speed-up that a share of the jobs does not exceed."""
        return sorted(self.speedups)[int((len(self.speedups) - 1) * share)]

    def utilization(self, after: float = 3600.0) -> tuple[float, float]:
        """Return the mean of CPU in use after the first hour, and its standard deviation over time."""
        values = [cpu for time, cpu, _ in self.used if time >= after]
        return fmean(values), pstdev(values)


def study(situation: Situation, policy: Policy, *, seed: int = 1, horizon: float = 86_400.0) -> Study:
    """Run a policy in a cell: a fifth of all batch jobs are MapReduce jobs, the rest as in the paper-like day."""
    cell = situation.cell()
    day = paper_like(
        seed=seed, load=(1 - _SHARE) * situation.load, cell=cell, horizon=horizon, prefill=situation.prefill
    )
    jobs = generate(10 * seed + 6, _SHARE * situation.load / BATCH.gap, horizon, cell)
    decisions = DecisionTime()
    architecture = Architecture(
        "shared-state",
        tuple(SchedulerSpec(name, {name: decisions}) for name in ("batch", "service", "mapreduce")),
    )
    # MapReduce jobs come last, so that their numbers begin where the others' end
    workloads = (day.batch, day.service, as_asked(jobs))
    setup = Setup(cell, workloads, architecture, day.prefill, horizon=horizon, seed=41 + seed)
    run = ElasticRun(setup, jobs, policy)
    results = run.results()
    speedups = tuple(jobs[number].speedup(workers) for number, workers in sorted(run.chosen.items()))
    return Study(policy.name, situation.name, speedups, tuple(run.used), results)
