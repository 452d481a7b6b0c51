"""Every answer tells the identity of its request: the client's own, or a new one, and the audit log has the same."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from kubelib.testing.cluster import Cluster
from tests.server.test_audit import MAPS, audited, config_map

MANIFOLD = [
    ("GET", "/version", {}, 200),
    ("GET", "/readyz?verbose", {}, 200),
    ("GET", "/nowhere", {}, 404),
    ("GET", f"{MAPS}/none", {}, 404),
    ("POST", MAPS, {}, 400),
    ("GET", MAPS, {"accept": "text/csv"}, 406),
    ("GET", MAPS, {"authorization": "Bearer unknown"}, 401),
    ("GET", "/api/v1/namespaces/default/pods/none/log", {}, 404),
    ("GET", "/api/v1/namespaces/default/pods/none/proxy/", {}, 404),
    ("POST", "/api/v1/namespaces/default/pods/none/exec?command=a&stdout=1", {}, 404),
]
UPGRADES = {
    "websocket": {
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": "v5.channel.k8s.io",
    },
    "spdy": {"upgrade": "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io"},
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
async def client(kubelib_cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {kubelib_cluster.token}"}
    async with httpx.AsyncClient(base_url=kubelib_cluster.url, headers=headers, timeout=60) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "headers", "code"), MANIFOLD)
async def test_every_answer_tells_it(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], code: int
) -> None:
    found = set()
    for _ in range(2):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == code, answer.text
        [identity] = answer.headers.get_list("audit-id")
        assert UUID.fullmatch(identity)
        found.add(identity)
    assert len(found) == 2
    answer = await client.request(method, path, headers={**headers, "Audit-ID": "the client's"})
    assert answer.headers.get_list("audit-id") == ["the client's"]


@pytest.mark.parametrize("protocol", UPGRADES)
async def test_a_refused_upgrade_tells_it(client: httpx.AsyncClient, protocol: str) -> None:
    path = "/api/v1/namespaces/default/pods/none/exec?command=a&stdout=1"
    headers = {"connection": "Upgrade", **UPGRADES[protocol], "audit-id": "mine"}
    answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.headers.get_list("audit-id")) == (404, ["mine"])


async def test_a_watch_tells_it_when_it_begins() -> None:
    async with (
        audited({"level": "Metadata"}) as (client, kept, _),
        client.stream("GET", MAPS, params={"watch": "1", "timeoutSeconds": "1"}) as answer,
    ):
        [identity] = answer.headers.get_list("audit-id")
        await answer.aread()
    assert {event["auditID"] for event in kept.events} == {identity}


async def test_the_log_has_what_clients_call_a_request_as_it_is() -> None:
    long = "x" * 200
    async with audited({"level": "Metadata"}) as (client, kept, _):
        await client.post(MAPS, json=config_map("a"), headers={"audit-id": long})
        answer = await client.get("/version")
    assert [event["auditID"] for event in kept.events] == [long] * 2 + [answer.headers["audit-id"]] * 2
