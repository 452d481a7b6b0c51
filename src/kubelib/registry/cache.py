"""The watch cache: every object of the store as its document, and every watch fed from one stream of changes.

An event is encoded once, however many watch it. Who is interested is found through an index of selectors: labels and
fields alike, so that ten thousand watchers with different selectors cost a write no more than those that match.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import anyio
import anyio.lowlevel
import msgspec

from kubelib.api.document import Document, Reading, SeenDocument
from kubelib.api.errors import Expired
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree
from kubelib.labels import Requirement, Selector, SelectorIndex
from kubelib.registry.base import Query
from kubelib.registry.fields import FieldReader, as_labels
from kubelib.registry.holdings import Holdings
from kubelib.registry.keys import prefix_of, split_store_key
from kubelib.registry.watchers import CachedEvent, Transition, Watcher
from kubelib.store import Change, Entry, Revision
from kubelib.store.encryption import unreadable

log = logging.getLogger(__name__)

RING = 4096
"""How many events a resource keeps for watches to continue from, at least."""

AT_ONCE = 50
"""How many documents are read again before others have a turn."""
MOST_ANNOUNCED = 256
"""How many documents that this server has made need no second look once they are stored."""


class ResourceCache:
    """The objects of one resource."""

    def __init__(self, resource: Resource, owner: "WatchCache") -> None:
        self.resource = resource
        self.fields = FieldReader(resource)
        self._owner = owner
        self._held = Holdings(self.fields, namespaced=resource.namespaced)
        self._documents = self._held.documents
        self._ring: list[Transition] = []
        self._oldest = owner.revision
        self._watchers: dict[str, SelectorIndex[Watcher]] = {}
        self._field_watchers = 0
        self._callbacks: list[Callable[[], None]] = []
        self._tracked: list[set[Key]] = []
        self._reading: Reading | None = None
        self._announced: dict[bytes, Tree] = {}

    @property
    def revision(self) -> int:
        """The revision of the whole cache."""
        return self._owner.revision

    def __len__(self) -> int:
        return len(self._documents)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every change to the resource, for as long as the cache lives."""
        self._callbacks.append(callback)

    def track(self) -> set[Key]:
        """Return a set to which the keys of all objects are added that change from now on, and those that are there already.

        Whoever asked for it takes them out again.
        """
        keys = set(self._documents)
        self._tracked.append(keys)
        return keys

    def all(self) -> Collection[Document]:
        """Return every document, in no promised order."""
        return self._documents.values()

    def within(self, namespace: str) -> Collection[Document]:
        """Return every document of a namespace, in no promised order."""
        return self._held.within(namespace)

    def select(self, query: Query) -> list[Document]:
        """Return the matching documents in key order."""
        return self._held.select(query)

    def matches(self, document: Document, query: Query) -> bool:
        """Return whether a document, which need not be in the cache, matches."""
        return self._held.matches(document, query)

    def get(self, key: Key) -> Document | None:
        """Return the document at a key, or None."""
        return self._documents.get(key)

    # Changes

    def read(self, stored: bytes) -> bytes:
        """Return a stored document as it is to be seen: kinds that are defined at run time change under their objects."""
        return stored if self._reading is None else self._reading.read(stored)

    def _stored(self, value: bytes, revision: int) -> Document:
        """Return the document of what is stored; one of a kind that is defined at run time is read when somebody looks at it."""
        metadata = self._announced.pop(value, None) if self._announced else None
        if self._reading is None:
            return Document.stored(value, revision, metadata)
        return SeenDocument.through(self._reading, value, revision, metadata)

    def announce(self, value: bytes, metadata: Tree) -> None:
        """Note a document that this server is about to store, as it should be seen: it need not be read once it is stored."""
        if len(self._announced) >= MOST_ANNOUNCED:  # with those that were not stored after all
            self._announced.clear()
        self._announced[value] = metadata

    def redefine(self, resource: Resource, reader: Callable[[bytes], bytes]) -> None:
        """Read the documents in another way from now on, also those that are here already."""
        self.resource = resource
        self._announced.clear()
        for transition in self._ring:
            transition.fields_before = transition.fields_after = None
        if dict(resource.selectable) != self.fields.defaults:
            self.fields = FieldReader(resource)
        self._held.read_by(self.fields)
        if self._reading is not None:
            self._reading.read = reader
            return
        self._reading = Reading(reader)
        for key, document in list(self._documents.items()):
            self._held.put(key, SeenDocument.again(document, self._reading))

    async def look_through(self) -> None:
        """Read what nobody has looked at since the kind has changed, a few documents at a time."""
        for number, document in enumerate(list(self._documents.values())):
            if isinstance(document, SeenDocument):
                document.look()
            if number % AT_ONCE == AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()

    def end_watches(self) -> None:
        """End all watches: what they watch is served no more."""
        for index in self._watchers.values():
            for watcher in index:
                watcher.end()

    def load(self, key: Key, entry: Entry) -> None:
        """Add an object that was there when the cache was opened. Raises StoreCorrupt for what is none."""
        try:
            self._held.put(key, self._stored(entry.value, entry.modified))
        except msgspec.DecodeError:
            raise unreadable(entry.key, entry.value) from None

    def apply(self, key: Key, change: Change) -> None:
        """Take in a change and tell those who watch."""
        before = self._documents.get(key)
        after = None
        if change.entry is not None:
            after = self._stored(change.entry.value, change.revision)
            self._held.put(key, after)
        elif before is not None:
            self._held.drop(key)
        gone = change.previous.value if change.previous is not None else b""
        transition = Transition(change.revision, before, after, gone, self.read)
        self._ring.append(transition)
        if len(self._ring) > 2 * RING:
            self._oldest = self._ring[RING - 1].revision
            del self._ring[:RING]
        if self._watchers:
            self._dispatch(key, transition)
        for keys in self._tracked:
            keys.add(key)
        for callback in self._callbacks:
            callback()

    def forget(self) -> None:
        """Drop the events that are kept for those who begin to watch later."""
        self._ring.clear()
        self._oldest = self.revision

    def reload(self, entries: Mapping[Key, Entry]) -> None:
        """Hold other objects than before, as nobody has seen them come about: watches expire."""
        for keys in self._tracked:
            keys.update(self._documents, entries)
        self._held.clear()
        for key, entry in entries.items():
            self.load(key, entry)
        self.forget()
        for watcher in self._everybody():
            watcher.expire()
        for callback in self._callbacks:
            callback()

    def _everybody(self) -> list[Watcher]:
        return [watcher for index in self._watchers.values() for watcher in index]

    def _dispatch(self, key: Key, transition: Transition) -> None:
        before, after, revision = transition.before, transition.after, transition.revision
        if self._field_watchers:
            self._read_fields(transition)
        old = as_labels(before.meta.labels, transition.fields_before or {}) if before is not None else None
        new = as_labels(after.meta.labels, transition.fields_after or {}) if after is not None else None
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
            if seen_before is seen_after:
                event = transition.event(True, True)
                if event is not None:
                    for watcher in seen_after:
                        watcher.push(event, revision)
            else:
                for watcher in seen_after:
                    event = transition.event(watcher in seen_before, True)
                    if event is not None:
                        watcher.push(event, revision)
                for watcher in seen_before:
                    if watcher not in seen_after and (event := transition.event(True, False)) is not None:
                        watcher.push(event, revision)

    def _read_fields(self, transition: Transition) -> None:
        """See to it that the fields of a changed object are known, as they were and as they are."""
        if transition.before is not None and transition.fields_before is None:
            transition.fields_before = self.fields.read(transition.before)
        if transition.after is not None and transition.fields_after is None:
            transition.fields_after = self.fields.read(transition.after)

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
        watcher = Watcher(self._owner.now, query, Selector(requirements, query.labels.nothing))
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

    def _replay(self, watcher: Watcher, since: int) -> Iterator[tuple[CachedEvent, int]]:
        if since < self._oldest:
            raise Expired(f"too old resource version: {since} ({self._oldest})")
        start = bisect_right(self._ring, since, key=lambda transition: transition.revision)
        first = bisect_left(self._ring, since, key=lambda transition: transition.revision)
        if start - first > 1:
            # One commit has changed several objects: a watch that broke off between its events goes on from its revision, and gets them again.
            start = first
        query = watcher.query
        for transition in self._ring[start:]:
            if not query.fields.everything:
                self._read_fields(transition)
            then, now = transition.before, transition.after
            before = then is not None and self._held.matches(then, query, transition.fields_before)
            after = now is not None and self._held.matches(now, query, transition.fields_after)
            event = transition.event(before, after)
            if event is not None:
                yield event, transition.revision


class WatchCache:
    """The caches of all resources, fed from one stream of changes."""

    def __init__(self) -> None:
        self.revision = 0
        """Everything up to here has been taken in."""
        self._resources: dict[str, ResourceCache] = {}
        self._loaded: dict[str, dict[Key, Entry]] = {}
        self._reached: list[tuple[int, anyio.Event]] = []

    def now(self) -> int:
        """Return `revision`."""
        return self.revision

    def of(self, resource: Resource) -> ResourceCache:
        """Return the cache of a resource, made when first asked for."""
        prefix = prefix_of(resource)
        cache = self._resources.get(prefix)
        if cache is None:
            cache = ResourceCache(resource, self)
            for key, entry in self._loaded.get(prefix, {}).items():
                cache.load(key, entry)
            self._loaded.pop(prefix, None)  # all of it: a cache that lacks something is none
            self._resources[prefix] = cache
        return cache

    def redefined(self, resource: Resource, reader: Callable[[bytes], bytes]) -> ResourceCache:
        """Return the cache of a resource whose documents are read by `reader` from now on."""
        cache = self._resources.get(prefix_of(resource))
        if cache is None:
            cache = ResourceCache(resource, self)
            cache.redefine(resource, reader)
            prefix = prefix_of(resource)
            self._resources[prefix] = cache
            for key, entry in self._loaded.pop(prefix, {}).items():
                cache.load(key, entry)
        else:
            cache.redefine(resource, reader)
        return cache

    def drop(self, resource: Resource) -> None:
        """Forget a resource that is served no more: its watches end."""
        cache = self._resources.pop(prefix_of(resource), None)
        if cache is not None:
            cache.end_watches()

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
                try:
                    cache.apply(key, change)
                except msgspec.DecodeError:
                    # Only others write such things. What was there before is served until it is put right or deleted.
                    assert change.entry is not None
                    log.error("%s", unreadable(change.key, change.entry.value))
            elif change.entry is not None:
                self._loaded.setdefault(prefix, {})[key] = change.entry
            else:
                self._loaded.get(prefix, {}).pop(key, None)
        self.advance(changes[-1].revision)

    def advance(self, revision: int) -> None:
        """Note that everything up to `revision` is here, and tell those who wait for it."""
        self.revision = max(self.revision, revision)
        if self._reached:
            for wanted, event in self._reached:
                if wanted <= self.revision:
                    event.set()
            self._reached = [(r, e) for r, e in self._reached if r > self.revision]

    def reload(self, entries: Iterable[Entry], revision: Revision) -> None:
        """Take in the state of a store that has been put back to an earlier one, or whose changes were lost; watches expire."""
        self._loaded.clear()
        self.load(entries, revision)
        for prefix, cache in list(self._resources.items()):
            cache.reload(self._loaded.pop(prefix, {}))
        self.advance(revision)

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
