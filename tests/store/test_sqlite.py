import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import pytest

from kubelib.store import (
    ABSENT,
    Check,
    Delete,
    Put,
    Revision,
    RevisionCompacted,
    RevisionMismatch,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    open_store,
)
from kubelib.store.sqlite import AT_ONCE, SqliteStore
from kubelib.testing.clocks import MovableClock
from kubelib.testing.store import Open, StoreSuite, put
from tests.store.failures import SmallDisk, files_end_at


class TestSqliteStore(StoreSuite):
    durable = True

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        return lambda: SqliteStore(tmp_path / "store.sqlite")


WRITER = """
import sys, anyio
from kubelib.store import ABSENT, Put
from kubelib.store.sqlite import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]) as store:
        start = int(await store.revision())
        async def write(worker):
            n = 0
            while True:
                key = f"/{start}/{worker}/{n}"
                await store.commit(Put(key + "/a", b"x" * 500, ABSENT), Put(key + "/b", b"x" * 500, ABSENT))
                sys.stdout.write(key + "\\n"); sys.stdout.flush()
                n += 1
        async with anyio.create_task_group() as group:
            for worker in range(16):
                group.start_soon(write, worker)

anyio.run(main)
"""


async def test_no_acknowledged_write_is_lost_by_kill_9_in_thirty_rounds(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    acknowledged: set[str] = set()
    for number in range(30):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged.add(child.stdout.readline().strip())
        time.sleep(0.01 * (number % 7))
        child.send_signal(signal.SIGKILL)
        # A line that the kill cut short was not acknowledged to anybody.
        acknowledged.update(line.strip() for line in child.stdout if line.endswith("\n"))
        child.wait()
        child.stdout.close()
    async with SqliteStore(path) as store:
        keys = {entry.key for entry in (await store.list("/")).entries}
    assert len(acknowledged) > 100
    assert {f"{key}/{part}" for key in acknowledged for part in "ab"} <= keys
    halves = {key.rpartition("/")[0] for key in keys}
    assert len(keys) == 2 * len(halves), "half a transaction is there"


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    with files_end_at(300_000) as disk:
        yield disk


async def test_a_full_disk_is_a_clear_error_and_corrupts_nothing(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    path = tmp_path / "store.sqlite"
    written = 0
    async with SqliteStore(path) as store:
        with pytest.raises(StoreFull, match="no space"):
            for written in range(100):
                await put(store, f"/k{written:03}", b"x" * 10_000)
        assert len((await store.list("/")).entries) == written > 3
        with pytest.raises(StoreFull):
            await put(store, "/more", b"x" * 200_000)
        small_disk.grow()
        assert await put(store, "/after") == written + 1
    async with SqliteStore(path) as store:
        assert [e.key for e in (await store.list("/")).entries] == [
            "/after",
            *(f"/k{n:03}" for n in range(written)),
        ]


async def refusal(path: Path) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        async with SqliteStore(path):
            pass
    return str(caught.value)


async def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    assert "cannot open the store" in await refusal(tmp_path / "file" / "store.sqlite")
    assert "cannot open the store" in await refusal(tmp_path)


async def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with SqliteStore(path) as store:
        await put(store, "/a")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "newer version (format 99" in await refusal(path)


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    assert "damaged or not a database" in await refusal(path)


async def test_a_store_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with SqliteStore(path) as store:
        await put(store, "/a")
        done = subprocess.run(
            [sys.executable, "-c", WRITER, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert "in use by another process" in done.stderr


async def test_the_file_stays_in_proportion_to_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    async with SqliteStore(path, history=50) as store:
        revision = await store.commit(Put("/a", b"", ABSENT))
        for n in range(2000):
            revision = await store.commit(Put("/a", bytes([n % 256]) * 4000, revision))
        await store.commit(Delete("/a", revision))
        await store.compact(Revision(revision + 2))
        await put(store, "/b")
    assert path.stat().st_size < 2_000_000
    async with SqliteStore(path) as store:
        assert await store.revision() == revision + 2
        assert [e.key for e in (await store.list("/")).entries] == ["/b"]


async def test_leases_outlive_a_restart(tmp_path: Path) -> None:
    from kubelib.store import Lease

    path, clock = tmp_path / "store.sqlite", MovableClock()
    async with SqliteStore(path, clock=clock) as store:
        await store.commit(Put("/a", b"", ABSENT, Lease(3600)))
    async with SqliteStore(path, clock=clock) as store:
        assert await store.get("/a") is not None
    clock.advance(hours=1)
    async with SqliteStore(path, clock=clock) as store:
        with anyio.fail_after(60):
            while await store.get("/a") is not None:
                await anyio.sleep(0.02)


async def test_stores_are_opened_by_url(tmp_path: Path) -> None:
    async with open_store("memory://") as memory, open_store(f"sqlite://{tmp_path}/s.sqlite") as sqlite:
        await put(memory, "/a")
        await put(sqlite, "/a")
    assert os.path.exists(tmp_path / "s.sqlite")
    with pytest.raises(ValueError, match="memory://, sqlite://"):
        open_store("mysql://somewhere")
    with pytest.raises(ValueError, match="names no file"):
        open_store("sqlite://")


async def test_who_loses_to_a_write_on_its_way_to_the_disk_then_reads_the_winner(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.sqlite") as store:
        first = await put(store, "/a", b"0")
        lost: list[Revision] = []

        async def lose() -> None:
            with pytest.raises(RevisionMismatch):
                await store.commit(Put("/a", b"loser", first))
            entry = await store.get("/a")
            assert entry is not None and entry.value == b"winner"
            lost.append(entry.modified)

        async with anyio.create_task_group() as group:
            group.start_soon(store.commit, Put("/a", b"winner", first))
            group.start_soon(lose)
        assert lost == [first + 1]


async def fill(path: Path, count: int = 200) -> None:
    async with SqliteStore(path) as store:
        for number in range(count):
            await put(store, f"/k{number:03}", b"value-%03d " % number + b"x" * 400)


async def test_a_bit_that_changed_within_a_value_is_noticed_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    await fill(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"value-100")
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        StoreCorrupt, match=r"the record of /k100 at revision 101 does not match its checksum"
    ):
        async with SqliteStore(path):
            pass


@pytest.mark.parametrize("keep", [100, 4096, 30_000, 0.5, 0.99])
async def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "store.sqlite"
    await fill(path)
    size = path.stat().st_size
    os.truncate(path, int(keep if keep > 1 else size * keep))
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        async with SqliteStore(path):
            pass


PAGE = 4096
_INNER, _LEAF = 2, 10
"""With what pages of the table begin."""


async def test_a_store_in_which_anything_was_changed_is_refused_or_is_what_it_was(tmp_path: Path) -> None:
    """Bits where pages say what is in them, and whole pages: records that would be passed over have no checksum that tells."""
    path, random = tmp_path / "store.sqlite", Random(1)
    await fill(path)
    async with SqliteStore(path) as store:
        good, revision = (await store.list("/")).entries, await store.revision()
    whole = path.read_bytes()
    pages = [at for at in range(0, len(whole), PAGE) if whole[at] in (_INNER, _LEAF)]
    refused = 0
    for number in range(150):
        data = bytearray(whole)
        page = random.choice(pages)
        if number % 3:
            data[page + random.randrange(60)] ^= 1 << random.randrange(8)
        elif number % 2:
            data[page : page + PAGE] = bytes(PAGE)
        else:
            other = random.choice(pages)
            data[page : page + PAGE], data[other : other + PAGE] = (
                data[other : other + PAGE],
                data[page : page + PAGE],
            )
        path.write_bytes(data)
        try:
            async with SqliteStore(path) as store:
                assert ((await store.list("/")).entries, await store.revision()) == (good, revision)
        except StoreCorrupt:
            refused += 1
    assert refused > 40


async def test_a_record_of_another_type_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    await fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE changes SET created = 'text', crc = NULL WHERE key = '/k100'")
        connection.execute("UPDATE changes SET value = 5, crc = 'x' WHERE key = '/k101'")
    connection.close()
    assert "is damaged" in await refusal(path)


async def test_a_disk_that_is_full_when_a_store_is_opened_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    await fill(path)
    with files_end_at(1000) as disk:
        assert "no space left for the store" in await refusal(tmp_path / "new.sqlite")
        assert "no space left for the store" in await refusal(path)
        disk.grow()
        async with SqliteStore(path) as store:
            assert len((await store.list("/")).entries) == 200


async def test_a_file_of_the_first_format_is_read_and_written_on(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    await fill(path, 3)
    with sqlite3.connect(path) as old:  # as the first format was: without checksums
        old.execute("ALTER TABLE changes DROP COLUMN crc")
        old.execute("PRAGMA user_version=1")
    old.close()
    async with SqliteStore(path) as store:
        assert [entry.key for entry in (await store.list("/")).entries] == ["/k000", "/k001", "/k002"]
        await put(store, "/new")
    async with SqliteStore(path) as store:
        assert (await store.revision(), await store.get("/new") is not None) == (4, True)


async def test_a_check_of_a_write_that_fails_on_its_way_is_not_acknowledged(
    tmp_path: Path, small_disk: SmallDisk
) -> None:
    async with SqliteStore(tmp_path / "store.sqlite") as store:
        outcomes: list[str] = []

        async def write() -> None:
            try:
                await store.commit(Put("/big", b"x" * 20_000_000, ABSENT))
            except StoreFull:
                outcomes.append("refused")

        async def check() -> None:
            await anyio.lowlevel.checkpoint()
            try:
                await store.commit(Check("/big", Revision(1)))
                outcomes.append("acknowledged")
            except RevisionMismatch:
                outcomes.append("mismatch")

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            group.start_soon(check)
        assert outcomes == ["refused", "mismatch"]


async def test_a_disk_that_fails_is_not_called_full(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.sqlite") as store:
        error = store._translated(sqlite3.OperationalError("disk I/O error"))
        assert isinstance(error, StoreUnavailable)
        assert "disk I/O error" in str(error)


def statements_of(store: SqliteStore) -> list[str]:
    """Return a list to which every statement is added that the store carries out from now on."""
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    return statements


async def test_commits_that_are_decided_together_are_written_by_one_statement(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.sqlite") as store:
        statements = statements_of(store)
        async with anyio.create_task_group() as group:
            for number in range(AT_ONCE):
                group.start_soon(store.commit, Put(f"/k{number:03}", b"v", ABSENT))
        assert [s.partition(" VALUES")[0] for s in statements] == ["INSERT INTO changes"]
    async with SqliteStore(tmp_path / "store.sqlite") as again:
        assert len((await again.list("/k")).entries) == AT_ONCE


async def test_a_commit_of_more_than_a_statement_takes_is_still_all_or_nothing(tmp_path: Path) -> None:
    many = [Put(f"/k{number:03}", b"v", ABSENT) for number in range(3 * AT_ONCE + 1)]
    async with SqliteStore(tmp_path / "store.sqlite") as store:
        statements = statements_of(store)
        await store.commit(*many)
        begin, *_, commit = statements
        assert begin.startswith("BEGIN")
        assert commit == "COMMIT"
        assert len(statements) == 6
    async with SqliteStore(tmp_path / "store.sqlite") as again:
        assert len((await again.list("/k")).entries) == len(many)


async def test_what_was_decided_before_the_store_is_closed_is_written(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.sqlite") as store, anyio.create_task_group() as group:
        group.start_soon(store.commit, Put("/a", b"v", ABSENT))
        await anyio.lowlevel.checkpoint()
    async with SqliteStore(tmp_path / "store.sqlite") as again:
        assert await again.get("/a") is not None


async def test_the_url_says_how_much_history_is_kept(tmp_path: Path) -> None:
    async with open_store(f"sqlite://{tmp_path}/store?history=3") as store:
        revision = ABSENT
        for number in range(20):
            revision = await store.commit(Put("/a", str(number).encode(), revision))
        with pytest.raises(RevisionCompacted):
            async with store.watch("/", since=Revision(1)) as watch:
                await watch.take()
    with pytest.raises(ValueError, match="history=few: it must be a whole number"):
        open_store(f"sqlite://{tmp_path}/store?history=few")
    with pytest.raises(ValueError, match="unknown option 'keep': there is history"):
        open_store(f"sqlite://{tmp_path}/store?keep=3")


async def test_what_is_stored_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with open_store(f"sqlite://{tmp_path}/store") as store:
            await store.commit(Put("/a", b"secret", ABSENT))
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert "store-wal" in modes
    assert set(modes.values()) == {0o600}
