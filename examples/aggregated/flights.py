"""An API server of your own, with a kind that is a Python class, aggregated into a cluster.

The cluster's API server passes everything under /apis/travel.example.com/v1 on to this one, over TLS, and tells it who asks.
"""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from kubelib.api.builtin import SCHEME
from kubelib.api.codec import encode_json
from kubelib.api.columns.cells import AGE, NAME, field
from kubelib.api.core.namespace import Namespace
from kubelib.api.errors import NotFound
from kubelib.api.meta import Object
from kubelib.api.model import Model
from kubelib.api.scheme import Column, Resource, Scheme
from kubelib.client.http import HttpClient
from kubelib.client.kubeconfig import load_connection
from kubelib.registry import ResourceRegistries, User
from kubelib.server import ApiServer
from kubelib.server.authn.requestheader import RequestHeaders
from kubelib.server.authz import ALLOWED, NO_OPINION, Decision
from kubelib.server.listener import bind, serve
from kubelib.server.requestinfo import RequestInfo
from kubelib.server.tls import Tls
from kubelib.store import MemoryStore
from reference_cluster.pki import Authority


class FlightSpec(Model):
    origin: str = ""
    destination: str = ""


class Flight(Object):
    api_version = "travel.example.com/v1"
    kind = "Flight"

    spec: FlightSpec = FlightSpec()


FLIGHTS = Resource(
    group="travel.example.com", version="v1", kind="Flight", plural="flights", short_names=("fl",), cls=Flight,
    columns=(NAME, Column("From", field("spec", "origin")), Column("To", field("spec", "destination")), AGE),
)  # fmt: skip


class AskedAlready:
    """The cluster's API server has asked its own authorizer before it passes a request on."""

    def decide(self, user: User, request: RequestInfo) -> Decision:
        return ALLOWED if "system:authenticated" in user.groups else NO_OPINION


@asynccontextmanager
async def aggregated(kubeconfigs: Sequence[Path], directory: Path) -> AsyncIterator[None]:
    """Serve flights to the cluster of the kubeconfigs while the context is open; certificates are kept in `directory`."""
    scheme = Scheme()
    scheme.add(SCHEME.of(Namespace), FLIGHTS)
    authority = Authority(directory)
    shown = authority.server("flights", ["flights.default.svc"])
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(closing(bind("127.0.0.1", 0)))
        cluster = await stack.enter_async_context(HttpClient(load_connection(kubeconfigs)))
        store = await stack.enter_async_context(MemoryStore())
        registries = ResourceRegistries(store, scheme=scheme, admission=(), check_namespaces=False)
        await stack.enter_async_context(registries)
        path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        known = (await cluster.request("GET", path)).tree()["data"]
        trusted = directory / "front-proxy-ca.crt"
        trusted.write_text(known["requestheader-client-ca-file"])
        proxies = RequestHeaders(ca=trusted, names=("front-proxy-client",))
        app = ApiServer(registries, authorizer=AskedAlready(), request_headers=proxies, fair=False)
        tls = Tls(shown.cert, shown.key, proxies=proxies)
        port = await stack.enter_async_context(serve(app, listening, tls, stop=app.stop_watches))
        for collection, tree in documents(port, base64.b64encode(authority.ca.read_bytes()).decode()):
            await replace(cluster, collection, tree)
        yield


def documents(port: int, ca: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what the cluster must know: a Service, where it ends, and who answers for the group."""
    meta = {"name": "flights", "namespace": "default"}
    subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": port}]}
    service = {"namespace": "default", "name": "flights"}
    spec = {
        "group": FLIGHTS.group, "version": FLIGHTS.version, "service": service, "caBundle": ca,
        "groupPriorityMinimum": 2000, "versionPriority": 10,
    }  # fmt: skip
    core, kind = "/api/v1/namespaces/default", {"apiVersion": "v1", "metadata": meta}
    return [
        (
            f"{core}/services",
            {"kind": "Service", **kind, "spec": {"ports": [{"port": 443, "targetPort": port}]}},
        ),
        (f"{core}/endpoints", {"kind": "Endpoints", **kind, "subsets": [subset]}),
        (
            "/apis/apiregistration.k8s.io/v1/apiservices",
            {
                "kind": "APIService",
                "apiVersion": "apiregistration.k8s.io/v1",
                "metadata": {"name": "v1.travel.example.com"},
                "spec": spec,
            },
        ),
    ]


async def replace(cluster: HttpClient, collection: str, tree: dict[str, Any]) -> None:
    """Make an object anew."""
    with suppress(NotFound):
        await cluster.request("DELETE", f"{collection}/{tree['metadata']['name']}")
    await cluster.request("POST", collection, body=encode_json(tree))
