"""Watches on one resource: what a change is to those who see it, and what waits for each of them."""

from collections.abc import Callable, Mapping

import anyio

from kubelib.api.document import Document
from kubelib.api.errors import Expired
from kubelib.labels import Selector
from kubelib.registry.base import EventType, Query

MAX_PENDING = 16_384
"""How many events a watcher may have waiting before it is told to list again."""

Fields = Mapping[str, str]


class WatchEnded(Exception):
    """What was watched is served no more; everything that happened before has been reported."""


class CachedEvent:
    """One event as some watchers see it. Shared by all of them: its line is encoded once."""

    __slots__ = ("_line", "document", "type")

    def __init__(self, type_: EventType, document: Document) -> None:
        self.type: EventType = type_
        self.document = document
        self._line = b""

    @property
    def line(self) -> bytes:
        """The event as a JSON watch sends it."""
        if not self._line:
            self._line = b'{"type":"%s","object":%s}\n' % (self.type.encode(), self.document.raw)
        return self._line


class Transition:
    """A change to one object, and the events that it makes for those who see it appear, change or vanish."""

    __slots__ = (
        "after", "before", "events", "fields_after", "fields_before", "gone_raw", "read", "revision",
    )  # fmt: skip

    def __init__(
        self,
        revision: int,
        before: Document | None,
        after: Document | None,
        gone_raw: bytes,
        read: Callable[[bytes], bytes],
    ) -> None:
        self.revision = revision
        self.before = before
        self.after = after
        self.gone_raw = gone_raw
        self.read = read
        self.events: dict[str, CachedEvent] = {}
        self.fields_before: Fields | None = None
        self.fields_after: Fields | None = None
        """The fields that selectors may name, once somebody has looked at them: all who watch again from here do."""

    def event(self, seen_before: bool, seen_after: bool) -> CachedEvent | None:
        """Return the event for a watcher by whether its selector matched before and matches after."""
        if seen_after:
            type_: EventType = "MODIFIED" if seen_before else "ADDED"
            document = self.after
        elif seen_before:
            type_, document = "DELETED", None
        else:
            return None
        event = self.events.get(type_)
        if event is None:
            if document is None:
                assert self.before is not None
                document = Document.stored(self.read(self.gone_raw), self.revision)
            event = self.events[type_] = CachedEvent(type_, document)
        return event


class Watcher:
    """One watch on one resource: the events that wait for it to take them."""

    __slots__ = (
        "_ended", "_lagged", "_now", "_pending", "_revision", "notify", "query", "selector", "started_at",
    )  # fmt: skip

    def __init__(self, now: Callable[[], int], query: Query, selector: Selector) -> None:
        self._now = now
        self.query = query
        self.selector = selector
        self._pending: list[CachedEvent] = []
        self.notify: Callable[[], None] | None = None
        """Called whenever there is something new: events, or the end of the watch."""
        self._lagged = False
        self._ended = False
        self._revision = 0
        self.started_at = now()
        """The revision of the state that a watch without a start begins with."""

    def push(self, event: CachedEvent, revision: int) -> None:
        """Add an event for this watcher."""
        if len(self._pending) >= MAX_PENDING:
            self._lagged = True
            self._pending.clear()
        self._pending.append(event)
        self._revision = revision
        if self.notify is not None:
            self.notify()

    def end(self) -> None:
        """Have the watch end when what waits has been taken."""
        self._ended = True
        if self.notify is not None:
            self.notify()

    async def wait(self) -> None:
        """Wait until `take` has something to return or to raise. Raises WatchEnded at the end."""
        while not self._pending and not self._lagged:
            if self._ended:
                raise WatchEnded
            news = anyio.Event()
            self.notify = news.set
            await news.wait()

    async def take(self) -> tuple[CachedEvent, ...]:
        """Wait for the next events, at least one. Raises Expired when this reader was too slow, WatchEnded at the end."""
        if not self._pending:
            await self.wait()
        if self._lagged:
            raise Expired("too old resource version: the watch was too slow, list again")
        events = tuple(self._pending)
        self._pending.clear()
        return events

    def expire(self) -> None:
        """End this watch with Expired: no events lead to what there is now."""
        self._lagged = True
        self._pending.clear()
        if self.notify is not None:
            self.notify()

    def take_nowait(self) -> tuple[CachedEvent, ...]:
        """Return the events that wait, if any."""
        events = tuple(self._pending)
        self._pending.clear()
        return events

    def at_once(self) -> tuple[CachedEvent, ...] | None:
        """Return the events that wait; None if the watch has come to its end."""
        return None if self._ended or self._lagged else self.take_nowait()

    def all_begin_with(self, head: bytes) -> bool:
        """Return whether the documents of all events that wait begin with certain bytes: with a kind and a version."""
        return all(event.document.begins_with(head) for event in self._pending)

    @property
    def behind(self) -> bool:
        """Whether events wait to be taken."""
        return bool(self._pending)

    @property
    def resource_version(self) -> str:
        """The revision up to which everything has been reported."""
        return str(self._revision if self._pending else max(self._now(), self._revision))
