"""Delivery: watches are cursors into the shared history, woken all together, once per commit however many there are."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from kubelib.store.base import Change, Revision, RevisionInFuture, StoreUnavailable, WatchLagged
from kubelib.store.history import History

log = logging.getLogger(__name__)

Observer = Callable[[tuple[Change, ...]], None]


class Fanout:
    """Tells observers and watches of new changes."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._observers: list[Observer] = []
        self._news: anyio.Event | None = None
        self.revision = Revision(0)
        self.closed = ""
        """Why there will be no more changes, once there will not."""

    def publish(self, revision: Revision, changes: tuple[Change, ...]) -> None:
        """Add the changes of one commit to the history and tell everybody."""
        self._history.add(changes)
        self.revision = revision
        for observer in tuple(self._observers):
            try:
                observer(changes)
            except Exception:
                # The commit has happened: what an observer makes of it is not the committer's affair.
                log.exception("an observer of the store failed on revision %s", revision)
        self._wake()

    def restart(self, revision: Revision) -> None:
        """Go on from a revision to which no changes lead: watches find that they have lagged."""
        self.revision = revision
        self._wake()

    def skip(self, revision: Revision) -> None:
        """Go on at another revision with a history that was replaced: watches learn that they have lost their place."""
        self.revision = revision
        self._wake()

    def close(self, why: str) -> None:
        """End all watches with `StoreUnavailable`."""
        self.closed = why
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.set()

    async def wait(self) -> None:
        """Wait for the next publication."""
        if self._news is None:
            self._news = anyio.Event()
        await self._news.wait()

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Call `callback` synchronously with the changes of each commit; the returned function ends it."""
        self._observers.append(callback)
        return lambda: self._observers.remove(callback)

    @asynccontextmanager
    async def watch(self, prefix: str, since: Revision) -> AsyncIterator["Cursor"]:
        """Open a watch."""
        yield Cursor(self, self._history, prefix, since)


class Cursor:
    """A watch: a position in the history."""

    def __init__(self, fanout: Fanout, history: History, prefix: str, since: Revision) -> None:
        self._fanout = fanout
        self._history = history
        self._prefix = prefix
        self._since = since
        self._position: int | None = None
        self.progress = since

    async def take(self) -> tuple[Change, ...]:
        """Return the next changes; see `kubelib.store.base.Watch`."""
        history, fanout = self._history, self._fanout
        if self._position is None:
            if self._since > fanout.revision:
                raise RevisionInFuture(self._since, fanout.revision)
            self._position = history.position(self._since)
        while True:
            if self._position < history.first:
                raise WatchLagged("the watch fell behind the history that is kept: list again")
            end = history.end
            if self._position < end:
                prefix = self._prefix
                changes = tuple(c for c in history.between(self._position, end) if c.key.startswith(prefix))
                self._position = end
                self.progress = max(self.progress, fanout.revision)
                if changes:
                    return changes
                continue
            if fanout.closed:
                raise StoreUnavailable(fanout.closed)
            await fanout.wait()
