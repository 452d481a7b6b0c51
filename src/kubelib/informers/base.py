"""What notices: components that live as long as a daemon, and the queue between noticing and acting."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

K = TypeVar("K")


class Component(Protocol):
    """Anything that runs for the life of a daemon.

    Components are started with ``await task_group.start(component.run)`` and stopped by cancellation, one at a
    time, in reverse order. ``finally`` blocks free resources and write nothing to the API.
    """

    name: str

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; report started once the caches are in step."""
        ...


class WorkQueue(Protocol[K]):
    """Keys to work on. One key is never worked on twice at once, and an add during its work is not lost."""

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on; many adds before it is taken are one."""
        ...

    def add_after(self, key: K, delay: float) -> None:
        """Add `key` in `delay` seconds; the earliest of several times wins."""
        ...

    def retry(self, key: K) -> None:
        """Add `key` after its back-off, which grows with every retry until `forget`."""
        ...

    def forget(self, key: K) -> None:
        """Clear the back-off of `key`: it succeeded."""
        ...

    def take(self) -> AbstractAsyncContextManager[K]:
        """Wait for a key and hold it for the length of the ``async with`` block."""
        ...
