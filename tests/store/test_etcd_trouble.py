"""etcd members that are frozen or gone, records that are damaged, users with fewer rights: one sentence, and no surprise."""

from pathlib import Path

import pytest

from kubelib.store import ABSENT, Put, StoreCorrupt, StoreUnavailable, open_store
from kubelib.store.etcd import EtcdStore, parse_url
from tests.engines import PREFIXES, Etcd
from tests.store.servers import NoAnswer

pytestmark = pytest.mark.external


class TestNoAnswer(NoAnswer):
    kind = "etcd"
    servers = Etcd
    impatient = staticmethod(lambda url: EtcdStore(parse_url(url), patience=1))


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
