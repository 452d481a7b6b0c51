"""Kinds that are served in two groups or versions and stored once: the registry of the form that is not the stored one.

Every document is translated on its way in and out; identity, versions and order are those of what is stored.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import attrs

from kubelib.api import codec
from kubelib.api.document import Document
from kubelib.api.errors import BadRequest, Conflict, NotFound, conflict
from kubelib.api.meta import Key
from kubelib.api.scheme import Resource, Tree
from kubelib.api.validation import validate_create, validate_update
from kubelib.labels import FieldSelector
from kubelib.registry.base import (
    DEFAULT_OPTIONS,
    NO_PRECONDITIONS,
    WHOLE_CLUSTER,
    Deleted,
    DocumentList,
    Patch,
    Preconditions,
    Propagation,
    Query,
    WriteOptions,
)
from kubelib.registry.generic import RETRIES, GenericRegistry, is_about_managed_fields
from kubelib.registry.watchers import CachedEvent, Watcher

if TYPE_CHECKING:
    from kubelib.registry.registries import ResourceRegistries
    from kubelib.registry.strategies.base import Strategy


@attrs.frozen
class Translation:
    """How the two forms of a kind become each other."""

    to_stored: Callable[[Tree], Tree]
    to_served: Callable[[Tree], Tree]
    fields: Mapping[str, str]
    """Field selectors of the served form → of the stored one."""


class SecondForm(GenericRegistry):
    """The registry of one form, over the registry of the stored one."""

    def __init__(
        self, resource: Resource, owner: "ResourceRegistries", strategy: "Strategy", translation: Translation
    ) -> None:
        stored = next(
            r
            for r in owner.scheme
            if (r.group, r.plural) == (resource.storage_group, resource.plural)
            and r.version == resource.storage_version
        )
        self._stored_registry = owner.of(stored)  # before the cache is asked for: it reads the stored form
        super().__init__(resource, owner, strategy)
        self._translation = translation

    def _served(self, document: Document) -> Document:
        return Document(codec.encode_json(self._translation.to_served(document.tree())))

    def _query(self, query: Query) -> Query:
        if query.fields.everything:
            return query
        requirements = []
        for requirement in query.fields.requirements:
            name = self._translation.fields.get(requirement.field, "")
            if not name and not requirement.field.startswith("metadata."):
                raise BadRequest(f"field label not supported: {requirement.field}")
            requirements.append(attrs.evolve(requirement, field=name or requirement.field))
        return attrs.evolve(query, fields=FieldSelector(tuple(requirements)))

    async def get(self, key: Key, *, subresource: str = "", resource_version: str = "") -> Document:
        """Return one document."""
        await self.catch_up(resource_version)
        document = self.cache.get(key)
        if document is None:
            raise self.not_found(key)
        return self._served(document)

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
        found = await self._stored_registry.list(
            self._query(query), limit=limit, page=page, resource_version=resource_version, match=match
        )
        return attrs.evolve(found, documents=[self._served(document) for document in found.documents])

    @asynccontextmanager
    async def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str = "", initial_events: bool | None = None
    ) -> AsyncIterator[Watcher]:
        """Report changes; see `kubelib.registry.base.DocumentRegistry.watch`."""
        stored = self._stored_registry.watch(self._query(query), since=since, initial_events=initial_events)
        async with stored as watcher:
            yield cast("Watcher", _TranslatedWatch(watcher, self._served))

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
        self._prepare_metadata(tree, namespace, name)
        self._check_fields(tree, options)
        if "generateName" not in tree["metadata"]:
            self._require_valid(validate_create(self.resource, tree), tree["metadata"].get("name", ""))
        created = await self._stored_registry.create(
            self._translation.to_stored(tree), namespace=namespace, name=name, options=self._checked(options)
        )
        return self._served(created)

    async def update(
        self, key: Key, tree: Tree, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Replace an object; return it and whether it was created by this (kinds that allow it)."""
        self._prepare_metadata(tree, key.namespace, key.name)
        self._check_fields(tree, options)
        await self.catch_up()
        before, wanted = self.cache.get(key), tree["metadata"].get("resourceVersion")
        if before is not None and wanted and wanted != before.meta.resource_version:
            raise conflict(self.resource.group_resource, key.name)
        problems = (
            validate_create(self.resource, tree)
            if before is None
            else validate_update(self.resource, tree, self._served(before).tree())
        )
        self._require_valid(problems, key.name)
        document, created = await self._stored_registry.update(
            key, self._translation.to_stored(tree), subresource=subresource, options=self._checked(options)
        )
        return self._served(document), created

    async def patch(
        self, key: Key, patch: Patch, *, subresource: str = "", options: WriteOptions = DEFAULT_OPTIONS
    ) -> tuple[Document, bool]:
        """Change parts of an object; return it and whether it was created by this (``apply``)."""
        pinned = isinstance(patch.body, dict) and (patch.body.get("metadata") or {}).get("resourceVersion")
        for _ in range(RETRIES):
            try:
                served = await self.get(key)
                whole = patch.type == "apply" or is_about_managed_fields(patch)
                tree = served.tree() if whole else served.apart().tree
            except NotFound:
                if patch.type != "apply":
                    raise
                tree = self._applied(key, None, patch, subresource, options)
                applied = attrs.evolve(options, applied=True)
                return await self.create(tree, namespace=key.namespace, name=key.name, options=applied), True
            patched, managed = self._patched(key, tree, patch, subresource, options)
            codec.drop_nulls(patched)
            if managed:
                patched["metadata"]["managedFields"] = managed
            tracked = attrs.evolve(options, applied=True) if patch.type == "apply" else options
            try:
                return await self.update(key, patched, subresource=subresource, options=tracked)
            except Conflict:
                if pinned:
                    raise
        raise conflict(self.resource.group_resource, key.name)

    def _checked(self, options: WriteOptions) -> WriteOptions:
        """Return the options for the stored form: unknown fields have been looked for in the served one."""
        return attrs.evolve(options, field_validation="Ignore", requested=self.resource)

    def translated(self, tree: Tree) -> Tree:
        """Return a stored document in this form."""
        return self._translation.to_served(tree)

    async def adopted(self, tree: Tree, form: Resource) -> Tree:
        """Return a stored document in this form."""
        return self.translated(tree)

    def untranslated(self, tree: Tree) -> Tree:
        """Return a document of this form as it is stored."""
        return self._translation.to_stored(tree)

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
        deleted = await self._stored_registry.delete(
            key,
            preconditions=preconditions,
            grace=grace,
            propagation=propagation,
            options=attrs.evolve(options, requested=self.resource),
        )
        return attrs.evolve(deleted, document=self._served(deleted.document))

    async def delete_collection(
        self,
        query: Query,
        *,
        grace: float | None = None,
        propagation: Propagation | None = None,
        options: WriteOptions = DEFAULT_OPTIONS,
    ) -> DocumentList:
        """Delete all matching objects; return what they were."""
        found = await self._stored_registry.delete_collection(
            self._query(query),
            grace=grace,
            propagation=propagation,
            options=attrs.evolve(options, requested=self.resource),
        )
        return attrs.evolve(found, documents=[self._served(document) for document in found.documents])


class _TranslatedWatch:
    """A watch whose events are translated."""

    def __init__(self, watcher: Watcher, served: Callable[[Document], Document]) -> None:
        self._watcher = watcher
        self._served = served

    def _translated(self, events: tuple[CachedEvent, ...]) -> tuple[CachedEvent, ...]:
        return tuple(CachedEvent(event.type, self._served(event.document)) for event in events)

    @property
    def notify(self) -> Callable[[], None] | None:
        """Called whenever there is something new; see `kubelib.registry.cache.Watcher`."""
        return self._watcher.notify

    @notify.setter
    def notify(self, notify: Callable[[], None] | None) -> None:
        self._watcher.notify = notify

    def at_once(self) -> tuple[CachedEvent, ...] | None:
        """Return the events that wait; None if the watch has come to its end."""
        events = self._watcher.at_once()
        return events and self._translated(events)

    async def wait(self) -> None:
        """Wait until `take` has something to return."""
        await self._watcher.wait()

    async def take(self) -> tuple[CachedEvent, ...]:
        """Wait for the next events, at least one."""
        return self._translated(await self._watcher.take())

    def take_nowait(self) -> tuple[CachedEvent, ...]:
        """Return the events that wait, if any."""
        return self._translated(self._watcher.take_nowait())

    @property
    def behind(self) -> bool:
        """Whether events wait to be taken."""
        return self._watcher.behind

    @property
    def resource_version(self) -> str:
        """The revision up to which everything has been reported."""
        return self._watcher.resource_version

    @property
    def started_at(self) -> int:
        """The revision of the state that a watch without a start begins with."""
        return self._watcher.started_at
