"""The checks of health as kube-apiserver answers them: one, all, all but some, and what is said when one fails."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kubelib.registry import ResourceRegistries
from kubelib.server import ApiServer
from kubelib.store import MemoryStore
from kubelib.testing.cluster import Cluster

STARTED = (
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/storage-readiness",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
)
"""What kube-apiserver 1.33 and later checks once it has started, as far as this server does the same."""


@pytest.fixture
def client(kubelib_cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=kubelib_cluster.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("which", ["healthz", "livez", "readyz"])
@pytest.mark.parametrize(
    "check", ["", "/ping", "/log", "/etcd", "/poststarthook/rbac/bootstrap-roles", "/autoregister-completion"]
)
def test_each_check_is_asked_alone(client: httpx.Client, which: str, check: str) -> None:
    answer = client.get(f"/{which}{check}")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/readyz/shutdown", 200),
        ("/readyz/informer-sync", 200),
        ("/readyz/etcd-readiness", 200),
        ("/livez/shutdown", 404),
        ("/livez/poststarthook/nothing", 404),
    ],
)
def test_readiness_has_checks_of_its_own(client: httpx.Client, path: str, code: int) -> None:
    assert client.get(path).status_code == code


def test_the_index_has_the_paths_of_all_checks(kubelib_cluster: Cluster) -> None:
    admin = {"authorization": f"Bearer {kubelib_cluster.token}"}
    paths = httpx.get(kubelib_cluster.url, headers=admin).json()["paths"]
    common = {"", "/ping", "/log", "/etcd", *(f"/{name}" for name in STARTED)}
    ready = {"/etcd-readiness", "/informer-sync", "/shutdown"}
    assert {path for path in paths if path.startswith(("/healthz", "/livez"))} == {
        f"/{which}{check}" for which in ("healthz", "livez") for check in common
    }
    assert {path for path in paths if path.startswith("/readyz")} == {
        f"/readyz{check}" for check in common | ready
    }


def test_all_are_named_when_that_is_asked_for(client: httpx.Client) -> None:
    first = [f"[+]{name} ok" for name in ("ping", "log", "etcd")]
    started = [f"[+]{name} ok" for name in STARTED]
    for which in ("livez", "healthz"):
        lines = client.get(f"/{which}?verbose").text.splitlines()
        assert lines == [*first, *started, f"{which} check passed"]
    first += [f"[+]{name} ok" for name in ("etcd-readiness", "informer-sync")]
    assert client.get("/readyz?verbose=1").text.splitlines() == [
        *first,
        *started,
        "[+]shutdown ok",
        "readyz check passed",
    ]


def test_what_is_excluded_does_not_count(client: httpx.Client) -> None:
    query = "verbose&exclude=etcd&exclude=log&exclude=none&exclude=poststarthook/bootstrap-controller"
    lines = client.get(f"/livez?{query}").text.splitlines()
    assert lines[:3] == ["[+]ping ok", "[+]log excluded: ok", "[+]etcd excluded: ok"]
    assert "[+]poststarthook/bootstrap-controller excluded: ok" in lines
    assert lines[-2:] == [
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
            assert answer.text.endswith("[-]shutdown failed: reason withheld\nreadyz check failed\n")
            assert answer.text.count("[-]") == 1
            assert (await client.get("/readyz?exclude=shutdown")).text == "ok"
            alone = await client.get("/readyz/shutdown")
            assert (alone.status_code, alone.text) == (
                500,
                "internal server error: process is shutting down\n",
            )
            assert (await client.get("/livez")).text == "ok"
            registries.store = LostStore()
            answer = await client.get("/livez")
            assert (answer.status_code, answer.text.splitlines()[2]) == (
                500,
                "[-]etcd failed: reason withheld",
            )
