"""Which endpoints clients of a machine use: whom they are meant for, where they are, and what a Service's traffic policies say."""

import pytest

from kubelib.api.core.service import ServicePort
from kubelib.api.discovery import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
)
from kubelib.network.services import ANY_NODE_ADDRESS, SERVICE_NAME, Backend, Frontend, Rule, rules
from kubelib.network.topology import Place
from kubelib.testing.objects import make_meta, make_service

HERE = Place(nodes=frozenset({"here"}), zones=frozenset({"a"}), pods=("10.244.0.0/24",))
READY, GOING, UNREADY = (
    EndpointConditions(ready=True),
    EndpointConditions(ready=False, serving=True, terminating=True),
    EndpointConditions(ready=False),
)


def end(
    number: int,
    *,
    node: str = "",
    zones: str = "",
    nodes: str = "",
    conditions: EndpointConditions = READY,
) -> Endpoint:
    hints = EndpointHints(
        for_zones=tuple(ForZone(name=zone) for zone in zones),
        for_nodes=tuple(ForNode(name=name) for name in nodes.split()),
    )
    meant = bool(zones or nodes)
    return Endpoint(
        addresses=(f"10.244.0.{number}",),
        node_name=node,
        conditions=conditions,
        hints=hints if meant else None,
    )


def at(
    frontend: Frontend, *endpoints: Endpoint, place: Place = HERE, inside: str = "", outside: str = ""
) -> Rule:
    service = make_service(
        "web",
        cluster_ip="10.96.0.5",
        type="NodePort",
        ports=(ServicePort(port=80, node_port=30080),),
        internal_traffic_policy=inside,
        external_traffic_policy=outside,
    )
    part = EndpointSlice(
        metadata=make_meta("web-x", "default", labels={SERVICE_NAME: "web"}),
        address_type="IPv4",
        endpoints=endpoints,
        ports=(EndpointPort(port=8080),),
    )
    return rules([service], [part], place)[frontend]


OWN, PORT = Frontend("10.96.0.5", 80), Frontend(ANY_NODE_ADDRESS, 30080)


def numbers(backends: tuple[Backend, ...]) -> list[int]:
    return [int(backend.address.rpartition(".")[2]) for backend in backends]


def test_endpoints_meant_for_the_zone_are_used_there_and_no_others() -> None:
    ends = (end(1, zones="a"), end(2, zones="b"), end(3, zones="ba"))
    assert numbers(at(OWN, *ends).backends) == numbers(at(PORT, *ends).backends) == [1, 3]


def test_endpoints_meant_for_the_node_come_before_those_for_its_zone() -> None:
    ends = (end(1, zones="a", nodes="here"), end(2, zones="a", nodes="there"), end(3, zones="b", nodes="x"))
    assert numbers(at(OWN, *ends).backends) == [1]
    assert numbers(at(OWN, *ends[1:]).backends) == [2]


@pytest.mark.parametrize(
    ("ends", "used"),
    [
        ((end(1, zones="a"), end(2)), [1, 2]),
        ((end(1, zones="c"), end(2, zones="b")), [1, 2]),
        ((end(1, zones="a", nodes="here"), end(2, zones="b")), [1]),
        ((end(1, nodes="here"), end(2)), [1, 2]),
        ((end(1, zones="a", conditions=UNREADY), end(2, zones="b")), [2]),
        ((end(1, zones="a"), end(2, conditions=UNREADY), end(3, zones="b")), [1]),
        ((end(1, zones="a", conditions=GOING), end(2, zones="b", conditions=GOING)), [1, 2]),
    ],
    ids=[
        "one-says-nothing", "none-for-the-zone", "nodes-not-all", "no-zones", "none-ready-in-the-zone",
        "unready-ones-need-not-say", "all-going",
    ],
)  # fmt: skip
def test_hints_are_ignored_unless_all_ready_endpoints_have_one_and_one_is_for_here(
    ends: tuple[Endpoint, ...], used: list[int]
) -> None:
    assert numbers(at(OWN, *ends).backends) == used


def test_a_node_without_a_zone_uses_all() -> None:
    assert numbers(at(OWN, end(1, zones="a"), end(2, zones="b"), place=Place()).backends) == [1, 2]


def test_traffic_from_inside_stays_on_the_node_where_its_policy_is_local() -> None:
    ends = (end(1, node="here", zones="b"), end(2, node="there", zones="a"))
    assert numbers(at(OWN, *ends, inside="Local").backends) == [1]
    assert numbers(at(PORT, *ends, inside="Local").backends) == [2]
    assert numbers(at(OWN, ends[1], inside="Local").backends) == []


def test_traffic_from_outside_stays_on_the_node_where_its_policy_is_local() -> None:
    rule = at(PORT, end(1, node="here"), end(2, node="there"), outside="Local")
    for client in ("127.0.0.1", "10.244.0.9", "192.0.2.1"):  # the machine itself, and a Pod of it
        assert numbers(rule.open_to(client, "192.0.2.1")) == [1, 2]
    assert numbers(rule.open_to("192.0.2.9", "192.0.2.1")) == [1]
    assert numbers(at(OWN, end(1, node="here"), end(2, node="there"), outside="Local").backends) == [1, 2]


def test_on_the_node_what_is_going_still_serves_where_nothing_else_does() -> None:
    ends = (end(1, node="here", conditions=GOING), end(2, node="there"))
    rule = at(PORT, *ends, outside="Local")
    assert numbers(rule.backends) == [2]
    assert numbers(rule.open_to("192.0.2.9", "192.0.2.1")) == [1]
    gone = at(PORT, end(1, node="here", conditions=UNREADY), ends[1], outside="Local")
    assert numbers(gone.open_to("192.0.2.9", "192.0.2.1")) == []
