"""Names of Services, as Kubernetes' DNS specification has them: each example of it, and what is not there."""

from typing import Any

import pytest

from kubelib.api import codec
from kubelib.api.core.service import Service, ServicePort
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.document import Document
from kubelib.informers import Cache
from kubelib.network.records import ClusterNames, Record, reverse_name
from kubelib.network.services import SERVICE_NAME
from kubelib.testing.objects import make_meta, make_service

HTTPS = (ServicePort(name="https", port=443, protocol="TCP"),)


class Names:
    """Names over what a test says that there is."""

    def __init__(self) -> None:
        self.services, self.slices = Cache(Service), Cache(EndpointSlice)
        self.names = ClusterNames(self.services, self.slices)

    def service(self, name: str = "kubernetes", **spec: Any) -> None:
        self.services.put(Document(codec.encode(make_service(name, **spec))))

    def endpoints(self, *ends: Endpoint, service: str = "headless", number: int = 443) -> None:
        part = EndpointSlice(
            metadata=make_meta(f"{service}-x", "default", labels={SERVICE_NAME: service}),
            address_type="IPv4",
            endpoints=ends,
            ports=(EndpointPort(name="https", port=number, protocol="TCP"),),
        )
        self.slices.put(Document(codec.encode(part)))

    def ask(self, name: str, type: str = "A") -> list[str]:
        """Return the data of all records; the test fails if the name is not of the cluster."""
        found = self.names.look_up(name, type)
        assert found is not None
        return [record.data for record in found.records]

    def exists(self, name: str) -> bool:
        found = self.names.look_up(name, "TXT")
        assert found is not None
        return found.exists


@pytest.fixture
def names() -> Names:
    return Names()


def end(*addresses: str, hostname: str = "", ready: bool = True) -> Endpoint:
    return Endpoint(addresses=addresses, hostname=hostname, conditions=EndpointConditions(ready=ready))


def test_the_version_of_the_specification_is_told(names: Names) -> None:
    assert names.ask("dns-version.cluster.local.", "TXT") == ['"1.1.0"']


class TestServicesWithAnAddress:
    @pytest.fixture(autouse=True)
    def there_is_one(self, names: Names) -> None:
        names.service(cluster_ip="10.3.0.1", cluster_ips=("10.3.0.1",), ports=HTTPS)

    def test_its_name_leads_to_the_address(self, names: Names) -> None:
        assert names.ask("kubernetes.default.svc.cluster.local.") == ["10.3.0.1"]

    def test_case_does_not_matter_and_the_answer_has_the_name_as_it_was_asked(self, names: Names) -> None:
        found = names.names.look_up("Kubernetes.Default.SVC.cluster.local.", "A")
        assert found is not None
        assert found.records == (Record("Kubernetes.Default.SVC.cluster.local.", "A", "10.3.0.1"),)

    def test_it_has_no_address_of_another_family_but_exists(self, names: Names) -> None:
        assert names.ask("kubernetes.default.svc.cluster.local.", "AAAA") == []
        assert names.exists("kubernetes.default.svc.cluster.local.")

    def test_a_named_port_is_found_with_its_protocol(self, names: Names) -> None:
        found = names.names.look_up("_https._tcp.kubernetes.default.svc.cluster.local.", "SRV")
        assert found is not None
        assert [r.data for r in found.records] == ["0 100 443 kubernetes.default.svc.cluster.local."]
        assert found.additional == (Record("kubernetes.default.svc.cluster.local.", "A", "10.3.0.1"),)
        assert not names.exists("_https._udp.kubernetes.default.svc.cluster.local.")
        assert not names.exists("_http._tcp.kubernetes.default.svc.cluster.local.")

    def test_the_address_leads_back_to_the_name(self, names: Names) -> None:
        assert names.ask("1.0.3.10.in-addr.arpa.", "PTR") == ["kubernetes.default.svc.cluster.local."]

    def test_nothing_is_below_its_name(self, names: Names) -> None:
        assert not names.exists("a.kubernetes.default.svc.cluster.local.")
        assert not names.exists("a.b.kubernetes.default.svc.cluster.local.")

    def test_changes_are_seen(self, names: Names) -> None:
        names.service(cluster_ip="10.3.0.2", cluster_ips=("10.3.0.2",), ports=HTTPS)
        assert names.ask("kubernetes.default.svc.cluster.local.") == ["10.3.0.2"]
        assert names.names.look_up("1.0.3.10.in-addr.arpa.", "PTR") is None
        assert names.ask("2.0.3.10.in-addr.arpa.", "PTR") == ["kubernetes.default.svc.cluster.local."]


def test_both_families_have_records_of_their_own(names: Names) -> None:
    names.service("both", cluster_ip="10.3.0.1", cluster_ips=("10.3.0.1", "2001:db8::1"), ports=HTTPS)
    assert names.ask("both.default.svc.cluster.local.", "A") == ["10.3.0.1"]
    assert names.ask("both.default.svc.cluster.local.", "AAAA") == ["2001:db8::1"]
    assert names.ask(reverse_name("2001:db8::1"), "PTR") == ["both.default.svc.cluster.local."]


class TestHeadlessServices:
    @pytest.fixture(autouse=True)
    def there_is_one(self, names: Names) -> None:
        names.service("headless", cluster_ip="None", cluster_ips=("None",), ports=HTTPS)
        names.endpoints(
            end("10.3.0.100", hostname="my-pet"), end("10.3.0.101"), end("10.3.0.102", ready=False)
        )

    def test_its_name_leads_to_all_endpoints_that_are_ready(self, names: Names) -> None:
        assert names.ask("headless.default.svc.cluster.local.") == ["10.3.0.100", "10.3.0.101"]

    def test_an_endpoint_has_a_name_by_its_hostname_or_its_address(self, names: Names) -> None:
        assert names.ask("my-pet.headless.default.svc.cluster.local.") == ["10.3.0.100"]
        assert names.ask("10-3-0-101.headless.default.svc.cluster.local.") == ["10.3.0.101"]
        assert not names.exists("10-3-0-102.headless.default.svc.cluster.local.")

    def test_a_named_port_is_at_each_endpoint(self, names: Names) -> None:
        found = names.names.look_up("_https._tcp.headless.default.svc.cluster.local.", "SRV")
        assert found is not None
        assert [record.data for record in found.records] == [
            "0 100 443 my-pet.headless.default.svc.cluster.local.",
            "0 100 443 10-3-0-101.headless.default.svc.cluster.local.",
        ]
        assert [record.data for record in found.additional] == ["10.3.0.100", "10.3.0.101"]

    def test_an_address_leads_back_to_the_hostname(self, names: Names) -> None:
        assert names.ask("100.0.3.10.in-addr.arpa.", "PTR") == ["my-pet.headless.default.svc.cluster.local."]
        assert names.names.look_up("101.0.3.10.in-addr.arpa.", "PTR") is None

    def test_without_endpoints_the_name_does_not_exist(self, names: Names) -> None:
        names.endpoints()
        assert not names.exists("headless.default.svc.cluster.local.")


class TestNamesOutside:
    def test_an_external_name_is_an_alias(self, names: Names) -> None:
        names.service("far", type="ExternalName", external_name="www.example.com")
        assert names.ask("far.default.svc.cluster.local.") == ["www.example.com."]
        assert not names.exists("a.far.default.svc.cluster.local.")

    def test_an_external_name_that_is_an_address_is_that(self, names: Names) -> None:
        names.service("far", type="ExternalName", external_name="192.0.2.7")
        assert names.ask("far.default.svc.cluster.local.") == ["192.0.2.7"]

    @pytest.mark.parametrize(
        "name", ["example.com.", "cluster.local.example.com.", "local.", "1.2.0.192.in-addr.arpa."]
    )
    def test_others_know_of_them(self, names: Names, name: str) -> None:
        assert names.names.look_up(name, "A") is None


@pytest.mark.parametrize(
    ("name", "type", "address"),
    [
        ("10-1-2-3.default.pod.cluster.local.", "A", ["10.1.2.3"]),
        ("10-1-2-3.default.pod.cluster.local.", "AAAA", []),
        ("2001-db8--1.default.pod.cluster.local.", "AAAA", ["2001:db8::1"]),
    ],
)
def test_a_pod_has_a_name_by_its_address(names: Names, name: str, type: str, address: list[str]) -> None:
    assert names.ask(name, type) == address


@pytest.mark.parametrize("name", ["", "svc.", "pod.", "default.svc.", "default.pod."])
def test_what_has_names_below_it_exists(names: Names, name: str) -> None:
    names.service()
    assert names.exists(f"{name}cluster.local.")


@pytest.mark.parametrize(
    "name",
    ["other.default.svc.", "kubernetes.other.svc.", "other.svc.", "other.", "web.default.pod.", "a.b.c.pod."],
)
def test_what_is_not_there_does_not_exist(names: Names, name: str) -> None:
    names.service()
    assert not names.exists(f"{name}cluster.local.")
