"""What the service proxies and the DNS server of a process share."""

from collections.abc import AsyncIterator, Iterable
from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kubelib.api.core.node import Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus
from kubelib.api.core.service import Service, ServicePort
from kubelib.api.discovery import Endpoint, EndpointPort, EndpointSlice
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.client.update import update_with
from kubelib.network import services, tracking
from kubelib.network.following import ServiceFollower
from kubelib.network.services import ANY_NODE_ADDRESS, SERVICE_NAME, Frontend, Rule
from kubelib.network.topology import ZONE, Place
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

    def counted(
        found: Iterable[Service], slices: Iterable[EndpointSlice], place: Place
    ) -> dict[Frontend, Rule]:
        reckoned.append(1)
        return services.rules(found, slices, place)

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


def node(name: str, zone: str, pods: str, address: str = "192.0.2.1") -> Node:
    return Node(
        metadata=make_meta(name, labels={ZONE: zone}),
        spec=NodeSpec(pod_cidr=pods, pod_cidrs=(pods,)),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


async def test_the_zone_of_the_node_is_followed_and_what_else_changes_of_it_costs_nothing(
    client: LocalClient,
) -> None:
    nodes = client.resource(Node)
    await nodes.create(node("here", "a", "10.244.0.0/24"))
    await nodes.create(node("there", "b", "10.244.1.0/24"))
    tracker = ServiceTracker(client, random=Random(1), node="here")
    told: list[Place] = []
    async with anyio.create_task_group() as group:
        await group.start(tracker.run)
        tracker.subscribe(lambda: told.append(tracker.place))
        assert tracker.place == Place(frozenset({"here"}), frozenset({"a"}), ("10.244.0.0/24",))
        ready = NodeCondition(type="Ready", status="True")
        await update_with(
            client, Node, Key("", "here"), lambda n: replace(n, status=NodeStatus(conditions=(ready,))),
            subresource="status",
        )  # fmt: skip
        for name in ("there", "here"):
            await update_with(
                client,
                Node,
                Key("", name),
                lambda n: replace(n, metadata=replace(n.metadata, labels={ZONE: "c"})),
            )
        with anyio.fail_after(10):
            while not told:
                await checkpoint()
        await nodes.delete(Key("", "here"))
        with anyio.fail_after(10):
            while tracker.place.zones:
                await checkpoint()
        group.cancel_scope.cancel()
    assert [place.zones for place in told] == [{"c"}, set()]
    assert told[-1].nodes == {"here"}


async def test_a_proxy_for_all_nodes_of_a_machine_is_at_each_of_them(client: LocalClient) -> None:
    nodes = client.resource(Node)
    await nodes.create(node("one", "a", "10.244.0.0/24"))
    await nodes.create(node("two", "b", "10.244.1.0/24"))
    await nodes.create(node("there", "c", "10.244.2.0/24"))
    tracker = ServiceTracker(client, random=Random(1), here=lambda found: found.metadata.name != "there")
    async with anyio.create_task_group() as group:
        await group.start(tracker.run)
        assert tracker.place == Place(
            frozenset({"one", "two"}), frozenset({"a", "b"}), ("10.244.0.0/24", "10.244.1.0/24")
        )
        group.cancel_scope.cancel()
