"""What is known: documents by key, and indexes over what can be peeked at without decoding them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.labels import LabelIndex, Selector

R = TypeVar("R", bound=Object)

IndexFunction = Callable[[Document], Iterable[str]]
"""Returns the values under which a document is found. It should look only at ``document.meta``."""

BY_NAMESPACE = "namespace"
BY_OWNER = "owner"
BY_CONTROLLER = "controller"


def _namespace(document: Document) -> Iterable[str]:
    return (document.meta.namespace,)


def _owners(document: Document) -> Iterable[str]:
    return [reference.uid for reference in document.meta.owner_references]


def _controller(document: Document) -> Iterable[str]:
    return [reference.uid for reference in document.meta.owner_references if reference.controller]


BUILTIN_INDEXES: dict[str, IndexFunction] = {
    BY_NAMESPACE: _namespace,
    BY_OWNER: _owners,
    BY_CONTROLLER: _controller,
}


class _Index:
    """One function's values → documents, in the order in which they came."""

    def __init__(self, function: IndexFunction) -> None:
        self.function = function
        self.found: dict[str, dict[Key, Document]] = {}

    def put(self, key: Key, old: Document | None, new: Document | None) -> None:
        before = self.function(old) if old is not None else ()
        after = self.function(new) if new is not None else ()
        for value in before:
            if value not in after:
                documents = self.found[value]
                documents.pop(key, None)
                if not documents:
                    del self.found[value]
        if new is not None:
            for value in after:
                self.found.setdefault(value, {})[key] = new


class Cache(Generic[R]):
    """The documents of one kind. Written by one reflector, read by everybody; nothing in it is ever copied.

    The built-in indexes (by namespace, by owner's uid, by controller's uid, by labels) come into being when they
    are first asked for: who never asks does not pay.
    """

    def __init__(self, cls: type[R]) -> None:
        self.cls = cls
        self.resource_version = ""
        self.revision = 0
        """The revision up to which the cache has seen everything, for comparing with that of one's own writes."""
        self._documents: dict[Key, Document] = {}
        self._indexes: dict[str, _Index] = {}
        self._labels: LabelIndex[Key] | None = None

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._documents

    def get(self, key: Key) -> Document | None:
        """Return the document at `key`, or None."""
        return self._documents.get(key)

    def view(self, key: Key) -> R | None:
        """Return the object at `key`, or None."""
        document = self._documents.get(key)
        return None if document is None else document.view(self.cls)

    def put(self, document: Document) -> Document | None:
        """Add or replace a document; return what it replaces."""
        key = document.key
        old = self._documents.get(key)
        self._documents[key] = document
        for index in self._indexes.values():
            index.put(key, old, document)
        if self._labels is not None:
            self._labels.put(key, document.meta.labels)
        return old

    def remove(self, key: Key) -> Document | None:
        """Forget a document; return it."""
        old = self._documents.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.put(key, old, None)
            if self._labels is not None:
                self._labels.remove(key)
        return old

    def advance(self, resource_version: str) -> None:
        """Note that everything up to this resource version has been seen."""
        if resource_version:
            self.resource_version = resource_version
            self.revision = revision_of(resource_version)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep an index under `name`. The same function twice is one index; another under the name is a ValueError."""
        existing = self._indexes.get(name)
        if existing is not None:
            if existing.function is not function:
                raise ValueError(f"there is another index {name!r} already")
            return
        index = self._indexes[name] = _Index(function)
        for key, document in self._documents.items():
            index.put(key, None, document)

    def by_index(self, name: str, value: str) -> list[Document]:
        """Return the documents for which the index's function returned `value`. Raises KeyError for no such index."""
        if name not in self._indexes:
            self.add_index(name, BUILTIN_INDEXES[name])
        return list(self._indexes[name].found.get(value, {}).values())

    def select(self, selector: Selector, namespace: str = "") -> list[Document]:
        """Return the documents whose labels match, in one namespace or in all."""
        if selector.everything:
            return self.by_index(BY_NAMESPACE, namespace) if namespace else list(self._documents.values())
        if self._labels is None:
            self._labels = LabelIndex()
            for key, document in self._documents.items():
                self._labels.put(key, document.meta.labels)
        keys = self._labels.select(selector)
        return [self._documents[key] for key in keys if not namespace or key.namespace == namespace]


def revision_of(resource_version: str) -> int:
    """Return a resource version as a number that can be compared, 0 for none."""
    return int(resource_version) if resource_version.isdecimal() else 0
