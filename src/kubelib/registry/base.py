"""The verbs: the only shape in which objects are asked for, near or far.

`Registry` is what users and controllers hold: typed, for one kind. `DocumentRegistry` is the same set of verbs on
documents (bytes) with everything that the REST API adds; the server and the in-process client are both thin over it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar

import attrs

from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.api.scheme import Resource, Tree
from kubelib.labels import EVERY_FIELD, EVERYTHING, FieldSelector, Selector

R = TypeVar("R", bound=Object)
R_co = TypeVar("R_co", bound=Object, covariant=True)
Class = type[R_co]
"""``type``, in places where a field has that name."""


@attrs.frozen
class Query:
    """Which objects: a namespace (empty: all), labels, fields."""

    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: FieldSelector = EVERY_FIELD


WHOLE_CLUSTER = Query()


@attrs.frozen
class Preconditions:
    """What must be true of an object for it to be deleted. Empty means anything."""

    uid: str = ""
    resource_version: str = ""


NO_PRECONDITIONS = Preconditions()

PatchType = Literal["json", "merge", "strategic", "apply"]


@attrs.frozen
class Patch:
    """A change to an object: its type and its decoded body (a list for JSON patch, a tree otherwise)."""

    type: PatchType
    body: Any
    manager: str = ""
    """Who applies: required for ``apply``."""
    force: bool = False
    """For ``apply``: take over fields that other managers own."""


@attrs.frozen(cache_hash=True)
class User:
    """Who asks. Authentication makes it; authorization, admission, audit and managed fields read it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class TokenSigner(Protocol):
    """Signs the tokens of service accounts."""

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom a token is when nothing else is asked."""
        ...

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a signed token with these claims."""
        ...


Propagation = Literal["Foreground", "Background", "Orphan"]


@attrs.frozen
class WriteOptions:
    """What a write carries beside the object."""

    user: User = ADMIN
    manager: str = "kubelib"
    tracked_as: str = ""
    """The subresource under which managed fields show the write, where that is not the one that is written: ``scale``."""
    requested: Resource | None = None
    """The form in which the write was asked for, where that is not the one that is stored."""
    admitted: bool = False
    """Admission has seen the write as that of a subresource: it need not be asked again."""
    unnamed: bool = False
    """The object is one of many that are deleted together: admission is not told its name, as in Kubernetes."""
    given: Mapping[str, Any] = attrs.field(factory=dict, eq=False)
    """What the client said of these options itself, by their names in Kubernetes: all that admission sees of them."""
    applied: bool = False
    """The document comes from server-side apply, which has noted its managed fields."""
    dry_run: bool = False
    field_validation: Literal["Ignore", "Warn", "Strict"] = "Warn"
    repeated: tuple[str, ...] = ()
    """What a patch names twice, in words: told together with the fields that are unknown."""
    warn: Any = None
    """Called with the text of each warning for the client; None discards them."""
    annotate: Any = None
    """Called with the name and the value of each annotation for the audit event; None discards them."""
    may_create: Any = None
    """Called before an update or a patch creates what is not there; raises ApiError if who asks may not. None lets everybody."""
    trusted: bool = False
    """The tree comes from our own typed code: skip the checks that only foreign input needs (types, unknown fields)."""


DEFAULT_OPTIONS = WriteOptions()
OF_THE_SERVER = WriteOptions(manager="kube-apiserver")
"""For what the API server writes of its own accord."""


@attrs.frozen
class ObjectList(Generic[R]):
    """Objects as of one revision. `page` asks for the next part; it is empty when this is the last."""

    items: Sequence[R]
    resource_version: str
    page: str = ""
    remaining: int | None = None


EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@attrs.frozen
class WatchEvent(Generic[R_co]):
    """What a watch reports. The object is decoded when it is looked at."""

    type: EventType
    document: Document
    cls: Class[R_co]

    @property
    def object(self) -> R_co:
        """The object as of this event; for a DELETED event, its last state; for a BOOKMARK, only its version."""
        return self.document.view(self.cls)


class Registry(Protocol[R]):
    """One kind's objects. Errors are `kubelib.api.errors.ApiError`s, the same near and far."""

    async def create(self, obj: R) -> R:
        """Store a new object. Raises AlreadyExists, Invalid."""
        ...

    async def get(self, key: Key) -> R:
        """Return one object. Raises NotFound."""
        ...

    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[R]:
        """Return the matching objects as of one revision. Raises Expired when `page` is too old."""
        ...

    async def update(self, obj: R, *, subresource: str = "") -> R:
        """Replace an object. With a resource version, only if it is still the latest. Raises Conflict, NotFound, Invalid.

        Fields that the typed class does not know are kept: what travels is the difference to what was read.
        """
        ...

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> R:
        """Change parts of an object. Raises NotFound, Invalid, Conflict."""
        ...

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
    ) -> R:
        """Delete an object, or mark it for deletion while it has finalizers or a grace period. Raises NotFound, Conflict."""
        ...

    def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[R]]]:
        """Report changes after resource version `since`. The iterator raises Expired when that is too old."""
        ...


@attrs.frozen
class DocumentList:
    """Documents as of one revision."""

    documents: Sequence[Document]
    resource_version: str
    page: str = ""
    remaining: int | None = None


class DocumentEvent(Protocol):
    """One event as the server sends it. Shared by all watchers: its line is encoded once."""

    @property
    def type(self) -> EventType:
        """What happened, as this watcher's selector sees it."""
        ...

    @property
    def document(self) -> Document:
        """The object as of this event."""
        ...

    @property
    def line(self) -> bytes:
        """``{"type":…,"object":…}`` and a line feed: what a JSON watch sends."""
        ...


class DocumentWatch(Protocol):
    """A running watch on one resource."""

    async def take(self) -> tuple[DocumentEvent, ...]:
        """Wait for the next events, at least one. Raises Expired when the reader was too slow."""
        ...

    @property
    def resource_version(self) -> str:
        """The revision up to which everything has been reported: what a bookmark says."""
        ...


@attrs.frozen
class Deleted:
    """The outcome of a delete: the object's last state, as of the revision that ended it, and whether it is gone (or still finalizing)."""

    document: Document
    finished: bool


class DocumentRegistry(Protocol):
    """One resource's objects as documents, with everything that the REST API offers."""

    resource: Resource

    async def create(
        self,
        tree: Tree,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Document:
        """Store a new object (or, with a subresource such as ``binding``, carry it out)."""
        ...

    async def get(self, key: Key, *, subresource: str = "", resource_version: str = "") -> Document:
        """Return one document: as of now, or with a `resource_version` not older than that ("0": however old)."""
        ...

    async def list(
        self,
        query: Query = WHOLE_CLUSTER,
        *,
        limit: int = 0,
        page: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> DocumentList:
        """Return documents as of one revision. `match` is ``resourceVersionMatch``: "", "Exact" or "NotOlderThan"."""
        ...

    async def update(
        self, key: Key, tree: Tree, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Replace an object; return it and whether it was created by this (kinds that allow it)."""
        ...

    async def patch(
        self, key: Key, patch: Patch, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Change parts of an object; return it and whether it was created by this (``apply``)."""
        ...

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Deleted:
        """Delete an object, or mark it for deletion."""
        ...

    async def delete_collection(
        self,
        query: Query,
        *,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> DocumentList:
        """Delete all matching objects; return what they were."""
        ...

    def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str = "", initial_events: bool | None = None
    ) -> AbstractAsyncContextManager[DocumentWatch]:
        """Report changes after `since`; empty or "0" starts with an ADDED event per existing object, as Kubernetes does.

        With `initial_events` it starts so after any version, of which the existing objects are at least; with False it never does.
        Raises Timeout if that version does not come.
        """
        ...
