"""When the store is away the API says so, answers what it may from memory, and goes on by itself when the store is back."""

from pathlib import Path

import anyio
import httpx
import pytest

from kubelib.api.core.config import ConfigMap
from kubelib.api.meta import ObjectMeta
from kubelib.client import LocalClient
from kubelib.registry import ResourceRegistries
from kubelib.registry.base import ADMIN
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.server.listener import bind, serve
from kubelib.store import Store
from kubelib.store.etcd import EtcdStore
from kubelib.store.etcd import parse_url as etcd_url
from kubelib.store.zookeeper import ZooKeeperStore
from kubelib.store.zookeeper import parse_url as zookeeper_url
from tests.engines import Etcd, ZooKeeper

pytestmark = pytest.mark.external
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize("kind", ["etcd", "zookeeper"])
async def test_a_server_whose_store_goes_away_says_503_and_recovers(kind: str, tmp_path: Path) -> None:
    engine = Etcd(tmp_path / "engine") if kind == "etcd" else ZooKeeper(tmp_path / "engine")
    with engine:
        opened: Store | EtcdStore | ZooKeeperStore
        opened = (
            EtcdStore(etcd_url(engine.url()), patience=1)
            if isinstance(engine, Etcd)
            else ZooKeeperStore(zookeeper_url(engine.url()), patience=1)
        )
        listening = bind("127.0.0.1", 0)
        async with opened as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            app = ApiServer(registries, authenticator=Authenticator([StaticTokens({"t": ADMIN})]))
            async with serve(app, listening, None, stop=app.stop_watches) as port:
                await (
                    LocalClient(registries)
                    .resource(ConfigMap)
                    .create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default")))
                )
                async with httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", headers={"authorization": "Bearer t"}, timeout=60
                ) as client:
                    (member,) = engine.members
                    member.kill()
                    for request in (
                        client.build_request("GET", f"{MAPS}/a"),
                        client.build_request("GET", MAPS),
                        client.build_request(
                            "POST", MAPS, json={"kind": "ConfigMap", "metadata": {"name": "b"}}
                        ),
                        client.build_request("DELETE", f"{MAPS}/a"),
                    ):
                        answer = await client.send(request)
                        assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable"), (
                            request
                        )
                        assert int(answer.headers["retry-after"]) >= 1
                    stale = await client.get(f"{MAPS}/a", params={"resourceVersion": "0"})
                    assert (stale.status_code, stale.json()["metadata"]["name"]) == (200, "a")
                    listed = await client.get(MAPS, params={"resourceVersion": "0"})
                    assert "a" in [item["metadata"]["name"] for item in listed.json()["items"]]
                    assert (await client.get("/readyz")).status_code != 200

                    member.start()
                    with anyio.fail_after(60):
                        while (await client.get(f"{MAPS}/a")).status_code != 200:
                            await anyio.sleep(0.1)
                        while (await client.get("/readyz")).status_code != 200:
                            await anyio.sleep(0.1)
                    made = await client.post(MAPS, json={"kind": "ConfigMap", "metadata": {"name": "c"}})
                    assert made.status_code in (201, 409)
        listening.close()
