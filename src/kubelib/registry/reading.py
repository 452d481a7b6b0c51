"""How documents of a resource are read: one, many, page by page, and as they change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import anyio
import msgspec

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, Expired, NotFound, ServiceUnavailable, not_found, too_new
from kubelib.api.meta import Key
from kubelib.api.patch.shapes import shape_of
from kubelib.api.scheme import Resource, Tree
from kubelib.registry.base import WHOLE_CLUSTER, DocumentList, Query
from kubelib.registry.keys import prefix_of, store_key
from kubelib.registry.paging import PRESENT, number_of, read_token, starts_with_all, token_of
from kubelib.registry.watchers import Watcher
from kubelib.store import Entry, Revision, RevisionCompacted, RevisionInFuture, SupportsRenewal
from kubelib.store.encryption import unreadable

if TYPE_CHECKING:
    from kubelib.registry.generic import GenericRegistry
    from kubelib.registry.registries import ResourceRegistries
    from kubelib.registry.strategies.base import Strategy

WHOLE = ("status", "ephemeralcontainers", "resize", "approval")
"""Subresources that show the object itself, and let a part of it be written."""
PAGE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the"
    " continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing"
    " with the provided token results in an inconsistent list - objects that were created, modified, or deleted between"
    " the time the first chunk was returned and now may show up in the list."
)


class ReadingRegistry:
    """The verbs that change nothing, over a store and a watch cache."""

    def __init__(self, resource: Resource, owner: "ResourceRegistries", strategy: "Strategy") -> None:
        self.resource = resource
        self.whole = cast("GenericRegistry", self)
        """This registry with all its verbs, as strategies know it."""
        self.strategy = strategy
        self.owner = owner
        self.store = owner.store
        self.cache = owner.cache.of(resource)
        self.prefix = prefix_of(resource)
        structure = resource.structure
        self.shape = structure.shape if structure is not None else shape_of(resource.cls)  # type: ignore[arg-type]
        self._unsettable = ("status",) if "status" in resource.subresources else ()
        self._ungenerated = {"metadata", "status"} if resource.builtin or self._unsettable else {"metadata"}

    # What kinds that are defined at run time do in another way

    async def current(self, key: Key) -> Document | None:
        """Return the document that is stored at a key, in the form of this resource; None if there is none."""
        return self.cache.get(key)

    async def encoded(self, tree: Tree) -> bytes:
        """Return a document as it is stored."""
        raw = codec.encode_tree(tree, self.resource)
        self.cache.announce(raw, tree["metadata"])
        return raw

    async def is_outdated(self, key: Key) -> bool:
        """Return whether what is stored at a key would be stored otherwise now: a write that changes nothing renews it then."""
        store = self.store
        return isinstance(store, SupportsRenewal) and await store.is_outdated(store_key(self.prefix, key))

    def decoded(self, entry: Entry) -> Document:
        """Return the document of an entry of the store: that of the cache, if it has not changed since. Raises ServiceUnavailable for what is none."""
        namespace, _, name = entry.key[len(self.prefix) :].rpartition("/")
        cached = self.cache.get(Key(namespace, name))
        if cached is not None and cached.revision == entry.modified:
            return cached
        try:
            return Document.stored(entry.value, entry.modified)
        except msgspec.DecodeError:
            if cached is not None:
                return cached  # the one that it was before it was spoilt, as everybody is shown it
            raise ServiceUnavailable(str(unreadable(entry.key, entry.value)), retry_after=1) from None

    async def shown(self, documents: list[Document]) -> list[Document]:
        """Return documents from the cache in the form of this resource."""
        return documents

    def translated(self, tree: Tree) -> Tree:
        """Return a stored document in this form: itself, unless the form is not the stored one."""
        return tree

    def untranslated(self, tree: Tree) -> Tree:
        """Return a document of this form as it is stored."""
        return tree

    async def adopted(self, tree: Tree, form: Resource) -> Tree:
        """Return a document, which is in another form of the resource, in this one. Raises ApiError."""
        return self.owner.of(form).untranslated(tree)

    # Reading

    async def catch_up(self, resource_version: str = "") -> None:
        """Wait until the cache is as fresh as a reader asks: by default, all that any API server has acknowledged is in it.

        With a resource version, only that far, and "0" asks for nothing. Raises `too_new` for one that does not come.
        """
        if resource_version == "0":
            return
        if not resource_version:
            if self.owner.shared:
                await self.owner.catch_up()
            return
        wanted = number_of(resource_version)
        if wanted > self.cache.revision:
            with anyio.move_on_after(3):
                await self.owner.cache.reached(wanted)
            if wanted > self.cache.revision:
                raise too_new(wanted, self.cache.revision)

    async def get(self, key: Key, *, subresource: str = "", resource_version: str = "") -> Document:
        """Return one document: as of now, or with a `resource_version` not older than that."""
        if resource_version or self.owner.shared:
            await self.catch_up(resource_version)
        document = await self.current(key)
        if document is None:
            raise self.not_found(key)
        if subresource and subresource not in WHOLE:
            return self.strategy.view(self.whole, document, subresource)
        return document

    def not_found(self, key: Key) -> NotFound:
        """Return the error for an object that is not there."""
        return not_found(self.resource.group_resource, key.name)

    async def list(
        self,
        query: Query = WHOLE_CLUSTER,
        *,
        limit: int = 0,
        page: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> DocumentList:
        """Return documents as of one revision."""
        wanted = number_of(resource_version) if resource_version not in ("", "0") else None
        if page and wanted is not None:
            read_token(page)
            raise BadRequest("specifying resource version is not allowed when using continue")
        self.cache.fields.require_known(query.fields)
        exact = match == "Exact" or (wanted is not None and limit > 0 and not match)
        if resource_version == "0" and not page and self.strategy.cached:
            limit = 0
        if limit or page or exact:
            return await self._list_page(query, limit, page, wanted if exact else None)
        await self.catch_up(resource_version)
        documents, revision = self.cache.select(query), str(self.cache.revision)
        return DocumentList(await self.shown(documents), revision)

    async def _list_page(self, query: Query, limit: int, page: str, at: int | None) -> DocumentList:
        prefix = self.prefix + (f"{query.namespace}/" if query.namespace else "")
        everything = query.labels.everything and query.fields.everything
        start = ""
        if page:
            at, start = read_token(page)
            start = self.prefix + start
            at = None if at == PRESENT else at
        if at is None:
            await self.owner.catch_up()
            at = self.cache.revision
            if not page and not everything:
                # What is selected is known by index, and mostly fits on one page. More are found in the order of the store,
                # where the next page goes on.
                selected = self.cache.select(query)
                if len(selected) <= limit:
                    return DocumentList(await self.shown(selected), str(at))
        found: list[Document] = []
        remaining: int | None = None
        while True:
            try:
                part = await self.store.list(prefix, limit=limit, start=start, at=Revision(at))
            except RevisionCompacted as error:
                if not page:
                    raise Expired(f"The resourceVersion for the provided list is too old: {error}") from None
                expired = Expired(PAGE_EXPIRED)
                expired.page = token_of(PRESENT, start.removeprefix(self.prefix))
                raise expired from None
            except RevisionInFuture:
                raise too_new(at, self.cache.revision) from None
            for number, entry in enumerate(part.entries):
                document = self.decoded(entry)
                if everything or self.cache.matches(document, query):
                    found.append(document)
                    if limit and len(found) == limit:
                        later = (
                            part.entries[number + 1].key if number + 1 < len(part.entries) else part.next_key
                        )
                        if everything and part.remaining is not None:
                            remaining = part.remaining + len(part.entries) - number - 1
                        token = token_of(at, later.removeprefix(self.prefix)) if later else ""
                        shown = await self.shown(found)
                        return DocumentList(shown, str(at), token, remaining if token else None)
            if not part.next_key:
                return DocumentList(await self.shown(found), str(at))
            start = part.next_key

    @asynccontextmanager
    async def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str = "", initial_events: bool | None = None
    ) -> AsyncIterator[Watcher]:
        """Report changes; see `kubelib.registry.base.DocumentRegistry.watch`."""
        if not since or initial_events:
            await self.catch_up(since)
        start: int | None = None
        if not starts_with_all(since, initial_events):
            start = self.cache.revision if since in ("", "0") else number_of(since)
        if start is not None and start > self.cache.revision:
            with anyio.move_on_after(3):
                await self.owner.cache.reached(start)
        watcher = self.cache.watch(query, start)
        try:
            yield watcher
        finally:
            self.cache.unwatch(watcher)
