"""Aggregated API servers: who answers, who is believed, what discovery says, and what happens when nobody answers."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from examples.aggregated.flights import aggregated
from kubelib.api.meta import Key
from kubelib.client.credentials import tls_context
from kubelib.client.kubeconfig import load_connection
from kubelib.testing.cluster import Cluster

Tree = dict[str, Any]
GROUP = "/apis/travel.example.com/v1"
FLIGHTS = f"{GROUP}/namespaces/default/flights"


class Api:
    """The cluster's API over HTTPS, as its administrator or somebody else."""

    def __init__(self, cluster: Cluster, kubeconfig: Path) -> None:
        connection = load_connection([kubeconfig])
        self.http = httpx.AsyncClient(
            base_url=cluster.https_url, verify=tls_context(connection), trust_env=False, timeout=60
        )

    async def get(self, path: str, **headers: str) -> Tree:
        answer = await self.http.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        tree: Tree = answer.json()
        return tree

    async def send(self, method: str, path: str, tree: Tree | None = None, code: int = 201) -> Tree:
        answer = await self.http.request(method, path, json=tree)
        assert answer.status_code == code, answer.text
        found: Tree = answer.json()
        return found

    async def condition(self, name: str) -> Tree:
        service = await self.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{name}")
        conditions = (service.get("status") or {}).get("conditions") or [{}]
        return dict(conditions[0])

    async def until(self, name: str, reason: str) -> Tree:
        with anyio.fail_after(60):
            while (found := await self.condition(name)).get("reason") != reason:
                await anyio.sleep(0.05)
        return found


@pytest.fixture
async def api(kubelib_cluster: Cluster) -> AsyncIterator[Api]:
    api = Api(
        kubelib_cluster, kubelib_cluster.user("root", groups=["system:masters"], certificate=True).kubeconfig
    )
    async with api.http:
        yield api


@asynccontextmanager
async def served(cluster: Cluster, api: Api, directory: Path) -> AsyncIterator[None]:
    async with aggregated([cluster.user("root").kubeconfig], directory / "flights"):
        await api.until("v1.travel.example.com", "Passed")
        yield


def flight(name: str, origin: str = "FRA") -> Tree:
    return {
        "kind": "Flight",
        "apiVersion": "travel.example.com/v1",
        "metadata": {"name": name},
        "spec": {"origin": origin, "destination": "JFK"},
    }


async def test_everything_under_the_group_is_passed_on(
    kubelib_cluster: Cluster, api: Api, tmp_path: Path
) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        made = await api.send("POST", FLIGHTS, flight("lh1"))
        assert made["metadata"]["uid"]
        assert (await api.get(FLIGHTS))["items"][0]["spec"]["origin"] == "FRA"
        patched = await api.http.patch(
            f"{FLIGHTS}/lh1",
            content=b'{"spec":{"origin":"MUC"}}',
            headers={"content-type": "application/merge-patch+json"},
        )
        assert patched.json()["spec"] == {"origin": "MUC", "destination": "JFK"}
        selected = await api.get(f"{FLIGHTS}?labelSelector=a%3Db&limit=5")
        assert selected["items"] == []
        table = await api.get(FLIGHTS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "From", "To", "Age"]
        missing = await api.send("GET", f"{FLIGHTS}/none", code=404)
        assert missing["message"] == 'flights.travel.example.com "none" not found'
        await api.send("DELETE", f"{FLIGHTS}/lh1", code=200)


async def test_watches_are_passed_on_as_they_come(kubelib_cluster: Cluster, api: Api, tmp_path: Path) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        with anyio.fail_after(60):
            async with api.http.stream("GET", f"{FLIGHTS}?watch=true") as answer:
                lines = answer.aiter_lines()
                await api.send("POST", FLIGHTS, flight("lh1"))
                event = json.loads(await anext(lines))
                assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "lh1")


async def test_discovery_shows_all_groups_as_one(kubelib_cluster: Cluster, api: Api, tmp_path: Path) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        names = [group["name"] for group in (await api.get("/apis"))["groups"]]
        assert names[:2] == ["apiregistration.k8s.io", "apps"]
        assert names[-1] == "travel.example.com"
        group = await api.get("/apis/travel.example.com")
        assert group["preferredVersion"]["version"] == "v1"
        resources = (await api.get(GROUP))["resources"]
        assert [resource["name"] for resource in resources] == ["flights"]
        form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        items = (await api.get("/apis", accept=form))["items"]
        [shown] = [item for item in items if item["metadata"]["name"] == "travel.example.com"]
        [version] = shown["versions"]
        assert (version["version"], version["freshness"]) == ("v1", "Current")
        [resource] = version["resources"]
        assert resource["resource"] == "flights"
        assert resource["shortNames"] == ["fl"]
        assert resource["responseKind"] == {"group": "travel.example.com", "version": "v1", "kind": "Flight"}
        versions = {item["metadata"]["name"]: [v["version"] for v in item["versions"]] for item in items}
        assert versions["autoscaling"] == ["v2", "v1"]


async def test_openapi_describes_all_groups_as_one(
    kubelib_cluster: Cluster, api: Api, tmp_path: Path
) -> None:
    before = (await api.get("/openapi/v3"))["paths"]
    async with served(kubelib_cluster, api, tmp_path):
        with anyio.fail_after(60):
            while True:
                paths = (await api.get("/openapi/v3"))["paths"]
                if paths.keys() - before.keys() == {"apis/travel.example.com/v1"}:
                    break
                await anyio.sleep(0.05)
        url = paths["apis/travel.example.com/v1"]["serverRelativeURL"]
        schemas = (await api.get(url))["components"]["schemas"]
        [flight] = [name for name in schemas if name.endswith(".Flight")]
        assert set(schemas[flight]["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
        whole = await api.get("/openapi/v2")
        assert {GROUP + "/flights", "/apis/apps/v1/deployments"} <= whole["paths"].keys()
        assert flight in whole["definitions"]
        protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        answer = await api.http.get("/openapi/v2", headers={"accept": protobuf})
        assert b"travel.example.com" in answer.content


async def test_the_other_server_knows_who_asks_and_rights_hold_here(
    kubelib_cluster: Cluster, api: Api, tmp_path: Path
) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        jane = Api(kubelib_cluster, kubelib_cluster.user("jane", roles=["view"], certificate=True).kubeconfig)
        async with jane.http:
            refused = await jane.send("GET", FLIGHTS, code=403)
            assert (
                'User "jane" cannot list resource "flights" in API group "travel.example.com"'
                in (refused["message"])
            )


async def test_own_kinds_are_registered_as_local(api: Api) -> None:
    services = (await api.get("/apis/apiregistration.k8s.io/v1/apiservices"))["items"]
    found = {item["metadata"]["name"]: item for item in services}
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.autoscaling"} <= found.keys()
    apps = found["v1.apps"]
    assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert apps["spec"] == {
        "group": "apps",
        "version": "v1",
        "groupPriorityMinimum": 17800,
        "versionPriority": 15,
    }
    for item in services:
        [condition] = item["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("True", "Local")
    table = await api.get(
        "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    assert table["rows"][0]["cells"][:3] == ["v1.apps", "Local", "True"]


def api_service(**spec: Any) -> Tree:
    return {
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": "v1.travel.example.com"},
        "spec": {
            "group": "travel.example.com",
            "version": "v1",
            "groupPriorityMinimum": 2000,
            "versionPriority": 10,
            "service": {"namespace": "default", "name": "flights"},
            "insecureSkipTLSVerify": True,
            **spec,
        },
    }


async def test_groups_and_their_versions_are_listed_by_priority(api: Api) -> None:
    services, group = "/apis/apiregistration.k8s.io/v1/apiservices", "travel.example.com"
    form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    for version, priority, of_version in (
        ("v1", 20000, 15),
        ("v1alpha1", 1, 15),
        ("v1beta1", 17300, 15),
        ("v2alpha1", 1, 16),
    ):
        priorities = {"groupPriorityMinimum": priority, "versionPriority": of_version}
        service = api_service(version=version, **priorities)
        await api.send("POST", services, {**service, "metadata": {"name": f"{version}.{group}"}})
    groups = (await api.get("/apis"))["groups"]
    # The group of the registrations themselves is before all others, whatever those ask for.
    assert [item["name"] for item in groups[:2]] == ["apiregistration.k8s.io", group]
    versions = ["v2alpha1", "v1", "v1beta1", "v1alpha1"]
    assert [item["version"] for item in groups[1]["versions"]] == versions
    listed = [(item["name"], [v["version"] for v in item["versions"]]) for item in groups]
    items = (await api.get("/apis", accept=form))["items"]
    assert [(item["metadata"]["name"], [v["version"] for v in item["versions"]]) for item in items] == listed
    assert {v["freshness"] for v in items[1]["versions"]} == {"Stale"}
    paths = (await api.get("/"))["paths"]
    assert paths == sorted(paths)
    mine = [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in sorted(versions))]
    assert [path for path in paths if group in path] == mine
    assert {"/apis/", "/apis/apps", "/apis/apps/v1", "/apis/autoscaling/v2"} <= set(paths)
    for version in versions:
        await api.send("DELETE", f"{services}/{version}.{group}", code=200)
    assert not [path for path in (await api.get("/"))["paths"] if group in path]


async def test_the_condition_says_what_is_missing(api: Api) -> None:
    name, core = "v1.travel.example.com", "/api/v1/namespaces/default"
    await api.send("POST", "/apis/apiregistration.k8s.io/v1/apiservices", api_service())
    found = await api.until(name, "ServiceNotFound")
    assert found["status"] == "False"
    assert found["message"] == 'service/flights in "default" is not present'
    unavailable = await api.http.get(FLIGHTS)
    assert (unavailable.status_code, unavailable.text) == (503, "service unavailable\n")
    assert unavailable.headers["content-type"] == "text/plain; charset=utf-8"
    meta = {"name": "flights", "namespace": "default"}
    service = {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": {"ports": [{"port": 8443}]}}
    made = await api.send("POST", f"{core}/services", service)
    found = await api.until(name, "ServicePortError")
    assert found["message"] == 'service/flights in "default" is not listening on port 443'
    made["spec"]["ports"] = [{"port": 443, "name": "https"}]
    await api.send("PUT", f"{core}/services/flights", made, code=200)
    found = await api.until(name, "EndpointsNotFound")
    assert found["message"] == 'cannot find endpointslices for service/flights in "default"'
    endpoints: Tree = {"kind": "Endpoints", "apiVersion": "v1", "metadata": meta, "subsets": []}
    made = await api.send("POST", f"{core}/endpoints", endpoints)
    found = await api.until(name, "MissingEndpoints")
    assert found["message"] == (
        'endpointslices for service/flights in "default" have no addresses with port name "https"'
    )
    subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": 1}]}
    await api.send("PUT", f"{core}/endpoints/flights", {**made, "subsets": [subset]}, code=200)
    found = await api.until(name, "FailedDiscoveryCheck")
    assert found["message"].startswith(
        "failing or missing response from https://flights.default.svc:443/apis/travel.example.com/v1: "
    )
    groups = [group["name"] for group in (await api.get("/apis"))["groups"]]
    assert "travel.example.com" in groups
    form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    items = (await api.get("/apis", accept=form))["items"]
    assert items[-1]["versions"] == [{"version": "v1", "freshness": "Stale", "resources": []}]


async def test_a_server_that_ends_becomes_unavailable_and_comes_back(
    kubelib_cluster: Cluster, api: Api, tmp_path: Path
) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        assert (await api.get(FLIGHTS))["items"] == []
    gone = await api.http.get(FLIGHTS)
    assert gone.status_code == 503
    assert gone.text.startswith("error trying to reach service: ")
    async with served(kubelib_cluster, api, tmp_path):
        assert (await api.get(FLIGHTS))["items"] == []


async def test_a_server_that_is_not_who_it_should_be_gets_no_requests(
    kubelib_cluster: Cluster, api: Api, tmp_path: Path
) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.travel.example.com"
        known = await api.get(path)
        import base64

        known["spec"]["caBundle"] = base64.b64encode(kubelib_cluster.ca).decode()
        known["metadata"].pop("resourceVersion")
        await api.http.patch(
            path,
            content=json.dumps({"spec": {"caBundle": known["spec"]["caBundle"]}}).encode(),
            headers={"content-type": "application/merge-patch+json"},
        )
        found = await api.until("v1.travel.example.com", "FailedDiscoveryCheck")
        assert "tls" in found["message"]
        assert (await api.http.get(FLIGHTS)).status_code == 503


async def test_built_in_groups_can_be_taken_over_only_by_their_registration(
    kubelib_cluster: Cluster, api: Api
) -> None:
    path = "/apis/apiregistration.k8s.io/v1/apiservices"
    mine = api_service(group="batch")
    mine["metadata"]["name"] = "v1.batch"
    await api.send("POST", path, mine, code=409)
    assert (await api.get("/apis/batch/v1/jobs"))["items"] == []
    await api.send("DELETE", f"{path}/v1.batch", code=200)
    await api.send("POST", path, mine)
    assert (await api.http.get("/apis/batch/v1/jobs")).status_code == 503
    await api.send("DELETE", f"{path}/v1.batch", code=200)
    assert (await api.get("/apis/batch/v1/jobs"))["items"] == []


async def test_the_config_map_says_whom_other_servers_may_believe(kubelib_cluster: Cluster, api: Api) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    data = (await api.get(path))["data"]
    assert (
        data.pop("client-ca-file") == data.pop("requestheader-client-ca-file") == kubelib_cluster.ca.decode()
    )
    assert data == {
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }


CLAIMED = {
    "x-remote-user": "jane",
    "x-remote-uid": "42",
    "x-remote-group": "devs",
    "x-remote-extra-example.com%2Fproject": "one",
}


async def who(api: Api, **headers: str) -> Tree:
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = await api.http.post(path, json=review, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["status"]["userInfo"])


async def test_only_proxies_are_believed(kubelib_cluster: Cluster, api: Api) -> None:
    proxy = Api(kubelib_cluster, kubelib_cluster.user("front-proxy-client", certificate=True).kubeconfig)
    async with proxy.http:
        assert await who(proxy, **CLAIMED) == {
            "username": "jane",
            "uid": "42",
            "groups": ["devs", "system:authenticated"],
            "extra": {"example.com/project": ["one"]},
        }
        assert (await who(proxy))["username"] == "front-proxy-client"
    assert (await who(api, **CLAIMED))["username"] == "root"


async def test_a_certificate_of_the_proxies_authority_makes_nobody_a_user(tmp_path: Path) -> None:
    """With authorities of their own, neither can do what the other's certificates may."""
    import ssl

    from kubelib.registry import ResourceRegistries
    from kubelib.server import ApiServer
    from kubelib.server.authn.requestheader import RequestHeaders
    from kubelib.server.listener import bind, serve
    from kubelib.server.tls import Tls
    from kubelib.store import MemoryStore
    from kubelib.testing.certificates import Authority

    clients, proxies = Authority(), Authority()
    (tmp_path / "clients.crt").write_bytes(clients.certificate)
    (tmp_path / "proxies.crt").write_bytes(proxies.certificate)
    believed = RequestHeaders(ca=tmp_path / "proxies.crt", names=("front",))
    tls = Tls(*clients.server("127.0.0.1").write(tmp_path, "server"), tmp_path / "clients.crt", believed)

    def trusting(authority: Authority, name: str, groups: tuple[str, ...] = ()) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=clients.certificate.decode())
        authority.client(name, groups).load_into(context)
        return context

    async def named(context: ssl.SSLContext, port: int) -> str:
        url = f"https://127.0.0.1:{port}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=60) as http:
            answer = await http.post(url, json=review, headers={"x-remote-user": "jane"})
        if answer.status_code == 403:
            return "nobody"
        return str(answer.json()["status"]["userInfo"]["username"])

    masters = ("system:masters",)
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        from kubelib.server.authz.bootstrap import ensure_policy

        await ensure_policy(registries)
        app = ApiServer(registries, request_headers=believed)
        listening = bind("127.0.0.1", 0)
        try:
            async with serve(app, listening, tls, stop=app.stop_watches) as port:
                assert await named(trusting(proxies, "front"), port) == "jane"
                assert await named(trusting(proxies, "admin", masters), port) == "nobody"
                assert await named(trusting(clients, "front", masters), port) == "front"
        finally:
            listening.close()


async def test_websockets_are_passed_on(kubelib_cluster: Cluster, api: Api, tmp_path: Path) -> None:
    """A watch over a WebSocket, to the other server and back."""
    from kubelib.client.websocket import connect_websocket

    async with served(kubelib_cluster, api, tmp_path):
        await api.send("POST", FLIGHTS, flight("lh1"))
        connection = load_connection([kubelib_cluster.user("root").kubeconfig])
        with anyio.fail_after(60):
            async with connect_websocket(connection, FLIGHTS, [("watch", "true")], []) as socket:
                message: Callable[[], Any] = socket.receive
                event = json.loads(await message())
        assert event["object"]["metadata"]["name"] == "lh1"


async def test_a_client_that_goes_is_not_waited_for(
    kubelib_cluster: Cluster, api: Api, tmp_path: Path
) -> None:
    async with served(kubelib_cluster, api, tmp_path):
        for _ in range(3):
            with anyio.move_on_after(0.3):
                async with api.http.stream("GET", f"{FLIGHTS}?watch=true") as answer:
                    async for _line in answer.aiter_lines():
                        pass
        with anyio.fail_after(60):
            while kubelib_cluster.app.watches.running:
                await anyio.sleep(0.05)


def test_registrations_of_own_kinds_do_not_come_back_before_the_next_start(kubelib_cluster: Cluster) -> None:
    from kubelib.api.apiregistration import APIService

    async def delete() -> bool:
        registry = kubelib_cluster.registries.of(kubelib_cluster.registries.scheme.of(APIService))
        await registry.delete(Key("", "v1.policy"))
        await anyio.sleep(0.3)
        return registry.cache.get(Key("", "v1.policy")) is None

    assert kubelib_cluster.call(delete)
