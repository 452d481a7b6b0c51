"""The seats of a server, shared among priority levels; within a level, queues that are served fairly.

Each level has seats of its own that nobody else uses, and may use those that others lend: all lent seats are one pool. Requests that
find no seat wait in a queue. A flow's queue is the shortest of a small hand dealt by the flow's hash (shuffle sharding), so that a
greedy flow fills its own hand and seldom anybody else's. Queues are served by start-time fair queuing: next comes the queue that has
had the least service, counted in seats times seconds.
"""

import hashlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
import attrs

from kubelib.api.errors import TooManyRequests
from kubelib.server.flow.base import MOST_SEATS, QUEUE_WAIT, Gone
from kubelib.server.flow.refusals import Refusals
from kubelib.server.flow.tallies import Tally

ESTIMATE = 0.003
"""Seconds for which a request is taken to hold its seats, until it is known."""
MOST_OF_LEVEL = 0.15
"""The part of a level's seats that one request takes at most."""


def deal(hashed: int, size: int, hand: int) -> tuple[int, ...]:
    """Return `hand` different numbers below `size`, chosen by a hash, as Kubernetes' shuffle sharding deals them."""
    dealt: list[int] = []
    for taken in range(hand):
        hashed, card = divmod(hashed, size - taken)
        for other in sorted(dealt):
            if card < other:
                break
            card += 1
        dealt.append(card)
    return tuple(dealt)


def hash_of(schema: str, flow: str) -> int:
    """Return the hash by which a flow is dealt its queues."""
    return int.from_bytes(hashlib.sha256(f"{schema}\0{flow}".encode()).digest()[:8], "little")


def _part(seats: int, percent: int) -> int:
    """Return so many percent of seats; half a seat is one."""
    return (seats * percent + 50) // 100


@attrs.frozen(kw_only=True)
class LevelSettings:
    """How a priority level is configured."""

    name: str
    uid: str = ""
    exempt: bool = False
    shares: int = 0
    lendable_percent: int = 0
    borrowing_percent: int | None = None
    """How much more than its own seats the level uses at most; None: as much as there is."""
    queues: int = 0
    """0: requests that find no seat are refused."""
    hand: int = 0
    queue_length: int = 0


@attrs.define(eq=False)
class Waiting:
    """A request that waits for seats."""

    width: int
    schema: str
    flow: str
    since: float
    seated: anyio.Event = attrs.field(factory=anyio.Event)
    begun: float | None = None
    """When it got its seats."""

    @property
    def owner(self) -> tuple[str, str]:
        """The flow that it belongs to, among those of all flow schemas."""
        return self.schema, self.flow


class Lagging(Protocol):
    """What holds seats of a level while a client reads an answer."""

    @property
    def owner(self) -> tuple[str, str]:
        """The flow that it belongs to."""
        ...

    def give_back(self) -> None:
        """Give the seats back."""
        ...


class Queue:
    """Requests of a few flows that wait for their turn."""

    __slots__ = ("finish", "number", "seats", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: deque[Waiting] = deque()
        self.seats = 0
        """How many seats those who wait want."""
        self.finish = 0.0
        """The virtual time at which all service that this queue has had would be over, were all queues served alike."""


class Pool:
    """The seats that levels lend each other."""

    def __init__(self) -> None:
        self.size = 0
        self.used = 0
        self.waiting = 0
        """How many requests wait, in all levels."""
        self.levels: list[Level] = []

    def configure(self, levels: Sequence["Level"], concurrency: int) -> None:
        """Divide the seats of the server among levels by their shares."""
        self.levels = list(levels)
        shares = sum(level.settings.shares for level in levels)
        self.size = 0
        for level in levels:
            level.divide(concurrency, shares)
            self.size += level.lendable
        self.used = sum(level.borrowed for level in levels)

    def freed(self) -> None:
        """Seat those who wait, those first whose level uses the smallest part of its own seats."""
        waiting = [level for level in self.levels if level.in_queue]
        waiting.sort(key=lambda level: level.in_use / max(1, level.nominal))
        for level in waiting:
            level.seat_waiting()


class Level:
    """A priority level at work."""

    def __init__(self, settings: LevelSettings, pool: Pool, now: Callable[[], float]) -> None:
        self.settings = settings
        self.pool = pool
        self._now = now
        self.exempt = settings.exempt
        self.nominal = self.least = self.lendable = 0
        self.most: int | None = None
        """How many seats the level uses at most; None: no bound but the server's."""
        self.widest = 1
        self.in_use = 0
        self.executing = 0
        self.in_queue = 0
        self.queues: list[Queue] = [Queue(number) for number in range(settings.queues)]
        self._virtual = 0.0
        self._lent: dict[Lagging, None] = {}
        """Those who hold seats while their clients do not read: the longest first."""
        self.tallies: dict[str, Tally] = {}
        """By flow schema."""
        self._refusals = Refusals()

    def tally(self, schema: str) -> Tally:
        """Return where the requests of a flow schema are counted."""
        return self.tallies.get(schema) or self.tallies.setdefault(schema, Tally())

    def divide(self, concurrency: int, shares: int) -> None:
        """Learn how many seats the level has, of `concurrency` that are divided by `shares`."""
        settings = self.settings
        self.nominal = -(-concurrency * settings.shares // shares) if shares else 0
        self.lendable = _part(self.nominal, settings.lendable_percent)
        self.least = self.nominal - self.lendable
        borrowing = settings.borrowing_percent
        self.most = None if borrowing is None else self.nominal + _part(self.nominal, borrowing)
        most = min(MOST_SEATS, math.ceil(self.nominal * MOST_OF_LEVEL))
        # All queues of a hand must be able to have one such request served at once.
        self.widest = max(1, min(most, self.nominal // settings.hand) if settings.hand else most)

    def reconfigure(self, settings: LevelSettings) -> None:
        """Work by other settings from now on. Who waits in a queue that is to go is still served from it."""
        self.settings = settings
        self.exempt = settings.exempt
        kept = self.queues[: settings.queues] + [q for q in self.queues[settings.queues :] if q.waiting]
        self.queues = kept + [Queue(number) for number in range(len(kept), settings.queues)]

    @property
    def borrowed(self) -> int:
        """How many seats of the pool the level uses."""
        return max(0, self.in_use - self.least)

    @property
    def limit(self) -> int:
        """How many seats the level may use now: its own, and what others do not use of theirs."""
        if self.exempt:
            return self.nominal
        free = self.least + self.borrowed + max(0, self.pool.size - self.pool.used)
        return free if self.most is None else min(free, self.most)

    def seats(self, concurrency: int) -> dict[str, int]:
        """Return how many seats there are for the level in a server that has `concurrency`, by the names of figures."""
        return {
            "nominal_limit_seats": self.nominal,
            "lower_limit_seats": self.least,
            "upper_limit_seats": concurrency if self.most is None else self.most,
            "current_limit_seats": self.limit,
        }

    def _fits(self, width: int) -> bool:
        after = self.in_use + width
        if after <= self.least:
            return True
        if self.most is not None and after > self.most:
            return False
        more = after - max(self.least, self.in_use)
        return self.pool.used + more <= self.pool.size

    def _take(self, width: int) -> None:
        self._use(width)
        self.executing += 1

    def _use(self, more: int) -> None:
        """Count seats that are taken, or given back; within its own a level borrows none."""
        before, least = self.in_use, self.least
        after = self.in_use = before + more
        if before > least or after > least:
            self.pool.used += max(0, after - least) - max(0, before - least)

    def try_take(self, width: int) -> bool:
        """Take seats if there are some and nobody waits for them. Exempt levels always have some."""
        if self.exempt:
            self.executing += 1
            self.in_use += width
            return True
        if self.in_queue or not self._fits(width):
            return False
        self._take(width)
        return True

    def give(self, width: int, waited: "tuple[Queue, Waiting] | None" = None) -> None:
        """Give seats back."""
        self.executing -= 1
        if self.exempt:
            self.in_use -= width
            return
        self._use(-width)
        if waited is not None:
            queue, waiting = waited
            assert waiting.begun is not None
            # What it was taken to cost when it was seated is replaced by what it did cost.
            queue.finish += width * (self._now() - waiting.begun - ESTIMATE)
        if self.pool.waiting:
            self.pool.freed()

    def lags(self, holder: "Lagging") -> None:
        """Note that the client of a request does not read its answer: whoever else waits may have its seats."""
        self._lent[holder] = None
        if any(queue.waiting and queue.waiting[0].owner != holder.owner for queue in self.queues):
            holder.give_back()

    def reads(self, holder: "Lagging") -> None:
        """Note that the client reads again, or that the request is over."""
        self._lent.pop(holder, None)

    def _take_from_lagging(self, waiting: Waiting) -> None:
        """Seat a request on what the slow clients of others hold. A flow's own slow clients cost it its seats."""
        for holder in list(self._lent):
            if waiting.begun is not None:
                return
            if holder.owner != waiting.owner:
                holder.give_back()

    async def wait(
        self,
        width: int,
        schema: str,
        flow: str,
        hand: Sequence[int],
        gone: Gone | None = None,
        *,
        patience: float = QUEUE_WAIT,
    ) -> tuple[Queue, Waiting]:
        """Wait for seats. Raises TooManyRequests when the queue is full, the wait longer than `patience` or the client gone."""
        if not self.settings.queues:
            raise self._refuse(schema, "concurrency-limit")
        queue = min((self.queues[number] for number in hand), key=lambda q: (q.seats, len(q.waiting)))
        if len(queue.waiting) >= self.settings.queue_length:
            raise self._refuse(schema, "queue-full")
        waiting = Waiting(width, schema, flow, self._now())
        queue.waiting.append(waiting)
        queue.seats += width
        self.in_queue += 1
        self.pool.waiting += 1
        tally = self.tally(schema)
        tally.in_queue += 1
        tally.wanted += width
        self._take_from_lagging(waiting)
        reason = "time-out"
        try:
            with anyio.move_on_after(patience):
                if gone is None:
                    await waiting.seated.wait()
                else:
                    async with anyio.create_task_group() as group:

                        async def end_when_gone() -> None:
                            nonlocal reason
                            await gone()
                            reason = "cancelled"
                            group.cancel_scope.cancel()

                        group.start_soon(end_when_gone)
                        await waiting.seated.wait()
                        group.cancel_scope.cancel()
        except BaseException:
            self._leave(queue, waiting)
            raise
        finally:
            tally.in_queue -= 1
            tally.wanted -= width
            tally.waits.add((waiting.begun or self._now()) - waiting.since)
        if waiting.begun is None:
            self._leave(queue, waiting)
            raise self._refuse(schema, reason)
        tally.queued += 1
        return queue, waiting

    def _leave(self, queue: Queue, waiting: Waiting) -> None:
        """Forget a request that waits no more; seats that it has got meanwhile are given back."""
        if waiting.begun is not None:
            self.give(waiting.width, (queue, waiting))
            return
        queue.waiting.remove(waiting)
        queue.seats -= waiting.width
        self.in_queue -= 1
        self.pool.waiting -= 1

    def _refuse(self, schema: str, reason: str) -> TooManyRequests:
        refused = self.tally(schema).refused
        refused[reason] = refused.get(reason, 0) + 1
        self._refusals.count(int(self._now()))
        later = self._refusals.retry_after
        return TooManyRequests("Too many requests, please try again later.", retry_after=later)

    def seat_waiting(self) -> None:
        """Seat those who wait, as far as there are seats: next comes the queue that has had the least."""
        while self.in_queue:
            queue = min(
                (queue for queue in self.queues if queue.waiting),
                key=lambda queue: (max(queue.finish, self._virtual), queue.waiting[0].since),
            )
            waiting = queue.waiting[0]
            if not self._fits(waiting.width):
                return
            queue.waiting.popleft()
            queue.seats -= waiting.width
            self.in_queue -= 1
            self.pool.waiting -= 1
            self._virtual = max(queue.finish, self._virtual)
            queue.finish = self._virtual + waiting.width * ESTIMATE
            self._take(waiting.width)
            waiting.begun = self._now()
            waiting.seated.set()
