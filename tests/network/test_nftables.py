"""The proxy in the kernel: what it writes, and that the kernel takes it; whether it leads anywhere is seen in tests/external/test_nftables.py."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from random import Random
from typing import Any

import anyio
import attrs
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from kubelib.api.core.service import Service, ServicePort
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.network import following, nftables
from kubelib.network.nftables import (
    NftablesError,
    NftablesProxy,
    NftablesSettings,
    Ruleset,
    run_nft,
    within_reach,
)
from kubelib.network.services import ANY_NODE_ADDRESS, SERVICE_NAME, Backend, Frontend, Outside, Rule
from kubelib.network.tracking import ServiceTracker
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_meta, make_service
from tests.ownnetwork import own_network, run

WEB = Frontend("10.96.0.5", 80)
PORT = Frontend(ANY_NODE_ADDRESS, 30080)
SETTINGS = NftablesSettings(table="kubelib-test", service_network="10.96.0.0/16")


def pods(*numbers: int) -> tuple[Backend, ...]:
    return tuple(Backend(f"10.244.0.{number}", 8080) for number in numbers)


def rule(frontend: Frontend, *numbers: int, **more: Any) -> Rule:
    more.setdefault("external", frontend.address == ANY_NODE_ADDRESS)
    return Rule("default/web:http", frontend, pods(*numbers), **more)


class Kernel:
    """The table as the kernel has it, in a network of its own, and the rules that are put into it."""

    def __init__(self, settings: NftablesSettings = SETTINGS) -> None:
        self.rules = Ruleset(settings)
        run_nft(self.rules.begin())

    def want(self, *rules: Rule) -> int:
        """Bring it about; return how many transactions that took."""
        wanted = {rule.frontend: rule for rule in rules}
        scripts = 0
        for script in self.rules.update(wanted):
            run_nft(script)
            scripts += 1
        return scripts

    def chains(self) -> Mapping[str, list[str]]:
        """Return the rules of each chain."""
        found: dict[str, list[str]] = {}
        chain = ""
        for line in map(str.strip, run("nft", "list", "table", "ip", "kubelib-test").splitlines()):
            if line.startswith("chain "):
                chain = line.split()[1]
                found[chain] = []
            elif line == "}":
                chain = ""
            elif chain:
                found[chain].append(line)
        return found

    @staticmethod
    def elements(name: str) -> str:
        told = run("nft", "list", "map", "ip", "kubelib-test", name)
        return " ".join(told.partition("elements = {")[2].partition("}")[0].split())


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with own_network():
        yield Kernel()


def test_a_service_leads_to_its_endpoints_in_turn(kernel: Kernel) -> None:
    assert kernel.want(rule(WEB, 1, 2)) == 1
    assert kernel.elements("services") == "10.96.0.5 . tcp . 80 : goto s1"
    chains = kernel.chains()
    assert chains["s1"] == [
        "numgen random mod 2 vmap { 0 : goto s1-10.244.0.1/8080, 1 : goto s1-10.244.0.2/8080 }"
    ]
    assert chains["s1-10.244.0.1/8080"] == [
        "ip saddr 10.244.0.1 meta mark set meta mark | 0x00004000",
        "meta l4proto tcp dnat to 10.244.0.1:8080",
    ]


def test_what_has_not_changed_costs_nothing(kernel: Kernel) -> None:
    kernel.want(rule(WEB, 1, 2), rule(PORT, 1))
    assert kernel.want(rule(PORT, 1), rule(WEB, 1, 2)) == 0


def test_endpoints_come_and_go(kernel: Kernel) -> None:
    kernel.want(rule(WEB, 1, 2))
    kernel.want(rule(WEB, 2, 3, 4))
    chains = kernel.chains()
    assert {name for name in chains if name.startswith("s1")} == {
        "s1", "s1-10.244.0.2/8080", "s1-10.244.0.3/8080", "s1-10.244.0.4/8080",
    }  # fmt: skip
    assert chains["s1"][0].startswith("numgen random mod 3 vmap { 0 : goto s1-10.244.0.2/8080")
    kernel.want(rule(WEB, 4))
    assert kernel.chains()["s1"] == ["goto s1-10.244.0.4/8080"]


def test_nothing_is_left_of_a_service_that_has_gone(kernel: Kernel) -> None:
    before = run("nft", "list", "ruleset")
    kernel.want(rule(WEB, 1, 2, affinity=60.0), rule(PORT, 1))
    kernel.want()
    assert run("nft", "list", "ruleset") == before


def test_a_client_is_kept_with_its_endpoint_as_long_as_it_is_asked(kernel: Kernel) -> None:
    kernel.want(rule(WEB, 1, 2, affinity=10800.0))
    chains = kernel.chains()
    assert chains["s1"][:2] == [
        "ip saddr @s1-10.244.0.1/8080 goto s1-10.244.0.1/8080",
        "ip saddr @s1-10.244.0.2/8080 goto s1-10.244.0.2/8080",
    ]
    assert "update @s1-10.244.0.1/8080 { ip saddr timeout 3h }" in chains["s1-10.244.0.1/8080"]


def test_ports_of_the_node_are_at_all_its_addresses_and_hide_who_asks(kernel: Kernel) -> None:
    kernel.want(rule(PORT, 1))
    assert kernel.elements("ports") == "tcp . 30080 : goto s1"
    assert kernel.chains()["s1"][0] == "meta mark set meta mark | 0x00004000"
    assert "ip daddr { 10.96.0.0/16, 127.0.0.0/8 } return" in kernel.chains()["divert"]


def test_ports_of_the_node_may_be_kept_to_some_of_its_addresses() -> None:
    with own_network():
        addresses = ("192.0.2.0/24", "198.51.100.7/32")
        kernel = Kernel(attrs.evolve(SETTINGS, node_port_addresses=addresses))
        assert kernel.chains()["divert"][1:] == [
            "ip daddr { 10.96.0.0/16, 127.0.0.0/8 } return",
            "ip daddr != { 192.0.2.0/24, 198.51.100.7 } return",
            "fib daddr type local meta l4proto . th dport vmap @ports",
        ]


def test_who_comes_from_outside_stays_on_the_machine_and_is_seen_where_the_policy_is_local(
    kernel: Kernel,
) -> None:
    before = run("nft", "list", "ruleset")
    outside = Outside(pods(2, 3), ("10.244.0.0/24",))
    kernel.want(rule(PORT, 1, 2, outside=outside))
    chains = kernel.chains()
    assert chains["s1"] == [
        "ip saddr 10.244.0.0/24 goto s1-inside",
        "fib saddr type local meta mark set meta mark | 0x00004000 goto s1-inside",
        "numgen random mod 2 vmap { 0 : goto s1-10.244.0.2/8080, 1 : goto s1-10.244.0.3/8080 }",
    ]
    assert chains["s1-inside"] == [
        "numgen random mod 2 vmap { 0 : goto s1-10.244.0.1/8080, 1 : goto s1-10.244.0.2/8080 }"
    ]
    kernel.want(rule(PORT, 1, outside=Outside(())))
    assert kernel.chains()["s1"][1:] == ["drop"]
    kernel.want(rule(PORT, 1))
    assert set(kernel.chains()) & {"s1-inside", "s1-10.244.0.3/8080"} == set()
    kernel.want(rule(PORT, 1, outside=outside))
    kernel.want()
    assert run("nft", "list", "ruleset") == before


def test_whom_the_ranges_of_a_load_balancer_do_not_name_gets_no_answer(kernel: Kernel) -> None:
    kernel.want(rule(WEB, 1, sources=("192.0.2.0/24", "198.51.100.7/32"), external=True))
    assert kernel.chains()["s1"] == [
        "ip saddr != { 192.0.2.0/24, 198.51.100.7 } drop",
        "meta mark set meta mark | 0x00004000",
        "goto s1-10.244.0.1/8080",
    ]


def test_many_services_are_changed_in_a_few_transactions(kernel: Kernel) -> None:
    many = [rule(Frontend(f"10.96.{n // 200}.{n % 200 + 1}", 80), 1, 2, 3) for n in range(1000)]
    assert kernel.want(*many) == 5
    assert kernel.want(*many[1:]) == 1


def test_what_the_kernel_refuses_is_an_error_and_changes_nothing(kernel: Kernel) -> None:
    before = run("nft", "list", "ruleset")
    with pytest.raises(NftablesError, match=r"nft: .*Error"):
        run_nft("add chain ip kubelib-test good\nadd rule ip kubelib-test bad accept\n")
    assert run("nft", "list", "ruleset") == before


@pytest.mark.parametrize(
    ("network", "frontend", "backend", "within"),
    [
        ("10.96.0.0/16", "10.96.0.5", "10.244.0.1", True),
        ("10.96.0.0/16", "10.96.0.1", "127.0.0.1", False),
        ("127.96.0.0/16", "127.96.0.5", "127.244.0.1", True),
        ("127.96.0.0/16", "127.96.0.1", "127.0.0.1", True),
        ("10.96.0.0/16", "2001:db8::1", "2001:db8::2", False),
        ("10.96.0.0/16", ANY_NODE_ADDRESS, "10.244.0.1", True),
    ],
)
def test_what_the_kernel_cannot_do_is_left_to_others(
    network: str, frontend: str, backend: str, within: bool
) -> None:
    asked = Rule("default/web:http", Frontend(frontend, 80), (Backend(backend, 8080),))
    assert within_reach(asked, network) is within


class TestTheComponent:
    """It hears of Services and endpoints, tries again what failed, and leaves nothing behind."""

    @pytest.fixture
    async def client(self) -> AsyncIterator[LocalClient]:
        async with MemoryStore() as store, ResourceRegistries(store) as registries:
            await registries.bootstrap()
            client = LocalClient(registries)
            await client.resource(Service).create(make_service("web", cluster_ip="127.96.0.5"))
            await client.resource(EndpointSlice).create(
                EndpointSlice(
                    metadata=make_meta("web-x", "default", labels={SERVICE_NAME: "web"}),
                    address_type="IPv4",
                    endpoints=(
                        Endpoint(addresses=("127.244.0.1",), conditions=EndpointConditions(ready=True)),
                    ),
                    ports=(EndpointPort(name="", port=8080, protocol="TCP"),),
                )
            )
            yield client

    async def start(self, client: LocalClient, group: TaskGroup) -> None:
        tracker = ServiceTracker(client, random=Random(1))
        settings = NftablesSettings(table="kubelib-test", service_network="127.96.0.0/16")
        await group.start(tracker.run)
        await group.start(NftablesProxy(tracker, settings=settings).run)

    async def test_a_service_is_in_the_table_while_it_runs(
        self, client: LocalClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scripts: list[str] = []
        monkeypatch.setattr(nftables, "run_nft", scripts.append)
        async with anyio.create_task_group() as group:
            await self.start(client, group)
            assert "add element ip kubelib-test services { 127.96.0.5 . tcp . 80 : goto s1 }" in scripts[1]
            await client.resource(Service).delete((await client.resource(Service).list()).items[-1].key)
            with anyio.fail_after(10):
                while "delete element ip kubelib-test services" not in scripts[-1]:
                    await checkpoint()
            group.cancel_scope.cancel()
        assert scripts[-1] == "add table ip kubelib-test\ndelete table ip kubelib-test\n"

    async def test_what_failed_is_made_anew_after_a_while(
        self, client: LocalClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        scripts: list[str] = []

        def fails_once(script: str) -> None:
            scripts.append(script)
            if len(scripts) == 2:
                raise NftablesError("nft: out of memory")

        monkeypatch.setattr(following, "AGAIN", 0.05)
        monkeypatch.setattr(nftables, "run_nft", fails_once)
        async with anyio.create_task_group() as group:
            await self.start(client, group)
            with anyio.fail_after(10):
                while len(scripts) < 4:
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert scripts[2].startswith("add table ip kubelib-test\ndelete table")
        assert "127.96.0.5 . tcp . 80" in scripts[3]
        assert "out of memory" in caplog.text

    async def test_clients_by_udp_are_sent_elsewhere_when_endpoints_go(
        self, client: LocalClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked: list[set[str]] = []

        def forget(rules: Iterable[Rule]) -> None:
            asked.append({backend.address for rule in rules for backend in rule.serving})
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(nftables, "run_nft", lambda script: None)
        monkeypatch.setattr(nftables, "forget_stale", forget)
        slices = client.resource(EndpointSlice)
        async with anyio.create_task_group() as group:
            await self.start(client, group)
            assert asked == []  # there are none by UDP
            port = ServicePort(name="dns", port=53, protocol="UDP")
            await client.resource(Service).create(make_service("dns", cluster_ip="127.96.0.6", ports=(port,)))
            made = await slices.create(
                EndpointSlice(
                    metadata=make_meta("dns-x", "default", labels={SERVICE_NAME: "dns"}),
                    address_type="IPv4",
                    endpoints=(Endpoint(addresses=("127.244.0.1",)), Endpoint(addresses=("127.244.0.2",))),
                    ports=(EndpointPort(name="dns", port=53, protocol="UDP"),),
                )
            )
            with anyio.fail_after(10):
                while not asked:
                    await checkpoint()
                await slices.update(replace(made, endpoints=made.endpoints[:1]))
                while asked[-1] != {"127.244.0.1"}:
                    await checkpoint()
            group.cancel_scope.cancel()
        assert asked[0] == {"127.244.0.1", "127.244.0.2"}
        assert caplog.text.count("stay with endpoints that have gone: Operation not permitted") == 1

    def test_without_the_program_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda *words, **path: None)
        with pytest.raises(NftablesError, match="install the package nftables"):
            run_nft("")
