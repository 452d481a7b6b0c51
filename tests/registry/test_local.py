"""The API in process keeps its promises on every store, on the real loop and in virtual time."""

from collections.abc import AsyncIterator

import pytest

from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.registry import Backing, RegistrySuite, backing_of


class TestOnMemory(RegistrySuite):
    @pytest.fixture
    async def backing(self) -> AsyncIterator[Backing]:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            yield backing_of(LocalClient(registries), store, registries)
