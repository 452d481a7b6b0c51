"""What lasts is counted too: watches, logs, commands and proxies, under way and when they have ended."""

from collections.abc import Iterator

import anyio
import httpx
import pytest

from kubelib.client.kubeconfig import load_connection
from kubelib.client.websocket import connect_websocket
from kubelib.testing.cluster import Cluster, ClusterOptions
from tests.server.test_metrics import MAPS, asked, figures

PODS = "/api/v1/namespaces/default/pods"
OF_MAPS = {"version": "v1", "resource": "configmaps", "scope": "namespace", "verb": "WATCH"}
OF_PODS = {"version": "v1", "resource": "pods", "scope": "resource", "verb": "CONNECT"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), ClusterOptions()) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {cluster.token}"}
    with httpx.Client(base_url=cluster.url, headers=headers, timeout=60) as client:
        yield client


def running(client: httpx.Client, **labels: str) -> float:
    every = {"component": "apiserver", "group": "", "subresource": "", **labels}
    name = ",".join(f'{label}="{value}"' for label, value in sorted(every.items()))
    return figures(client).get(f"apiserver_longrunning_requests{{{name}}}", 0)


def test_a_watch_is_shown_while_it_lasts_and_counted_when_it_has_ended(
    cluster: Cluster, client: httpx.Client
) -> None:
    assert running(client, **OF_MAPS) == 0
    with client.stream("GET", MAPS, params={"watch": "1"}) as answer:
        assert answer.status_code == 200
        assert running(client, **OF_MAPS) == 1
        assert asked(client, **OF_MAPS, code="200") == 0
    cluster.eventually(lambda: running(client, **OF_MAPS) == 0)
    assert asked(client, **OF_MAPS, code="200") == 1
    labels = 'component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="WATCH",version="v1"'
    assert figures(client)[f"apiserver_request_duration_seconds_count{{{labels}}}"] == 1
    assert client.get(MAPS, params={"watch": "1", "resourceVersion": "x"}).status_code == 400
    assert asked(client, **OF_MAPS, code="400") == 1
    assert running(client, **OF_MAPS) == 0


async def test_a_websocket_counts_as_switching_protocols(cluster: Cluster, client: httpx.Client) -> None:
    connection = load_connection([cluster.kubeconfig])
    watched = {**OF_MAPS, "scope": "cluster"}
    with anyio.fail_after(60):
        async with connect_websocket(connection, "/api/v1/configmaps", [("watch", "true")], []):
            assert running(client, **watched) == 1
        while running(client, **watched):
            await anyio.sleep(0.05)
    assert asked(client, **watched, code="101") == 1


@pytest.mark.parametrize(
    ("path", "code"), [("log", 404), ("exec?command=a&stdout=1", 404), ("proxy/a/b", 404), ("attach", 404)]
)
def test_what_connects_is_counted_as_such(client: httpx.Client, path: str, code: int) -> None:
    labels = {**OF_PODS, "subresource": path.partition("?")[0].partition("/")[0]}
    assert client.get(f"{PODS}/none/{path}").status_code == code
    assert asked(client, **labels, code=str(code)) == 1
    assert running(client, **labels) == 0
