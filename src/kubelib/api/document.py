"""Documents: an object as the bytes that are stored and served, its identity peeked at, its typed view on demand.

Caches hold documents, never decoded trees: 100,000 decoded Pods make one garbage collection stop the process for
half a second, bytes do not. The bytes of a document always begin with kind, apiVersion and metadata, so that a
resource version is spliced in without decoding anything.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec

from kubelib.api.meta import Key, Object, OwnerReference
from kubelib.api.model import Model

T = TypeVar("T", bound=Object)

RECENT_VIEWS = 8192


class PeekMeta(Model):
    """The part of the metadata that caches, selectors and controllers look at without decoding the rest."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: Mapping[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()


class _Peek(Model):
    metadata: PeekMeta = PeekMeta()


_peek = msgspec.json.Decoder(_Peek).decode
_tree = msgspec.json.Decoder().decode
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def decoder_of(cls: type[T]) -> "msgspec.json.Decoder[T]":
    """Return the shared decoder of a class, built when first asked for."""
    try:
        return _decoders[cls]
    except KeyError:
        decoder = _decoders[cls] = msgspec.json.Decoder(cls)
        return decoder


class Document:
    """One object at one revision. Immutable; every reader shares the bytes and the decoded view.

    Only the last `RECENT_VIEWS` decoded views are kept, so that caches of any size stay as small as their bytes.
    """

    __slots__ = ("_view", "meta", "raw")

    def __init__(self, raw: bytes, meta: PeekMeta | None = None) -> None:
        self.raw = raw
        """The JSON document, as served."""
        self.meta = meta if meta is not None else _peek(raw).metadata
        self._view: Object | None = None

    @property
    def key(self) -> Key:
        """Where the object is within its resource."""
        return Key(self.meta.namespace, self.meta.name)

    def tree(self) -> dict[str, Any]:
        """Decode the document into a tree of the caller's own."""
        return _tree(self.raw)  # type: ignore[no-any-return]

    def view(self, cls: type[T]) -> T:
        """Return the typed, frozen view of the document, decoded when first asked for and shared."""
        view = self._view
        if type(view) is not cls:
            view = self._view = decoder_of(cls).decode(self.raw)
            _recent.append(self)
            if len(_recent) > RECENT_VIEWS:
                _recent.popleft()._view = None
        return view


_recent: deque[Document] = deque()


class Documents(Sequence[T]):
    """A sequence of documents of one kind, seen as objects that are decoded when they are looked at."""

    __slots__ = ("cls", "documents")

    def __init__(self, documents: Sequence[Document], cls: type[T]) -> None:
        self.documents = documents
        self.cls = cls

    def __len__(self) -> int:
        return len(self.documents)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "Documents[T]": ...
    def __getitem__(self, index: int | slice) -> "T | Documents[T]":
        if isinstance(index, slice):
            return Documents(self.documents[index], self.cls)
        return self.documents[index].view(self.cls)

    def __iter__(self) -> Iterator[T]:
        cls = self.cls
        return (document.view(cls) for document in self.documents)

    def __repr__(self) -> str:
        return f"<{len(self.documents)} {self.cls.__name__} documents>"
