"""Rules from Services and EndpointSlices: where connections to each port go."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelib.api.core.service import (
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceStatus,
    SessionAffinityConfig,
)
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.model import replace
from kubelib.network.services import (
    ANY_NODE_ADDRESS,
    SERVICE_NAME,
    Backend,
    Frontend,
    changed,
    networks,
    rules,
)
from kubelib.testing.objects import make_meta, make_service

HTTP = ServicePort(name="http", port=80, protocol="TCP")


def service(name: str = "web", **spec: Any) -> Service:
    spec.setdefault("ports", (HTTP,))
    return make_service(name, cluster_ip=spec.pop("cluster_ip", "127.96.0.1"), **spec)


def endpoint(address: str, **conditions: bool) -> Endpoint:
    return Endpoint(addresses=(address,), conditions=EndpointConditions(**conditions))


def part(
    *endpoints: Endpoint, of: str = "web", ports: tuple[EndpointPort, ...] = (), namespace: str = "default"
) -> EndpointSlice:
    return EndpointSlice(
        metadata=make_meta(f"{of}-x", namespace, labels={SERVICE_NAME: of}),
        address_type="IPv4",
        endpoints=endpoints,
        ports=ports or (EndpointPort(name="http", port=8080, protocol="TCP"),),
    )


def backends(*parts: EndpointSlice, of: Service | None = None) -> list[str]:
    [rule] = rules([of or service()], parts).values()
    return [f"{b.address}:{b.port}" for b in rule.backends]


def test_ready_endpoints_of_all_slices_are_used_once_each_in_a_fixed_order() -> None:
    one = part(endpoint("127.244.0.3"), endpoint("127.244.0.2", ready=True))
    two = part(endpoint("127.244.1.2"), endpoint("127.244.0.2"))
    expected = ["127.244.0.2:8080", "127.244.0.3:8080", "127.244.1.2:8080"]
    assert backends(one, two) == backends(two, one) == expected


def test_of_the_addresses_of_an_endpoint_the_first_is_used() -> None:
    assert backends(part(Endpoint(addresses=("127.244.0.3", "127.244.0.2")))) == ["127.244.0.3:8080"]


def test_what_is_not_ready_is_not_used() -> None:
    assert backends(part(endpoint("127.244.0.2", ready=False), endpoint("127.244.0.3", ready=True))) == [
        "127.244.0.3:8080"
    ]
    assert backends(part(endpoint("127.244.0.2", ready=False, serving=True))) == []


def test_endpoints_that_are_going_are_used_when_no_other_is_left() -> None:
    going = endpoint("127.244.0.2", ready=False, serving=True, terminating=True)
    dead = endpoint("127.244.0.4", ready=False, serving=False, terminating=True)
    assert backends(part(going, dead)) == ["127.244.0.2:8080"]
    assert backends(part(going, dead, endpoint("127.244.0.3", ready=True))) == ["127.244.0.3:8080"]


def test_clients_by_udp_may_stay_with_endpoints_that_are_going() -> None:
    going = endpoint("127.244.0.2", ready=False, serving=True, terminating=True)
    ends = (going, endpoint("127.244.0.3", ready=True), endpoint("127.244.0.4", ready=False))
    for protocol, staying in (("UDP", {"127.244.0.2", "127.244.0.3"}), ("TCP", set())):
        port = ServicePort(name="http", port=80, protocol=protocol)
        parts = [part(*ends, ports=(EndpointPort(name="http", port=8080, protocol=protocol),))]
        [rule] = rules([service(ports=(port,))], parts).values()
        assert [backend.address for backend in rule.backends] == ["127.244.0.3"]
        assert {backend.address for backend in rule.serving} == staying


def test_an_endpoint_published_before_it_is_ready_is_used() -> None:
    assert backends(part(endpoint("127.244.0.2", ready=True, serving=False))) == ["127.244.0.2:8080"]


def test_ports_are_joined_by_name_and_protocol() -> None:
    ports = (
        ServicePort(name="http", port=80, protocol="TCP"),
        ServicePort(name="dns", port=53, protocol="UDP"),
        ServicePort(name="dns-tcp", port=53, protocol="TCP"),
        ServicePort(name="other", port=9, protocol="TCP"),
    )
    slices = part(
        endpoint("127.244.0.2"),
        ports=(
            EndpointPort(name="http", port=8080, protocol="TCP"),
            EndpointPort(name="dns", port=5353, protocol="UDP"),
            EndpointPort(name="dns-tcp", port=5354, protocol="TCP"),
            EndpointPort(name="other", port=99, protocol="UDP"),
        ),
    )
    found = rules([service(ports=ports)], [slices])
    assert {(f.port, f.protocol): [b.port for b in rule.backends] for f, rule in found.items()} == {
        (80, "TCP"): [8080],
        (53, "UDP"): [5353],
        (53, "TCP"): [5354],
        (9, "TCP"): [],
    }


def test_the_same_name_may_mean_another_number_at_each_pod() -> None:
    old = part(endpoint("127.244.0.2"), ports=(EndpointPort(name="http", port=8080, protocol="TCP"),))
    new = part(endpoint("127.244.0.3"), ports=(EndpointPort(name="http", port=9090, protocol="TCP"),))
    assert backends(old, new) == ["127.244.0.2:8080", "127.244.0.3:9090"]


@pytest.mark.parametrize(
    "spec",
    [{"cluster_ip": "None"}, {"cluster_ip": ""}, {"type": "ExternalName", "external_name": "example.org"}],
)
def test_services_without_an_address_have_no_rules(spec: dict[str, Any]) -> None:
    assert rules([service(**spec)], [part(endpoint("127.244.0.2"))]) == {}


def test_slices_belong_to_the_service_of_their_label_and_namespace() -> None:
    assert backends(part(endpoint("127.244.0.2"), of="other")) == []
    assert backends(part(endpoint("127.244.0.2"), namespace="elsewhere")) == []
    assert backends(replace(part(endpoint("127.244.0.2")), metadata=make_meta("web", "default"))) == []


def test_endpoints_that_are_only_names_lead_nowhere() -> None:
    assert backends(replace(part(endpoint("example.com")), address_type="FQDN")) == []


def test_a_service_is_reached_at_all_of_its_addresses() -> None:
    subject = service(
        type="LoadBalancer",
        external_ips=("127.9.9.9",),
        ports=(ServicePort(name="http", port=80, protocol="TCP", node_port=30080),),
    )
    ingress = (LoadBalancerIngress(ip="127.8.8.8"), LoadBalancerIngress(ip="127.7.7.7", ip_mode="Proxy"))
    subject = replace(subject, status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)))
    slices = [part(endpoint("127.244.0.2"))]
    found = rules([subject], slices)
    assert set(found) == {
        Frontend("127.96.0.1", 80),
        Frontend("127.9.9.9", 80),
        Frontend("127.8.8.8", 80),
        Frontend(ANY_NODE_ADDRESS, 30080),
    }
    assert {rule.backends for rule in found.values()} == {(Backend("127.244.0.2", 8080),)}


@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_what_is_somebody_elses_by_its_label_is_left_alone(label: str) -> None:
    label = f"service.kubernetes.io/{label}"
    subject, slices = service(), part(endpoint("127.244.0.2"))
    theirs = replace(subject, metadata=replace(subject.metadata, labels={label: "any"}))
    assert rules([theirs], [slices]) == {}
    labels = {**slices.metadata.labels, label: ""}
    assert backends(replace(slices, metadata=replace(slices.metadata, labels=labels))) == []


def test_each_address_leads_to_endpoints_of_its_family() -> None:
    subject = service(cluster_ips=("127.96.0.1", "fd00::1"), external_ips=("fd01::1",))
    six = replace(part(endpoint("fd00::2")), address_type="IPv6")
    found = rules([subject], [part(endpoint("127.244.0.2")), six])
    assert {f.address: [b.address for b in rule.backends] for f, rule in found.items()} == {
        "127.96.0.1": ["127.244.0.2"],
        "fd00::1": ["fd00::2"],
        "fd01::1": ["fd00::2"],
    }


def test_an_endpoint_that_is_going_serves_unless_it_says_that_it_does_not() -> None:
    assert backends(part(endpoint("127.244.0.2", ready=False, terminating=True))) == ["127.244.0.2:8080"]


def test_a_load_balancers_address_lets_in_whom_its_ranges_name() -> None:
    subject = service(
        type="LoadBalancer",
        load_balancer_source_ranges=("192.0.2.0/24", " 192.0.2.128/25", "fd00::/8"),
        ports=(ServicePort(name="http", port=80, protocol="TCP", node_port=30080),),
    )
    ingress = (LoadBalancerIngress(ip="198.51.100.1"), LoadBalancerIngress(ip="127.96.0.1"))
    subject = replace(subject, status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)))
    found = rules([subject], [part(endpoint("127.244.0.2"))])
    balanced = found[Frontend("198.51.100.1", 80)]
    assert balanced.sources == ("192.0.2.0/24",)
    assert balanced.open_to("192.0.2.7", "198.51.100.1") == balanced.backends
    assert balanced.open_to("192.0.3.7", "198.51.100.1") == ()
    # By the others, clients come that no load balancer has let in.
    assert not any(rule.sources for f, rule in found.items() if f.address != "198.51.100.1")
    assert not found[Frontend("127.96.0.1", 80)].external


def test_ranges_that_name_everybody_name_nobody() -> None:
    assert networks(("0.0.0.0/0", "192.0.2.0/24"), 4) == networks(("fd00::/8",), 4) == ()


def test_ranges_are_read_in_every_form_that_old_objects_may_have() -> None:
    assert networks(("010.0.0.1/8", "192.0.2.0/25", "192.0.2.128/25"), 4) == ("10.0.0.0/8", "192.0.2.0/24")


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 0.0),
        ({"session_affinity": "None"}, 0.0),
        ({"session_affinity": "ClientIP"}, 10800.0),
        (
            {
                "session_affinity": "ClientIP",
                "session_affinity_config": SessionAffinityConfig(
                    client_ip=ClientIPConfig(timeout_seconds=30)
                ),
            },
            30.0,
        ),
    ],
)
def test_client_affinity_lasts_as_long_as_it_says(spec: dict[str, Any], seconds: float) -> None:
    [rule] = rules([service(**spec)], []).values()
    assert rule.affinity == seconds


addresses = st.lists(st.integers(2, 9).map(lambda n: f"127.244.0.{n}"), unique=True, max_size=6)


@given(addresses, addresses)
def test_rules_depend_on_what_there_is_and_not_on_its_order(one: list[str], two: list[str]) -> None:
    slices = [part(*map(endpoint, one)), part(*map(endpoint, two))]
    found = backends(*slices)
    assert found == backends(*reversed(slices)) == sorted({f"{a}:8080" for a in one + two})


@given(st.dictionaries(st.integers(1, 5), st.integers()), st.dictionaries(st.integers(1, 5), st.integers()))
def test_what_has_changed_leads_from_the_old_to_the_new(old: dict[Any, Any], new: dict[Any, Any]) -> None:
    gone, come = changed(old, new)
    assert (set(old) - set(gone)) | set(come) == set(new)
    assert not set(gone) & set(come)
