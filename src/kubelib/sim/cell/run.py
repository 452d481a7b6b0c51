"""What all runs have in common: the agenda, the jobs, tasks that begin and end, attempts that are repeated."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

import numpy as np

from kubelib.sim.cell.base import Integers, Workload
from kubelib.sim.cell.books import Scheduler, placement_of, results_of
from kubelib.sim.cell.disruption import Breakdowns, Tenants
from kubelib.sim.cell.loading import asked_of, asked_of_more, load
from kubelib.sim.cell.results import JobTable, Results
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.state import Allocation, Amounts, Claims, Ledger
from kubelib.transactions.base import Party

DECIDED, BACK, ENDED, FAILED, REPAIRED, ROUND, OFFERED, ANSWERED, SAMPLED, COMMITTED, CALLED = range(11)
Event = tuple[float, int, int, int, int, Any]
"""When, the order of equal times, what, of which scheduler, of which job, and what belongs to it."""
NEVER: Event = (inf, 0, -1, -1, -1, None)
"""The last event of every agenda, so that none is ever empty."""

FRUITLESS_ATTEMPTS = 100
ATTEMPTS = 1000
PAUSE = 1.0


class Run(ABC):
    """One simulation, from its setup to its results."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.ledger = Ledger(setup.cell, numbered=setup.architecture.detection == "coarse")
        self._heap: list[Event] = [NEVER]
        self._ending: list[Event] = [NEVER]
        """When tasks end: far more events than others, and far later ones, which therefore have an agenda of their own."""
        self._serial = 0
        self._events = 0
        self.schedulers = [
            Scheduler(number, spec, setup, self.ledger)
            for number, spec in enumerate(setup.architecture.schedulers)
        ]
        self._load(setup)
        disrupted = setup.preemption or setup.failures is not None
        self._tenants = Tenants(self.ledger, self._killed) if disrupted else None
        self._now = 0.0
        self._breakdowns: Breakdowns | None = None
        self.prefilled = self._prefill(setup.prefill) if setup.prefill else 0
        if setup.failures:
            self._breakdowns = Breakdowns(setup.failures, setup.cell.size, setup.seed)
            self.push(self._breakdowns.next(), FAILED, -1, -1, None)

    @abstractmethod
    def enqueue(self, number: int, job: int, now: float) -> None:
        """Give a job to a scheduler, for the first time or again."""

    @abstractmethod
    def handle(self, event: Event) -> None:
        """Carry out an event of a decision."""

    def freed(self, now: float, job: int, tasks: int) -> None:  # noqa: B027 -- most runs need not know
        """Hear that so many tasks of a job, -1 for the prefill, ended or were killed."""

    def _load(self, setup: Setup) -> None:
        loaded = load(setup)
        self.jobs = JobTable.of(loaded, self.ledger.totals)
        self._duration, self._cpu, self._memory = (
            column.tolist() for column in (loaded.duration, loaded.cpu, loaded.memory)
        )
        self._priority = loaded.priority.tolist()
        self._more = asked_of_more(setup)
        constraints = [text for workload in setup.workloads for text in workload.constraint]
        self._constraint = constraints if any(constraints) else None
        self._eligible: dict[tuple[int, str], Integers] = {}
        self.rows = loaded.rows
        names = list(loaded.rows)
        self._workload = [names[number] for number in loaded.workload.tolist()]
        self._chosen = loaded.chosen.tolist()
        for scheduler, count in zip(self.schedulers, loaded.given, strict=True):
            scheduler.given = count
        order = loaded.order
        coming = zip(loaded.submit[order].tolist(), order.tolist(), strict=True)
        self._arrivals = [*coming, (inf, -1)][::-1]

    def eligible(self, number: int, constraint: str) -> Integers:
        """Return the machines that a scheduler may use for jobs of a constraint."""
        key = (number, constraint)
        if key not in self._eligible:
            groups = self._setup.cell.machines
            counts = [group.count for group in groups]
            matching = np.repeat(np.array(self._setup.cell.eligible(constraint), dtype=bool), counts)
            self._eligible[key] = self.schedulers[number].placement.among(np.flatnonzero(matching))
        return self._eligible[key]

    def among(self, number: int, job: int) -> Integers | None:
        """Return the machines that a scheduler may use for a job, None if all of its own."""
        if self._constraint is None or not self._constraint[job]:
            return None
        return self.eligible(number, self._constraint[job])

    def _prefill(self, prefill: Workload) -> int:
        placement = placement_of(self._setup, self.ledger, -1, None)
        groups = [group.count for group in self._setup.cell.machines]
        count = 0
        for job in prefill:
            eligible = None
            if job.constraint:
                matching = np.array(self._setup.cell.eligible(job.constraint), dtype=bool)
                eligible = np.flatnonzero(np.repeat(matching, groups))
            more = asked_of(job, self._setup.cell)
            placed = placement.place(self.ledger, job.tasks, job.cpu, job.memory, eligible, more)
            if len(placed):
                self.ledger.claim(placed, job.cpu, job.memory, 0.0, more, placed=True)
                allocation = Allocation(-1, job.cpu, job.memory, placed, more)
                if self._tenants:
                    self._tenants.add(allocation, job.priority)
                self.push(job.duration, ENDED, -1, -1, allocation)
                count += len(placed)
        return count

    def owners(self, job: int) -> "tuple[tuple[Party, str], tuple[Party, str]]":
        """Return whose a job is: a scheduler's, and a workload's."""
        return ("scheduler", self.schedulers[self._chosen[job]].spec.name), ("namespace", self._workload[job])

    def request(self, job: int) -> Amounts:
        """Return what a task of a job asks for, by resource."""
        more = self.more(job) or (0.0,) * (len(self.ledger.totals) - 2)
        return self._cpu[job], self._memory[job], *more

    def more(self, job: int) -> Amounts:
        """Return what a task of a job asks for of further resources, nothing if of none."""
        return self._more.get(job, ())

    def priority(self, job: int) -> int:
        """Return the priority of a job."""
        return int(self._priority[job])

    def push(self, time: float, kind: int, number: int, job: int, what: Any) -> None:
        """Put an event on the agenda."""
        self._serial += 1
        agenda = self._ending if kind == ENDED else self._heap
        heappush(agenda, (time, self._serial, kind, number, job, what))

    def running(self) -> list[Allocation]:
        """Return the tasks that run now."""
        return [event[5] for event in self._ending if event is not NEVER]

    def results(self) -> Results:
        """Run to the horizon and return what came of it."""
        end = self._play()
        return results_of(
            self._setup,
            self.jobs,
            self.rows,
            self.schedulers,
            self.ledger,
            prefilled=self.prefilled,
            breakdowns=self._breakdowns.count if self._breakdowns else 0,
            end=end,
            events=self._events,
        )

    def _play(self) -> float:
        self.ledger.usage.start()
        soon, ending, arrivals = self._heap, self._ending, self._arrivals
        horizon, exact = self._setup.horizon, self._setup.exact
        chosen, enqueue = self._chosen, self.enqueue
        doing: list[Callable[[Event], None]] = [self.handle] * (CALLED + 1)
        doing[ENDED], doing[BACK], doing[FAILED], doing[REPAIRED] = (
            self._end,
            self._back,
            self._fail,
            self._repair,
        )
        stop = int(horizon) + 1 if exact else horizon
        events, now = 0, 0.0
        while now <= horizon:
            when, job = arrivals[-1]
            agenda = ending if ending[0] < soon[0] else soon
            event = agenda[0]
            now = min(when, event[0])
            if now > stop:
                # the look at the cell after the horizon comes first in an exact run, and is the end
                now = float(stop) if exact and now < inf else horizon
                break
            events += 1
            if when <= now:
                arrivals.pop()
                enqueue(chosen[job], job, now)
            else:
                heappop(agenda)
                doing[event[2]](event)
        self._events = events
        return now

    def _end(self, event: Event) -> None:
        now, allocation = event[0], event[5]
        if self._tenants:
            self._tenants.remove(allocation)
        machines = allocation.machines
        if len(machines):
            self.ledger.release(machines, allocation.cpu, allocation.memory, now, allocation.more)
            self.freed(now, allocation.job, len(machines))

    def _back(self, event: Event) -> None:
        self.enqueue(event[3], event[4], event[0])

    def begin(self, job: int, machines: Claims, now: float) -> None:
        """Let tasks of a job run on machines whose claims landed."""
        jobs = self.jobs
        allocation = Allocation(job, self._cpu[job], self._memory[job], machines, self.more(job))
        jobs.left[job] -= len(machines)
        if not jobs.left[job]:
            jobs.placed_at.setdefault(job, now)
        if self._tenants:
            self._tenants.add(allocation, self._priority[job])
        self._serial += 1
        heappush(self._ending, (now + self._duration[job], self._serial, ENDED, -1, job, allocation))

    def repeat_or_abandon(self, number: int, job: int, now: float) -> None:
        """Bring a job back whose tasks are not all placed, unless it has been tried too often."""
        attempts = self.jobs.attempts[job]
        nothing = self.jobs.left[job] == self.jobs.tasks[job]
        if (attempts > FRUITLESS_ATTEMPTS and nothing) or attempts > ATTEMPTS:
            self.schedulers[number].abandoned += 1
            self.jobs.abandoned.add(job)
        else:
            self.push(now + PAUSE, BACK, number, job, None)

    def _killed(self, job: int, count: int, preempted: bool) -> None:
        jobs = self.jobs
        self.freed(self._now, job, count)
        if job < 0:
            return
        (jobs.preempted if preempted else jobs.killed)[job] += count
        if not jobs.left[job]:
            # waits from here on are not those until it was placed
            jobs.waited_until_placed.setdefault(job, jobs.wait_full[job])
            self.push(self._now, BACK, self._chosen[job], job, None)
        jobs.left[job] += count

    def make_room(self, number: int, job: int, tasks: int, now: float) -> list[int]:
        """Evict tasks of lower priority for up to so many of a job; return the machines on which these landed."""
        if not self._setup.preemption or self._tenants is None:
            return []
        self._now = now
        eligible = self.among(number, job)
        if eligible is None:
            eligible = self.eligible(number, "")
        need, more = self.request(job), self.more(job)
        landed: list[int] = []
        self.ledger.changing()
        while len(landed) < tasks:
            machine = self._tenants.make_room(
                eligible, need, self._priority[job], now, self.schedulers[number].placement.random
            )
            if machine is None:
                break
            self.ledger.claim([machine], need[0], need[1], now, more)
            landed.append(machine)
        return landed

    def _fail(self, event: Event) -> None:
        assert self._breakdowns
        assert self._tenants
        now = event[0]
        self._now = now
        self.push(now + self._breakdowns.next(), FAILED, -1, -1, None)
        machine = self._breakdowns.strike()
        if machine is not None:
            self._tenants.evacuate(machine, now)
            self.ledger.fail(machine, now)
            self.push(now + self._breakdowns.repair_time(), REPAIRED, -1, machine, None)

    def _repair(self, event: Event) -> None:
        assert self._breakdowns
        now, machine = event[0], event[4]
        self._breakdowns.broken.discard(machine)
        self.ledger.repair(machine, now)
        self.freed(now, -1, 0)
