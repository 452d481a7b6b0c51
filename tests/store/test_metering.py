"""A store that counts keeps all that the store beneath it promises, and its figures are right."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from kubelib.exposition import Histogram
from kubelib.registry import ResourceRegistries
from kubelib.server import ApiServer
from kubelib.server.authz import AlwaysAllow
from kubelib.store import (
    ABSENT,
    Delete,
    MemoryStore,
    Put,
    Revision,
    RevisionCompacted,
    RevisionInFuture,
    RevisionMismatch,
    Store,
)
from kubelib.store.metering import BOUNDS, MeteredStore, metered
from kubelib.testing.store import Open, StoreSuite


@asynccontextmanager
async def opened() -> AsyncIterator[Store]:
    async with MemoryStore() as store:
        yield metered(store)


class TestMetered(StoreSuite):
    @pytest.fixture
    def open_store(self) -> Open:
        return opened


async def test_calls_conflicts_errors_watches_and_changes_are_counted() -> None:
    async with MemoryStore() as engine:
        store = metered(engine)
        figures = store.figures
        first = await store.commit(Put("/a/1", b"x", ABSENT))
        with pytest.raises(RevisionMismatch):
            await store.commit(Put("/a/1", b"y", ABSENT))
        with pytest.raises(RevisionInFuture):
            await store.list("/a/", at=Revision(99))
        async with store.watch("/a/", since=Revision(0)) as watch:
            await watch.take()
            assert figures.watches == 1
        await store.commit(Delete("/a/1", first))
        await store.get("/a/1")
        await store.compact(Revision(3))
        with pytest.raises(RevisionCompacted):
            await store.list("/a/", at=Revision(1))
    counts = {operation: durations.count for operation, durations in figures.durations.items()}
    assert counts == {"commit": 3, "list": 2, "get": 1, "compact": 1}
    assert figures.errors == {("list", "RevisionInFuture"): 1, ("list", "RevisionCompacted"): 1}
    assert (figures.conflicts, figures.watches, figures.changes) == (1, 0, 1)


def test_durations_are_sorted_into_classes_that_add_up() -> None:
    durations = Histogram(BOUNDS)
    for seconds in (0.0, 0.0005, 0.0006, 3.0, 99.0):
        durations.add(seconds)
    within = dict(durations.within())
    assert (within[0.0005], within[0.001], within[2.5], within[5.0], within[BOUNDS[-1]]) == (2, 3, 3, 4, 4)
    assert durations.count == 5 and durations.sum == pytest.approx(102.0011)


async def test_a_server_shows_what_its_store_was_asked() -> None:
    async with MemoryStore() as engine:
        store: MeteredStore = metered(engine)
        async with ResourceRegistries(store) as registries:
            await registries.bootstrap()
            app = ApiServer(registries, authorizer=AlwaysAllow(), storage=store.figures)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                text = (await client.get("/metrics")).text
    commits = store.figures.durations["commit"].count
    assert commits >= 1
    assert (
        f'kubelib_store_request_duration_seconds_bucket{{operation="commit",le="+Inf"}} {commits}\n' in text
    )
    assert f'kubelib_store_request_duration_seconds_count{{operation="commit"}} {commits}\n' in text
    assert "# TYPE kubelib_store_request_duration_seconds histogram\n" in text
