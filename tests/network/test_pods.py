"""Routes between nodes: which there are, and that the kernel takes them; a cluster on two machines is in tests/external/test_machines.py."""

import json
from collections.abc import Iterator

import pytest

from kubelib.api.core.node import Node, NodeAddress
from kubelib.api.model import replace
from kubelib.network import pods
from kubelib.network.pods import RouteError, known_routes, make_route, remove_route, routes_between
from kubelib.testing.objects import make_node
from tests.ownnetwork import own_network, run


def node(name: str, cidr: str, *addresses: str) -> Node:
    found = make_node(name)
    told = tuple(NodeAddress(type="InternalIP", address=address) for address in addresses)
    status = replace(found.status, addresses=(NodeAddress(type="Hostname", address=name), *told))
    return replace(found, spec=replace(found.spec, pod_cidr=cidr), status=status)


@pytest.mark.parametrize(
    ("other", "routes"),
    [
        (node("b", "10.244.1.0/24", "203.0.113.250"), {"10.244.1.0/24": "203.0.113.250"}),
        (node("b", "10.244.1.0/24", "2001:db8::2", "203.0.113.250"), {"10.244.1.0/24": "203.0.113.250"}),
        (node("b", "10.244.1.0/24", "127.0.0.1"), {}),
        (node("b", "10.244.1.0/24"), {}),
        (node("b", "127.244.1.0/24", "203.0.113.250"), {}),
        (node("b", "2001:db8:1::/64", "203.0.113.250"), {}),
        (node("b", "", "203.0.113.250"), {}),
    ],
)
def test_only_pods_of_other_machines_are_routed_to(other: Node, routes: dict[str, str]) -> None:
    assert routes_between([node("a", "10.244.0.0/24", "127.0.0.1"), other]) == routes


class TestInTheKernel:
    @pytest.fixture(autouse=True)
    def network(self) -> Iterator[None]:
        """A machine with one neighbour on its wire."""
        with own_network():
            run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "other")
            run("ip", "addr", "add", "192.0.2.1/24", "dev", "wire")
            for device in ("wire", "other"):
                run("ip", "link", "set", device, "up")
            yield

    def test_a_route_is_made_changed_and_removed_and_its_device_forwards(self) -> None:
        make_route("10.244.1.0/24", "192.0.2.2")
        assert known_routes() == {"10.244.1.0/24": "192.0.2.2"}
        assert run("cat", "/proc/sys/net/ipv4/conf/wire/forwarding") == "1\n"
        make_route("10.244.1.0/24", "192.0.2.3")
        assert known_routes() == {"10.244.1.0/24": "192.0.2.3"}
        remove_route("10.244.1.0/24")
        remove_route("10.244.1.0/24")
        assert known_routes() == {}

    def test_routes_of_others_are_not_ours(self) -> None:
        run("ip", "route", "add", "10.9.0.0/16", "via", "192.0.2.9")
        make_route("10.244.1.0/24", "192.0.2.2")
        assert list(known_routes()) == ["10.244.1.0/24"]
        remove_route("10.9.0.0/16")
        assert "10.9.0.0/16" in [route["dst"] for route in json.loads(run("ip", "-j", "route"))]

    def test_what_is_no_neighbour_is_an_error(self) -> None:
        with pytest.raises(RouteError, match=r"Nexthop has invalid gateway|Network is unreachable"):
            make_route("10.244.1.0/24", "198.51.100.1")

    def test_own_addresses_are_here_and_those_of_neighbours_are_not(self) -> None:
        assert pods.is_here("192.0.2.1")
        assert not pods.is_here("192.0.2.2")
