"""The documents of one resource, found by their keys, namespaces, labels and fields; lists of them in the order of their keys."""

from collections.abc import Collection, Iterable, Mapping

from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.labels import LabelIndex
from kubelib.registry.base import Query
from kubelib.registry.fieldindex import FieldIndex
from kubelib.registry.fields import FieldReader
from kubelib.registry.order import KeyOrder

PER_LOOK = 16
"""How many keys are gathered from the index in the time that it takes to look at the labels of one object."""


class Holdings:
    """Documents and their indexes, which are kept in step."""

    def __init__(self, fields: FieldReader, *, namespaced: bool) -> None:
        self.documents: dict[Key, Document] = {}
        self._fields = fields
        self._namespaced = namespaced
        self._namespaces: dict[str, dict[Key, Document]] = {}
        self._labels: LabelIndex[Key] = LabelIndex()
        self._by_field: FieldIndex | None = None
        """Of the fields that lists have asked for."""
        self._orders: dict[str, KeyOrder] = {}
        """Of all objects, and of those of some namespaces, the order of their keys: kept once a list has asked for it."""

    def read_by(self, fields: FieldReader) -> None:
        """Read fields anew, and otherwise than before."""
        self._fields = fields
        self._by_field = None

    def clear(self) -> None:
        """Hold nothing."""
        self.documents.clear()
        self._namespaces.clear()
        self._labels = LabelIndex()
        self._by_field = None
        self._orders.clear()

    def within(self, namespace: str) -> Collection[Document]:
        """Return every document of a namespace, in no promised order."""
        here = self._namespaces.get(namespace)
        return here.values() if here else ()

    def put(self, key: Key, document: Document) -> None:
        """Hold a document, in place of the one that was there."""
        if key not in self.documents:
            self._note_added(key)
        self.documents[key] = document
        self._namespaces.setdefault(key.namespace, {})[key] = document
        self._labels.put(key, document.meta.labels)
        if self._by_field is not None:
            self._by_field.put(key, document)

    def drop(self, key: Key) -> None:
        """Hold a document no more."""
        del self.documents[key]
        here = self._namespaces[key.namespace]
        del here[key]
        self._labels.remove(key)
        if self._by_field is not None:
            self._by_field.drop(key)
        self._note_dropped(key)
        if not here:
            del self._namespaces[key.namespace]
            if key.namespace:
                self._orders.pop(key.namespace, None)

    def select(self, query: Query) -> list[Document]:
        """Return the matching documents in key order."""
        documents = self.documents
        if not query.fields.everything:
            self._fields.require_known(query.fields)
        namespace = query.namespace
        here = self._namespaces.get(namespace) if namespace else documents
        if not here:
            return []  # and nothing is kept of it: clients may ask for any namespace
        if not query.fields.everything:
            return self._select_by_fields(query, here)
        return list(map(here.__getitem__, self._candidates(query, here)))

    def _select_by_fields(self, query: Query, here: Mapping[Key, Document]) -> list[Document]:
        namespace, labels, fields = query.namespace, query.labels, query.fields
        name = fields.exact("metadata.name")
        if name is not None and (namespace or not self._namespaced):
            named = here.get(Key(namespace, name))
            return [named] if named is not None and self.matches(named, query) else []
        index = self._by_field
        if index is None:
            index = self._by_field = FieldIndex(self._fields, self.documents)
        index.cover(fields)
        keys = index.fewest(fields)
        if keys is None or (not labels.everything and self._labels.most(labels) < len(keys)):
            return [here[key] for key in self._candidates(query, here) if index.matches(key, fields)]
        chosen = [
            key
            for key in keys
            if (not namespace or key.namespace == namespace) and index.matches(key, fields)
        ]
        found = [here[key] for key in self._order(namespace, here).of(chosen, here)]
        return found if labels.everything else [d for d in found if labels.matches(d.meta.labels)]

    def _candidates(self, query: Query, here: Mapping[Key, Document]) -> list[Key]:
        """Return in order the keys of those that match in all but their fields."""
        namespace, labels = query.namespace, query.labels
        order = self._order(namespace, here)
        if labels.everything:
            return order.keys(here)
        if len(here) * PER_LOOK < self._labels.most(labels):
            return [key for key in order.keys(here) if labels.matches(here[key].meta.labels)]
        return order.of(self._labels.select(labels), here)

    def _order(self, namespace: str, keys: Iterable[Key]) -> KeyOrder:
        order = self._orders.get(namespace)
        if order is None:
            order = self._orders[namespace] = KeyOrder(keys)
        return order

    def _note_added(self, key: Key) -> None:
        for namespace in ("", key.namespace) if key.namespace else ("",):
            order = self._orders.get(namespace)
            if order is not None:
                order.add(key)
                if order.outgrown:
                    del self._orders[namespace]

    def _note_dropped(self, key: Key) -> None:
        for namespace in ("", key.namespace) if key.namespace else ("",):
            order = self._orders.get(namespace)
            if order is not None:
                order.drop()

    def matches(self, document: Document, query: Query, fields: Mapping[str, str] | None = None) -> bool:
        """Return whether a document, which need not be held, matches; its `fields` may have been read before."""
        if query.namespace and document.meta.namespace != query.namespace:
            return False
        if not query.labels.matches(document.meta.labels):
            return False
        if query.fields.everything:
            return True
        return query.fields.matches(self._fields.read(document) if fields is None else fields)
