"""The proxy in user space over real sockets, on addresses of the loopback range."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import anyio
import anyio.abc
import pytest

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
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.client.local import LocalClient
from kubelib.client.update import update_with
from kubelib.network import following
from kubelib.network.services import SERVICE_NAME
from kubelib.network.tracking import ServiceTracker
from kubelib.network.userspace import ServiceProxy
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_meta, make_service

ADDRESS = "127.96.201.7"
"""Of the Service under test."""
PORT = 18080
Serve = Callable[[anyio.abc.SocketStream], Awaitable[None]]


class Network:
    """A proxy, its API, and servers that stand for Pods, at 127.244.201.1 and so on."""

    def __init__(self, client: LocalClient, stack: AsyncExitStack, group: anyio.abc.TaskGroup) -> None:
        self.client = client
        self._stack = stack
        self._group = group
        self.tracker = ServiceTracker(client, random=Random(1))
        self.proxy = ServiceProxy(self.tracker)

    async def service(self, protocol: str = "TCP", **spec: Any) -> None:
        port = ServicePort(name="p", port=PORT, protocol=protocol, node_port=spec.pop("node_port", 0))
        await self.client.resource(Service).create(
            make_service("web", cluster_ip=ADDRESS, ports=(port,), **spec)
        )

    async def endpoints(self, *numbers: int, going: Sequence[int] = (), protocol: str = "TCP") -> None:
        """Make these Pods, and no others, the Service's endpoints, and wait until the proxy knows; some may be going."""
        slices = self.client.resource(EndpointSlice)
        leaving = EndpointConditions(ready=False, serving=True, terminating=True)
        ends = tuple(
            Endpoint(addresses=(f"127.244.201.{n}",), conditions=conditions)
            for ns, conditions in ((numbers, EndpointConditions(ready=True)), (going, leaving))
            for n in ns
        )
        wanted = EndpointSlice(
            metadata=make_meta("web-x", "default", labels={SERVICE_NAME: "web"}),
            address_type="IPv4",
            endpoints=ends,
            ports=(EndpointPort(name="p", port=PORT, protocol=protocol),),
        )
        if (await slices.list()).items:
            await update_with(
                self.client, EndpointSlice, Key("default", "web-x"), lambda old: replace(old, endpoints=ends)
            )
        else:
            await slices.create(wanted)
        addresses = tuple(f"127.244.201.{n}" for n in numbers)
        with anyio.fail_after(60):
            while self._known() != addresses:
                await anyio.sleep(0.005)

    def _known(self) -> tuple[str, ...]:
        """Return the endpoints that the proxy uses at every address where it should listen."""
        proxy = self.proxy
        used = {turns.rule.backends if f in proxy._listeners else None for f, turns in proxy._turns.items()}
        [backends] = used if len(used) == 1 else [None]
        return tuple(b.address for b in backends or ())

    async def pod(self, number: int, serve: Serve | None = None) -> anyio.CancelScope:
        """Start a server that says which one it is, or does as told; return what ends its listening."""

        async def say(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.send(str(number).encode())

        listener = await anyio.create_tcp_listener(local_host=f"127.244.201.{number}", local_port=PORT)
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                async with listener:
                    await listener.serve(serve or say)

        self._group.start_soon(run)
        return scope


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    before = len(os.listdir("/proc/self/fd"))
    async with opened() as network:
        yield network
    assert len(os.listdir("/proc/self/fd")) <= before


@asynccontextmanager
async def opened() -> AsyncIterator[Network]:
    async with (
        MemoryStore() as store,
        ResourceRegistries(store) as registries,
        AsyncExitStack() as stack,
        anyio.create_task_group() as group,
    ):
        await registries.bootstrap()
        network = Network(LocalClient(registries), stack, group)
        await group.start(network.tracker.run)
        await group.start(network.proxy.run)
        yield network
        group.cancel_scope.cancel()


async def ask(*, source: str = "127.0.0.1", address: str = ADDRESS, port: int = PORT) -> str:
    """Connect to the Service, from an address; return what the server says until it closes."""
    stream = await anyio.connect_tcp(address, port, local_host=source)
    async with stream:
        said = b""
        with anyio.fail_after(60):
            try:
                while True:
                    said += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return said.decode()


async def test_connections_take_turns_among_the_endpoints(network: Network) -> None:
    for number in (1, 2, 3):
        await network.pod(number)
    await network.service()
    await network.endpoints(1, 2, 3)
    assert Counter([await ask() for _ in range(12)]) == {"1": 4, "2": 4, "3": 4}


async def test_an_endpoint_that_refuses_is_passed_over(network: Network) -> None:
    await network.pod(2)
    await network.service()
    await network.endpoints(1, 2)
    assert [await ask() for _ in range(4)] == ["2"] * 4


async def test_a_client_keeps_its_endpoint_for_as_long_as_its_affinity(network: Network) -> None:
    for number in (1, 2, 3):
        await network.pod(number)
    await network.service(session_affinity="ClientIP")
    await network.endpoints(1, 2, 3)
    for source in ("127.0.0.1", "127.0.0.2"):
        assert len({await ask(source=source) for _ in range(6)}) == 1
    assert len({await ask(source=f"127.0.1.{n}") for n in range(1, 7)}) == 3


async def test_a_client_that_was_away_for_longer_than_its_affinity_lasts_has_its_turn_like_any_other(
    network: Network,
) -> None:
    for number in (1, 2, 3):
        await network.pod(number)
    config = SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=1))
    await network.service(session_affinity="ClientIP", session_affinity_config=config)
    await network.endpoints(1, 2, 3)
    first = await ask()
    await anyio.sleep(1.1)
    assert await ask() != first


async def test_a_client_whose_endpoint_has_gone_gets_another_and_keeps_that(network: Network) -> None:
    for number in (1, 2, 3):
        await network.pod(number)
    await network.service(session_affinity="ClientIP")
    await network.endpoints(1, 2, 3)
    kept = int(await ask())
    await network.endpoints(*({1, 2, 3} - {kept}))
    others = {await ask() for _ in range(5)}
    assert len(others) == 1 and others != {str(kept)}


async def test_each_side_may_finish_first_and_still_read(network: Network) -> None:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            read = b""
            try:
                while True:
                    read += await stream.receive()
            except anyio.EndOfStream:
                await stream.send(b"%d bytes" % len(read))

    await network.pod(1, serve)
    await network.service()
    await network.endpoints(1)
    async with await anyio.connect_tcp(ADDRESS, PORT) as stream:
        await stream.send(b"x" * 1_000_000)
        await stream.send_eof()
        assert await stream.receive() == b"1000000 bytes"


async def test_an_open_connection_outlives_its_endpoints_and_its_service(network: Network) -> None:
    async def echo(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    await network.pod(1, echo)
    await network.pod(2)
    await network.service()
    await network.endpoints(1)
    async with await anyio.connect_tcp(ADDRESS, PORT) as stream:
        await stream.send(b"a")
        assert await stream.receive() == b"a"
        await network.endpoints(2)
        assert await ask() == "2"
        await stream.send(b"b")
        assert await stream.receive() == b"b"
        await network.client.resource(Service).delete(Key("default", "web"))
        await refused()
        await stream.send(b"c")
        assert await stream.receive() == b"c"


async def refused() -> None:
    """Wait until nobody listens for the Service."""
    with anyio.fail_after(60):
        while True:
            try:
                await ask()
            except OSError:
                return
            await anyio.sleep(0.01)


async def test_a_server_that_dies_in_the_middle_ends_the_connection(network: Network) -> None:
    async def die(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        await stream.aclose()

    await network.pod(1, die)
    await network.service()
    await network.endpoints(1)
    async with await anyio.connect_tcp(ADDRESS, PORT) as stream:
        await stream.send(b"x" * 10)
        with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


async def test_without_endpoints_a_client_is_refused_at_once(network: Network) -> None:
    await network.pod(1)
    await network.service()
    await refused()
    await network.endpoints(1)
    with anyio.fail_after(60):
        assert await ask() == "1"
    await network.endpoints()
    await refused()


async def test_a_node_port_reaches_the_same_endpoints(network: Network) -> None:
    await network.pod(1)
    await network.service(type="NodePort", node_port=31517)
    await network.endpoints(1)
    assert await ask(address="127.0.0.1", port=31517) == "1"
    assert await ask() == "1"


async def test_a_load_balancer_answers_only_those_whom_its_ranges_name(network: Network) -> None:
    await network.pod(1)
    balancer = "127.96.201.8"
    await network.service(type="LoadBalancer", load_balancer_source_ranges=("127.0.7.0/24",))
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=(LoadBalancerIngress(ip=balancer),)))
    await update_with(
        network.client, Service, Key("default", "web"), lambda old: replace(old, status=status),
        subresource="status",
    )  # fmt: skip
    await network.endpoints(1)
    with anyio.fail_after(60):
        while len(network.proxy._listeners) < 3:  # its own address, the balancer's and the port of the node
            await anyio.sleep(0.01)
    assert await ask(source="127.0.7.1", address=balancer) == "1"
    assert await ask(source="127.0.8.1", address=balancer) == ""
    assert await ask(source="127.0.8.1") == "1"


async def test_what_it_cannot_forward_it_does_not_take_from_others(network: Network) -> None:
    await network.pod(1)
    ports = tuple(ServicePort(name=p.lower(), port=PORT, protocol=p) for p in ("SCTP", "TCP"))
    await network.client.resource(Service).create(make_service("web", cluster_ip=ADDRESS, ports=ports))
    await network.client.resource(EndpointSlice).create(
        EndpointSlice(
            metadata=make_meta("web-x", "default", labels={SERVICE_NAME: "web"}),
            address_type="IPv4",
            endpoints=(Endpoint(addresses=("127.244.201.1",)),),
            ports=tuple(EndpointPort(name=p.lower(), port=PORT, protocol=p) for p in ("SCTP", "TCP")),
        )
    )
    with anyio.fail_after(60):
        while not network.proxy._listeners:
            await anyio.sleep(0.01)
    assert {frontend.protocol for frontend in network.proxy._listeners} == {"TCP"}
    assert await ask() == "1"


async def test_an_address_that_is_taken_is_tried_again(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "AGAIN", 0.05)
    await network.pod(1)
    other = await anyio.create_tcp_listener(local_host=ADDRESS, local_port=PORT)
    await network.service()
    slices = network.client.resource(EndpointSlice)
    async with other, anyio.create_task_group() as group:
        group.start_soon(network.endpoints, 1)
        with anyio.fail_after(60):
            while "cannot listen on" not in caplog.text:
                await anyio.sleep(0.01)
        await other.aclose()
    assert (await slices.list()).items
    with anyio.fail_after(60):
        assert await ask() == "1"


async def test_datagrams_go_to_an_endpoint_and_answers_come_back(network: Network) -> None:
    async def serve(number: int, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        async with await anyio.create_udp_socket(
            local_host=f"127.244.201.{number}", local_port=PORT
        ) as socket:
            task_status.started()
            async for data, (host, port) in socket:
                await socket.sendto(b"%d:" % number + data, host, port)

    await network._group.start(serve, 1)
    await network._group.start(serve, 2)
    await network.service(protocol="UDP")
    await network.endpoints(1, protocol="UDP")
    async with await anyio.create_connected_udp_socket(ADDRESS, PORT) as one:
        for text in (b"a", b"b"):
            await one.send(text)
            with anyio.fail_after(60):
                assert await one.receive() == b"1:" + text
        await network.endpoints(2, going=[1], protocol="UDP")
        await one.send(b"still")
        with anyio.fail_after(60):
            assert await one.receive() == b"1:still"
        await network.endpoints(3, protocol="UDP")
        await network.endpoints(2, protocol="UDP")
        await one.send(b"c")
        with anyio.fail_after(60):
            assert await one.receive() == b"2:c"
        await network.endpoints(3, protocol="UDP")
        for _ in range(3):
            await one.send(b"lost")
            await anyio.sleep(0.02)
        await network.endpoints(1, protocol="UDP")
        await one.send(b"d")
        with anyio.fail_after(60):
            assert await one.receive() == b"1:d"
