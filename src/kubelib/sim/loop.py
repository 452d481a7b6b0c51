"""An asyncio event loop whose time is virtual: whenever nothing is ready it jumps to the next timer.

``anyio`` takes its time from the loop, so on this one every sleep, deadline and timer is instant and a year passes
in milliseconds. With a seed, tasks that are ready at the same moment run in an order drawn from that seed: each seed
is another interleaving, and the same one every time.

Time stands still while work is done in threads for the loop: by ``anyio.to_thread`` on its default limiter, or by an executor
(``asyncio.to_thread``, the lookup of names). So a call that takes a thread takes no virtual time, however slow the machine is.
A thread that waits for the loop in turn (``anyio.from_thread``) does not hold it up. In which order several threads come back
is theirs, so a simulation that is to repeat itself has one at a time at most. Threads that somebody starts on his own and other
processes are not seen: time runs on without them.
"""

import asyncio
import functools
import heapq
import math
from collections.abc import Awaitable, Callable
from contextvars import Context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOLUTION = 1e-6
"""A nanosecond falls below the spacing of floats after 194 virtual days, and a timer would never be due."""


class SimulationStalled(RuntimeError):
    """Nothing is ready and no timer is left: what the simulation waits for can never happen."""


class SimLoop(asyncio.SelectorEventLoop):
    """A virtual-time loop: ``anyio.run(main, backend_options={"loop_factory": SimLoop})``.

    Without a seed, ready tasks run in the order in which they became ready, as on any asyncio loop.
    """

    # Set for the class too: the base class's constructor asks for it.
    _now = 0.0

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed
        self._random = None if seed is None else Random(seed)
        self._clock_resolution = RESOLUTION
        self._limiter: anyio.CapacityLimiter | None = None
        self._executing = 0
        self._answering = False
        # Tasks that threads have asked for, and wait for.
        self._asked: set[asyncio.Task[Any]] = set()

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._now

    def _run_once(self) -> None:
        # Private to asyncio, as are _scheduled, _ready and _clock_resolution: long stable, and used only here.
        if not self._ready and not self._stopping:  # type: ignore[attr-defined]
            self._jump()
        if self._random is not None and len(self._ready) > 1:  # type: ignore[attr-defined]
            self._shuffle(self._random)
        super()._run_once()  # type: ignore[misc]

    def _jump(self) -> None:
        """Advance to the instant of the next timer."""
        timers = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(timers)._scheduled = False
        if self._poll(0):
            return
        while self._threads_at_work():
            if self._poll(None):
                return
        when = timers[0]._when if timers else math.inf
        if when == math.inf:
            raise SimulationStalled(self._complaint())
        # To the timer's own instant: adding the remaining time would let sums drift.
        self._now = max(self._now, when)

    def _poll(self, seconds: float | None) -> bool:
        """Return whether something outside of the loop (a signal, another thread) woke it within real seconds, or ever."""
        ready = self._selector.select(seconds)  # type: ignore[attr-defined]
        if ready:
            self._process_events(ready)  # type: ignore[attr-defined]
        return bool(self._ready)  # type: ignore[attr-defined]

    def _threads_at_work(self) -> bool:
        """Return whether a thread does something that somebody on the loop waits for."""
        if self._limiter is None:
            self._limiter = anyio.to_thread.current_default_thread_limiter()
        return self._executing + self._limiter.borrowed_tokens > len(self._asked)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Call a function in a thread; no time passes meanwhile."""
        self._executing += 1
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._executing -= 1
            raise
        future.add_done_callback(self._executed)
        return future

    def _executed(self, future: object) -> None:
        self._executing -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads of the executor, in a thread."""
        self._executing += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._executing -= 1

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call a function on the loop, asked by a thread."""
        return super().call_soon_threadsafe(self._answer, callback, args, context=context)

    def _answer(self, callback: Callable[[*Ts], object], args: tuple[*Ts]) -> None:
        self._answering = True
        try:
            callback(*args)
        finally:
            self._answering = False

    def create_task(self, coro: Any, **how: Any) -> "asyncio.Task[Any]":
        """Start a task."""
        task = super().create_task(coro, **how)
        if self._answering:
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
        return task

    def _shuffle(self, random: Random) -> None:
        """Reorder the ready steps of tasks among themselves; other callbacks keep their places."""
        ready = self._ready  # type: ignore[attr-defined]
        places = [i for i, handle in enumerate(ready) if _is_task_step(handle)]
        if len(places) > 1:
            steps = [ready[i] for i in places]
            random.shuffle(steps)
            for place, step in zip(places, steps, strict=True):
                ready[place] = step

    def _complaint(self) -> str:
        waiting = sorted(task.get_name() for task in asyncio.all_tasks(self) if not task.done())
        seed = "" if self.seed is None else f" (seed {self.seed})"
        return (
            f"the simulation stalled at {self._now:.6f} s{seed}: nothing is ready and no timer is left; "
            f"waiting: {', '.join(waiting) or 'nobody'}"
        )


def _is_task_step(handle: asyncio.Handle) -> bool:
    callback = handle._callback  # type: ignore[attr-defined]
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def sim_backend(seed: int | None = None) -> tuple[str, dict[str, Any]]:
    """Return the value of an ``anyio_backend`` fixture that runs tests in virtual time."""
    return "asyncio", {"loop_factory": functools.partial(SimLoop, seed)}


def simulate(main: Callable[..., Awaitable[T]], *args: Any, seed: int | None = None) -> T:
    """Run `main` to its end in virtual time. Raises `SimulationStalled` when nothing can happen any more."""
    backend, options = sim_backend(seed)
    return anyio.run(main, *args, backend=backend, backend_options=options)
