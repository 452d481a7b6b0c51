"""The API in the same process: typed verbs straight on the registries, no bytes copied, nothing sent."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from kubelib.api import codec
from kubelib.api.authentication import TokenRequest
from kubelib.api.autoscaling import Scale
from kubelib.api.core.config import ServiceAccount
from kubelib.api.core.pod import Binding, Pod
from kubelib.api.document import Documents
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key, Object
from kubelib.api.policy import Eviction
from kubelib.api.scheme import Scheme, UnknownKind
from kubelib.registry.base import (
    ADMIN,
    NO_PRECONDITIONS,
    WHOLE_CLUSTER,
    DocumentRegistry,
    ObjectList,
    Patch,
    Preconditions,
    Propagation,
    Query,
    User,
    WatchEvent,
    WriteOptions,
)
from kubelib.registry.binding import Binder
from kubelib.registry.registries import ResourceRegistries
from kubelib.registry.watchers import WatchEnded

R = TypeVar("R", bound=Object)


class LocalClient:
    """A `kubelib.client.base.Client` on registries in this process, acting as `user`."""

    def __init__(
        self, registries: ResourceRegistries, *, user: User = ADMIN, manager: str = "kubelib"
    ) -> None:
        self._registries = registries
        self._options = WriteOptions(user=user, manager=manager, field_validation="Ignore", trusted=True)
        self.binder = Binder(registries, user=user.name)
        """Commits many bindings at once."""

    @property
    def scheme(self) -> Scheme:
        """The kinds that the server serves, now and later."""
        return self._registries.scheme

    def resource(self, kind: type[R], /) -> "LocalRegistry[R]":
        """Return the registry of a kind."""
        if kind is Binding:
            # Bindings are not kept: creating one puts the Pod of that name on a node.
            pods = self._registries.of(self._registries.scheme.of(Pod))
            return LocalRegistry(lambda: pods, kind, self._options, create="binding")
        if kind is Eviction:
            # Nor are evictions: creating one asks for the Pod of that name to go.
            evicted = self._registries.of(self._registries.scheme.of(Pod))
            return LocalRegistry(lambda: evicted, kind, self._options, create="eviction")
        registries = self._registries
        registries.scheme.of(kind)

        def find() -> DocumentRegistry:
            try:
                return registries.of(registries.scheme.of(kind))
            except UnknownKind:
                # It was there when this registry was asked for: a definition has been deleted.
                raise NotFound("the server could not find the requested resource") from None

        return LocalRegistry(find, kind, self._options)

    async def create_token(self, account: Key, request: TokenRequest) -> TokenRequest:
        """Return a token of a service account; see `kubelib.client.base.SupportsTokens`."""
        accounts = self._registries.of(self._registries.scheme.of(ServiceAccount))
        document = await accounts.create(
            codec.to_tree(request),
            namespace=account.namespace,
            name=account.name,
            subresource="token",
            options=self._options,
        )
        return document.view(TokenRequest)

    async def scale(self, kind: type[Object], key: Key) -> Scale:
        """Return the scale of an object; see `kubelib.client.base.SupportsScales`."""
        return (await self.resource(kind).documents.get(key, subresource="scale")).view(Scale)


class LocalRegistry(Generic[R]):
    """One kind's objects; see `kubelib.registry.base.Registry`."""

    def __init__(
        self,
        find: Callable[[], DocumentRegistry],
        cls: type[R],
        options: WriteOptions,
        *,
        create: str = "",
    ) -> None:
        self._find = find
        self._cls = cls
        self._options = options
        self._create = create

    @property
    def documents(self) -> DocumentRegistry:
        """The registry of documents: asked for each time, as a kind that is defined at run time may be defined anew."""
        return self._find()

    async def create(self, obj: R) -> R:
        """Store a new object."""
        if self._create:
            await self.documents.create(
                codec.to_tree(obj),
                namespace=obj.metadata.namespace,
                name=obj.metadata.name,
                subresource=self._create,
                options=self._options,
            )
            return obj
        document = await self.documents.create(
            codec.to_tree(obj), namespace=obj.metadata.namespace, options=self._options
        )
        return document.view(self._cls)

    async def get(self, key: Key) -> R:
        """Return one object."""
        return (await self.documents.get(key)).view(self._cls)

    async def list(self, query: Query = WHOLE_CLUSTER, *, limit: int = 0, page: str = "") -> ObjectList[R]:
        """Return the matching objects."""
        found = await self.documents.list(query, limit=limit, page=page)
        return ObjectList(
            Documents(found.documents, self._cls), found.resource_version, found.page, found.remaining
        )

    async def update(self, obj: R, *, subresource: str = "") -> R:
        """Replace an object, keeping the fields that its class does not know."""
        current = await self.documents.get(obj.key)
        before = codec.to_tree(current.view(self._cls))
        tree = codec.overlay(current.tree(), before, codec.to_tree(obj))
        document, _ = await self.documents.update(
            obj.key, tree, subresource=subresource, options=self._options
        )
        return document.view(self._cls)

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> R:
        """Change parts of an object."""
        document, _ = await self.documents.patch(key, patch, subresource=subresource, options=self._options)
        return document.view(self._cls)

    async def delete(
        self,
        key: Key,
        *,
        preconditions: Preconditions = NO_PRECONDITIONS,
        grace: float | None = None,
        propagation: Propagation | None = None,
    ) -> R:
        """Delete an object, or mark it for deletion."""
        deleted = await self.documents.delete(
            key, preconditions=preconditions, grace=grace, propagation=propagation, options=self._options
        )
        return deleted.document.view(self._cls)

    @asynccontextmanager
    async def watch(
        self, query: Query = WHOLE_CLUSTER, *, since: str
    ) -> AsyncIterator[AsyncIterator[WatchEvent[R]]]:
        """Report changes after a resource version."""
        async with self.documents.watch(query, since=since) as watch:
            cls = self._cls

            async def events() -> AsyncIterator[WatchEvent[R]]:
                while True:
                    try:
                        taken = await watch.take()
                    except WatchEnded:
                        return
                    for event in taken:
                        yield WatchEvent(event.type, event.document, cls)

            iterator = events()
            try:
                yield iterator
            finally:
                await iterator.aclose()  # type: ignore[attr-defined]
