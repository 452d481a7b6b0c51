"""The store on real ZooKeeper servers: every promise of a store, and what happens when servers fail."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kazoo.security import make_digest_acl

from kubelib.store import (
    ABSENT,
    CommitTooLarge,
    Put,
    Revision,
    RevisionCompacted,
    RevisionMismatch,
    Store,
    StoreCorrupt,
    StoreUnavailable,
    ValueTooLarge,
    WatchLagged,
    open_store,
)
from kubelib.store.zookeeper import ZooKeeperStore, parse_url
from kubelib.store.zookeeper.layout import batch_path, key_path
from tests.engines import PREFIXES, ZooKeeper, free_ports
from tests.partitions import Line
from tests.store.failures import nothing_is_lost
from tests.store.servers import ServerStoreSuite

pytestmark = pytest.mark.external


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    with ZooKeeper(tmp_path_factory.mktemp("zookeeper-three"), 3) as running:
        yield running


class TestOneServer(ServerStoreSuite):
    history = 10_000

    @pytest.fixture
    def servers(self, zookeeper: ZooKeeper) -> ZooKeeper:
        return zookeeper


class TestThreeServers(ServerStoreSuite):
    history = 10_000

    @pytest.fixture
    def servers(self, three: ZooKeeper) -> ZooKeeper:
        return three


class TestFailures:
    """What writers and watchers see of servers that are killed, frozen and started again: nothing but a delay."""

    @pytest.fixture
    def ensemble(self, tmp_path: Path) -> Iterator[ZooKeeper]:
        with ZooKeeper(tmp_path / "zookeeper", 3) as running:
            yield running

    @pytest.mark.slow
    @pytest.mark.parametrize("blow", ["kill", "pause"])
    async def test_no_acknowledged_write_and_no_change_is_lost_with_any_server(
        self, ensemble: ZooKeeper, blow: str
    ) -> None:
        async def strike() -> None:
            if blow == "kill":
                for port, member in zip(ensemble.ports, ensemble.members, strict=True):
                    member.kill()
                    await anyio.sleep(1)
                    member.start()
                    await anyio.to_thread.run_sync(ensemble.wait, port)
            else:
                roles = [ensemble.role(port) for port in ensemble.ports]
                leader = ensemble.members[roles.index("leader")]
                leader.pause()
                await anyio.sleep(5)
                leader.resume()

        await nothing_is_lost(ensemble.url(), strike)

    @pytest.mark.slow
    async def test_nothing_is_lost_when_a_cut_line_makes_sessions_expire(self, tmp_path: Path) -> None:
        """The server gives the clients up; when they are heard again they are told so, and go on where they were."""
        words = {"4lw.commands.whitelist": "srvr,dump"}
        with ZooKeeper(tmp_path / "zookeeper", 1, **words) as alone:
            async with Line(alone.ports[0]).open() as line:

                async def sessions(wanted: int, looks: int = 1) -> set[str]:
                    """Wait until there are so many, as often as that in a row: one that is just being put off is missing."""
                    seen = 0
                    with anyio.fail_after(60):
                        while seen < looks:
                            found = await anyio.to_thread.run_sync(alone.sessions)
                            seen = seen + 1 if len(found) == wanted else 0
                            await anyio.sleep(0.1)
                    return found

                async def strike() -> None:
                    before = await sessions(3)
                    line.cut()
                    await sessions(0, looks=5)
                    line.mend()
                    assert not before & await sessions(3)

                await nothing_is_lost(f"zookeeper://127.0.0.1:{line.port}", strike)

    async def test_an_only_server_that_comes_back_is_as_it_was(self, tmp_path: Path) -> None:
        with ZooKeeper(tmp_path / "zookeeper") as alone:

            async def strike() -> None:
                alone.members[0].kill()
                await anyio.sleep(0.5)
                alone.members[0].start()
                await anyio.to_thread.run_sync(alone.wait, alone.ports[0])

            await nothing_is_lost(alone.url(), strike)


class TestSharing:
    async def test_what_one_process_commits_the_other_has_read_when_it_asks(
        self, zookeeper: ZooKeeper
    ) -> None:
        url = zookeeper.url(next(PREFIXES))
        async with open_store(url) as one, open_store(url) as other:
            revision = ABSENT
            for n in range(20):
                writer, reader = (one, other) if n % 2 else (other, one)
                revision = await writer.commit(Put("/a", str(n).encode(), revision))
                entry = await reader.get("/a")
                assert entry is not None and (entry.value, entry.modified) == (str(n).encode(), revision)

    async def test_processes_that_count_together_lose_no_count(self, zookeeper: ZooKeeper) -> None:
        url = zookeeper.url(next(PREFIXES))
        async with open_store(url) as one, open_store(url) as other:
            await one.commit(Put("/n", b"0", ABSENT))

            async def count(store: Store) -> None:
                for _ in range(20):
                    while True:
                        entry = await store.get("/n")
                        assert entry is not None
                        try:
                            await store.commit(Put("/n", str(int(entry.value) + 1).encode(), entry.modified))
                            break
                        except RevisionMismatch:
                            continue

            async with anyio.create_task_group() as group:
                for store in (one, other, one, other):
                    group.start_soon(count, store)
            entry = await other.get("/n")
            assert entry is not None and entry.value == b"80"

    async def test_the_log_is_bounded_and_who_missed_too_much_of_it_reads_all_anew(
        self, zookeeper: ZooKeeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = parse_url(zookeeper.url(next(PREFIXES)))
        async with ZooKeeperStore(address, history=20) as one, ZooKeeperStore(address, history=20) as other:
            async with other.watch("/", since=Revision(0)) as watch:
                await one.commit(Put("/first", b"", ABSENT))
                await watch.take()
                session = other._session
                reads = session.get_all
                cut_off = anyio.Event()

                async def wait(paths: list[str]) -> list[bytes | None]:
                    await cut_off.wait()
                    return await reads(paths)

                monkeypatch.setattr(session, "get_all", wait)
                for n in range(100):
                    await one.commit(Put(f"/k{n % 7}", str(n).encode(), await _modified(one, f"/k{n % 7}")))
                with anyio.fail_after(60):
                    while len(await one._session.children("/log")) > 60:
                        await anyio.sleep(0.05)
                cut_off.set()
                with anyio.fail_after(60), pytest.raises(WatchLagged):
                    while True:
                        await watch.take()
            assert (await other.list("/")).entries == (await one.list("/")).entries
            async with other.watch("/", since=await other.revision()) as watch:
                await one.commit(Put("/last", b"", ABSENT))
                with anyio.fail_after(60):
                    assert [change.key for change in await watch.take()] == ["/last"]

    async def test_a_write_that_is_compacted_before_another_process_has_read_it_is_found(
        self, zookeeper: ZooKeeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = parse_url(zookeeper.url(next(PREFIXES)))
        async with ZooKeeperStore(address) as one, ZooKeeperStore(address) as other:
            session = other._session
            reads, cut_off = session.get_all, anyio.Event()

            async def wait(paths: list[str]) -> list[bytes | None]:
                await cut_off.wait()
                return await reads(paths)

            monkeypatch.setattr(session, "get_all", wait)
            revision = await one.commit(Put("/a", b"1", ABSENT))
            await one.compact(Revision(revision + 1))
            with anyio.fail_after(60):
                while await one._session.children("/log"):
                    await anyio.sleep(0.05)
            cut_off.set()
            entry = await other.get("/a")
            assert entry is not None and entry.modified == revision

    async def test_a_log_whose_trimming_was_interrupted_begins_after_its_last_gap(
        self, zookeeper: ZooKeeper
    ) -> None:
        address = parse_url(zookeeper.url(next(PREFIXES)))
        async with ZooKeeperStore(address) as one:
            for n in range(6):
                await one.commit(Put(f"/k{n}", b"", ABSENT))
            await one._session.delete(batch_path(3))
        async with ZooKeeperStore(address) as other:
            assert [entry.key for entry in (await other.list("/")).entries] == [f"/k{n}" for n in range(6)]
            async with other.watch("/", since=Revision(3)) as watch:
                with anyio.fail_after(60):
                    assert [change.key for change in await watch.take()] == ["/k3", "/k4", "/k5"]
            with pytest.raises(RevisionCompacted):
                await other.list("/", at=Revision(2))
            await other.compact(Revision(4))
            with anyio.fail_after(60):  # what was left over goes with the next that is trimmed
                while len(await other._session.children("/log")) > 3:
                    await anyio.sleep(0.05)

    async def test_keys_of_all_sizes_are_read_when_the_store_is_opened(self, zookeeper: ZooKeeper) -> None:
        url = zookeeper.url(next(PREFIXES))
        written = {f"/k{n}": os.urandom(400_000 if n % 50 == 0 else n) for n in range(300)}
        async with open_store(url) as store, anyio.create_task_group() as group:
            for key, value in written.items():
                group.start_soon(store.commit, Put(key, value, ABSENT))
        async with open_store(url) as store:
            assert {entry.key: entry.value for entry in (await store.list("/")).entries} == written


async def _modified(store: ZooKeeperStore, key: str) -> Revision:
    entry = await store.get(key)
    return entry.modified if entry is not None else ABSENT


class TestTrouble:
    async def test_a_server_that_is_not_there_is_named(self) -> None:
        (port,) = free_ports(1)
        with pytest.raises(StoreUnavailable, match=rf"ZooKeeper at 127\.0\.0\.1:{port} does not answer"):
            async with ZooKeeperStore(parse_url(f"zookeeper://127.0.0.1:{port}"), patience=0.5):
                pass

    async def test_nodes_of_somebody_else_are_left_alone(self, zookeeper: ZooKeeper) -> None:
        folder = next(PREFIXES)
        async with open_store(zookeeper.url(f"{folder}/inside")):
            pass
        with pytest.raises(StoreCorrupt, match="nodes that are not ours, such as 'inside'"):
            async with open_store(zookeeper.url(folder)):
                pass

    async def test_values_beyond_the_limit_are_refused_and_change_nothing(self, zookeeper: ZooKeeper) -> None:
        async with open_store(zookeeper.url(next(PREFIXES))) as store:
            with pytest.raises(ValueTooLarge, match="takes no more than jute"):
                await store.commit(Put("/large", os.urandom(1_000_000), ABSENT))
            with pytest.raises(CommitTooLarge, match="takes no more than jute") as refused:
                await store.commit(*(Put(f"/k{n}", os.urandom(400_000), ABSENT) for n in range(3)))
            assert not isinstance(refused.value, ValueTooLarge)
            assert await store.revision() == 0
            noise = os.urandom(400_000)
            revision = await store.commit(Put("/half", noise, ABSENT))
            entry = await store.get("/half")
            assert entry is not None and (entry.value, entry.modified) == (noise, revision)

    async def test_many_large_values_at_once_take_turns(self, zookeeper: ZooKeeper) -> None:
        async with open_store(zookeeper.url(next(PREFIXES))) as store:
            async with anyio.create_task_group() as group:
                for n in range(20):
                    group.start_soon(store.commit, Put(f"/k{n}", os.urandom(200_000), ABSENT))
            assert len((await store.list("/")).entries) == 20

    async def test_users_and_passwords(self, zookeeper: ZooKeeper) -> None:
        folder = next(PREFIXES)
        (port,) = zookeeper.ports
        async with open_store(f"zookeeper://me:secret@127.0.0.1:{port}{folder}") as store:
            await store.commit(Put("/a", b"1", ABSENT))
        for credentials in ("me:wrong@", ""):
            with pytest.raises(StoreUnavailable, match="name USER:PASSWORD@ in the URL"):
                async with open_store(f"zookeeper://{credentials}127.0.0.1:{port}{folder}"):
                    pass

    # kazoo leaves a socket whose handshake failed to the garbage collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_certificates_of_both_sides(self, tmp_path: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
        client = authority.issue_cert("kubelib")
        client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
        client.private_key_pem.write_to_path(tmp_path / "client-key.pem")
        mine = f"cert={tmp_path}/client.pem&key={tmp_path}/client-key.pem"
        (port,) = free_ports(1)
        with ZooKeeper(tmp_path / "zookeeper", 1, **self.tls(tmp_path, authority, "127.0.0.1", port)):
            url = f"zookeeper://127.0.0.1:{port}/tls"
            async with open_store(f"{url}?ca={tmp_path}/ca.pem&{mine}") as store:
                await store.commit(Put("/a", b"1", ABSENT))
                async with store.watch("/", since=Revision(0)) as watch:
                    assert [change.entry.value for change in await watch.take() if change.entry] == [b"1"]
            # Nothing is said in clear, to a server that cannot prove itself, or for a client that shows no certificate.
            for query in ("", f"?ca={tmp_path}/stranger.pem&{mine}", f"?ca={tmp_path}/ca.pem"):
                with pytest.raises(
                    StoreUnavailable, match=r"ZooKeeper at 127\.0\.0\.1:\d+.* does not answer"
                ):
                    async with ZooKeeperStore(parse_url(url + query), patience=2):
                        pass
        # Nor to a server that has a certificate of the right authority, but for another name.
        with (
            ZooKeeper(tmp_path / "other", 1, **self.tls(tmp_path, authority, "127.0.0.2", port)),
            pytest.raises(StoreUnavailable, match="does not answer"),
        ):
            async with ZooKeeperStore(parse_url(f"{url}?ca={tmp_path}/ca.pem&{mine}"), patience=2):
                pass
        gc.collect()

    @staticmethod
    def tls(directory: Path, authority: trustme.CA, name: str, port: int) -> dict[str, str]:
        """Return the settings of a server that has a certificate for a name and asks clients for theirs."""
        issued = authority.issue_cert(name)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (directory / f"{name}.pem").write_bytes(key + issued.cert_chain_pems[0].bytes())
        return {
            "secureClientPortAddress": "127.0.0.1",
            "secureClientPort": str(port),
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": str(directory / f"{name}.pem"),
            "ssl.keyStore.type": "PEM",
            "ssl.trustStore.location": str(directory / "ca.pem"),
            "ssl.trustStore.type": "PEM",
            "ssl.clientAuth": "need",
        }

    async def test_a_key_that_may_not_be_read_is_told(self, zookeeper: ZooKeeper) -> None:
        url = zookeeper.url(next(PREFIXES))
        async with ZooKeeperStore(parse_url(url)) as store:
            await store.commit(Put("/a", b"1", ABSENT))
            client, path = store._session._client, store._session._at(key_path("/a"))
            await anyio.to_thread.run_sync(
                client.set_acls, path, [make_digest_acl("somebody", "else", all=True)]
            )
        with pytest.raises(StoreUnavailable, match="does not let nobody in particular use"):
            async with open_store(url):
                pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("zookeeper://", "is not the URL of a store in ZooKeeper: write zookeeper://host:2181"),
        ("zookeeper://u:secret@h:x", "is not the URL of a store in ZooKeeper"),
        ("zookeeper://u:secret@h?colour=blue", "unknown option 'colour'"),
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)
