"""What the parts of the suite for clients share: the API below the client, small objects, and reading of watches."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client.base import Client
from kubelib.labels import parse_selector
from kubelib.registry.base import Query, WatchEvent
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import Store

NAMESPACE = "default"
KEY = Key(NAMESPACE, "a")
HERE = Query(namespace=NAMESPACE)


@attrs.frozen
class Backing:
    """The client under test, and the store below the API that it asks."""

    client: Client
    store: Store
    forget: Callable[[], Awaitable[None]]
    """Makes the API forget all versions but the present: as a restart does, once the store is compacted."""


def config_map(name: str = "a", *, labels: Mapping[str, str] | None = None, **data: str) -> ConfigMap:
    """Return a small object."""
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=NAMESPACE, labels=labels or {}), data=data)


def labelled(selector: str) -> Query:
    """Return the query for the objects with some labels."""
    return Query(namespace=NAMESPACE, labels=parse_selector(selector))


def backing_of(client: Client, store: Store, registries: ResourceRegistries) -> Backing:
    """Return the backing of a client whose API is these registries over that store."""

    async def forget() -> None:
        await store.compact(await store.revision())
        registries.cache.forget()

    return Backing(client, store, forget)


async def take(events: AsyncIterator[WatchEvent[ConfigMap]], count: int) -> list[tuple[str, str]]:
    """Return the next events as type and name, bookmarks left out."""
    seen: list[tuple[str, str]] = []
    with anyio.fail_after(60):
        while len(seen) < count:
            event = await anext(events)
            if event.type != "BOOKMARK":
                seen.append((event.type, event.object.metadata.name))
    return seen


class OfClients:
    """The fixtures of a client: a suite overrides `backing`."""

    @pytest.fixture
    def backing(self) -> Any:
        """The API under test."""
        raise NotImplementedError("override the fixture backing")

    @pytest.fixture
    def client(self, backing: Backing) -> Client:
        """The client under test."""
        return backing.client
