"""The cluster's DNS server over real sockets, asked by a library of others."""

import socket
from collections.abc import AsyncIterator, Sequence
from random import Random

import anyio
import anyio.abc
import pytest
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from dnslib import EDNS0, QTYPE, RCODE, RR, A, DNSRecord

from kubelib.api.core.service import Service, ServicePort
from kubelib.api.discovery import Endpoint, EndpointConditions, EndpointSlice
from kubelib.client.local import LocalClient
from kubelib.network.dns import ClusterDns, may_listen
from kubelib.network.services import SERVICE_NAME
from kubelib.network.tracking import ServiceTracker
from kubelib.registry.registries import ResourceRegistries
from kubelib.store import MemoryStore
from kubelib.testing.objects import make_meta, make_service

ADDRESS, PORT = "127.96.202.10", 15353
OTHERS = ("127.96.202.53", 15353)
"""Where the test itself answers for the names of the world."""


@pytest.fixture
async def client() -> AsyncIterator[LocalClient]:
    async with MemoryStore() as store, ResourceRegistries(store) as registries:
        await registries.bootstrap()
        yield LocalClient(registries)


@pytest.fixture
async def group() -> AsyncIterator[anyio.abc.TaskGroup]:
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()


@pytest.fixture
async def dns(client: LocalClient, group: anyio.abc.TaskGroup) -> ClusterDns:
    return await started(client, group, upstream=[OTHERS])


async def started(
    client: LocalClient, group: anyio.abc.TaskGroup, upstream: Sequence[tuple[str, int]] = ()
) -> ClusterDns:
    tracker = ServiceTracker(client, random=Random(1))
    server = ClusterDns(tracker, random=Random(1), address=ADDRESS, port=PORT, upstream=upstream)
    await group.start(tracker.run)
    await group.start(server.run)
    return server


async def ask(name: str, type: str = "A", *, tcp: bool = False, edns: int = 0) -> DNSRecord:
    """Ask, and return the answer."""
    question = DNSRecord.question(name, type)
    if edns:
        question.add_ar(EDNS0(udp_len=edns))
    with anyio.fail_after(10):
        return DNSRecord.parse(await exchange(question.pack(), tcp=tcp))


async def exchange(question: bytes, *, tcp: bool = False) -> bytes:
    if not tcp:
        async with await anyio.create_connected_udp_socket(ADDRESS, PORT) as other:
            await other.send(question)
            return await other.receive()
    async with await anyio.connect_tcp(ADDRESS, PORT) as stream:
        await stream.send(len(question).to_bytes(2, "big") + question)
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + int.from_bytes(answer[:2], "big"):
            answer += await stream.receive()
        return answer[2:]


def data(answer: DNSRecord) -> list[str]:
    return [str(record.rdata) for record in answer.rr]


async def seen(client: LocalClient, name: str) -> None:
    """Wait until a name is known."""
    with anyio.fail_after(10):
        while (await ask(name)).header.rcode != RCODE.NOERROR:
            await checkpoint()


async def answer_for_others(
    group: anyio.abc.TaskGroup, answers: dict[str, str], heard: list[tuple[str, str]]
) -> None:
    """Be the server of the world, over UDP and TCP."""

    def reply(message: bytes, how: str) -> bytes:
        asked = DNSRecord.parse(message)
        name = str(asked.q.qname)
        heard.append((how, name))
        answer = asked.reply(aa=0)
        if name in answers:
            answer.add_answer(RR(name, QTYPE.A, rdata=A(answers[name]), ttl=7))
        else:
            answer.header.rcode = RCODE.NXDOMAIN
        return bytes(answer.pack())

    async def by_tcp(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            message = await stream.receive()
            answer = reply(message[2:], "tcp")
            await stream.send(len(answer).to_bytes(2, "big") + answer)

    async def serve(*, task_status: TaskStatus[None]) -> None:
        async with (
            await anyio.create_udp_socket(local_host=OTHERS[0], local_port=OTHERS[1]) as datagrams,
            await anyio.create_tcp_listener(local_host=OTHERS[0], local_port=OTHERS[1]) as listener,
            anyio.create_task_group() as serving,
        ):
            serving.start_soon(listener.serve, by_tcp)
            task_status.started()
            async for message, sender in datagrams:
                await datagrams.sendto(reply(message, "udp"), *sender)

    await group.start(serve)


@pytest.mark.parametrize("tcp", [False, True])
async def test_names_of_services_lead_to_their_addresses(
    client: LocalClient, dns: ClusterDns, tcp: bool
) -> None:
    service = await client.resource(Service).create(make_service("web"))
    await seen(client, "web.default.svc.cluster.local")
    answer = await ask("web.default.svc.cluster.local", tcp=tcp)
    assert data(answer) == [service.spec.cluster_ip]
    assert (answer.header.aa, answer.header.ra, answer.rr[0].ttl) == (1, 1, 30)


async def test_ports_are_told_with_the_addresses_of_where_they_are(
    client: LocalClient, dns: ClusterDns
) -> None:
    ports = (ServicePort(name="http", port=80, protocol="TCP"),)
    service = await client.resource(Service).create(make_service("web", ports=ports))
    await seen(client, "web.default.svc.cluster.local")
    answer = await ask("_http._tcp.web.default.svc.cluster.local", "SRV")
    assert data(answer) == ["0 100 80 web.default.svc.cluster.local."]
    assert [str(record.rdata) for record in answer.ar] == [service.spec.cluster_ip]


async def test_what_does_not_exist_is_said_not_to_and_for_how_long(
    client: LocalClient, dns: ClusterDns
) -> None:
    answer = await ask("nobody.default.svc.cluster.local")
    assert answer.header.rcode == RCODE.NXDOMAIN
    assert str(answer.auth[0].rname) == "cluster.local."
    assert answer.auth[0].ttl == 5
    none = await ask("kubernetes.default.svc.cluster.local", "AAAA")
    assert none.rr == []


async def test_an_answer_too_long_for_a_datagram_is_asked_for_again(
    client: LocalClient, dns: ClusterDns
) -> None:
    await client.resource(Service).create(make_service("many", cluster_ip="None"))
    ends = tuple(
        Endpoint(addresses=(f"10.1.{n // 200}.{n % 200 + 1}",), conditions=EndpointConditions(ready=True))
        for n in range(90)
    )
    await client.resource(EndpointSlice).create(
        EndpointSlice(
            metadata=make_meta("many-x", "default", labels={SERVICE_NAME: "many"}),
            address_type="IPv4",
            endpoints=ends,
        )
    )
    name = "many.default.svc.cluster.local"
    await seen(client, name)
    short = await ask(name)
    assert short.header.tc == 1
    assert str(short.q.qname) == f"{name}."
    assert short.rr == []
    assert (await ask(name, edns=1232)).header.tc == 1
    assert len((await ask(name, tcp=True)).rr) == 90


async def test_who_takes_longer_datagrams_gets_them(client: LocalClient, dns: ClusterDns) -> None:
    await client.resource(Service).create(make_service("some", cluster_ip="None"))
    ends = tuple(
        Endpoint(addresses=(f"10.1.2.{n}",), conditions=EndpointConditions(ready=True)) for n in range(1, 41)
    )
    await client.resource(EndpointSlice).create(
        EndpointSlice(
            metadata=make_meta("some-x", "default", labels={SERVICE_NAME: "some"}),
            address_type="IPv4",
            endpoints=ends,
        )
    )
    await seen(client, "some.default.svc.cluster.local")
    assert (await ask("some.default.svc.cluster.local")).header.tc == 1
    answer = await ask("some.default.svc.cluster.local", edns=1232)
    assert len(answer.rr) == 40
    assert answer.ar[0].rtype == QTYPE.OPT


@pytest.mark.parametrize("tcp", [False, True])
async def test_names_of_the_world_are_asked_of_others_the_way_they_came(
    client: LocalClient, dns: ClusterDns, group: anyio.abc.TaskGroup, tcp: bool
) -> None:
    heard: list[tuple[str, str]] = []
    await answer_for_others(group, {"www.example.com.": "192.0.2.80"}, heard)
    answer = await ask("www.example.com", tcp=tcp)
    assert data(answer) == ["192.0.2.80"]
    assert answer.rr[0].ttl == 7
    assert (await ask("nobody.example.com", tcp=tcp)).header.rcode == RCODE.NXDOMAIN
    assert {how for how, _ in heard} == {"tcp" if tcp else "udp"}


async def test_an_external_name_is_followed(
    client: LocalClient, dns: ClusterDns, group: anyio.abc.TaskGroup
) -> None:
    heard: list[tuple[str, str]] = []
    await answer_for_others(group, {"www.example.com.": "192.0.2.80"}, heard)
    services = client.resource(Service)
    web = await services.create(make_service("web"))
    await services.create(make_service("far", type="ExternalName", external_name="www.example.com"))
    await services.create(
        make_service("near", type="ExternalName", external_name="web.default.svc.cluster.local")
    )
    await seen(client, "far.default.svc.cluster.local")
    await seen(client, "near.default.svc.cluster.local")
    assert data(await ask("far.default.svc.cluster.local")) == ["www.example.com.", "192.0.2.80"]
    near = await ask("near.default.svc.cluster.local")
    assert data(near) == ["web.default.svc.cluster.local.", web.spec.cluster_ip]


async def test_an_external_name_that_leads_to_itself_ends(client: LocalClient, dns: ClusterDns) -> None:
    own = "loop.default.svc.cluster.local"
    await client.resource(Service).create(make_service("loop", type="ExternalName", external_name=own))
    await seen(client, own)
    assert set(data(await ask(own))) == {f"{own}."}


async def test_names_of_the_world_fail_at_once_if_nobody_knows_them(
    client: LocalClient, dns: ClusterDns
) -> None:
    assert (await ask("www.example.com")).header.rcode == RCODE.SERVFAIL


@pytest.mark.parametrize("rubbish", [b"", b"\x00", b"x" * 100, DNSRecord.question("a.b").reply().pack()])
async def test_what_is_no_question_gets_no_answer_and_does_no_harm(
    client: LocalClient, dns: ClusterDns, rubbish: bytes
) -> None:
    async with await anyio.create_connected_udp_socket(ADDRESS, PORT) as other:
        await other.send(rubbish)
        assert (await ask("dns-version.cluster.local", "TXT")).rr
        with anyio.move_on_after(0.05) as waited:
            await other.receive()
        assert waited.cancelled_caught


async def test_where_somebody_listens_it_waits_until_they_have_gone(
    client: LocalClient, group: anyio.abc.TaskGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubelib.network.dns.AGAIN", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.bind((ADDRESS, PORT))
        assert not may_listen(ADDRESS, PORT)
        await started(client, group)
    with anyio.fail_after(10):
        while not may_taken():
            await anyio.sleep(0.02)
    assert (await ask("dns-version.cluster.local", "TXT")).rr


def may_taken() -> bool:
    """Return whether somebody listens there."""
    return not may_listen(ADDRESS, PORT)
