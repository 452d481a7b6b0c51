"""The commit point of a simulated cell: transactions wait there for their turn, which the policies of real clusters give them.

A job is to the policies what a Pod is in a cluster, with its workload as the namespace: it loses if any of its claims conflicts.
"""

from collections.abc import Callable

import attrs

from kubelib.api.errors import Conflict
from kubelib.api.meta import Key
from kubelib.sched.fairness import dominant_share
from kubelib.sim.cell.architecture import Architecture
from kubelib.sim.cell.run import CALLED, COMMITTED, Run
from kubelib.sim.cell.state import Claims
from kubelib.transactions.base import Cause, Claim, Outcome, Party, Result, Transaction
from kubelib.transactions.commitpoint import Asking, Turns
from kubelib.transactions.policies import load_commit_policy

Decision = tuple[float, Claims]
"""How long a scheduler thought, and where the tasks shall go."""
HaveTurn = Callable[[int, int, float, Decision, bool], bool]
"""Carries out a decision of a scheduler about a job at some time, or takes it as refused; returns whether all of it landed."""


@attrs.frozen(eq=False)
class _Waiting:
    asking: Asking
    arrival: int
    since: float
    number: int
    job: int
    decision: Decision


class CellCommitPoint:
    """Lets transactions of a run have their turn, one at a time."""

    def __init__(self, architecture: Architecture, run: Run, have_turn: HaveTurn) -> None:
        self._run = run
        self._have_turn = have_turn
        self._seconds = architecture.commit_time
        self._cause: Cause = "NoRoom" if architecture.detection == "fine" else "Outdated"
        self._architecture = architecture
        self._turns = Turns([load_commit_policy(text) for text in architecture.commit_policies], self)
        self._waiting: list[_Waiting] = []
        self._arrivals = 0
        self._busy = False
        self._called_at = -1.0
        self._held: dict[tuple[Party, str], list[float]] = {}

    def dominant(self, party: Party, name: str) -> float:
        """Return the dominant share of a scheduler or a workload, from 0 to 1."""
        return dominant_share(
            self._held.get((party, name), [0.0] * len(self._run.ledger.totals)), self._run.ledger.totals
        )

    def occupy(self, job: int, tasks: int) -> None:
        """Add so many tasks of a job to the shares of its scheduler and its workload."""
        for owner in self._run.owners(job):
            held = self._held.setdefault(owner, [0.0] * len(self._run.ledger.totals))
            for resource, amount in enumerate(self._run.request(job)):
                held[resource] += tasks * amount

    def arrive(self, number: int, job: int, now: float, decision: Decision) -> None:
        """Let a transaction wait for its turn."""
        (_, scheduler), (_, workload) = self._run.owners(job)
        claim = Claim(Key(workload, f"job-{job}"), "", "")
        transaction = Transaction(
            claims=(claim,),
            scheduler=scheduler,
            detection=self._architecture.detection,
            commit=self._architecture.commit,
        )
        asking = Asking(transaction=transaction, schedulers=(scheduler,), priority=self._run.priority(job))
        self._arrivals += 1
        self._waiting.append(_Waiting(asking, self._arrivals, now, number, job, decision))
        self._call(now)

    def handle(self, kind: int, now: float, what: object) -> None:
        """End a turn, or look whether the commit point is free again."""
        if kind == COMMITTED:
            assert isinstance(what, _Waiting)
            self._busy = False
            self._carry_out(what, now)
        self._call(now)

    def _call(self, now: float) -> None:
        while self._waiting and not self._busy:
            chosen = self._turns.first(self._waiting, now)
            if chosen is None:
                until = self._turns.held(now)[1]
                if self._called_at != until:
                    self._called_at = until
                    self._run.push(until, CALLED, -1, -1, None)
                return
            self._waiting.remove(chosen)
            self._run.jobs.wait_at_commit[chosen.job] += now - chosen.since
            if self._seconds:
                self._busy = True
                self._run.push(now + self._seconds, COMMITTED, chosen.number, chosen.job, chosen)
            else:
                self._carry_out(chosen, now)

    def _carry_out(self, chosen: _Waiting, now: float) -> None:
        asking = chosen.asking
        (claim,) = asking.transaction.claims
        why = self._turns.refusal(asking, claim)
        if self._have_turn(chosen.number, chosen.job, now, chosen.decision, bool(why)):
            outcome = Outcome(claim)
        else:
            outcome = Outcome(claim, Conflict(why or "a claim conflicts"), "Refused" if why else self._cause)
        self._turns.decided(asking, Result((outcome,)), now)
