"""Further ranges for Services: they are used once they are ready, and stay while addresses of theirs are in use."""

from ipaddress import ip_address, ip_network

import pytest

from kubelib.api.core.service import Service, ServicePort, ServiceSpec
from kubelib.api.errors import ApiError, Invalid
from kubelib.api.meta import ObjectMeta
from kubelib.api.networking import ServiceCIDR, ServiceCIDRSpec
from kubelib.controllers.builtin.servicecidr import FINALIZER, may_go, service_cidr_controller
from kubelib.controllers.controller import Controller
from tests.controllers.conftest import World

EXTRA = "127.97.0.0/29"


def controller(world: World) -> Controller:
    return service_cidr_controller(world.informers, clock=world.clock, recorder=world.recorder)


def cidr(name: str, *cidrs: str) -> ServiceCIDR:
    return ServiceCIDR(metadata=ObjectMeta(name=name), spec=ServiceCIDRSpec(cidrs=cidrs))


def service(name: str, address: str = "") -> Service:
    spec = ServiceSpec(ports=(ServicePort(port=80),), cluster_ip=address)
    return Service(metadata=ObjectMeta(name=name, namespace="default"), spec=spec)


async def ready(world: World, name: str) -> tuple[str, str, str] | None:
    found = await world.get(ServiceCIDR, name, "")
    return next(((c.status, c.reason, c.message) for c in found.status.conditions if c.type == "Ready"), None)


async def test_an_address_of_a_further_range_can_be_had_once_it_is_ready(world: World) -> None:
    with pytest.raises(Invalid, match="the provided network does not match the current range"):
        await world.create(service("early", "127.97.0.2"))
    await world.create(cidr("extra", EXTRA))
    with pytest.raises(Invalid, match="the provided network does not match the current range"):
        await world.create(service("early", "127.97.0.2"))
    async with world.running(controller(world)):
        await world.settled(1)
        assert await ready(world, "extra") == ("True", "", "Kubernetes Service CIDR is ready")
        assert FINALIZER in (await world.get(ServiceCIDR, "extra", "")).metadata.finalizers
        assert FINALIZER in (await world.get(ServiceCIDR, "kubernetes", "")).metadata.finalizers
        made = await world.create(service("early", "127.97.0.2"))
        assert made.spec.cluster_ip == "127.97.0.2"


async def test_a_full_range_goes_over_into_the_next(world: World) -> None:
    world.registries.service_cidr = "127.96.0.0/29"
    await world.create(cidr("extra", EXTRA))
    async with world.running(controller(world)):
        await world.settled(1)
        addresses = [(await world.create(service(f"s{n}"))).spec.cluster_ip for n in range(11)]
        assert len(set(addresses)) == 11
        assert sum(ip_address(address) in ip_network(EXTRA) for address in addresses) == 6
        with pytest.raises(ApiError, match="range is full"):
            await world.create(service("one-too-many"))


async def test_a_range_goes_when_no_service_needs_it(world: World) -> None:
    await world.create(cidr("extra", EXTRA))
    async with world.running(controller(world)):
        await world.settled(1)
        await world.create(service("a", "127.97.0.2"))
        await world.delete(ServiceCIDR, "extra", "")
        await world.settled(60)
        status, reason, message = await ready(world, "extra") or ("", "", "")
        assert (status, reason) == ("False", "Terminating")
        assert message.startswith("There are still IPAddresses referencing the ServiceCIDR")
        with pytest.raises(Invalid, match="the provided network does not match"):
            await world.create(service("b", "127.97.0.3"))
        await world.delete(Service, "a")
        await world.settled(20)
        assert await world.names(ServiceCIDR, "") == ["kubernetes"]


def test_an_address_that_another_range_has_too_holds_nothing_back() -> None:
    small = cidr("small", "10.0.0.0/28")
    assert not may_go(small, [], ["10.0.0.3"])
    assert may_go(small, [], ["10.0.1.3"])
    assert may_go(small, [cidr("same", "10.0.0.0/28")], ["10.0.0.3"])
    assert may_go(small, [cidr("large", "10.0.0.0/8")], ["10.0.0.3"])
    assert may_go(small, [cidr("half", "10.0.0.0/29")], ["10.0.0.3"])
    assert not may_go(small, [cidr("half", "10.0.0.8/29")], ["10.0.0.3"])
    assert not may_go(cidr("both", "10.0.0.0/28", "fd00::/120"), [small], ["10.0.0.3", "fd00::1"])
