"""Lists, then watches, and lists again when it must: keeps somebody in step with a registry."""

import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, NoReturn, Protocol, TypeVar

import anyio

from kubelib.api.codec import encode
from kubelib.api.document import Document, Documents
from kubelib.api.errors import ApiError, Expired, Gone
from kubelib.api.meta import Object
from kubelib.client.base import Unreachable
from kubelib.informers.backoff import PER_CONNECTION, WHILE_AWAY, Backoff
from kubelib.registry.base import WHOLE_CLUSTER, EventType, Query, Registry

R = TypeVar("R", bound=Object)

PAGE = 0
"""Objects per list request, 0 for all at once: a server answers that from memory, and shares the bytes in process."""
Trim = Callable[[Document], Document]
"""Returns what is to be kept of a document, and shown to handlers."""
HEALTHY_AFTER = 10.0
"""A watch that lasted this long was a good one: the next failure starts from the shortest delay."""

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Who is kept in step. Called between awaits, so it sees one change at a time."""

    def replace(self, documents: Sequence[Document], resource_version: str) -> None:
        """Take the whole state as of a resource version."""
        ...

    def apply(self, type: EventType, document: Document) -> None:
        """Take one change that follows what was taken before."""
        ...


class Reflector(Generic[R]):
    """Keeps a sink in step with what a registry holds for a query, through every interruption."""

    def __init__(
        self,
        registry: Registry[R],
        sink: Sink,
        *,
        query: Query = WHOLE_CLUSTER,
        random: Random,
        backoff: Backoff = PER_CONNECTION,
        name: str = "",
        trim: Trim | None = None,
        page: int = PAGE,
    ) -> None:
        self.name = name
        self.lists = 0
        self.watches = 0
        self.last_error: Exception | None = None
        self._registry = registry
        self._sink = sink
        self._query = query
        self._random = random
        self._backoff = backoff
        self._trim = trim
        self._page = page
        self._failures = 0
        self._refusals = 0
        """How often in a row no server could be connected to."""
        self._version = ""

    async def run(self, on_listed: Callable[[], object] = lambda: None) -> NoReturn:
        """Keep the sink in step until cancelled; call `on_listed` whenever it has been given a whole state."""
        while True:
            try:
                if not self._version:
                    await self._list()
                    on_listed()
                await self._watch()
            except Gone as error:
                # What we know is too old to go on from: list again, at once the first time. A registry that says
                # so again and again is not asked in a tight loop: failures count until a watch has been healthy.
                self._version = ""
                if self._failures:
                    await self._rest(error)
                self._failures += 1
            except (ApiError, OSError) as error:
                await self._rest(error)

    async def _list(self) -> None:
        documents: list[Document] = []
        page = ""
        self.lists += 1
        while True:
            try:
                part = await self._registry.list(self._query, limit=self._page, page=page)
            except Expired:
                if not page:
                    raise
                documents, page = [], ""
                self._failures += 1
                await anyio.sleep(self._backoff.delay(self._failures, self._random))
                continue
            found = documents_of(part.items)
            documents += found if self._trim is None else map(self._trim, found)
            page = part.page
            if not page:
                break
        self._sink.replace(documents, part.resource_version)
        self._version = part.resource_version

    async def _watch(self) -> None:
        self.watches += 1
        began = anyio.current_time()
        sink, trim = self._sink, self._trim
        try:
            async with self._registry.watch(self._query, since=self._version) as events:
                async for event in events:
                    document = event.document
                    if trim is not None and event.type != "BOOKMARK":
                        document = trim(document)
                    sink.apply(event.type, document)
                    self._version = document.meta.resource_version
        finally:
            if anyio.current_time() - began >= HEALTHY_AFTER:
                self._failures = 0
        if anyio.current_time() - began < HEALTHY_AFTER:
            await self._rest(None)

    async def _rest(self, error: Exception | None) -> None:
        if isinstance(error, Unreachable):
            delay = WHILE_AWAY.delay(self._refusals, self._random)
            self._refusals += 1
        else:
            delay = self._backoff.delay(self._failures, self._random)
            self._failures += 1
            self._refusals = 0
        if error is not None:
            self.last_error = error
            log.debug("%s: %s; trying again in %.1f s", self.name, error, delay)
        await anyio.sleep(delay)


def documents_of(items: Sequence[R]) -> Sequence[Document]:
    """Return the documents behind objects: the very same bytes when the registry handed out documents."""
    if isinstance(items, Documents):
        return items.documents
    return [Document(encode(item)) for item in items]
