"""etcd members that are frozen or gone, records that are damaged, users with fewer rights: one sentence, and no surprise."""

from pathlib import Path

import anyio
import pytest

from kubelib.store import ABSENT, Put, StoreCorrupt, StoreUnavailable, open_store
from kubelib.store.etcd import EtcdStore, parse_url
from tests.engines import PREFIXES, Etcd

pytestmark = pytest.mark.external


async def test_a_server_that_is_frozen_does_not_answer(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd") as frozen:
        (member,) = frozen.members
        member.pause()
        with pytest.raises(StoreUnavailable, match=r"etcd at 127\.0\.0\.1:\d+ does not answer"):
            async with EtcdStore(parse_url(frozen.url()), patience=1):
                pass


async def test_all_who_read_at_once_from_a_server_that_is_gone_are_told(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd") as alone:
        async with EtcdStore(parse_url(alone.url()), patience=1) as store:
            await store.commit(Put("/a", b"1", ABSENT))
            alone.members[0].kill()
            answers: list[str] = []

            async def read(what: str) -> None:
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    await (store.get("/a") if what == "get" else store.revision())
                answers.append(what)

            async with anyio.create_task_group() as group:
                for what in ("get", "revision", "get", "revision", "revision"):
                    group.start_soon(read, what)
            assert len(answers) == 5


async def test_a_damaged_marker_is_not_taken_for_a_store(etcd: Etcd) -> None:
    prefix = next(PREFIXES)
    async with open_store(etcd.url(prefix)):
        pass
    etcd.ctl("put", f"{prefix}.kubelib/store", "nonsense")
    with pytest.raises(StoreCorrupt, match=r"has a damaged .*kubelib/store.: is it another store"):
        async with open_store(etcd.url(prefix)):
            pass


async def test_a_user_who_may_only_read_opens_a_store_that_is_there_and_makes_none(tmp_path: Path) -> None:
    with Etcd(tmp_path / "etcd") as guarded:
        async with open_store(guarded.url("/there")) as store:
            await store.commit(Put("/a", b"1", ABSENT))
        for command in (
            "user add root:secret", "user grant-role root root", "role add reader", "user add reader:secret",
            "user grant-role reader reader", "role grant-permission reader read / 0", "auth enable",
        ):  # fmt: skip
            guarded.ctl(*command.split())
        url = guarded.url().replace("//", "//reader:secret@")
        # A store there is compacted now and then by whoever has it open: not by somebody who may only read.
        async with EtcdStore(parse_url(f"{url}/there"), keep=0) as store:
            assert [entry.key for entry in (await store.list("/")).entries] == ["/a"]
            with pytest.raises(StoreUnavailable, match="does not let reader use keys under /there"):
                await store.commit(Put("/b", b"", ABSENT))
        with pytest.raises(StoreUnavailable, match="does not let reader use keys under /new"):
            async with open_store(f"{url}/new"):
                pass
