from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import ApiError, Conflict, Timeout
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.clock import LoopClock
from kubelib.registry.registries import ResourceRegistries
from kubelib.sim import Conflicting, Lossy, Slow, sim_backend
from kubelib.store import ABSENT, MemoryStore, Put, Revision
from kubelib.testing.objects import make_config_map


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return sim_backend()


@asynccontextmanager
async def api() -> AsyncIterator[LocalClient]:
    async with ResourceRegistries(MemoryStore(), clock=LoopClock(), random=Random(1)) as registries:
        await registries.bootstrap()
        yield LocalClient(registries)


async def lose(seed: int) -> list[str]:
    """Make forty config maps over a lossy line; return what became of each."""
    async with api() as client:
        line = Lossy(client, Random(seed), rate=0.3)
        fates = []
        for n in range(40):
            try:
                await line.resource(ConfigMap).create(make_config_map(f"c{n}"))
                fates.append("made")
            except Timeout:
                fates.append("made, unheard")
                assert (
                    await client.resource(ConfigMap).get(Key("default", f"c{n}"))
                ).metadata.name == f"c{n}"
            except ApiError:
                fates.append("lost")
        assert len((await client.resource(ConfigMap).list()).items) == 40 - fates.count("lost")
        return fates


async def test_a_lossy_line_loses_requests_and_answers_repeatably() -> None:
    fates = await lose(1)
    assert set(fates) == {"made", "made, unheard", "lost"}
    assert await lose(1) == fates
    assert await lose(2) != fates


async def test_a_line_that_heals_loses_nothing_afterwards() -> None:
    async with api() as client:
        line = Lossy(client, Random(1), rate=1.0, until=10.0)
        with pytest.raises(ApiError):
            for _ in range(10):
                await line.resource(ConfigMap).list()
        await anyio.sleep(10)
        for _ in range(10):
            await line.resource(ConfigMap).list()


async def test_every_third_write_conflicts() -> None:
    async with api() as client:
        registry = Conflicting(client, every=3).resource(ConfigMap)
        made = await registry.create(make_config_map("a"))
        for n in range(9):
            change = replace(made, data={"n": str(n)})
            if n % 3 == 2:
                with pytest.raises(Conflict):
                    await registry.update(change)
            else:
                made = await registry.update(change)


async def test_a_slow_store_takes_its_time_and_loses_nothing() -> None:
    store = Slow(MemoryStore(), Random(1), latency=2.0)
    began = anyio.current_time()
    async with store.watch("/", since=Revision(0)) as watch:
        for n in range(10):
            await store.commit(Put(f"/{n}", b"x", ABSENT))
        seen = await watch.take()
    assert [change.key for change in seen] == [f"/{n}" for n in range(10)]
    assert 5 < anyio.current_time() - began < 22
    assert (await store.get("/3")) is not None
    assert len((await store.list("/")).entries) == 10
    assert await store.revision() == 10
