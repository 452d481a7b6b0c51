"""What other API servers keep in namespaces goes with them, and namespaces wait for servers that cannot be asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples.aggregated.flights import aggregated
from kubelib.testing.cluster import Cluster
from tests.server.test_aggregation import GROUP, Api, flight

APISERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1.travel.example.com"
NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
def controlled(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, controllers=True) as cluster:
        yield cluster


async def goes(api: Api, name: str) -> None:
    with anyio.fail_after(60):
        while (await api.http.get(f"{NAMESPACES}/{name}")).status_code != 404:
            await anyio.sleep(0.05)


async def test_what_an_aggregated_server_keeps_goes_with_its_namespace_which_waits_for_servers_that_are_away(
    controlled: Cluster, tmp_path: Path
) -> None:
    root = controlled.user("root", groups=["system:masters"], certificate=True)
    api = Api(controlled, root.kubeconfig)

    async def told() -> dict[str, Any]:
        found = (await api.get(f"{NAMESPACES}/team"))["status"].get("conditions") or ()
        return {condition["type"]: condition for condition in found}

    async with api.http:
        async with aggregated([root.kubeconfig], tmp_path / "flights"):
            await api.until("v1.travel.example.com", "Passed")
            for name in ("crew", "team"):
                await api.send("POST", NAMESPACES, {"metadata": {"name": name}})
                await api.send("POST", f"{GROUP}/namespaces/{name}/flights", flight("lh1"))
            await api.send("DELETE", f"{NAMESPACES}/crew", code=200)
            await goes(api, "crew")
            left = await api.get(f"{GROUP}/flights")
            assert [found["metadata"]["namespace"] for found in left["items"]] == ["team"]
        service = await api.get(APISERVICE)
        service["spec"]["service"]["name"] = "none"
        await api.send("PUT", APISERVICE, service, code=200)
        await api.until("v1.travel.example.com", "ServiceNotFound")
        await api.send("DELETE", f"{NAMESPACES}/team", code=200)
        with anyio.fail_after(60):
            while (failure := (await told()).get("NamespaceDeletionDiscoveryFailure")) is None:
                await anyio.sleep(0.05)
        assert (failure["status"], failure["reason"]) == ("True", "DiscoveryFailed")
        name = "travel.example.com/v1"
        assert failure["message"] == (
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
            f"{name}: stale GroupVersion discovery: {name}"
        )
        await api.send("DELETE", APISERVICE, code=200)
        await goes(api, "team")
