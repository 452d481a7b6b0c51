"""One question at a time, however many ask it."""

from collections.abc import Awaitable, Callable

import anyio


class _Call:
    """A call that has not begun, and those who wait for what comes of it."""

    __slots__ = ("done", "error", "succeeded")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.succeeded = False
        self.error: Exception | None = None


class Shared:
    """Makes one call at a time. Whoever asks before a call has begun shares it, and what comes of it: also its error."""

    def __init__(self, call: Callable[[], Awaitable[None]]) -> None:
        self._call = call
        self._turn = anyio.Lock(fast_acquire=True)
        self._next: _Call | None = None

    async def __call__(self) -> None:
        """Return when a call that began after this one has succeeded. Raises what the call raises."""
        while self._next is not None:
            shared = self._next
            await shared.done.wait()
            if shared.error is not None:
                raise shared.error
            if shared.succeeded:
                return
            # Who was to make the call has been cancelled.
        await self._make()

    async def _make(self) -> None:
        mine = self._next = _Call()
        try:
            async with self._turn:
                self._next = None  # who asks from here on may have seen more than this call will
                await self._call()
            mine.succeeded = True
        except Exception as error:
            mine.error = error
            raise
        finally:
            if self._next is mine:
                self._next = None
            mine.done.set()
