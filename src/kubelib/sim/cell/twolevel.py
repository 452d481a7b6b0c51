"""Two-level scheduling as Mesos does it: an allocator offers what is free, frameworks decide on all their jobs at once."""

import attrs
import numpy as np

from kubelib.sched.fairness import Offer, Offers, neediest
from kubelib.sim.cell.commits import Commits
from kubelib.sim.cell.run import ANSWERED, OFFERED, ROUND, Event, Run
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.state import Claims, View


@attrs.frozen(eq=False)
class _Answer:
    """What a framework makes of an offer: for each job how long it thought, and where its tasks shall go."""

    offer: Offer
    decisions: list[tuple[int, float, Claims]]


class OfferRun(Run):
    """A run in which schedulers decide on offers.

    A scheduler walks through its whole queue on an offer, adding up the time it thinks, and answers then; until it does,
    all that was offered is locked. It may hold several offers.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        assert setup.architecture.allocator
        self._allocator = setup.architecture.allocator
        ledger = self.ledger
        self._offers = Offers(ledger.total)
        self._occupied = [[0.0] * len(ledger.total) for _ in self.schedulers]
        self._begun = False
        self._views: list[View] = []
        # only what was lost since it was offered can be in a claim's way
        self._commits = Commits(attrs.evolve(setup.architecture, detection="fine"), ledger, exact=False)

    def enqueue(self, number: int, job: int, now: float) -> None:
        """Put a job in a framework's queue and ask for an offer."""
        self.jobs.enqueued[job] = now
        self.schedulers[number].queue.append(job)
        self._begin_round(now)

    def freed(self, now: float, job: int, tasks: int) -> None:
        """Take what became free as a reason to make offers."""
        if job >= 0:
            self._occupy(job, -tasks)
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        if not self._begun:
            self._begun = True
            self.push(now + self._allocator.batch, ROUND, -1, -1, None)

    def handle(self, event: Event) -> None:
        """Make an offer, let it be looked at, or take its answer."""
        now, _, kind, number, _, what = event
        if kind == ROUND:
            self._round(now)
        elif kind == OFFERED:
            self._look(number, what, now)
        else:
            self._answered(number, what, now)

    def _round(self, now: float) -> None:
        self._begun = False
        ledger = self.ledger
        asking = [number for number, scheduler in enumerate(self.schedulers) if scheduler.queue]
        if not asking:
            return
        chosen = asking[neediest([self._occupied[number] for number in asking], ledger.totals)]
        offer = self._offers.make(self.schedulers[chosen].spec.name, ledger.used)
        cpu, memory = offer.totals[:2]
        if cpu < self._allocator.minimum or cpu <= 0:
            self._offers.settle(offer)
            return
        ledger.locked.change(now, cpu, memory)
        self.schedulers[chosen].offers += 1
        self.push(now + self._allocator.decision, OFFERED, chosen, -1, offer)
        if len(asking) > 1:
            self._begin_round(now)

    def _look(self, number: int, offer: Offer, now: float) -> None:
        jobs, scheduler, ledger = self.jobs, self.schedulers[number], self.ledger
        view = self._views.pop() if self._views else View(len(ledger.cpus), len(ledger.more))
        for there, offered, taken in zip(ledger.total, offer.amounts, view.used, strict=True):
            np.subtract(there, offered, out=taken)
        decisions = []
        elapsed = 0.0
        while scheduler.queue:
            job = scheduler.queue.popleft()
            waited = now - jobs.enqueued[job]
            jobs.wait_full[job] += waited
            if not jobs.attempts[job]:
                jobs.wait_first[job] += waited
            left = jobs.left[job]
            decision = scheduler.spec.decides[self._workload[job]]
            think = decision.of(left)
            elapsed += think
            jobs.attempts[job] += 1
            jobs.task_attempts[job] += left
            eligible = self.among(number, job)
            placed = scheduler.placement.place(
                view, left, self._cpu[job], self._memory[job], eligible, self.more(job)
            )
            decisions.append((job, think, placed))
        scheduler.deciding += len(decisions)
        self._views.append(view)
        self.push(now + elapsed, ANSWERED, number, -1, _Answer(offer, decisions))

    def _answered(self, number: int, answer: _Answer, now: float) -> None:
        jobs, scheduler, ledger = self.jobs, self.schedulers[number], self.ledger
        self._offers.settle(answer.offer)
        cpu, memory = answer.offer.totals[:2]
        ledger.locked.change(now, -cpu, -memory)
        scheduler.deciding -= len(answer.decisions)
        for job, think, placed in answer.decisions:
            landed = self._land(job, placed, now)
            again = jobs.attempts[job] > 1
            if scheduler.account(self._workload[job], now, think, len(placed), len(landed), again=again):
                jobs.useful[job] += think
            if jobs.left[job]:
                self.repeat_or_abandon(number, job, now)
        self._begin_round(now)

    def _land(self, job: int, placed: Claims, now: float) -> Claims:
        if not len(placed):
            return placed
        cpu, memory, more = self._cpu[job], self._memory[job], self.more(job)
        if self._breakdowns:
            # a machine may have failed that was offered: all else is the framework's alone
            landed = self._commits.commit(self.ledger, placed, cpu, memory, now, more)
        else:
            self.ledger.claim(placed, cpu, memory, now, more)
            landed = placed
        if len(landed):
            self.begin(job, landed, now)
            self._occupy(job, len(landed))
        return landed

    def _occupy(self, job: int, tasks: int) -> None:
        occupied = self._occupied[self._chosen[job]]
        for resource, amount in enumerate(self.request(job)):
            occupied[resource] += tasks * amount
