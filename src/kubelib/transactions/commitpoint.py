"""The commit point: where transactions wait for their turn, if policies are to decide whose it is.

Without policies there is no such point: transactions land as they come. With some, one is carried out at a time, and of those that wait
the one that the policies put first. Where several API servers share a store, each has a commit point of its own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar, runtime_checkable

import anyio
import attrs

from kubelib.api.meta import Key
from kubelib.transactions.base import Claim, Party, Result, Transaction


@attrs.frozen(kw_only=True)
class Asking:
    """A transaction that waits for its turn, with what is known of the Pods that it claims."""

    transaction: Transaction
    schedulers: tuple[str, ...]
    """The ``spec.schedulerName`` of the Pods."""
    priority: int
    """The highest priority of the Pods."""

    @property
    def pods(self) -> frozenset[Key]:
        """The claimed Pods."""
        return frozenset(claim.pod for claim in self.transaction.claims)

    def parties(self, party: Party) -> Sequence[str]:
        """Return the schedulers or namespaces whose Pods are claimed."""
        if party == "scheduler":
            return self.schedulers
        return tuple(dict.fromkeys(claim.pod.namespace for claim in self.transaction.claims))


class Ground(Protocol):
    """What policies may know of the cluster."""

    def dominant(self, party: Party, name: str) -> float:
        """Return the dominant share of a scheduler or a namespace, from 0 to 1."""
        ...


class CommitPolicy(Protocol):
    """Decides whose turn it is. Plain and quick; may have any of the powers below as well."""

    name: str

    def rank(self, asking: Asking, ground: Ground) -> float:
        """Return a number: transactions with lower ones go first. Among equals the next policy decides, then who came first."""
        ...


@runtime_checkable
class SupportsRefusal(Protocol):
    """A policy that may refuse claims."""

    def refuses(self, asking: Asking, claim: Claim, ground: Ground) -> str:
        """Return why a claim must not land now; empty if it may."""
        ...


@runtime_checkable
class SupportsMemory(Protocol):
    """A policy that learns what becomes of transactions."""

    def decided(self, asking: Asking, result: Result, now: float) -> None:
        """Take in a result; `now` is the loop's time in seconds."""
        ...


@runtime_checkable
class SupportsHolding(Protocol):
    """A policy that may keep the commit point free for some transactions for a while."""

    def held_for(self, now: float) -> tuple[frozenset[Key], float] | None:
        """Return Pods and a time: until then only transactions that claim one of them have a turn. None: anybody may."""
        ...


class Waiter(Protocol):
    """Who waits for a turn."""

    @property
    def asking(self) -> Asking:
        """What it waits with."""
        ...

    @property
    def arrival(self) -> int:
        """A number that rises from one that came to the next."""
        ...


W = TypeVar("W", bound=Waiter)


class Turns:
    """Whose turn it is, as policies say. It knows no waiting and no clock: clusters and the cell simulator ask the same."""

    def __init__(self, policies: Sequence[CommitPolicy], ground: Ground) -> None:
        self.policies = tuple(policies)
        self._ground = ground

    def refusal(self, asking: Asking, claim: Claim) -> str:
        """Return why a claim must not land now; empty if it may."""
        for policy in self.policies:
            if isinstance(policy, SupportsRefusal) and (why := policy.refuses(asking, claim, self._ground)):
                return why
        return ""

    def decided(self, asking: Asking, result: Result, now: float) -> None:
        """Tell the policies what became of a transaction."""
        for policy in self.policies:
            if isinstance(policy, SupportsMemory):
                policy.decided(asking, result, now)

    def held(self, now: float) -> tuple[frozenset[Key] | None, float]:
        """Return for whom the commit point is kept free, None for nobody in particular, and until when."""
        for policy in self.policies:
            held = policy.held_for(now) if isinstance(policy, SupportsHolding) else None
            if held is not None:
                return held
        return None, float("inf")

    def first(self, waiting: Sequence[W], now: float) -> W | None:
        """Return whose turn it is of those that wait; None if the commit point is kept free for others."""
        pods, _ = self.held(now)
        eligible = [w for w in waiting if pods is None or w.asking.pods & pods]
        if not eligible:
            return None
        return min(
            eligible,
            key=lambda w: (*(p.rank(w.asking, self._ground) for p in self.policies), w.arrival),
        )


@attrs.define(eq=False)
class _Waiting:
    asking: Asking
    arrival: int
    has_turn: bool = False
    news: anyio.Event = attrs.field(factory=anyio.Event)


class CommitPoint:
    """Lets transactions have their turn, one at a time, in the order that policies want."""

    def __init__(self, policies: Sequence[CommitPolicy], ground: Ground) -> None:
        self._turns = Turns(policies, ground)
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._arrivals = 0

    def refusal(self, asking: Asking, claim: Claim) -> str:
        """Return why a claim must not land now; empty if it may."""
        return self._turns.refusal(asking, claim)

    @asynccontextmanager
    async def turn(self, asking: Asking) -> AsyncIterator[None]:
        """Wait for a transaction's turn, which lasts as long as the context is open."""
        self._arrivals += 1
        waiting = _Waiting(asking, self._arrivals)
        self._waiting.append(waiting)
        try:
            self._call()
            while not waiting.has_turn:
                waiting.news = anyio.Event()
                now = anyio.current_time()
                with anyio.move_on_after(self._turns.held(now)[1] - now):
                    await waiting.news.wait()
                self._call()
            yield
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            if waiting.has_turn:
                self._busy = False
            self._call()
            if not self._busy:
                # The commit point is kept free, perhaps only now: those that wait must know until when.
                for other in self._waiting:
                    other.news.set()

    def decided(self, asking: Asking, result: Result) -> None:
        """Tell the policies what became of a transaction."""
        self._turns.decided(asking, result, anyio.current_time())

    def _call(self) -> None:
        """Give somebody the turn if nobody has it."""
        if self._busy or not self._waiting:
            return
        chosen = self._turns.first(self._waiting, anyio.current_time())
        if chosen is None:
            return
        self._waiting.remove(chosen)
        self._busy = True
        chosen.has_turn = True
        chosen.news.set()
