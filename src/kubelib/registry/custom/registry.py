"""The registry of one version of a custom kind.

Every version has one, over what is stored in the storage version. What comes in is made whole and checked by the schema of the version
in which it comes; what is stored in another version is converted when it is looked at. Where all is in one version, as it nearly always
is, nothing is decoded that would not be for a built-in kind.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, MethodNotAllowed, invalid
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.otherkinds import identity
from kubelib.api.scheme import Resource, Tree
from kubelib.api.structural import Structure
from kubelib.api.structural.normalizing import METADATA, in_order
from kubelib.api.validation import problems
from kubelib.registry.base import DEFAULT_OPTIONS, WHOLE_CLUSTER, DocumentList, Patch, Query, WriteOptions
from kubelib.registry.custom.conversion import Converter
from kubelib.registry.custom.selecting import ConvertedWatch, selects_by_content, without_fields
from kubelib.registry.fields import FieldReader
from kubelib.registry.generic import GenericRegistry
from kubelib.registry.paging import starts_with_all
from kubelib.registry.watchers import Watcher
from kubelib.registry.writing import UNCHECKED, not_applicable
from kubelib.store import Entry

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries
    from kubelib.registry.strategies.base import Strategy


def head_of(resource: Resource, version: str) -> bytes:
    """Return how the stored documents of a version of a resource begin."""
    api_version = f"{resource.group}/{version}"
    return codec.encode_json({"kind": resource.kind, "apiVersion": api_version})[:-1] + b","


class CustomRegistry(GenericRegistry):
    """One version's verbs; see `kubelib.registry.base.DocumentRegistry`."""

    def __init__(
        self,
        resource: Resource,
        owner: "ResourceRegistries",
        strategy: "Strategy",
        converter: Converter,
        *,
        terminating: bool = False,
    ) -> None:
        super().__init__(resource, owner, strategy)
        assert resource.structure is not None
        self.structure: Structure = resource.structure
        self._converter = converter
        self._terminating = terminating
        self._head = head_of(resource, resource.version)
        self._stored_head = head_of(resource, resource.storage_version)
        self._is_stored = resource.version == resource.storage_version
        self._fills_status = self.structure.has_default("status")
        self._fields = self.cache.fields if self._is_stored else FieldReader(resource)

    # Forms

    async def shown(self, documents: list[Document]) -> list[Document]:
        """Return the documents of a list in the form of this version."""
        return await self._converted(documents, listed=True)

    async def _converted(self, documents: list[Document], *, listed: bool = False) -> list[Document]:
        head = self._head
        foreign = [at for at, document in enumerate(documents) if not document.begins_with(head)]
        if not foreign:
            return documents
        converted = await self._converter.convert(
            [documents[at] for at in foreign], self.resource.version, listed=listed
        )
        result = list(documents)
        for at, document in zip(foreign, converted, strict=True):
            result[at] = document
        return result

    async def current(self, key: Key) -> Document | None:
        """Return the document at a key in the form of this version."""
        document = self.cache.get(key)
        if document is None or document.begins_with(self._head):
            return document
        return (await self._converted([document]))[0]

    async def encoded(self, tree: Tree) -> bytes:
        """Return a document as it is stored."""
        raw = codec.encode_tree(tree, self.resource)
        if not self._is_stored:
            document = Document(raw)
            raw = (await self._converter.convert([document], self.resource.storage_version))[0].raw
        # A status that was taken out on the way in is filled in again when what is stored is looked at, and so is what only the stored
        # version fills in, as in Kubernetes.
        if self._is_stored and ("status" in tree or not self._fills_status):
            self.cache.announce(raw, tree["metadata"])
        return raw

    async def is_outdated(self, key: Key) -> bool:
        """Return whether what is stored at a key would be stored otherwise now, in another version for example."""
        document = self.cache.get(key)
        if document is not None and not document.begins_with(self._stored_head):
            return True
        return await super().is_outdated(key)

    def decoded(self, entry: Entry) -> Document:
        """Return the document of an entry of the store."""
        raw = self.cache.read(entry.value)
        return Document(codec.splice_resource_version(raw, entry.modified))

    # Selection by fields that another version may not have

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
        self._fields.require_known(query.fields)
        if self._is_stored or not selects_by_content(query):
            return await super().list(
                query, limit=limit, page=page, resource_version=resource_version, match=match
            )
        found = await super().list(
            without_fields(query), limit=limit, page=page, resource_version=resource_version, match=match
        )
        matching = [d for d in found.documents if query.fields.matches(self._fields.read(d))]
        return DocumentList(matching, found.resource_version, found.page)

    @asynccontextmanager
    async def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str = "", initial_events: bool | None = None
    ) -> AsyncIterator[Watcher]:
        """Report changes; see `kubelib.registry.base.DocumentRegistry.watch`."""
        self._fields.require_known(query.fields)
        by_content = not self._is_stored and selects_by_content(query)
        asked = without_fields(query) if by_content else query
        async with super().watch(asked, since=since, initial_events=initial_events) as watcher:
            watch = ConvertedWatch(watcher, self._converted, self._head)
            if by_content:
                present = await self.shown(self.cache.select(asked))
                known = () if starts_with_all(since, initial_events) else present
                watch.select(query.fields, self._fields, known)
            await watch.prefetch()
            yield cast("Watcher", watch)

    # Writing

    async def create(
        self,
        tree: Tree,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> Document:
        """Store a new object."""
        if self._terminating:
            raise MethodNotAllowed(
                "create not allowed while custom resource definition is terminating",
                group=self.resource.group,
                kind=self.resource.plural,
            )
        return await super().create(
            tree, namespace=namespace, name=name, subresource=subresource, options=options
        )

    def fill_in(self, tree: Tree) -> None:
        """Do nothing: what a document leaves out was filled in when it was looked at."""

    def conform(self, tree: Tree) -> None:
        """Bring a document that admission has changed into the form of the kind, in place. Raises BadRequest."""
        self._check_fields(tree, UNCHECKED)

    def _identified(self, tree: Tree, patch: Patch, name: str) -> Tree:
        """Require that a patch has left a document of its kind and version. Raises Invalid."""
        try:
            kind, version = identity(tree)
            if not kind:
                raise codec.DecodeError(f"Object 'Kind' is missing in '{codec.encode_json(tree).decode()}'")
        except codec.DecodeError as error:
            raise not_applicable(patch, tree, str(error)) from None
        expected = {"kind": (kind, self.resource.kind), "apiVersion": (version, self.resource.api_version)}
        wrong = [
            problems.invalid(field, found, f"must be {wanted}")
            for field, (found, wanted) in expected.items()
            if found != wanted
        ]
        if wrong:
            raise invalid(kind, version.rpartition("/")[0], name, wrong)
        return tree

    def accept(self, tree: Tree, old: Tree, patch: Patch, options: WriteOptions) -> Tree:
        """Check what a patch makes of a document."""
        self._check_patched(tree, patch, options, whole=tree)
        return tree

    def translated(self, tree: Tree) -> Tree:
        """Return a document of another version under the name of this one."""
        return {**tree, "apiVersion": self.resource.api_version}

    async def adopted(self, tree: Tree, form: Resource) -> Tree:
        """Return a document of another version in this one."""
        # Without its resource version: it may have been changed since it had that, and is not to be taken for what it was then.
        raw = codec.encode_tree(tree, form)
        converted = (await self._converter.convert([Document(raw)], self.resource.version))[0].tree()
        if version := tree["metadata"].get("resourceVersion"):
            converted["metadata"]["resourceVersion"] = version
        return converted

    def _check_fields(self, tree: Tree, options: WriteOptions, *, patched: bool = False) -> None:
        try:
            codec.check_types(tree, self.resource)
        except codec.DecodeError as error:
            raise BadRequest(str(error)) from None
        unknown: list[str] = []
        of_meta: list[str] = []
        meta = tree.get("metadata")
        if isinstance(meta, dict):
            codec.drop_nulls(meta)
            codec.drop_zeros(meta, ObjectMeta)
            if not meta.keys() <= METADATA:
                of_meta = sorted(f"metadata.{name}" for name in meta if name not in METADATA)
                for name in [name for name in meta if name not in METADATA]:
                    del meta[name]
        self.structure.normalize(tree, unknown)
        if (unreadable := self.structure.unreadable(tree)) is not None:
            kind, version = self.resource.kind, self.resource.version
            raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {unreadable}')
        if not options.trusted and options.field_validation != "Ignore":
            self._tell_unknown(of_meta + in_order(unknown), options)
