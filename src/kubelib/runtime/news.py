"""How a runtime tells what happens: to all who listen, and to whoever waits for one container."""

import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from kubelib.runtime.base import RuntimeEvent


class News:
    """The listeners of a runtime."""

    def __init__(self) -> None:
        self._listeners: list[MemoryObjectSendStream[RuntimeEvent]] = []
        self._waiting: dict[str, set[anyio.Event]] = {}

    def tell(self, event: RuntimeEvent) -> None:
        """Report an event to all who listen now."""
        for listener in self._listeners:
            with contextlib.suppress(anyio.BrokenResourceError):
                listener.send_nowait(event)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
        """Report what happens from now on; nothing is dropped."""
        send, receive = anyio.create_memory_object_stream[RuntimeEvent](math.inf)
        self._listeners.append(send)
        async with send, receive:
            try:
                yield receive
            finally:
                self._listeners.remove(send)

    def wake(self, identity: str) -> None:
        """Let those go on who wait for a container."""
        for event in self._waiting.pop(identity, ()):
            event.set()

    async def wait_for(self, identity: str, seconds: float) -> bool:
        """Wait for news of a container, at most so long; return whether there were any."""
        news = anyio.Event()
        self._waiting.setdefault(identity, set()).add(news)
        try:
            with anyio.move_on_after(seconds):
                await news.wait()
        finally:
            waiting = self._waiting.get(identity)
            if waiting is not None:
                waiting.discard(news)
                if not waiting:
                    del self._waiting[identity]
        return news.is_set()
