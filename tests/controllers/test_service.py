"""Load balancers of Services: made, changed with the Service and the nodes, and removed, whatever their maker says meanwhile."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubelib.api.core.node import Node, Taint
from kubelib.api.core.service import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort
from kubelib.api.errors import NotFound
from kubelib.api.model import replace
from kubelib.controllers.builtin.service import FINALIZER, service_controller
from kubelib.controllers.controller import Controller
from kubelib.controllers.loadbalancers import (
    EXCLUDED,
    TO_BE_DELETED,
    LoadBalancers,
    OwnAddresses,
    differences,
    may_be_behind,
)
from kubelib.testing.objects import make_node, make_service
from tests.controllers.conftest import World

ENSURED = [
    ("EnsuringLoadBalancer", "Ensuring load balancer"),
    ("EnsuredLoadBalancer", "Ensured load balancer"),
]
REMOVED = [
    ("DeletingLoadBalancer", "Deleting load balancer"),
    ("DeletedLoadBalancer", "Deleted load balancer"),
]


class Cloud:
    """Makes load balancers at 203.0.113.1 and so on."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, list[str]]] = {}
        """Of each Service's uid the address, and the nodes behind it."""
        self.failure = ""

    def _work(self) -> None:
        if self.failure:
            raise OSError(self.failure)

    async def find(self, service: Service) -> LoadBalancerStatus | None:
        self._work()
        found = self.made.get(service.metadata.uid)
        return found and self._status(found[0])

    async def ensure(self, service: Service, nodes: Sequence[Node]) -> LoadBalancerStatus:
        self._work()
        address, _ = self.made.get(service.metadata.uid, (f"203.0.113.{len(self.made) + 1}", []))
        self.made[service.metadata.uid] = (address, sorted(node.metadata.name for node in nodes))
        return self._status(address)

    async def remove(self, service: Service) -> None:
        self._work()
        self.made.pop(service.metadata.uid, None)

    @staticmethod
    def _status(address: str) -> LoadBalancerStatus:
        return LoadBalancerStatus(ingress=(LoadBalancerIngress(ip=address),))


def controller(world: World, balancers: LoadBalancers) -> Controller:
    return service_controller(
        world.informers, clock=world.clock, recorder=world.recorder, balancers=balancers
    )


def balanced(name: str = "web", **spec: Any) -> Service:
    return make_service(name, type="LoadBalancer", **spec)


@asynccontextmanager
async def served(world: World, balancers: LoadBalancers, *nodes: str) -> AsyncIterator[Service]:
    """Run the controller in a cluster of these nodes, with a Service that wants a load balancer and has had time to get one."""
    for name in nodes:
        await world.create(make_node(name))
    async with world.running(controller(world, balancers)):
        service = await world.create(balanced())
        await world.settled(5)
        yield service


async def addresses(world: World, name: str = "web") -> list[str]:
    return [ingress.ip for ingress in (await world.get(Service, name)).status.load_balancer.ingress]


async def told(world: World) -> list[tuple[str, str]]:
    return sorted(await world.events())


async def test_a_service_gets_a_load_balancer_before_all_of_its_nodes_and_says_where(world: World) -> None:
    cloud = Cloud()
    await world.create(make_node("away", ready=False))
    async with served(world, cloud, "node-1", "node-2") as service:
        assert await addresses(world) == ["203.0.113.1"]
        assert (await world.get(Service, "web")).metadata.finalizers == (FINALIZER,)
        assert cloud.made[service.metadata.uid][1] == ["node-1", "node-2"]
        assert await told(world) == sorted(ENSURED)


async def test_it_goes_with_the_service(world: World) -> None:
    cloud = Cloud()
    async with served(world, cloud, "node-1"):
        await world.delete(Service, "web")
        await world.settled(5)
        with pytest.raises(NotFound):
            await world.get(Service, "web")
        assert cloud.made == {}
        assert await told(world) == sorted(ENSURED + REMOVED)


async def test_it_goes_when_the_service_wants_none_any_more(world: World) -> None:
    cloud = Cloud()
    async with served(world, cloud, "node-1"):
        await world.change(Service, "web", lambda s: replace(s, spec=replace(s.spec, type="NodePort")))
        await world.settled(5)
        assert cloud.made == {}
        assert await addresses(world) == []
        assert (await world.get(Service, "web")).metadata.finalizers == ()
        assert ("Type", "LoadBalancer -> NodePort") in await world.events()


async def test_a_service_that_ended_while_nobody_looked_is_let_go(world: World) -> None:
    cloud = Cloud()
    async with served(world, cloud, "node-1"):
        pass
    await world.delete(Service, "web")
    assert (await world.get(Service, "web")).metadata.deletion_timestamp is not None
    again = World(world.registries, world.client, 1)
    async with again.running(controller(again, cloud)):
        await again.settled(5)
        with pytest.raises(NotFound):
            await again.get(Service, "web")
    assert cloud.made == {}


async def test_nodes_that_come_and_go_are_put_behind_it_and_taken_away(world: World) -> None:
    cloud = Cloud()
    async with served(world, cloud) as service:
        assert ("UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer") in await told(
            world
        )
        await world.create(make_node("node-1"))
        await world.settled(5)
        assert cloud.made[service.metadata.uid][1] == ["node-1"]
        assert ("UpdatedLoadBalancer", "Updated load balancer with new hosts") in await told(world)
        await world.delete(Node, "node-1", "")
        await world.settled(5)
        assert cloud.made[service.metadata.uid][1] == []
        assert [reason for reason, _ in await told(world)].count("EnsuredLoadBalancer") == 1


async def test_what_its_maker_says_is_told_and_it_is_tried_again(world: World) -> None:
    cloud = Cloud()
    cloud.failure = "no more addresses"
    async with served(world, cloud, "node-1"):
        words = "Error syncing load balancer: failed to ensure load balancer: no more addresses"
        assert ("SyncLoadBalancerFailed", words) in await told(world)
        cloud.failure = ""
        await world.until(lambda: addresses(world), within=600)
        await world.delete(Service, "web")
        cloud.failure = "busy"
        await world.settled(5)
        assert (await world.get(Service, "web")).metadata.finalizers == (FINALIZER,)
        cloud.failure = ""
        await world.settled(600)
        with pytest.raises(NotFound):
            await world.get(Service, "web")


@pytest.mark.parametrize(
    "spec", [{"type": "ClusterIP"}, {"type": "LoadBalancer", "load_balancer_class": "a.example/b"}]
)
async def test_others_are_left_alone(world: World, spec: dict[str, Any]) -> None:
    async with world.running(controller(world, Cloud())):
        await world.create(make_service("other", **spec))
        await world.settled(5)
        assert (await world.get(Service, "other")).metadata.finalizers == ()
        assert await told(world) == []


async def test_on_one_machine_the_services_own_address_is_the_way_in(world: World) -> None:
    async with served(world, OwnAddresses(), "node-1") as service:
        assert await addresses(world) == [service.spec.cluster_ip]
        await world.delete(Service, "web")
        await world.settled(5)
        assert await told(world) == sorted(ENSURED + REMOVED)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, []),
        ({"load_balancer_source_ranges": ("10.0.0.0/8", "192.0.2.0/24")}, [("LoadBalancerSourceRanges", "[] -> [10.0.0.0/8 192.0.2.0/24]")]),
        ({"load_balancer_ip": "192.0.2.1"}, [("LoadbalancerIP", " -> 192.0.2.1")]),
        ({"external_ips": ("192.0.2.1",)}, [("ExternalIP", "Count: 0 -> 1")]),
        ({"external_traffic_policy": "Local"}, [("ExternalTrafficPolicy", " -> Local")]),
        ({"health_check_node_port": 30100}, [("HealthCheckNodePort", "0 -> 30100")]),
        ({"session_affinity": "ClientIP"}, [("", "")]),
        ({"ports": (ServicePort(port=81, protocol="TCP"),)}, [("", "")]),
        ({"type": "ClusterIP"}, [("Type", "LoadBalancer -> ClusterIP")]),
    ],
)  # fmt: skip
def test_changes_are_told_as_kubernetes_tells_them(spec: dict[str, Any], said: list[tuple[str, str]]) -> None:
    old = balanced()
    assert list(differences(old, replace(old, spec=replace(old.spec, **spec)))) == said


@pytest.mark.parametrize(
    ("node", "may"),
    [
        (make_node(), True),
        (make_node(ready=False), False),
        (replace(make_node(), status=replace(make_node().status, conditions=())), False),
        (replace(make_node(), metadata=replace(make_node().metadata, labels={EXCLUDED: ""})), False),
        (replace(make_node(), spec=replace(make_node().spec, taints=(Taint(key=TO_BE_DELETED, effect="NoSchedule"),))), False),
        (replace(make_node(), spec=replace(make_node().spec, unschedulable=True)), True),
    ],
)  # fmt: skip
def test_only_nodes_that_can_answer_are_behind_it(node: Node, may: bool) -> None:
    assert may_be_behind(node) is may
