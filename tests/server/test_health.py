"""The checks of health as kube-apiserver answers them: one, all, all but some, and what is said when one fails."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.registry import ResourceRegistries
from kubelib.server import ApiServer
from kubelib.store import MemoryStore
from kubelib.testing.cluster import TestCluster


@pytest.fixture
def client(kubelib_cluster: TestCluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=kubelib_cluster.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("which", ["healthz", "livez", "readyz"])
@pytest.mark.parametrize("check", ["", "/ping", "/log", "/etcd"])
def test_each_check_is_asked_alone(client: httpx.Client, which: str, check: str) -> None:
    answer = client.get(f"/{which}{check}")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "code"), [("/readyz/shutdown", 200), ("/readyz/informer-sync", 200), ("/livez/shutdown", 404)]
)
def test_readiness_has_checks_of_its_own(client: httpx.Client, path: str, code: int) -> None:
    assert client.get(path).status_code == code


def test_all_are_named_when_that_is_asked_for(client: httpx.Client) -> None:
    lines = ["[+]ping ok", "[+]log ok", "[+]etcd ok"]
    assert client.get("/livez?verbose").text.splitlines() == [*lines, "livez check passed"]
    lines += ["[+]informer-sync ok", "[+]shutdown ok"]
    assert client.get("/readyz?verbose=1").text.splitlines() == [*lines, "readyz check passed"]


def test_what_is_excluded_does_not_count(client: httpx.Client) -> None:
    answer = client.get("/livez?verbose&exclude=etcd&exclude=log&exclude=none")
    assert answer.text.splitlines() == [
        "[+]ping ok",
        "[+]log excluded: ok",
        "[+]etcd excluded: ok",
        'warn: some health checks cannot be excluded: no matches for "none"',
        "livez check passed",
    ]


class LostStore(MemoryStore):
    """A store that cannot be reached."""

    async def revision(self) -> Any:
        raise ConnectionError("nobody answers")


async def test_a_check_that_fails_is_named_and_its_reason_is_not() -> None:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        app = ApiServer(registries)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            assert (await client.get("/readyz")).text == "ok"
            app.stop_watches()
            answer = await client.get("/readyz")
            assert answer.status_code == 500
            assert answer.text == (
                "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]informer-sync ok\n[-]shutdown failed: reason withheld\n"
                "readyz check failed\n"
            )
            assert (await client.get("/readyz?exclude=shutdown")).text == "ok"
            alone = await client.get("/readyz/shutdown")
            assert (alone.status_code, alone.text) == (500, "internal server error: shutdown check failed\n")
            assert (await client.get("/livez")).text == "ok"
            registries.store = LostStore()
            answer = await client.get("/livez")
            assert (answer.status_code, answer.text.splitlines()[2]) == (
                500,
                "[-]etcd failed: reason withheld",
            )
