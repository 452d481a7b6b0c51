"""Which zones endpoints are meant for in the topology mode ``Auto``."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kubelib.api.core.event import Event
from kubelib.api.core.node import Node
from kubelib.api.core.pod import Pod
from kubelib.api.core.service import Service
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForZone
from kubelib.api.model import replace
from kubelib.controllers.builtin.endpointslice import endpoint_slice_controller
from kubelib.controllers.topology import allot, is_overloaded, transfers, zone_shares
from kubelib.testing.objects import make_node, make_pod, make_pod_status, make_service

ZONE = "topology.kubernetes.io/zone"


def endpoints(text: str) -> tuple[Endpoint, ...]:
    """Endpoints by zone and for whom they are meant: "a:b" is in zone a and meant for b, "-a" is not ready."""
    return tuple(_endpoint(word, number) for number, word in enumerate(text.split()))


def _endpoint(word: str, number: int) -> Endpoint:
    zone, _, meant = word.removeprefix("-").partition(":")
    return Endpoint(
        addresses=(f"10.0.0.{number}",),
        conditions=EndpointConditions(ready=not word.startswith("-")),
        zone=zone.replace("?", ""),
        hints=EndpointHints(for_zones=(ForZone(name=meant),)) if meant else None,
    )


def told(part: Sequence[Endpoint] | None) -> str | None:
    return " ".join(map(_told, part)) if part is not None else None


def _told(endpoint: Endpoint) -> str:
    meant = f":{endpoint.hints.for_zones[0].name}" if endpoint.hints is not None else ""
    return ("" if endpoint.conditions.ready else "-") + (endpoint.zone or "?") + meant


OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
HALVES, THIRDS = {"a": 0.45, "b": 0.55}, {"a": 0.35, "b": 0.35, "c": 0.30}


@pytest.mark.parametrize(
    ("shares", "changing", "settled", "changed", "resettled"),
    [
        (HALVES, ["a b"], [], ["a:a b:b"], []),
        (HALVES, ["a b -b"], [], ["a:a b:b -b"], []),
        (
            THIRDS,
            ["a b", "c c a", "a a", "b c a"],
            [],
            ["a:b b:b", "c:c c:c a:a", "a:a a:a", "b:b c:c a:a"],
            [],
        ),
        ({"a": 0.5, "b": 0.5}, ["a"], ["a:a b:b b:b"], ["a:a"], [None]),
        ({"a": 0.5, "b": 0.5}, [], ["a:a a:b", "b:a b:b"], [], [None, None]),
        ({"a": 0.5, "b": 0.5}, [], ["a:a b:gone"], [], ["a:a b:b"]),
        ({"a": 0.5, "b": 0.5}, [], ["a:a b"], [], ["a:a b:b"]),
        ({"a": 0.5, "b": 0.5}, [], ["a:a a:a a:a a:a", ""], [], ["a:b a:b a:a a:a", None]),
    ],
)
def test_zones_have_their_shares_of_what_is_ready_and_as_few_slices_change_as_can_be(
    shares: Mapping[str, float],
    changing: list[str],
    settled: list[str],
    changed: list[str],
    resettled: list[str | None],
) -> None:
    found = allot(shares, [endpoints(part) for part in changing], [endpoints(part) for part in settled])
    assert [told(part) for part in found.changing] == changed
    assert [told(part) for part in found.settled] == resettled
    assert found.refusal == ""
    assert not is_overloaded(found.by_zone, shares)


@pytest.mark.parametrize(
    ("shares", "changing", "why"),
    [
        (
            {},
            "a b",
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
        ),
        (THIRDS, "a b", "Insufficient number of endpoints (2 endpoints, 3 zones)"),
        (
            {"a": 0.9, "b": 0.1},
            "a b",
            f"{OVERLOADED} (2 endpoints, 2 zones)",
        ),
        (HALVES, "a ? b b", "One or more endpoints do not have a zone specified"),
    ],
)
def test_where_zones_cannot_have_their_shares_endpoints_are_meant_for_nobody(
    shares: Mapping[str, float], changing: str, why: str
) -> None:
    found = allot(shares, [endpoints(changing)], [endpoints("-a"), endpoints("-a:a")])
    assert (found.refusal, found.by_zone) == (why, {})
    assert [told(part) for part in (*found.changing, *found.settled)] == [changing, None, "-a"]


@pytest.mark.parametrize(
    ("desired", "by_zone", "gives", "takes"),
    [
        ({}, {}, {}, {}),
        ({"a": 1.2, "b": 1.1, "c": 1.0}, {"a": 1, "b": 1, "c": 1}, {}, {}),
        ({"a": 5.1, "b": 5.1, "c": 5.8}, {"a": 16}, {"a": 10}, {"b": 5, "c": 5}),
        ({"a": 5.0, "b": 5.6, "c": 5.4}, {"a": 16}, {"a": 11}, {"b": 6, "c": 5}),
        ({"a": 5.0, "b": 5.6, "c": 5.4}, {"b": 8, "c": 8}, {"b": 2, "c": 3}, {"a": 5}),
        (dict.fromkeys("abc", 5.0), dict.fromkeys("abc", 6), {}, {}),
        (dict.fromkeys("abc", 5.0), {"a": -40, "b": 20, "c": 20}, {"b": 15, "c": 15}, {"a": 30}),
    ],
)
def test_endpoints_go_from_zones_with_most_to_zones_with_least_and_rather_stay(
    desired: Mapping[str, float],
    by_zone: Mapping[str, int],
    gives: Mapping[str, int],
    takes: Mapping[str, int],
) -> None:
    assert transfers(desired, by_zone) == (gives, takes)


def node(zone: str, cpu: str = "1", *, ready: bool = True, name: str = "n", role: str = "") -> Node:
    made = make_node(name, ready=ready, allocatable={"cpu": cpu} if cpu else {})
    meta = replace(made.metadata, labels={**({ZONE: zone} if zone else {}), **({role: ""} if role else {})})
    return replace(made, metadata=meta)


ROLE = "node-role.kubernetes.io/control-plane"


@pytest.mark.parametrize(
    ("nodes", "shares"),
    [
        ([], {}),
        ([node("a"), node("a")], {}),
        ([node("a"), node("b")], {"a": 0.5, "b": 0.5}),
        ([node("a", ready=False), node("b")], {}),
        ([node("a"), node("b", role=ROLE)], {}),
        ([node("a"), node("b"), node("b", ready=False), node("b", role=ROLE)], {"a": 0.5, "b": 0.5}),
        ([node("a"), node("b"), node("")], {}),
        ([node("a"), node("b"), node("b", cpu="")], {}),
        (
            [node("a"), node("a", "4000m"), node("b", "3"), node("b", "1500m"), node("c", "500m")],
            {"a": 0.5, "b": 0.45, "c": 0.05},
        ),
    ],
)
def test_zones_share_by_the_processors_of_their_ready_nodes(
    nodes: list[Node], shares: Mapping[str, float]
) -> None:
    assert zone_shares(nodes) == shares


async def hints(world: Any) -> str:
    return " ".join(sorted(_told(e) for s in await world.all(EndpointSlice) for e in s.endpoints))


async def test_a_service_in_auto_mode_shares_its_endpoints_among_zones_while_that_can_be(world: Any) -> None:
    async with world.running(
        endpoint_slice_controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        for zone in "ab":
            await world.create(node(zone, name=f"in-{zone}"))
        service = make_service("web", selector={"app": "web"})
        mode = {"service.kubernetes.io/topology-mode": "Auto"}
        await world.create(replace(service, metadata=replace(service.metadata, annotations=mode)))
        for number in range(4):
            name = f"p{number}"
            await world.create(make_pod(name, node="in-a", labels={"app": "web"}))
            status = make_pod_status("Running", ready=True, ip=f"10.0.0.{number}", since=world.clock.now())
            await world.change(Pod, name, lambda p, s=status: replace(p, status=s), subresource="status")
        await world.settled(5)
        assert await hints(world) == "a:a a:a a:b a:b"
        # A zone without nodes has no share any more, and then there is only one.
        await world.delete(Node, "in-b", "")
        await world.settled(5)
        assert await hints(world) == "a a a a"
        told = [(e.reason, e.message) for e in await world.all(Event) if e.reason.startswith("Topology")]
        assert (
            "TopologyAwareHintsEnabled",
            "Topology Aware Hints has been enabled, addressType: IPv4",
        ) in told
        why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
        assert ("TopologyAwareHintsDisabled", f"{why}, addressType: IPv4") in told


async def test_without_the_mode_endpoints_are_meant_for_all_again(world: Any) -> None:
    async with world.running(
        endpoint_slice_controller(world.informers, clock=world.clock, recorder=world.recorder)
    ):
        service = make_service("web", selector={"app": "web"})
        mode = {"service.kubernetes.io/topology-mode": "Auto"}
        await world.create(replace(service, metadata=replace(service.metadata, annotations=mode)))
        for zone in "ab":
            await world.create(node(zone, name=f"in-{zone}"))
            await world.create(make_pod(zone, node=f"in-{zone}", labels={"app": "web"}))
            status = make_pod_status("Running", ready=True, ip="10.0.0.1", since=world.clock.now())
            await world.change(Pod, zone, lambda p, s=status: replace(p, status=s), subresource="status")
        await world.settled(5)
        assert await hints(world) == "a:a b:b"
        await world.change(Service, "web", lambda s: replace(s, metadata=replace(s.metadata, annotations={})))
        await world.settled(5)
        assert await hints(world) == "a b"
        why = "Topology Aware Hints has been disabled, addressType: IPv4"
        assert ("TopologyAwareHintsDisabled", why) in await world.events()
