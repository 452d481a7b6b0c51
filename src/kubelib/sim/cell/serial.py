"""Schedulers that decide on one job at a time: monolithic, partitioned, and on snapshots of a shared state."""

from heapq import heappush

import numpy as np

from kubelib.sim.cell.base import Integers
from kubelib.sim.cell.books import Scheduler
from kubelib.sim.cell.commitpoint import CellCommitPoint
from kubelib.sim.cell.commits import Commits
from kubelib.sim.cell.run import DECIDED, Event, Run
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.state import Claims


class SerialRun(Run):
    """A run in which each scheduler thinks about the job at the head of its queue, then places it."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._commits = Commits(setup.architecture, self.ledger, exact=setup.exact)
        self._point: CellCommitPoint | None = None
        if setup.architecture.has_commit_point:
            self._point = CellCommitPoint(setup.architecture, self, self._have_turn)

    def enqueue(self, number: int, job: int, now: float) -> None:
        """Give a job to a scheduler, which thinks about it at once if it is idle."""
        scheduler = self.schedulers[number]
        self.jobs.enqueued[job] = now
        if scheduler.deciding:
            scheduler.queue.append(job)
        else:
            self._think(scheduler, number, job, now)

    def handle(self, event: Event) -> None:
        """End a decision, or what belongs to the commit point."""
        now, _, kind, number, job, what = event
        if kind == DECIDED:
            self._decided(self.schedulers[number], number, job, now, what)
        elif self._point is not None:
            self._point.handle(kind, now, what)

    def begin(self, job: int, machines: Claims, now: float) -> None:
        """Let tasks of a job run on machines whose claims landed."""
        super().begin(job, machines, now)
        if self._point is not None:
            self._point.occupy(job, len(machines))

    def freed(self, now: float, job: int, tasks: int) -> None:
        """Take back what ended from whoever's share it was."""
        if self._point is not None and job >= 0:
            self._point.occupy(job, -tasks)

    def _think(self, scheduler: Scheduler, number: int, job: int, now: float) -> None:
        jobs = self.jobs
        scheduler.deciding = 1
        waited = now - jobs.enqueued[job]
        jobs.wait_full[job] += waited
        if not jobs.attempts[job]:
            jobs.wait_first[job] += waited
        if scheduler.snapshot:
            self.ledger.look(scheduler.snapshot)
        decision = scheduler.spec.decides[self._workload[job]]
        scheduler.asked = left = jobs.left[job]
        think = decision.of(left)
        self._serial += 1
        heappush(self._heap, (now + think, self._serial, DECIDED, number, job, think))

    def _worth_a_look(self, scheduler: Scheduler, number: int, job: int) -> Integers | None:
        """Return the machines on which a job's tasks may find room, None if that may be any of the scheduler's."""
        eligible = self.among(number, job)
        since = scheduler.stuck.get(job)
        if since is None:
            return eligible
        freed = self.ledger.freed.since(since)
        if freed is None:
            return eligible
        if eligible is None:
            return scheduler.placement.among(freed)
        return freed[np.isin(freed, eligible)]

    def _decided(self, scheduler: Scheduler, number: int, job: int, now: float, think: float) -> None:
        jobs, ledger = self.jobs, self.ledger
        # tasks that were killed while it thought wait for the next attempt
        asked = scheduler.asked
        jobs.attempts[job] += 1
        jobs.task_attempts[job] += asked
        cpu, memory, more = self._cpu[job], self._memory[job], self.more(job)
        anywhere = self._constraint is None and job not in scheduler.stuck
        eligible = None if anywhere else self._worth_a_look(scheduler, number, job)
        scheduler.since = ledger.freed.count
        if self._point is not None and scheduler.snapshot is not None:
            scheduler.since = scheduler.snapshot.since
            view = ledger.private(scheduler.snapshot)
            placed = scheduler.placement.place(view, asked, cpu, memory, eligible, more)
            if len(placed):
                self._point.arrive(number, job, now, (think, placed))
                return
            landed = placed
        elif scheduler.snapshot is not None and ledger.close(scheduler.snapshot):
            view = scheduler.snapshot.view
            scheduler.since = scheduler.snapshot.since
            placed = scheduler.placement.place(view, asked, cpu, memory, eligible, more)
            landed = self._commits.commit(view, placed, cpu, memory, now, more) if len(placed) else placed
        else:
            ledger.changing()
            placed = landed = scheduler.placement.place(ledger, asked, cpu, memory, eligible, more)
            if len(placed):
                ledger.claim(placed, cpu, memory, now, more, placed=True)
        self._settle(number, job, now, think, len(placed), landed)

    def _have_turn(self, number: int, job: int, now: float, what: tuple[float, Claims], denied: bool) -> bool:
        """Carry out a transaction whose turn it is; return whether all of it landed."""
        think, placed = what
        scheduler = self.schedulers[number]
        if denied:
            self._settle(number, job, now, think, 0, [], denied=True)
            return False
        assert scheduler.snapshot
        landed = self._commits.commit(
            scheduler.snapshot.view, placed, self._cpu[job], self._memory[job], now, self.more(job)
        )
        self._settle(number, job, now, think, len(placed), landed)
        return len(landed) == len(placed)

    def _settle(
        self,
        number: int,
        job: int,
        now: float,
        think: float,
        count: int,
        landed: Claims,
        *,
        denied: bool = False,
    ) -> None:
        """Book what became of a decision that placed so many tasks, and go on with the next job."""
        jobs, scheduler = self.jobs, self.schedulers[number]
        asked, fine = scheduler.asked, len(landed)
        if count < asked and fine == count and not (denied or self._setup.exact):
            scheduler.stuck[job] = scheduler.since
        elif scheduler.stuck:
            scheduler.stuck.pop(job, None)
        if fine:
            self.begin(job, landed, now)
        if not denied and count < asked and (won := self.make_room(number, job, asked - count, now)):
            self.begin(job, won, now)
            count += len(won)
            fine += len(won)
        again = jobs.attempts[job] > 1
        if scheduler.account(self._workload[job], now, think, count, fine, again=again, denied=denied):
            jobs.useful[job] += think
        if jobs.left[job]:
            self.repeat_or_abandon(number, job, now)
        scheduler.deciding = 0
        if scheduler.queue:
            self._think(scheduler, number, scheduler.queue.popleft(), now)
