"""The queue between noticing and acting: keys once each, never two workers on one key, no request lost."""

import heapq
from collections import deque
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel

from kubelib.exposition import Histogram
from kubelib.informers.backoff import PER_KEY, Backoff

K = TypeVar("K", bound=Hashable)

DURATIONS = (
    1e-06, 9.999999999999999e-06, 9.999999999999999e-05, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0,
)  # fmt: skip
"""Of Kubernetes' histograms of work queues, in seconds: powers of ten, as Go multiplies them."""


class KeyQueue(Generic[K]):
    """A `kubelib.informers.base.WorkQueue` in memory, for the tasks of one event loop."""

    def __init__(self, backoff: Backoff = PER_KEY) -> None:
        self._backoff = backoff
        # What must be worked on. A key that is added during its work is dirty and in work at once: it returns to
        # the ready keys when that work ends.
        self._dirty: dict[K, float] = {}
        """With the time of the event loop since when."""
        self._in_work: dict[K, float] = {}
        """With the time at which it was taken."""
        self._ready: deque[K] = deque()
        # One heap for all delays, and each key's valid instant: entries of the heap that disagree with it are stale.
        self._timers: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = 0
        self._failures: dict[K, int] = {}
        self._waiters: deque[anyio.Event] = deque()
        self.adds = 0
        self.retries = 0
        self.waits = Histogram(DURATIONS)
        """How many seconds keys have waited until they were taken."""
        self.works = Histogram(DURATIONS)
        """How many seconds keys were held."""

    def __len__(self) -> int:
        """Return how many keys are ready to be taken."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is ready, in work or due later."""
        return not self._dirty and not self._in_work and not self._due

    def in_work_for(self) -> list[float]:
        """Return how many seconds ago the keys were taken that are in work, in that order."""
        if not self._in_work:
            return []
        now = anyio.current_time()
        return [now - taken for taken in self._in_work.values()]

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on; many adds before it is taken are one."""
        if key in self._dirty:
            return
        self.adds += 1
        self._dirty[key] = anyio.current_time()
        if key not in self._in_work:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: K, delay: float) -> None:
        """Add `key` in `delay` seconds; the earliest of several times wins."""
        if delay <= 0:
            self.add(key)
            return
        when = anyio.current_time() + delay
        if self._due.get(key, when + 1) <= when:
            return
        self._due[key] = when
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, key))
        if self._timers[0][0] == when:
            self._wake()  # one waiter must wait for less long

    def retry(self, key: K) -> None:
        """Add `key` after its back-off, which grows with every retry until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        self.add_after(key, self._backoff.delay(failures))

    def forget(self, key: K) -> None:
        """Clear the back-off of `key`: it succeeded."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Return how often `key` was retried since it was last forgotten."""
        return self._failures.get(key, 0)

    def take(self) -> AbstractAsyncContextManager[K]:
        """Wait for a key and hold it for the length of the ``async with`` block."""
        return _Taken(self)

    def _wake(self) -> None:
        if self._waiters:
            self._waiters.popleft().set()

    def _collect_due(self) -> float | None:
        """Make ready what is due; return how long until the next, None if nothing is pending."""
        now = anyio.current_time()
        while self._timers:
            when, _, key = self._timers[0]
            if self._due.get(key) != when:
                heapq.heappop(self._timers)
            elif when <= now:
                heapq.heappop(self._timers)
                del self._due[key]
                self.add(key)
            else:
                return when - now
        return None

    async def _next(self) -> K:
        # A checkpoint even when keys are ready: workers that never wait must not starve the rest of the process.
        await anyio.lowlevel.checkpoint()
        while True:
            delay = self._collect_due()
            if self._ready:
                key = self._ready.popleft()
                now = anyio.current_time()
                self.waits.add(now - self._dirty.pop(key))
                self._in_work[key] = now
                return key
            woken = anyio.Event()
            self._waiters.append(woken)
            try:
                if delay is None:
                    await woken.wait()
                else:
                    with anyio.move_on_after(delay):
                        await woken.wait()
            finally:
                if woken.is_set():
                    if self._ready and len(self._waiters):
                        self._wake()  # this waiter may be cancelled, or take only one of several
                else:
                    self._waiters.remove(woken)

    def _done(self, key: K) -> None:
        self.works.add(anyio.current_time() - self._in_work.pop(key))
        if key in self._dirty:
            self._ready.append(key)
            self._wake()


class _Taken(Generic[K]):
    __slots__ = ("_key", "_queue")

    def __init__(self, queue: KeyQueue[K]) -> None:
        self._queue = queue

    async def __aenter__(self) -> K:
        self._key = await self._queue._next()
        return self._key

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue._done(self._key)
