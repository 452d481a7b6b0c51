"""ZooKeeper servers that are frozen, full or read-only, and nodes that are damaged or gone: one sentence, and no surprise."""

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from kazoo.security import make_acl

from kubelib.store import ABSENT, Put, Revision, StoreCorrupt, StoreFull, StoreUnavailable, open_store
from kubelib.store.zookeeper import ZooKeeperStore, parse_url
from kubelib.store.zookeeper.layout import HEAD, batch_path, key_path
from tests.engines import PREFIXES, ZooKeeper
from tests.store.servers import NoAnswer

pytestmark = pytest.mark.external


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """A server that keeps quotas."""
    with ZooKeeper(tmp_path_factory.mktemp("zookeeper-strict"), enforceQuota="true") as running:
        yield running


async def call(store: ZooKeeperStore, method: str, path: str, *arguments: Any) -> Any:
    """Do something to a node that no store does."""
    session = store._session
    return await anyio.to_thread.run_sync(getattr(session._client, method), session._at(path), *arguments)


class TestNoAnswer(NoAnswer):
    kind = "ZooKeeper"
    servers = ZooKeeper
    impatient = staticmethod(lambda url: ZooKeeperStore(parse_url(url), patience=1))


async def test_who_has_used_up_its_quota_is_told_so_at_once_and_goes_on_with_a_larger_one(
    strict: ZooKeeper,
) -> None:
    folder = next(PREFIXES)
    async with open_store(strict.url(folder)) as store:
        await store.commit(Put("/before", b"x", ABSENT))
        strict.cli("setquota", "-B", "100000", folder)
        noise = bytes(range(256)) * 200
        written = 0
        with pytest.raises(StoreFull, match=rf"ZooKeeper at \S+ has used up the quota of {folder}: raise it"):
            while True:
                await store.commit(Put(f"/k{written}", noise + written.to_bytes(1, "big") * 20_000, ABSENT))
                written += 1
        assert len((await store.list("/")).entries) == written + 1
        strict.cli("setquota", "-B", "10000000", folder)
        revision = await store.commit(Put("/after", b"", ABSENT))
        assert revision == written + 2, "what was refused has left nothing behind"


async def test_a_store_that_may_only_be_read_says_so_and_is_read(zookeeper: ZooKeeper) -> None:
    url = zookeeper.url(next(PREFIXES))
    async with ZooKeeperStore(parse_url(url)) as store:
        await store.commit(Put("/a", b"1", ABSENT))
        await call(store, "set_acls", HEAD, [make_acl("world", "anyone", read=True, admin=True)])
        with pytest.raises(StoreUnavailable, match="does not let nobody in particular use"):
            await store.commit(Put("/b", b"1", ABSENT))
        async with open_store(url) as other:
            assert [entry.key for entry in (await other.list("/")).entries] == ["/a"]
        await call(store, "set_acls", HEAD, [make_acl("world", "anyone", all=True)])
        assert await store.commit(Put("/b", b"1", ABSENT)) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (key_path("/a"), "holds a damaged record: restore the store from a backup"),
        (batch_path(1), "holds a damaged record: restore the store from a backup"),
        (HEAD, "holds a damaged record: restore the store from a backup"),
        ("/compacted", "holds a damaged record: restore the store from a backup"),
        ("/format", "has a damaged node /format: is it another store"),
    ],
)
async def test_a_damaged_node_is_found_when_the_store_is_opened(
    zookeeper: ZooKeeper, path: str, message: str
) -> None:
    url = zookeeper.url(next(PREFIXES))
    async with ZooKeeperStore(parse_url(url)) as store:
        await store.commit(Put("/a", b"1", ABSENT))
    async with ZooKeeperStore(parse_url(url)) as store:
        await call(store, "set", path, b"\xffnonsense")
    with pytest.raises(StoreCorrupt, match=message):
        async with open_store(url):
            pass


@pytest.mark.parametrize("path", [HEAD, "/log", "/data", "/compacted", "/data/a7"])
async def test_a_store_that_lacks_a_node_is_not_opened(zookeeper: ZooKeeper, path: str) -> None:
    url = zookeeper.url(next(PREFIXES))
    async with ZooKeeperStore(parse_url(url)) as store:
        await call(store, "delete", path, -1, True)
    with pytest.raises(StoreCorrupt, match=r"lacks the node /.* of the store: restore it from a backup"):
        async with open_store(url):
            pass


async def test_a_store_of_a_newer_version_is_refused(zookeeper: ZooKeeper) -> None:
    url = zookeeper.url(next(PREFIXES))
    async with ZooKeeperStore(parse_url(url)) as store:
        await call(store, "set", "/format", b'{"format":2}')
    with pytest.raises(StoreCorrupt, match="newer version of kubelib"):
        async with open_store(url):
            pass


async def _damage(store: ZooKeeperStore) -> None:
    """Write a batch that is none, as a follower would read it next."""
    await call(store, "create", batch_path(2), b"\xffnonsense")


async def _remove(store: ZooKeeperStore) -> None:
    await call(store, "delete", "", -1, True)


@pytest.mark.parametrize("blow", [_damage, _remove])
async def test_a_store_that_is_spoilt_while_it_is_open_says_so_from_then_on(
    zookeeper: ZooKeeper, blow: Callable[[ZooKeeperStore], Any]
) -> None:
    async with ZooKeeperStore(parse_url(zookeeper.url(next(PREFIXES)))) as store:
        await store.commit(Put("/a", b"1", ABSENT))
        async with store.watch("/", since=Revision(1)) as watch:
            await blow(store)
            with anyio.fail_after(60):
                with pytest.raises(StoreUnavailable, match="restore"):
                    while True:
                        await store.commit(Put("/b", b"", ABSENT))
                with pytest.raises(StoreUnavailable, match="restore"):
                    await watch.take()
                with pytest.raises(StoreUnavailable, match="restore"):
                    await store.get("/a")
