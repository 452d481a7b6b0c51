"""Watching documents in another form than the stored one, and selecting them by fields that only that form has."""

from collections.abc import Awaitable, Callable, Iterable

import attrs

from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.labels import EVERY_FIELD, FieldSelector
from kubelib.registry.base import Query
from kubelib.registry.fields import FieldReader
from kubelib.registry.watchers import CachedEvent, Watcher

Show = Callable[[list[Document]], Awaitable[list[Document]]]


def selects_by_content(query: Query) -> bool:
    """Return whether a query looks at fields other than those of the metadata."""
    return any(not r.field.startswith("metadata.") for r in query.fields.requirements)


def without_fields(query: Query) -> Query:
    """Return a query for everything that the fields would select from."""
    return attrs.evolve(query, fields=EVERY_FIELD)


class ConvertedWatch:
    """A watch whose documents are shown in the form of one version."""

    def __init__(self, watcher: Watcher, show: Show, head: bytes) -> None:
        self._watcher = watcher
        self._show = show
        self._head = head
        self._ready: list[CachedEvent] = []
        self._fields: tuple[FieldSelector, FieldReader] | None = None
        self._seen: set[Key] = set()

    def select(self, fields: FieldSelector, reader: FieldReader, present: Iterable[Document]) -> None:
        """Report only what fields select in this form; `present` is what there is when the watch begins."""
        self._fields = fields, reader
        self._seen = {d.key for d in present if fields.matches(reader.read(d))}

    async def prefetch(self) -> None:
        """Convert what waits already, so that it can be taken without waiting."""
        self._ready += await self._converted(self._watcher.take_nowait())

    async def _converted(self, events: tuple[CachedEvent, ...]) -> list[CachedEvent]:
        if all(event.document.begins_with(self._head) for event in events):
            result = list(events)
        else:
            shown = await self._show([event.document for event in events])
            result = [CachedEvent(e.type, d) for e, d in zip(events, shown, strict=True)]
        return result if self._fields is None else [e for event in result if (e := self._selected(event))]

    def _selected(self, event: CachedEvent) -> CachedEvent | None:
        assert self._fields is not None
        fields, reader = self._fields
        key = event.document.key
        known = key in self._seen
        if event.type != "DELETED" and fields.matches(reader.read(event.document)):
            self._seen.add(key)
            return CachedEvent("MODIFIED" if known else "ADDED", event.document)
        self._seen.discard(key)
        return CachedEvent("DELETED", event.document) if known else None

    async def wait(self) -> None:
        """Wait until `take` has something to return."""
        while not self._ready:
            self._ready += await self._converted(await self._watcher.take())

    async def take(self) -> tuple[CachedEvent, ...]:
        """Wait for the next events, at least one."""
        await self.wait()
        return self.take_nowait()

    @property
    def notify(self) -> Callable[[], None] | None:
        """Called whenever there is something new; see `kubelib.registry.cache.Watcher`."""
        return self._watcher.notify

    @notify.setter
    def notify(self, notify: Callable[[], None] | None) -> None:
        self._watcher.notify = notify

    def at_once(self) -> tuple[CachedEvent, ...] | None:
        """Return the events that wait; None if they have to be converted, or if the watch has come to its end."""
        if self._ready or not self._watcher.all_begin_with(self._head):
            return None
        events = self._watcher.at_once()
        if events is None or self._fields is None:
            return events
        return tuple(e for event in events if (e := self._selected(event)))

    def take_nowait(self) -> tuple[CachedEvent, ...]:
        """Return the events that wait, if any."""
        events = tuple(self._ready)
        self._ready.clear()
        return events

    @property
    def behind(self) -> bool:
        """Whether events wait to be taken."""
        return bool(self._ready) or self._watcher.behind

    @property
    def resource_version(self) -> str:
        """The revision up to which everything has been reported."""
        return self._watcher.resource_version

    @property
    def started_at(self) -> int:
        """The revision of the state that a watch without a start begins with."""
        return self._watcher.started_at
