"""Shared informers: one reflector and one cache per kind and query, any number of handlers."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Generic, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.client.base import Client
from kubelib.informers.backoff import PER_CONNECTION, Backoff
from kubelib.informers.cache import Cache
from kubelib.informers.lister import Lister
from kubelib.informers.reflector import PAGE, Reflector, Trim
from kubelib.registry.base import WHOLE_CLUSTER, EventType, Query, Registry

R = TypeVar("R", bound=Object)

Handler = Callable[[Document | None, Document | None], object]
"""Called with what an object was and what it is: (None, new) added, (old, new) changed, (old, None) deleted.

Handlers are plain functions and must be quick; they get documents, so that nothing is decoded unless they look.
"""


class Informer(Generic[R]):
    """Keeps a cache in step and tells handlers what changed. A `Component`.

    Every handler sees for each object an alternation of added, changed and deleted in the order in which things
    happened; states in between may be missing after an interruption, the last one never is.
    """

    def __init__(
        self,
        registry: Registry[R],
        cls: type[R],
        *,
        query: Query = WHOLE_CLUSTER,
        random: Random,
        backoff: Backoff = PER_CONNECTION,
        trim: Trim | None = None,
        page: int = PAGE,
    ) -> None:
        """Make one. `trim` returns what of each document is kept and shown to handlers; `page` is how many are listed at once."""
        self.name = f"informer {cls.kind}"
        self.cls = cls
        self.query = query
        self.cache: Cache[R] = Cache(cls)
        self.lister: Lister[R] = Lister(self.cache)
        self.reflector = Reflector(
            registry, self, query=query, random=random, backoff=backoff, name=self.name, trim=trim, page=page
        )
        self._handlers: list[Handler] = []
        self._synced = anyio.Event()

    @property
    def synced(self) -> bool:
        """Whether the cache has been given a whole state."""
        return self._synced.is_set()

    async def wait_until_synced(self) -> None:
        """Wait for the first whole state."""
        await self._synced.wait()

    def subscribe(self, handler: Handler) -> None:
        """Call `handler` for every change from now on, after an addition for everything that is there."""
        for document in list(self.cache):
            handler(None, document)
        self._handlers.append(handler)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep the cache in step until cancelled; started means that it is."""
        reported = False

        def report() -> None:
            nonlocal reported
            self._synced.set()
            if not reported:
                reported = True
                task_status.started()

        await self.reflector.run(report)

    def replace(self, documents: Sequence[Document], resource_version: str) -> None:
        """Take the whole state: handlers hear of the difference to what was known."""
        there: dict[Key, None] = {}
        changes: list[tuple[Document | None, Document | None]] = []
        for document in documents:
            there[document.key] = None
            changes += self._put(document)
        for gone in [document for document in self.cache if document.key not in there]:
            self.cache.remove(gone.key)
            changes.append((gone, None))
        # The cache is whole before any handler looks at it.
        self.cache.advance(resource_version)
        self._tell(changes)

    def apply(self, type: EventType, document: Document) -> None:
        """Take one change."""
        if type == "BOOKMARK":
            self.cache.advance(document.meta.resource_version)
            return
        if type == "DELETED":
            known = self.cache.remove(document.key)
            changes: Sequence[tuple[Document | None, Document | None]] = ((document, None),) if known else ()
        else:
            changes = self._put(document)
        self.cache.advance(document.meta.resource_version)
        self._tell(changes)

    def _put(self, document: Document) -> Sequence[tuple[Document | None, Document | None]]:
        old = self.cache.put(document)
        if old is None:
            return ((None, document),)
        if old.meta.uid != document.meta.uid:
            # Deleted and made again while nobody watched: two different objects, and handlers must know.
            return ((old, None), (None, document))
        return () if old.meta.resource_version == document.meta.resource_version else ((old, document),)

    def _tell(self, changes: Sequence[tuple[Document | None, Document | None]]) -> None:
        for old, new in changes:
            for handler in self._handlers:
                handler(old, new)


class SharedInformers:
    """Informers by kind and query, each started once and used by many. A `Component`.

    Ask with `of` whenever one is needed, before or during `run`.
    """

    def __init__(self, client: Client, *, random: Random, backoff: Backoff = PER_CONNECTION) -> None:
        self.name = "informers"
        self.client = client
        self.random = random
        self._backoff = backoff
        self._informers: dict[tuple[type[Object], Query], Informer[Any]] = {}
        self._scopes: dict[tuple[type[Object], Query], anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None

    def of(
        self, cls: type[R], query: Query = WHOLE_CLUSTER, *, trim: Trim | None = None, page: int = PAGE
    ) -> Informer[R]:
        """Return the informer of a kind and query; it runs if this component does. Who asks first says what is kept."""
        informer = self._informers.get((cls, query))
        if informer is None:
            informer = Informer(
                self.client.resource(cls), cls,
                query=query, random=self.random, backoff=self._backoff, trim=trim, page=page,
            )  # fmt: skip
            self._informers[cls, query] = informer
            if self._tasks is not None:
                self._tasks.start_soon(self._run, (cls, query), informer)
        return informer

    def forget(self, cls: type[Object]) -> None:
        """Stop the informers of a kind that is served no more; who asks again gets new ones."""
        for key in [key for key in self._informers if key[0] is cls]:
            del self._informers[key]
            scope = self._scopes.pop(key, None)
            if scope is not None:
                scope.cancel()

    async def _run(self, key: tuple[type[Object], Query], informer: Informer[Any]) -> None:
        if self._informers.get(key) is not informer:
            return  # forgotten before it began
        with anyio.CancelScope() as scope:
            self._scopes[key] = scope
            await informer.run()

    def __iter__(self) -> Any:
        return iter(self._informers.values())

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run all informers until cancelled; started means that those asked for so far are in step."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                waiting = list(self._informers.items())
                for key, informer in waiting:
                    tasks.start_soon(self._run, key, informer)
                for _, informer in waiting:
                    await informer.wait_until_synced()
                task_status.started()
                await anyio.sleep_forever()
            finally:
                self._tasks = None
