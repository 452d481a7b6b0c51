"""What holds of every store on servers: the suite, and servers that are frozen or gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubelib.store import ABSENT, Put, StoreUnavailable, open_store
from kubelib.testing.store import Open, StoreSuite
from tests.engines import PREFIXES, Etcd, ZooKeeper


class ServerStoreSuite(StoreSuite):
    """The promises of a store, on servers that an heir gives and that others use too."""

    durable = True
    remote = True

    @pytest.fixture
    def servers(self) -> Etcd | ZooKeeper:
        raise NotImplementedError

    @pytest.fixture
    def open_store(self, servers: Etcd | ZooKeeper) -> Open:
        url = servers.url(next(PREFIXES))
        return lambda: open_store(url)


class NoAnswer:
    """What is said of a server that does not answer."""

    kind: str
    servers: type[Etcd] | type[ZooKeeper]
    impatient: Callable[[str], Any]
    """Opens a store at a URL that waits for a second only."""

    async def test_a_server_that_is_frozen_does_not_answer(self, tmp_path: Path) -> None:
        with self.servers(tmp_path / "servers") as frozen:
            (member,) = frozen.members
            member.pause()
            with pytest.raises(StoreUnavailable, match=rf"{self.kind} at 127\.0\.0\.1:\d+ does not answer"):
                async with self.impatient(frozen.url()):
                    pass

    async def test_all_who_read_at_once_from_a_server_that_is_gone_are_told(self, tmp_path: Path) -> None:
        with self.servers(tmp_path / "servers") as alone:
            async with self.impatient(alone.url()) as store:
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
