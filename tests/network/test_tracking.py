"""What the service proxies and the DNS server of a process share."""

from collections.abc import AsyncIterator, Iterable
from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kubelib.api.core.service import Service, ServicePort
from kubelib.api.discovery import Endpoint, EndpointPort, EndpointSlice
from kubelib.client.local import LocalClient
from kubelib.network import services, tracking
from kubelib.network.following import ServiceFollower
from kubelib.network.services import ANY_NODE_ADDRESS, SERVICE_NAME, Frontend, Rule
from kubelib.network.tracking import ServiceTracker
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_meta, make_service


class Follower(ServiceFollower):
    """Notes what it is to bring about."""

    seen: dict[Frontend, Rule]

    async def _update(self, group: anyio.abc.TaskGroup) -> None:
        self.seen = self.wanted()


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        client = LocalClient(registries)
        await client.resource(EndpointSlice).create(
            EndpointSlice(
                metadata=make_meta("web-x", "default", labels={SERVICE_NAME: "web"}),
                address_type="IPv4",
                endpoints=(Endpoint(addresses=("127.244.0.1",)),),
                ports=(EndpointPort(name="http", port=8080),),
            )
        )
        yield client


async def test_rules_are_reckoned_once_for_all_that_follow(
    client: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reckoned: list[int] = []

    def counted(found: Iterable[Service], slices: Iterable[EndpointSlice]) -> dict[Frontend, Rule]:
        reckoned.append(1)
        return services.rules(found, slices)

    monkeypatch.setattr(tracking, "rules", counted)
    tracker = ServiceTracker(client, random=Random(1))
    everywhere = Follower(tracker, node_address=ANY_NODE_ADDRESS, name="everywhere")
    here = Follower(
        tracker,
        node_address="127.0.0.1",
        name="here",
        concerns=lambda rule: rule.frontend.address != "127.96.0.5",
    )
    async with anyio.create_task_group() as group:
        for component in (tracker, everywhere, here):
            await group.start(component.run)
        assert len(reckoned) == 1
        port = ServicePort(name="http", port=80, node_port=30080)
        await client.resource(Service).create(
            make_service("web", cluster_ip="127.96.0.5", type="NodePort", ports=(port,))
        )
        with anyio.fail_after(10):
            while not (everywhere.seen and here.seen):
                await checkpoint()
        group.cancel_scope.cancel()
    assert len(reckoned) == 2
    assert set(everywhere.seen) == {Frontend("127.96.0.5", 80), Frontend(ANY_NODE_ADDRESS, 30080)}
    assert set(here.seen) == {Frontend("127.0.0.1", 30080)}
