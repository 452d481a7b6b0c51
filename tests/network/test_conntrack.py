"""Clients by UDP whose endpoint goes, in a real kernel."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kubelib.network.conntrack import Flow, flows, forget, forget_stale, stale
from kubelib.network.nftables import NftablesSettings, Ruleset, run_nft
from kubelib.network.services import ANY_NODE_ADDRESS, Backend, Frontend, Rule
from tests.ownnetwork import own_network, run

DNS = Frontend("10.96.0.5", 53, "UDP")
NODE_PORT = Frontend(ANY_NODE_ADDRESS, 30053, "UDP")
PODS = [Backend(f"10.244.0.{number}", 5353) for number in (1, 2)]
CLIENT = "10.244.0.9"


def leads(frontend: Frontend, *to: Backend, staying: Backend | None = None) -> Rule:
    serving = frozenset(to) | ({staying} if staying else frozenset())
    return Rule("default/dns:dns", frontend, to, serving=serving)


class Machine:
    """Two Pods that say who they are, and a client whose socket stays the same."""

    def __init__(self, stack: ExitStack) -> None:
        self._rules = Ruleset(NftablesSettings(table="kubelib-test", service_network="10.96.0.0/16"))
        run_nft(self._rules.begin())
        self.pods = [stack.enter_context(self._socket(pod.address, pod.port)) for pod in PODS]
        self.client = stack.enter_context(self._socket(CLIENT, 0))

    @staticmethod
    def _socket(address: str, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.settimeout(10)
        opened.bind((address, port))
        return opened

    def want(self, *rules: Rule) -> None:
        for script in self._rules.update({rule.frontend: rule for rule in rules}):
            run_nft(script)

    def who_answers(self, address: str, port: int) -> int:
        """Return the number of the Pod which the client's next datagram reaches, from 1."""
        self.client.sendto(b"who?", (address, port))
        [pod, *_], _, _ = select.select(self.pods, [], [], 10)
        _, asker = pod.recvfrom(100)
        pod.sendto(b"me", asker)
        assert self.client.recvfrom(100)[1] == (address, port)
        return self.pods.index(pod) + 1


@pytest.fixture
def machine() -> Iterator[Machine]:
    with own_network(), ExitStack() as stack:
        for address in (*(pod.address for pod in PODS), CLIENT):
            run("ip", "address", "add", f"{address}/32", "dev", "lo")
        run("ip", "route", "add", "local", "10.96.0.0/16", "dev", "lo")
        yield Machine(stack)


@pytest.mark.parametrize(
    ("frontend", "address"), [(DNS, DNS.address), (NODE_PORT, CLIENT)], ids=["address", "node port"]
)
def test_a_client_whose_endpoint_has_gone_reaches_another(
    machine: Machine, frontend: Frontend, address: str
) -> None:
    machine.want(leads(frontend, PODS[0]))
    assert machine.who_answers(address, frontend.port) == 1
    rule = leads(frontend, PODS[1])
    machine.want(rule)
    assert machine.who_answers(address, frontend.port) == 1  # the kernel remembers it
    forget_stale([rule])
    assert machine.who_answers(address, frontend.port) == 2


def test_a_client_stays_with_an_endpoint_that_is_going_but_serves(machine: Machine) -> None:
    machine.want(leads(DNS, PODS[0]))
    assert machine.who_answers(DNS.address, DNS.port) == 1
    rule = leads(DNS, PODS[1], staying=PODS[0])
    machine.want(rule)
    forget_stale([rule])
    assert machine.who_answers(DNS.address, DNS.port) == 1


def test_a_client_who_came_before_there_was_an_endpoint_reaches_the_first(machine: Machine) -> None:
    machine.client.sendto(b"anybody?", (DNS.address, DNS.port))
    rule = leads(DNS, PODS[1])
    machine.want(rule)
    forget_stale([rule])
    machine.client.close()
    assert [flow for flow in flows() if flow.endpoint == DNS.address] == []


def test_only_clients_of_services_with_endpoints_are_sent_elsewhere() -> None:
    def flow(address: str, port: int, endpoint: str) -> Flow:
        return Flow(address, port, endpoint, b"")

    gone, kept = flow("10.96.0.5", 53, "10.244.0.7"), flow("10.96.0.5", 53, "10.244.0.1")
    elsewhere, other_port = flow("192.0.2.1", 53, "192.0.2.1"), flow("10.96.0.5", 54, "10.244.0.7")
    at_node, no_endpoint = flow("192.0.2.9", 30053, "10.244.0.7"), flow("10.96.0.6", 53, "10.244.0.7")
    rules = [
        leads(DNS, PODS[0]),
        leads(NODE_PORT, PODS[0]),
        leads(Frontend("10.96.0.6", 53, "UDP")),
        leads(Frontend("10.96.0.5", 54, "TCP"), PODS[0]),
    ]
    everything = [gone, kept, elsewhere, other_port, at_node, no_endpoint]
    assert [*stale(everything, rules)] == [gone, at_node]


def test_what_the_kernel_has_forgotten_itself_is_no_error(machine: Machine) -> None:
    machine.want(leads(DNS, PODS[0]))
    machine.who_answers(DNS.address, DNS.port)
    known = flows()
    assert known
    forget(known)
    forget(known)
    assert flows() == []
