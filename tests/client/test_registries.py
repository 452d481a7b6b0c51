"""Both clients keep the promises of `RegistrySuite`: in process on a file, and over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelib.client import LocalClient
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import Connection
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import ADMIN
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.listener import bind, serve
from kubelib.store import MemoryStore, open_store
from kubelib.testing.registry import Backing, RegistrySuite, backing_of


class TestLocalClientOnSqlite(RegistrySuite):
    @pytest.fixture
    async def backing(self, tmp_path: Path) -> AsyncIterator[Backing]:
        async with open_store(f"sqlite://{tmp_path}/store") as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            yield backing_of(LocalClient(registries), store, registries)


class TestHttpClient(RegistrySuite):
    @pytest.fixture
    async def backing(self) -> AsyncIterator[Backing]:
        listening = bind("127.0.0.1", 0)
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            app = ApiServer(registries, authenticator=Authenticator([StaticTokens({"t": ADMIN})]))
            async with serve(app, listening, None, stop=app.stop_watches) as port:
                connection = Connection(server=f"http://127.0.0.1:{port}", token="t")
                async with HttpClient(connection) as client:
                    yield backing_of(client, store, registries)
        listening.close()
