"""What load balancers are told of a node: whether it has endpoints of a Service."""

import http.client
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kubelib.api.core.service import Service, ServicePort
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.client.update import update_with
from kubelib.network import following
from kubelib.network.healthchecks import HealthCheck, HealthChecks, health_checks
from kubelib.network.services import SERVICE_NAME
from kubelib.network.topology import Place
from kubelib.network.tracking import ServiceTracker
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_meta, make_service

ADDRESS, PORT = "127.96.202.1", 31999
HERE = Place(frozenset({"here"}))


def service(**spec: Any) -> Service:
    asked = {"type": "LoadBalancer", "external_traffic_policy": "Local", "health_check_node_port": PORT}
    port = ServicePort(port=80, node_port=31998)
    return make_service("web", **{"cluster_ip": "127.96.0.5", "ports": (port,), **asked, **spec})


def part(name: str, *endpoints: Endpoint) -> EndpointSlice:
    return EndpointSlice(
        metadata=make_meta(name, "default", labels={SERVICE_NAME: "web"}),
        address_type="IPv4",
        endpoints=endpoints,
        ports=(EndpointPort(port=8080),),
    )


def end(number: int, node: str = "here", *, ready: bool = True) -> Endpoint:
    conditions = EndpointConditions(ready=ready, serving=True, terminating=not ready)
    return Endpoint(addresses=(f"127.244.0.{number}",), node_name=node, conditions=conditions)


def test_ready_endpoints_on_the_node_are_counted_once_each() -> None:
    slices = [part("a", end(1), end(2, "there"), end(3, ready=False)), part("b", end(1), end(4))]
    assert health_checks([service()], slices, HERE) == {PORT: HealthCheck("default", "web", 2)}


@pytest.mark.parametrize(
    "spec",
    [{"type": "NodePort"}, {"external_traffic_policy": "Cluster"}, {"health_check_node_port": 0}],
)
def test_only_load_balancers_that_have_to_choose_nodes_ask(spec: dict[str, Any]) -> None:
    assert health_checks([service(**spec)], [part("a", end(1))], HERE) == {}


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield LocalClient(registries)


async def ask(method: str = "GET") -> tuple[int, str, str]:
    """Return the status, how many endpoints are told in the header, and what is said."""

    def asked() -> tuple[int, str, str]:
        connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=10)
        try:
            connection.request(method, "/anything")
            answer = connection.getresponse()
            weight = answer.headers["X-Load-Balancing-Endpoint-Weight"]
            return answer.status, weight, answer.read().decode()
        finally:
            connection.close()

    return await anyio.to_thread.run_sync(asked)


async def test_a_node_answers_for_a_service_as_long_as_that_asks(client: LocalClient) -> None:
    healthy = True
    tracker = ServiceTracker(client, random=Random(1), node="here")
    checks = HealthChecks(tracker, node_address=ADDRESS, healthy=lambda: healthy)
    await client.resource(Service).create(service())
    await client.resource(EndpointSlice).create(part("a", end(1), end(2, "there")))
    async with anyio.create_task_group() as group:
        await group.start(tracker.run)
        await group.start(checks.run)
        status, weight, said = await ask()
        assert (status, weight) == (200, "1")
        assert json.loads(said) == {
            "service": {"namespace": "default", "name": "web"},
            "localEndpoints": 1,
            "serviceProxyHealthy": True,
        }
        assert await ask("HEAD") == (200, "1", "")
        healthy = False
        assert (await ask())[0] == 503
        healthy = True
        await update_with(
            client, EndpointSlice, Key("default", "a"), lambda old: replace(old, endpoints=(end(2, "there"),))
        )
        with anyio.fail_after(10):
            while (await ask())[:2] != (503, "0"):
                await anyio.sleep(0.01)
        await client.resource(Service).delete(Key("default", "web"))
        with anyio.fail_after(10), pytest.raises(ConnectionRefusedError):
            while True:
                with suppress(ConnectionResetError):  # nobody has taken the question
                    await ask()
        group.cancel_scope.cancel()


async def test_a_port_that_is_taken_is_tried_again(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "AGAIN", 0.05)
    tracker = ServiceTracker(client, random=Random(1), node="here")
    checks = HealthChecks(tracker, node_address=ADDRESS, healthy=lambda: True)
    await client.resource(Service).create(service())
    other = await anyio.create_tcp_listener(local_host=ADDRESS, local_port=PORT)
    async with other, anyio.create_task_group() as group:
        await group.start(tracker.run)
        await group.start(checks.run)
        assert caplog.text.count(f"service default/web: load balancers cannot ask at port {PORT}") == 1
        await other.aclose()
        with anyio.fail_after(10):
            while not checks._listeners:
                await anyio.sleep(0.01)
        assert (await ask())[0] == 503
        group.cancel_scope.cancel()
