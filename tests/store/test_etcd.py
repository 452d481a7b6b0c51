"""The store on real etcd servers: every promise of a store, and what happens when members fail."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import trustme

from kubelib.api.errors import InternalError
from kubelib.registry import ResourceRegistries
from kubelib.store import (
    ABSENT,
    CommitTooLarge,
    Put,
    Revision,
    RevisionCompacted,
    Store,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
    open_store,
)
from kubelib.store.clusters import ClusterAddress
from kubelib.store.etcd import EtcdStore, parse_url
from tests.engines import PREFIXES, Etcd, free_ports
from tests.partitions import Machines
from tests.store.failures import nothing_is_lost
from tests.store.servers import ServerStoreSuite

pytestmark = pytest.mark.external


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd-three"), 3) as running:
        yield running


async def test_objects_that_etcd_does_not_take_are_refused_as_by_kubernetes(etcd: Etcd) -> None:
    async with (
        open_store(etcd.url(next(PREFIXES))) as store,
        ResourceRegistries(store) as registries,
    ):
        await registries.bootstrap()
        pods = registries.of(registries.scheme.path("", "v1", "pods"))
        container = {"name": "c", "image": "i", "args": ["x" * 1_600_000]}
        with pytest.raises(InternalError, match=r"^etcdserver: request is too large") as refused:
            await pods.create(
                {"metadata": {"name": "p"}, "spec": {"containers": [container]}}, namespace="default"
            )
        status = refused.value.status()
        assert (status["code"], "reason" in status) == (500, False)


class TestOneMember(ServerStoreSuite):
    @pytest.fixture
    def servers(self, etcd: Etcd) -> Etcd:
        return etcd


class TestThreeMembers(ServerStoreSuite):
    @pytest.fixture
    def servers(self, three: Etcd) -> Etcd:
        return three


class TestFailures:
    """What writers and watchers see of members that are killed, frozen and started again: nothing but a delay."""

    @pytest.fixture
    def cluster(self, tmp_path: Path) -> Iterator[Etcd]:
        with Etcd(tmp_path / "etcd", 3) as running:
            yield running

    @pytest.mark.slow
    @pytest.mark.parametrize("blow", ["kill", "pause", "move"])
    async def test_no_acknowledged_write_and_no_change_is_lost_with_any_member(
        self, cluster: Etcd, blow: str
    ) -> None:
        async def strike() -> None:
            if blow == "kill":
                for member in cluster.members:
                    member.kill()
                    await anyio.sleep(0.7)
                    member.start()
                    await anyio.sleep(0.8)
            elif blow == "move":
                for _ in range(6):
                    await anyio.to_thread.run_sync(cluster.move_leader)
                    await anyio.sleep(0.3)
            else:  # the member that both have been using: nothing says that it does not answer
                cluster.members[0].pause()
                await anyio.sleep(6)
                cluster.members[0].resume()

        await nothing_is_lost(cluster.url(), strike)

    @pytest.mark.slow
    @pytest.mark.parametrize("heals", [True, False])
    async def test_no_acknowledged_write_and_no_change_is_lost_when_the_leader_is_cut_off_from_the_others(
        self, tmp_path: Path, heals: bool
    ) -> None:
        """Clients go on reaching it: it must neither take their writes nor show them what is old."""
        with (
            Machines(3) as network,
            Etcd(tmp_path / "etcd", 3, machines=network.machines) as cluster,
            contextlib.ExitStack() as cut,
        ):

            async def strike() -> None:
                while not (found := await anyio.to_thread.run_sync(cluster.leaders))[0]:
                    await anyio.sleep(0.1)
                before = found[0]
                cut.enter_context(network.apart(cluster.place_of(before)))
                with anyio.fail_after(60):  # until the others have another one
                    while {before, 0}.issuperset(await anyio.to_thread.run_sync(cluster.leaders)):
                        await anyio.sleep(0.1)
                if heals:
                    cut.close()

            await nothing_is_lost(cluster.url(), strike)

    async def test_a_watch_resumes_on_a_new_member_where_it_was(self, cluster: Etcd) -> None:
        async with open_store(cluster.url()) as store:
            first = await store.commit(Put("/a", b"1", ABSENT))
            async with store.watch("/", since=Revision(0)) as watch:
                assert [change.revision for change in await watch.take()] == [first]
                cluster.members[0].kill()
                second = await store.commit(Put("/a", b"2", first))
                with anyio.fail_after(60):
                    assert [change.revision for change in await watch.take()] == [second]


class TestTrouble:
    async def test_a_server_that_is_not_there_is_named(self) -> None:
        (port,) = free_ports(1)
        with pytest.raises(
            StoreUnavailable, match=rf"etcd at 127\.0\.0\.1:{port} does not answer: connection refused"
        ):
            async with EtcdStore(parse_url(f"etcd://127.0.0.1:{port}"), patience=0.5):
                pass

    async def test_keys_of_somebody_else_are_left_alone(self, etcd: Etcd) -> None:
        prefix = next(PREFIXES)
        etcd.ctl("put", f"{prefix}/registry/pods/x", "theirs")
        with pytest.raises(StoreCorrupt, match=f"keys that are not ours, such as '{prefix}/registry/pods/x'"):
            async with open_store(etcd.url(prefix)):
                pass

    async def test_a_store_of_a_newer_version_is_refused(self, etcd: Etcd) -> None:
        prefix = next(PREFIXES)
        etcd.ctl("put", f"{prefix}.kubelib/store", '{"format":2,"base":0}')
        with pytest.raises(StoreCorrupt, match="newer version of kubelib"):
            async with open_store(etcd.url(prefix)):
                pass

    async def test_what_etcd_cannot_take_is_refused_and_changes_nothing(self, etcd: Etcd) -> None:
        async with open_store(etcd.url(next(PREFIXES))) as store:
            with pytest.raises(ValueTooLarge, match="max-request-bytes"):
                await store.commit(Put("/large", b"x" * 2_000_000, ABSENT))
            for many in (
                [Put(f"/k{n}", b"", ABSENT) for n in range(129)],
                [Put(f"/k{n}", b"x" * 500_000, ABSENT) for n in range(4)],
            ):
                with pytest.raises(CommitTooLarge, match=r"max-txn-ops|max-request-bytes") as refused:
                    await store.commit(*many)
                assert not isinstance(refused.value, ValueTooLarge)
            assert await store.revision() == 0
            assert (await store.list("/")).entries == ()

    async def test_a_full_etcd_says_so_and_still_answers(self, tmp_path: Path) -> None:
        with Etcd(tmp_path / "etcd", 1, "--quota-backend-bytes", "2000000") as small:
            async with open_store(small.url()) as store:
                written = 0
                with pytest.raises(StoreFull, match="used up its quota"):
                    while True:
                        await store.commit(Put(f"/k{written}", b"x" * 200_000, ABSENT))
                        written += 1
                assert len((await store.list("/")).entries) == written > 0

    async def test_what_fills_etcd_up_is_either_acknowledged_or_not_there(self, tmp_path: Path) -> None:
        acknowledged: set[str] = set()

        async def write(store: Store, writer: int) -> None:
            for number in itertools.count():
                key = f"/{writer}/{number}"
                try:
                    await store.commit(Put(key, b"x" * 50_000, ABSENT))
                except StoreFull:
                    return
                acknowledged.add(key)

        with Etcd(tmp_path / "etcd", 1, "--quota-backend-bytes", "2000000") as small:
            async with open_store(small.url()) as store:
                async with anyio.create_task_group() as writers:
                    for writer in range(8):
                        writers.start_soon(write, store, writer)
                entries = (await store.list("/")).entries
                assert {entry.key for entry in entries} == acknowledged != set()
                # Nothing that was there before passes for a commit that found no space.
                with pytest.raises(StoreFull):
                    await store.commit(Put(entries[0].key, entries[0].value, entries[0].modified))
                assert await store.get(entries[0].key) == entries[0]

    async def test_history_is_compacted_by_one_of_all_who_have_the_store_open(self, etcd: Etcd) -> None:
        url = etcd.url(next(PREFIXES))
        async with EtcdStore(parse_url(url), keep=0.2) as one, EtcdStore(parse_url(url), keep=0.2) as other:
            first = await one.commit(Put("/a", b"1", ABSENT))
            await one.commit(Put("/a", b"2", first))
            with anyio.fail_after(60):
                while True:
                    try:
                        await other.list("/", at=first)
                    except RevisionCompacted:
                        break
                    await anyio.sleep(0.1)
            assert [entry.value for entry in (await other.list("/")).entries] == [b"2"]

    async def test_what_others_write_to_the_same_etcd_holds_nobody_up(self, etcd: Etcd) -> None:
        async with open_store(etcd.url(next(PREFIXES))) as store:
            await store.commit(Put("/a", b"", ABSENT))
            async with store.watch("/", since=Revision(0)) as watch:
                await watch.take()
                etcd.ctl("put", "elsewhere", "x")
                revision = await store.revision()
                with anyio.fail_after(60):
                    while watch.progress < revision:
                        assert await watch.take() == ()

    async def test_stores_under_different_prefixes_do_not_see_each_other(self, etcd: Etcd) -> None:
        prefix = next(PREFIXES)
        async with (
            open_store(etcd.url(f"{prefix}/a")) as one,
            open_store(etcd.url(f"{prefix}/ab")) as other,
        ):
            await one.commit(Put("/x", b"", ABSENT))
            assert (await other.list("/")).entries == ()
            assert await one.revision() > 0

    async def test_users_and_passwords(self, tmp_path: Path) -> None:
        with Etcd(tmp_path / "etcd") as guarded:
            guarded.ctl("user", "add", "root:secret")
            guarded.ctl("user", "grant-role", "root", "root")
            guarded.ctl("auth", "enable")
            (port,) = guarded.ports
            async with open_store(f"etcd://root:secret@127.0.0.1:{port}") as store:
                await store.commit(Put("/a", b"1", ABSENT))
                async with store.watch("/", since=Revision(0)) as watch:
                    assert len(await watch.take()) == 1
                    # A member forgets the tokens that it gave out: calls and watches sign in again.
                    (member,) = guarded.members
                    member.kill()
                    member.start()
                    guarded.wait(port)
                    await store.commit(Put("/b", b"2", ABSENT))
                    with anyio.fail_after(60):
                        assert [change.key for change in await watch.take()] == ["/b"]
            for credentials, message in (
                ("root:wrong@", "does not know user 'root' with this password"),
                ("", "wants a user"),
            ):
                with pytest.raises(StoreUnavailable, match=message):
                    async with open_store(f"etcd://{credentials}127.0.0.1:{port}"):
                        pass

    async def test_certificates_that_are_renewed_are_used_from_the_next_connection_on(
        self, tmp_path: Path
    ) -> None:
        """And a server whose certificate is of an authority that nobody named is not spoken to meanwhile."""

        def renew() -> None:
            """Let another authority issue the server's certificate; it is to be trusted from now on, here as well."""
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
                tmp_path / "server.pem"
            )

        authority = trustme.CA()
        renew()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        options = ("--cert-file", str(tmp_path / "server.pem"), "--key-file", str(tmp_path / "server.pem"))
        with Etcd(tmp_path / "etcd", 1, *options) as guarded:
            (member,), (port,) = guarded.members, guarded.ports
            address = parse_url(f"{guarded.url()}?ca={tmp_path}/ca.pem")
            async with (
                EtcdStore(address, patience=0.5) as store,
                store.watch("/", since=Revision(0)) as watch,
            ):
                first = await store.commit(Put("/a", b"1", ABSENT))
                assert len(await watch.take()) == 1
                member.kill()
                authority = trustme.CA()
                renew()
                member.start()
                guarded.wait(port)
                why = ""
                with anyio.fail_after(60):
                    while "does not answer: its certificate is not accepted" not in why:
                        with pytest.raises(StoreUnavailable) as caught:
                            await store.commit(Put("/a", b"2", first))
                        why = str(caught.value)
                (tmp_path / "ca.pem").write_bytes(b"nonsense")
                with pytest.raises(StoreUnavailable, match=r"cannot use .*ca\.pem, the ca file for etcd"):
                    await store.get("/a")
                authority.cert_pem.write_to_path(tmp_path / "ca.pem")
                with anyio.fail_after(60):
                    while True:
                        try:
                            second = await store.commit(Put("/a", b"3", first))
                            break
                        except StoreUnavailable:
                            await anyio.sleep(0.05)
            assert second == first + 1
            async with EtcdStore(address) as store, store.watch("/", since=first) as watch:
                assert [change.revision for change in await watch.take()] == [second]

    @pytest.mark.parametrize(
        ("query", "why"),
        [
            ("ca=/nowhere/ca.pem", "cannot read /nowhere/ca.pem, the ca file for etcd .*: No such file"),
            ("cert={0}/empty&key={0}/empty", "cannot use .*/empty, the cert file for etcd"),
            ("cert={0}/none&key={0}/empty", "cannot read .*/none, the cert file for etcd .*: No such file"),
        ],
    )
    async def test_certificates_that_cannot_be_used_are_named(
        self, query: str, why: str, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").write_text("")
        with pytest.raises(StoreUnavailable, match=why):
            async with open_store(f"etcd://127.0.0.1:1?{query.format(tmp_path)}"):
                pass

    async def test_certificates_of_both_sides(self, tmp_path: Path) -> None:
        authority, files = trustme.CA(), {}
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        trustme.CA().cert_pem.write_to_path(tmp_path / "stranger.pem")
        for side, name in (("server", "127.0.0.1"), ("client", "kubelib")):
            issued = authority.issue_cert(name)
            files[side] = (tmp_path / f"{side}.pem", tmp_path / f"{side}-key.pem")
            issued.cert_chain_pems[0].write_to_path(files[side][0])
            issued.private_key_pem.write_to_path(files[side][1])
        options = (
            *("--cert-file", str(files["server"][0]), "--key-file", str(files["server"][1])),
            *("--client-cert-auth", "--trusted-ca-file", str(tmp_path / "ca.pem")),
        )
        mine = f"cert={files['client'][0]}&key={files['client'][1]}"
        with Etcd(tmp_path / "etcd", 1, *options) as guarded:
            url = guarded.url("/tls")
            async with open_store(f"{url}?ca={tmp_path}/ca.pem&{mine}") as store:
                await store.commit(Put("/a", b"1", ABSENT))
                async with store.watch("/", since=Revision(0)) as watch:
                    assert [change.entry.value for change in await watch.take() if change.entry] == [b"1"]
            # Nothing is said in clear, to a server that cannot prove itself, or for a client that shows no certificate.
            for query in ("", f"?ca={tmp_path}/stranger.pem&{mine}", f"?ca={tmp_path}/ca.pem"):
                with pytest.raises(StoreUnavailable, match=r"etcd at 127\.0\.0\.1:\d+.* does not answer"):
                    async with EtcdStore(parse_url(url + query), patience=0.5):
                        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("etcd://", "is not the URL of a store in etcd"),
        ("etcd://host:port", "is not the URL of a store in etcd"),
        ("etcd://h,:2379", "is not the URL of a store in etcd"),
        ("etcd://u:secret@h?cert=x", "needs both cert and key"),
        ("etcd://h?colour=blue", "unknown option 'colour'"),
        ("etcd://h?keep=-1", "keep=-1: it must be a whole number"),
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


def test_a_url_says_all_there_is_to_know() -> None:
    address = parse_url("etcd://me:p%40ss@h1,h2:2380,[::1]:7/some/prefix/?ca=/ca.pem&cert=/c.pem&key=/k.pem")
    assert address == ClusterAddress(
        name="etcd",
        endpoints=("h1:2379", "h2:2380", "[::1]:7"),
        path="/some/prefix",
        user="me",
        password="p@ss",
        tls=True,
        ca="/ca.pem",
        cert="/c.pem",
        key="/k.pem",
    )
    assert not parse_url("etcd://h").tls
    assert parse_url("etcd://h?keep=60&max-txn-ops=1024").settings == {"keep": 60, "max-txn-ops": 1024}
