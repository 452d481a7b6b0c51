"""Documents: an object as the bytes that are stored and served, its identity peeked at, its typed view on demand.

Caches hold documents, never decoded trees: 100,000 decoded Pods make one garbage collection stop the process for
half a second, bytes do not. The bytes of a document always begin with kind, apiVersion and metadata, so that a
resource version is spliced in without decoding anything.
"""

import functools
import operator
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, overload

import msgspec

from kubelib.api.meta import Key, Object, OwnerReference
from kubelib.api.model import Model, replace

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


class _ManagedMeta(Model):
    managed_fields: msgspec.Raw = msgspec.Raw()


class _Parts(Model):
    metadata: _ManagedMeta = _ManagedMeta()
    spec: msgspec.Raw = msgspec.Raw()


class _Metadata(Model):
    metadata: msgspec.Raw = msgspec.Raw()


class Written(dict[str, Any]):
    """A part of a document with its encoded form: nobody changes it any more."""

    __slots__ = ("written",)

    def __init__(self, part: Mapping[str, Any], written: bytes) -> None:
        super().__init__(part)
        self.written = msgspec.Raw(written)


_peek = msgspec.json.Decoder(_Peek).decode
_parts = msgspec.json.Decoder(_Parts).decode
_metadata = msgspec.json.Decoder(_Metadata).decode
_tree = msgspec.json.Decoder().decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_MANAGED_FIELDS = b'"managedFields":['
_COMMA = ord(",")
_METADATA, _SPLICED = b'"metadata":{', b'"metadata":{"resourceVersion":"%d",'
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def decoder_of(cls: type[T]) -> "msgspec.json.Decoder[T]":
    """Return the shared decoder of a class, built when first asked for."""
    try:
        return _decoders[cls]
    except KeyError:
        decoder = _decoders[cls] = msgspec.json.Decoder(cls)
        return decoder


def splice_resource_version(stored: bytes, revision: int) -> bytes:
    """Return the served form of a stored document: its resource version inserted without decoding anything.

    The metadata must not be empty: what is stored has a name.
    """
    return stored.replace(_METADATA, _SPLICED % revision, 1)


def moved_to(document: "Document", revision: int) -> "Document":
    """Return a document that is served as if it had been written at another revision."""
    spliced = _SPLICED % int(document.meta.resource_version)
    return Document(document.raw.replace(spliced, _SPLICED % revision, 1))


class Apart:
    """A document taken apart: its tree without managed fields, these as they are written, and so its spec (None if it has none)."""

    __slots__ = ("_managed", "_rest", "spec", "tree")

    def __init__(self, rest: bytes, tree: dict[str, Any], managed: bytes, spec: msgspec.Raw | None) -> None:
        self._rest = rest
        self._managed = managed
        self.tree = tree
        self.spec = spec

    @property
    def managed(self) -> list[dict[str, Any]]:
        """The managed fields. Nobody may change them: documents that were written alike share them."""
        return list(_entries(self._managed)) if self._managed else []

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata with the managed fields, which are encoded as they are written."""
        metadata: dict[str, Any] = self.tree["metadata"]
        return {**metadata, "managedFields": msgspec.Raw(self._managed)} if self._managed else metadata

    def copy(self) -> dict[str, Any]:
        """Return a second tree like the first."""
        tree = _tree(self._rest)
        tree["metadata"].pop("managedFields", None)
        return tree  # type: ignore[no-any-return]


class Document:
    """One object at one revision. Immutable; every reader shares the bytes and the decoded view.

    Only the last `RECENT_VIEWS` decoded views are kept, so that caches of any size stay as small as their bytes.
    """

    __slots__ = ("_bytes", "_revision", "_view", "meta")

    def __init__(self, raw: bytes, meta: PeekMeta | None = None) -> None:
        self._bytes = raw
        self._revision = 0
        self.meta = meta if meta is not None else _peek(raw).metadata
        self._view: Object | None = None

    @classmethod
    def stored(cls, value: bytes, revision: int, metadata: Mapping[str, Any] | None = None) -> "Document":
        """Return what the store has at a revision. The bytes are the store's own: a cache of all objects costs little more.

        Who has encoded them gives the `metadata` that they begin with. Raises `msgspec.DecodeError` for what is no document.
        """
        version = str(revision)
        if metadata is not None:
            meta = msgspec.convert({**metadata, "resourceVersion": version}, PeekMeta)
        elif _METADATA in value:
            meta = replace(_peek(value).metadata, resource_version=version)
        else:  # not as we write it: there is no place for the resource version
            raise msgspec.DecodeError("there is no metadata")
        document = cls(value, meta)
        document._revision = revision
        return document

    @classmethod
    def seen(cls, view: Object, raw: bytes, meta: PeekMeta) -> Self:
        """Return the document of an object that has just been made, so that it need not be decoded soon."""
        document = cls(raw, meta)
        document._show(view)
        return document

    @property
    def raw(self) -> bytes:
        """The JSON document, as served."""
        revision = self._revision
        return self._bytes.replace(_METADATA, _SPLICED % revision, 1) if revision else self._bytes

    @property
    def revision(self) -> int:
        """The revision at which the store got the document; 0 for one that is not from a store."""
        return self._revision

    @property
    def size(self) -> int:
        """How many bytes `raw` has."""
        revision = self._revision
        return len(self._bytes) + (len(_SPLICED % revision) - len(_METADATA) if revision else 0)

    def begins_with(self, head: bytes) -> bool:
        """Return whether the document begins with a kind and a version: with what comes before the metadata."""
        return self._bytes.startswith(head)

    @property
    def key(self) -> Key:
        """Where the object is within its resource."""
        return Key(self.meta.namespace, self.meta.name)

    def tree(self) -> dict[str, Any]:
        """Decode the document into a tree of the caller's own."""
        return _tree(self.raw)  # type: ignore[no-any-return]

    @property
    def metadata(self) -> msgspec.Raw:
        """The metadata as it is served, ready to be a part of something that is encoded."""
        return _metadata(self.raw).metadata

    @property
    def whole(self) -> msgspec.Raw:
        """The document as it is served, ready to be a part of something that is encoded."""
        return msgspec.Raw(self.raw)

    def apart(self) -> "Apart":
        """Decode the document without its managed fields into a tree of the caller's own, and keep these as they are.

        They are more than half of most documents, and few look at them.
        """
        raw = self.raw
        # The first such member is the metadata's own: before it come kind, apiVersion and metadata, where no other member of
        # any name has a list of this form.
        name = raw.find(_MANAGED_FIELDS)
        parts = _parts(raw)
        spec = parts.spec if bytes(parts.spec) else None
        if name < 0:
            return Apart(raw, _tree(raw), b"", spec)
        begin = name + len(_MANAGED_FIELDS) - 1
        value = bytes(parts.metadata.managed_fields)
        end = begin + len(value)
        if raw[begin:end] != value:
            tree = _tree(raw)
            managed = msgspec.json.encode(tree["metadata"].pop("managedFields", []))
            return Apart(raw, tree, managed, spec)
        if raw[name - 1] == _COMMA:
            name -= 1
        elif raw[end] == _COMMA:
            end += 1
        rest = raw[:name] + raw[end:]
        return Apart(rest, _tree(rest), value, spec)

    def view(self, cls: type[T]) -> T:
        """Return the typed, frozen view of the document, decoded when first asked for and shared."""
        view = self._view
        if type(view) is not cls:
            view = decoder_of(cls).decode(self.raw)
            self._show(view)
        return view

    def _show(self, view: Object) -> None:
        self._view = view
        _recent.append(self)
        if len(_recent) > RECENT_VIEWS:
            _recent.popleft()._view = None


_revision_of = operator.attrgetter("_revision")


def served_size(documents: Sequence[Document]) -> int:
    """Return how many bytes documents have together as they are served: the sum of their sizes, at a third of its cost."""
    stored = [document._bytes for document in documents if type(document) is Document]
    revisions = list(map(_revision_of, documents))
    if len(stored) < len(documents) or not all(revisions):
        return sum([document.size for document in documents])
    # What a revision adds is as long as it has digits: as the shortest has, and one more for each power of ten that it reaches.
    shortest, newest = min(revisions, default=1), max(revisions, default=0)
    added = len(documents) * (len(_SPLICED % shortest) - len(_METADATA))
    power = 10 ** len(str(shortest))
    while power <= newest:
        added += sum(map(power.__le__, revisions))
        power *= 10
    return sum(map(len, stored)) + added


class Reading:
    """How stored documents of a kind are to be seen. That may change: kinds that are defined at run time change under their objects."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[bytes], bytes]) -> None:
        self.read = read


class SeenDocument(Document):
    """A stored document that is seen as its kind says now: whoever looks at it first after a change has it read again."""

    __slots__ = ("_reading", "_seen", "_seen_by")

    _reading: Reading
    _seen: bytes
    _seen_by: Callable[[bytes], bytes] | None

    @classmethod
    def through(
        cls, reading: Reading, value: bytes, revision: int, metadata: Mapping[str, Any] | None = None
    ) -> "SeenDocument":
        """Return what the store has at a revision, as `reading` shows it. With `metadata` it looks as it is stored: see `stored`."""
        document = cls.stored(value, revision, metadata)
        assert isinstance(document, cls)
        document._reading = reading
        document._seen = value
        document._seen_by = None if metadata is None else reading.read
        return document

    @classmethod
    def again(cls, document: Document, reading: Reading) -> "SeenDocument":
        """Return a stored document as `reading` shows it."""
        return cls.through(reading, document._bytes, document._revision)

    def look(self) -> None:
        """See to it that the document looks as its kind says now."""
        read = self._reading.read
        if self._seen_by is not read:
            self._seen, self._seen_by, self._view = read(self._bytes), read, None

    @property
    def raw(self) -> bytes:
        """The JSON document, as served."""
        self.look()
        return splice_resource_version(self._seen, self._revision)

    @property
    def size(self) -> int:
        """How many bytes `raw` has."""
        self.look()
        return super().size + len(self._seen) - len(self._bytes)

    def begins_with(self, head: bytes) -> bool:
        """Return whether the document begins with a kind and a version."""
        self.look()
        return self._seen.startswith(head)

    def view(self, cls: type[T]) -> T:
        """Return the typed, frozen view of the document."""
        self.look()
        return super().view(cls)


_recent: deque[Document] = deque()


@functools.lru_cache(maxsize=128)
def _entries(raw: bytes) -> tuple[dict[str, Any], ...]:
    return tuple(Written(_tree(entry), bytes(entry)) for entry in _raws(raw))


def as_written(entries: Sequence[dict[str, Any]]) -> list[Any]:
    """Return managed fields ready to be encoded: those that nobody has changed are not encoded again."""
    return [entry.written if type(entry) is Written else entry for entry in entries]


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
