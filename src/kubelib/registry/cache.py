"""The watch cache: every object of the store as its document, and every watch fed from one stream of changes.

An event is encoded once, however many watch it. Who is interested is found through an index of selectors: labels and
fields alike, so that ten thousand watchers with different selectors cost a write no more than those that match.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from operator import attrgetter

import anyio

from kubelib.api.codec import splice_resource_version
from kubelib.api.document import Document
from kubelib.api.errors import Expired
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource
from kubelib.labels import LabelIndex, Requirement, Selector, SelectorIndex
from kubelib.registry.base import EventType, Query
from kubelib.registry.fields import FieldReader, as_labels
from kubelib.registry.keys import prefix_of, split_store_key
from kubelib.store import Change, Entry, Revision

RING = 4096
"""How many events a resource keeps for watches to continue from, at least."""

MAX_PENDING = 16_384
"""How many events a watcher may have waiting before it is told to list again."""


# Keys are ordered like this anyway; said so, they are compared without calling Python for each comparison.
_IN_ORDER = attrgetter("namespace", "name")
_BY_NAME = attrgetter("name")


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


class _Transition:
    """A change to one object, and the events that it makes for those who see it appear, change or vanish."""

    __slots__ = ("after", "before", "events", "gone_raw", "revision")

    def __init__(
        self, revision: int, before: Document | None, after: Document | None, gone_raw: bytes
    ) -> None:
        self.revision = revision
        self.before = before
        self.after = after
        self.gone_raw = gone_raw
        self.events: dict[str, CachedEvent] = {}

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
                document = Document(splice_resource_version(self.gone_raw, self.revision))
            event = self.events[type_] = CachedEvent(type_, document)
        return event


class Watcher:
    """One watch on one resource: the events that wait for it to take them."""

    __slots__ = ("_cache", "_lagged", "_news", "_pending", "_revision", "query", "selector", "started_at")

    def __init__(self, cache: "ResourceCache", query: Query, selector: Selector) -> None:
        self._cache = cache
        self.query = query
        self.selector = selector
        self._pending: list[CachedEvent] = []
        self._news: anyio.Event | None = None
        self._lagged = False
        self._revision = 0
        self.started_at = cache.revision
        """The revision of the state that a watch without a start begins with."""

    def push(self, event: CachedEvent, revision: int) -> None:
        """Add an event for this watcher."""
        if len(self._pending) >= MAX_PENDING:
            self._lagged = True
            self._pending.clear()
        self._pending.append(event)
        self._revision = revision
        if self._news is not None:
            self._news.set()

    async def take(self) -> tuple[CachedEvent, ...]:
        """Wait for the next events, at least one. Raises Expired when this reader was too slow."""
        while not self._pending:
            self._news = anyio.Event()
            await self._news.wait()
        if self._lagged:
            raise Expired("too old resource version: the watch was too slow, list again")
        events = tuple(self._pending)
        self._pending.clear()
        return events

    def take_nowait(self) -> tuple[CachedEvent, ...]:
        """Return the events that wait, if any."""
        events = tuple(self._pending)
        self._pending.clear()
        return events

    @property
    def behind(self) -> bool:
        """Whether events wait to be taken."""
        return bool(self._pending)

    @property
    def resource_version(self) -> str:
        """The revision up to which everything has been reported."""
        return str(self._revision if self._pending else max(self._cache.revision, self._revision))


class ResourceCache:
    """The objects of one resource."""

    def __init__(self, resource: Resource, owner: "WatchCache") -> None:
        self.resource = resource
        self.fields = FieldReader(resource)
        self._owner = owner
        self._documents: dict[Key, Document] = {}
        self._namespaces: dict[str, dict[Key, Document]] = {}
        self._labels: LabelIndex[Key] = LabelIndex()
        self._sorted: list[Key] | None = []
        self._ring: list[_Transition] = []
        self._oldest = owner.revision
        self._watchers: dict[str, SelectorIndex[Watcher]] = {}
        self._field_watchers = 0
        self._callbacks: list[Callable[[], None]] = []

    @property
    def revision(self) -> int:
        """The revision of the whole cache."""
        return self._owner.revision

    def __len__(self) -> int:
        return len(self._documents)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every change to the resource, for as long as the cache lives."""
        self._callbacks.append(callback)

    def all(self) -> Collection[Document]:
        """Return every document, in no promised order."""
        return self._documents.values()

    def get(self, key: Key) -> Document | None:
        """Return the document at a key, or None."""
        return self._documents.get(key)

    def select(self, query: Query) -> list[Document]:
        """Return the matching documents in key order."""
        documents = self._documents
        if not query.fields.everything:
            self.fields.require_known(query.fields)
        if not query.labels.everything:
            keys = [
                k
                for k in self._labels.select(query.labels)
                if not query.namespace or k.namespace == query.namespace
            ]
            found = [documents[key] for key in sorted(keys, key=_IN_ORDER)]
        elif query.namespace:
            here = self._namespaces.get(query.namespace, {})
            found = [here[key] for key in sorted(here, key=_BY_NAME)]
        else:
            if self._sorted is None:
                self._sorted = sorted(documents, key=_IN_ORDER)
            found = [documents[key] for key in self._sorted]
        if not query.fields.everything:
            name = query.fields.exact("metadata.name")
            if name is not None:
                found = [d for d in found if d.meta.name == name]
            read, matches = self.fields.read, query.fields.matches
            found = [d for d in found if matches(read(d))]
        return found

    def matches(self, document: Document, query: Query) -> bool:
        """Return whether a document, which need not be in the cache, matches."""
        if query.namespace and document.meta.namespace != query.namespace:
            return False
        if not query.labels.matches(document.meta.labels):
            return False
        return query.fields.everything or query.fields.matches(self.fields.read(document))

    # Changes

    def load(self, key: Key, entry: Entry) -> None:
        """Add an object that was there when the cache was opened."""
        self._put(key, Document(splice_resource_version(entry.value, entry.modified)))

    def apply(self, key: Key, change: Change) -> None:
        """Take in a change and tell those who watch."""
        before = self._documents.get(key)
        after = None
        if change.entry is not None:
            after = Document(splice_resource_version(change.entry.value, change.revision))
            self._put(key, after)
        elif before is not None:
            del self._documents[key]
            del self._namespaces[key.namespace][key]
            self._labels.remove(key)
            self._sorted = None
        gone = change.previous.value if change.previous is not None else b""
        transition = _Transition(change.revision, before, after, gone)
        self._ring.append(transition)
        if len(self._ring) > 2 * RING:
            self._oldest = self._ring[RING - 1].revision
            del self._ring[:RING]
        if self._watchers:
            self._dispatch(key, transition)
        for callback in self._callbacks:
            callback()

    def forget(self) -> None:
        """Drop the events that are kept for those who begin to watch later."""
        self._ring.clear()
        self._oldest = self.revision

    def _put(self, key: Key, document: Document) -> None:
        if key not in self._documents:
            self._sorted = None
        self._documents[key] = document
        self._namespaces.setdefault(key.namespace, {})[key] = document
        self._labels.put(key, document.meta.labels)

    def _dispatch(self, key: Key, transition: _Transition) -> None:
        before, after, revision = transition.before, transition.after, transition.revision
        old = self._selected_by(before) if before is not None else None
        new = self._selected_by(after) if after is not None else None
        for namespace in ("", key.namespace) if key.namespace else ("",):
            index = self._watchers.get(namespace)
            if index is None:
                continue
            seen_after = dict.fromkeys(index.matching(new)) if new is not None else {}
            if old is None:
                seen_before: dict[Watcher, None] = {}
            elif old == new:
                seen_before = seen_after
            else:
                seen_before = dict.fromkeys(index.matching(old))
            for watcher in seen_after:
                event = transition.event(watcher in seen_before, True)
                if event is not None:
                    watcher.push(event, revision)
            if seen_before is not seen_after:
                for watcher in seen_before:
                    if watcher not in seen_after and (event := transition.event(True, False)) is not None:
                        watcher.push(event, revision)

    def _selected_by(self, document: Document) -> dict[str, str]:
        """Return what watchers' selectors look at: fields only if somebody asked for any."""
        fields = self.fields.read(document) if self._field_watchers else {}
        return as_labels(document.meta.labels, fields)

    # Watching

    def watch(self, query: Query, since: int | None) -> Watcher:
        """Register a watcher that first gets every event after revision `since` (None: the present as ADDED events).

        Raises Expired when `since` is older than what is kept.
        """
        self.fields.require_known(query.fields)
        requirements = [
            *query.labels.requirements,
            *(
                Requirement("\0" + r.field, "!=" if r.negated else "=", (r.value,))
                for r in query.fields.requirements
            ),
        ]
        watcher = Watcher(self, query, Selector(requirements, query.labels.nothing))
        if since is None:
            for document in self.select(query):
                watcher.push(CachedEvent("ADDED", document), self.revision)
        else:
            for event, revision in self._replay(watcher, since):
                watcher.push(event, revision)
        self._watchers.setdefault(query.namespace, SelectorIndex()).add(watcher, watcher.selector)
        self._field_watchers += bool(query.fields.requirements)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        index = self._watchers[watcher.query.namespace]
        index.discard(watcher)
        self._field_watchers -= bool(watcher.query.fields.requirements)
        if not len(index):
            del self._watchers[watcher.query.namespace]

    @property
    def watchers(self) -> int:
        """How many watch this resource."""
        return sum(map(len, self._watchers.values()))

    def _replay(self, watcher: Watcher, since: int) -> Iterator[tuple[CachedEvent, int]]:
        if since < self._oldest:
            raise Expired(f"too old resource version: {since} ({self._oldest})")
        start = bisect_right(self._ring, since, key=lambda transition: transition.revision)
        query = watcher.query
        for transition in self._ring[start:]:
            before = transition.before is not None and self.matches(transition.before, query)
            after = transition.after is not None and self.matches(transition.after, query)
            event = transition.event(before, after)
            if event is not None:
                yield event, transition.revision


class WatchCache:
    """The caches of all resources, fed from one stream of changes."""

    def __init__(self) -> None:
        self.revision = 0
        self._resources: dict[str, ResourceCache] = {}
        self._loaded: dict[str, dict[Key, Entry]] = {}
        self._reached: list[tuple[int, anyio.Event]] = []

    def of(self, resource: Resource) -> ResourceCache:
        """Return the cache of a resource, made when first asked for."""
        prefix = prefix_of(resource)
        cache = self._resources.get(prefix)
        if cache is None:
            cache = self._resources[prefix] = ResourceCache(resource, self)
            for key, entry in self._loaded.pop(prefix, {}).items():
                cache.load(key, entry)
        return cache

    def load(self, entries: Iterable[Entry], revision: Revision) -> None:
        """Take in the state of the store at a revision."""
        for entry in entries:
            if (split := split_store_key(entry.key)) is not None:
                prefix, key = split
                self._loaded.setdefault(prefix, {})[key] = entry
        self.revision = revision

    def apply(self, changes: tuple[Change, ...]) -> None:
        """Take in the changes of one commit."""
        for change in changes:
            split = split_store_key(change.key)
            if split is None:
                continue
            prefix, key = split
            cache = self._resources.get(prefix)
            if cache is not None:
                cache.apply(key, change)
            elif change.entry is not None:
                self._loaded.setdefault(prefix, {})[key] = change.entry
            else:
                self._loaded.get(prefix, {}).pop(key, None)
        self.revision = max(self.revision, changes[-1].revision)
        if self._reached:
            for revision, event in self._reached:
                if revision <= self.revision:
                    event.set()
            self._reached = [(r, e) for r, e in self._reached if r > self.revision]

    def forget(self) -> None:
        """Keep the present and no event that led to it, as after a restart: older versions can be watched no more."""
        for cache in self._resources.values():
            cache.forget()

    async def reached(self, revision: int) -> None:
        """Wait until the cache is at `revision` or later: what was written is then also read."""
        if revision > self.revision:
            event = anyio.Event()
            self._reached.append((revision, event))
            await event.wait()
