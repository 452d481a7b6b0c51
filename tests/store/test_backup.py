"""Backups: everything as of one moment, restored whole or not at all, into a store of any kind."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.errors import Conflict, Expired
from kubelib.api.meta import Key, ObjectMeta
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import Query
from kubelib.store import ABSENT, Delete, Put, Revision, StoreUnavailable, open_store
from kubelib.store.backup import BackupDamaged, restore_backup, write_backup
from tests.engines import PREFIXES, Etcd, ZooKeeper


@pytest.fixture(params=["sqlite", "etcd", "zookeeper"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is nothing yet."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/new.sqlite"
    engine: Etcd | ZooKeeper = request.getfixturevalue(request.param)
    return engine.url(next(PREFIXES))


@pytest.mark.external
async def test_a_cluster_moves_to_any_store_with_names_uids_and_later_resource_versions(
    url: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    async with open_store(f"sqlite://{tmp_path}/old.sqlite") as store:
        async with ResourceRegistries(store) as registries:
            await registries.bootstrap()
            maps = LocalClient(registries).resource(ConfigMap)
            for n in range(250):
                await maps.create(
                    ConfigMap(metadata=ObjectMeta(name=f"m{n}", namespace="default"), data={"n": str(n)})
                )
            await maps.delete(Key("default", "m7"))
            old = {item.key: item for item in (await maps.list()).items}
            before = await store.revision()
        done = await write_backup(store, file)
    assert (done.entries > 249, done.revision) == (True, before)

    await restore_backup(file, url)
    async with open_store(url) as store, ResourceRegistries(store) as registries:
        maps = LocalClient(registries).resource(ConfigMap)
        new = {item.key: item for item in (await maps.list()).items}
        assert new.keys() == old.keys()
        for key, item in new.items():
            assert (item.metadata.uid, item.data) == (old[key].metadata.uid, old[key].data)
            assert int(item.metadata.resource_version) > before
        stale = old[Key("default", "m1")]
        with pytest.raises(Conflict):
            await maps.update(stale)
        with pytest.raises(Expired):
            async with maps.watch(
                Query(namespace="default"), since=stale.metadata.resource_version
            ) as events:
                await anext(events)
        again = await maps.create(ConfigMap(metadata=ObjectMeta(name="m7", namespace="default")))
        assert int(again.metadata.resource_version) > before


async def test_values_of_all_kinds_come_back_to_the_byte(tmp_path: Path) -> None:
    values = {
        "/json": b'{"a": 1,  "b":"\xc3\xa9"}',
        "/lines": b'{"a":\n1}',
        "/like-json": b"{nothing}",
        "/binary": bytes(range(256)),
        "/empty": b"",
    }
    file = tmp_path / "backup"
    async with open_store("memory://") as store:
        for key, value in values.items():
            await store.commit(Put(key, value, ABSENT))
        await write_backup(store, file)
    assert file.stat().st_mode & 0o777 == 0o600
    await restore_backup(file, f"sqlite://{tmp_path}/new")
    async with open_store(f"sqlite://{tmp_path}/new") as store:
        assert {entry.key: entry.value for entry in (await store.list("/")).entries} == values
        assert await store.revision() == len(values) + 1


async def test_a_store_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    file, target = tmp_path / "backup", f"sqlite://{tmp_path}/there"
    async with open_store("memory://") as store:
        await store.commit(Put("/a", b"new", ABSENT))
        await write_backup(store, file)
    async with open_store(target) as store:
        revision = await store.commit(Put("/a", b"old", ABSENT))
        await store.commit(Delete("/a", revision), Put("/b", b"old", ABSENT))
    with pytest.raises(StoreUnavailable, match="there is a store already"):
        await restore_backup(file, target)
    async with open_store(target) as store:
        assert [(entry.key, entry.value) for entry in (await store.list("/")).entries] == [("/b", b"old")]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[: len(raw) // 2], "ends too early"),
        (lambda raw: b"", "not a backup"),
        (lambda raw: b"hello", "not a backup"),
        (lambda raw: raw + b"hello", "not a backup, or is damaged"),
        (lambda raw: raw + gzip.compress(b"hello"), "goes on after its end"),
        (
            lambda raw: gzip.compress(gzip.decompress(raw).replace(b'"format":1', b'"format":9')),
            "newer kubelib",
        ),
        (
            lambda raw: gzip.compress(b"\n".join(gzip.decompress(raw).split(b"\n")[:-2]) + b"\n"),
            "ends too early",
        ),
        (
            lambda raw: gzip.compress(
                b"".join(gzip.decompress(raw).splitlines(True)[:1]) + b'{"entries":3}\n'
            ),
            "0 entries",
        ),
    ],
    ids=["half", "empty", "text", "text after it", "more after it", "newer", "no foot", "too few"],
)
async def test_a_backup_that_is_not_whole_restores_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    file, target = tmp_path / "backup", tmp_path / "new"
    async with open_store("memory://") as store:
        for n in range(100):
            await store.commit(Put(f"/k{n}", f"value {n}".encode() * 20, ABSENT))
        await write_backup(store, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BackupDamaged, match=said):
        await restore_backup(file, f"sqlite://{target}")
    assert not target.exists()


async def test_a_new_store_begins_where_it_is_told_to() -> None:
    async with open_store("memory://", base=Revision(41)) as store:
        assert await store.revision() == 41
        assert await store.commit(Put("/a", b"", ABSENT)) == 42


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reference_cluster", *arguments], capture_output=True, text=True, check=False
    )


def test_the_commands_say_what_they_did_and_what_they_cannot_do(tmp_path: Path) -> None:
    file = str(tmp_path / "backup")
    for arguments, said in (
        (["backup", "--out", file], "name --data-dir or --store"),
        (["backup", "--store", "nonsense", "--out", file], "is not the URL of a store"),
        (["backup", "--data-dir", str(tmp_path / "none"), "--out", file], f"no store in {tmp_path}/none:"),
        (["backup", "--store", f"sqlite://{tmp_path}/none", "--out", file], f"no store in {tmp_path}/none:"),
        (["backup", "--store", "memory://", "--out", file], "nothing in the store"),
        (["restore", file, "--store", "memory://"], "ends with this command"),
        (["restore", file, "--store", f"sqlite://{tmp_path}/new"], "No such file"),
    ):
        done = run(*arguments)
        assert done.returncode != 0
        assert said in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
    anyio.run(_make_store, f"sqlite://{tmp_path}/old")
    for out, said in ((tmp_path, "is a directory"), (tmp_path / "none" / "b", "none/b: No such file")):
        done = run("backup", "--store", f"sqlite://{tmp_path}/old", "--out", str(out))
        assert done.returncode != 0
        assert said in done.stderr and "Traceback" not in done.stderr
    done = run("backup", "--store", f"sqlite://{tmp_path}/old", "--out", file)
    assert (done.returncode, done.stdout) == (0, f"{file} has 1 entries as of revision 1\n")
    done = run("restore", file, "--data-dir", str(tmp_path / "cluster"))
    assert (done.returncode, done.stdout) == (0, "restored 1 entries; the store is at revision 2\n"), (
        done.stderr
    )


async def _make_store(url: str) -> None:
    async with open_store(url) as store:
        await store.commit(Put("/a", b"{}", ABSENT))
