"""How long requests may take: one timer for all of them instead of one for each."""

import asyncio
from types import TracebackType


class Deadlines:
    """The time that each of many pieces of work has, the same for all: whoever began first is late first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def deadline(self) -> "Deadline":
        """Return a context in which the task is cancelled if it takes too long; leaving it then raises TimeoutError."""
        return Deadline(self)

    def begin(self, deadline: "Deadline") -> None:
        """Watch over a piece of work from now on."""
        loop = asyncio.get_running_loop()
        deadline.ends = loop.time() + self._seconds
        self._running[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.ends, self._look)

    def end(self, deadline: "Deadline") -> None:
        """Forget a piece of work. The timer stays: it finds out what to wait for next."""
        self._running.pop(deadline, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._running:
            deadline = next(iter(self._running))
            if deadline.ends > now:
                self._timer = loop.call_at(deadline.ends, self._look)
                return
            del self._running[deadline]
            deadline.expire()


class Deadline:
    """One piece of work, within the task that does it."""

    __slots__ = ("_cancelled_before", "_is_late", "_of", "_task", "ends")

    def __init__(self, of: Deadlines) -> None:
        self._of = of
        self._is_late = False
        self.ends = 0.0

    def expire(self) -> None:
        """Cancel the work: it has taken too long."""
        self._is_late = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[object] = task
        self._cancelled_before = task.cancelling()
        self._of.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._of.end(self)
        # If somebody else has cancelled the task as well, then that counts.
        alone = self._is_late and self._task.uncancel() <= self._cancelled_before
        if alone and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise TimeoutError from error
