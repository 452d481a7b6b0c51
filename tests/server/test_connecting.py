"""Plug-ins of admission see connections before they are opened."""

from typing import Any

import pytest

from kubelib.api.errors import Forbidden, NotFound
from kubelib.api.scheme import Resource
from kubelib.registry import ResourceRegistries
from kubelib.registry.admission import Attributes, Verb
from kubelib.registry.base import ADMIN
from kubelib.server import ApiServer
from kubelib.server.authn import Authenticator, StaticTokens
from kubelib.store import MemoryStore


class Guard:
    """Notes who connects, and lets nobody into some Pods."""

    name = "Guard"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, Any]]] = []

    def handles(self, verb: Verb, resource: Resource, subresource: str) -> bool:
        return verb == "connect"

    async def validate(self, attributes: Attributes) -> None:
        self.seen.append((attributes.user.name, str(attributes.key), attributes.tree))
        if attributes.key.name == "vault":
            raise attributes.forbidden(f"no {attributes.subresource} here")


def scope(path: str, query: str, type_: str = "websocket") -> dict[str, Any]:
    return {"type": type_, "method": "GET", "path": path, "query_string": query.encode(), "headers": []}


async def test_a_connection_is_admitted_with_its_options_or_refused() -> None:
    guard = Guard()
    async with MemoryStore() as store, ResourceRegistries(store, admission=[guard]) as registries:
        await registries.bootstrap()
        server = ApiServer(registries, authenticator=Authenticator([StaticTokens({"t": ADMIN})]))
        headers = {b"authorization": b"Bearer t"}
        clock = server.figures.clock()
        pods = "/api/v1/namespaces/default/pods"
        exec_query = "command=ls&command=-l&container=c&stdin=true&stdout=true&tty=false"
        await server.open_request(scope(f"{pods}/web/exec", exec_query), headers, clock, clock())
        await server.open_request(scope(f"{pods}/web/portforward", "ports=80,443"), headers, clock, clock())
        await server.open_request(scope("/api/v1/nodes/n/proxy/metrics", "", "http"), headers, clock, clock())
        assert guard.seen == [
            (
                "kubernetes-admin",
                "default/web",
                {
                    "kind": "PodExecOptions",
                    "apiVersion": "v1",
                    "stdin": True,
                    "stdout": True,
                    "container": "c",
                    "command": ["ls", "-l"],
                },
            ),
            (
                "kubernetes-admin",
                "default/web",
                {"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 443]},
            ),
            (
                "kubernetes-admin",
                "n",
                {"kind": "NodeProxyOptions", "apiVersion": "v1", "path": "metrics"},
            ),
        ]
        with pytest.raises(Forbidden) as raised:
            await server.open_request(scope(f"{pods}/vault/attach", "stdin=true"), headers, clock, clock())
        assert raised.value.message == 'pods "vault" is forbidden: no attach here'
        with pytest.raises(NotFound):
            await server.open_request(
                scope("/api/v1/namespaces/default/secrets/s/exec", ""), headers, clock, clock()
            )
