"""The cluster's DNS server: names of Services and endpoints, and for all other names what the host's own servers say.

It does what CoreDNS does in most clusters, without Pods of its own: it listens at the address of the Service ``kube-dns`` itself, on
every node where the proxy runs, as NodeLocal DNSCache does.
"""

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.network.following import AGAIN, GONE
from kubelib.network.records import DOMAIN, ClusterNames, Found, Record
from kubelib.network.tracking import ServiceTracker

if TYPE_CHECKING:
    from dnslib import RR, DNSRecord

log = logging.getLogger("kubelib.network")

PORT = 53
TTL = 30
"""Seconds for which an answer may be kept, as CoreDNS has it; `NEGATIVE_TTL` for the answer that there is nothing."""
NEGATIVE_TTL = 5
UDP_SIZE = 512
"""Bytes of an answer over UDP, for those who do not say that they take more."""
LARGEST_UDP = 1232
PATIENCE = 2.0
"""Seconds in which one of the host's servers has to answer before the next one is asked."""
IDLE = 30.0
"""Seconds for which a connection may say nothing."""
AT_ONCE = 256
"""Questions to the host's servers that may be open at a time; more over UDP are dropped, as on a busy network."""
ALIASES = 8
"""How many aliases are followed from one name."""


def may_listen(address: str, port: int = PORT) -> bool:
    """Return whether this user may listen for names there: only root may on most machines, or else nobody else does already."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


class ClusterDns:
    """A component: answers at one address over UDP and TCP."""

    def __init__(
        self,
        tracker: ServiceTracker,
        *,
        random: Random,
        address: str,
        port: int = PORT,
        domain: str = DOMAIN,
        upstream: Sequence[tuple[str, int]] = (),
        name: str = "cluster-dns",
    ) -> None:
        """Make a server for the Services of a tracker that runs.

        `upstream` is where those are who know the names outside of `domain`, asked one after the other.
        """
        self.name = name
        self._address, self._port = address, port
        self._upstream = [server for server in upstream if server != (address, port)]
        self._random = random
        self._names = ClusterNames(tracker.services, tracker.slices, domain=domain)
        self._limit = anyio.CapacityLimiter(AT_ONCE)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once questions are taken, or somebody else is found to take them."""
        refused = False
        while True:
            try:
                await self._serve(task_status)
            except OSError as error:
                if not refused:
                    refused = True
                    log.warning(
                        "names of Services do not resolve: cannot listen on %s:%s, trying again every %d s: %s",
                        self._address,
                        self._port,
                        AGAIN,
                        error.strerror or error,
                    )
                    task_status.started()
            await anyio.sleep(AGAIN)

    async def _serve(self, task_status: TaskStatus[None]) -> None:
        """Take questions. Raises OSError if nobody may listen there."""
        async with (
            await anyio.create_udp_socket(local_host=self._address, local_port=self._port) as datagrams,
            await anyio.create_tcp_listener(local_host=self._address, local_port=self._port) as connections,
            anyio.create_task_group() as group,
        ):
            with suppress(RuntimeError):  # it has been said that it has started, without listening
                task_status.started()
            group.start_soon(connections.serve, self._serve_connection)
            async for question, client in datagrams:
                await self._take(question, client, datagrams, group)

    async def _take(
        self, question: bytes, client: tuple[str, int], datagrams: anyio.abc.UDPSocket, group: TaskGroup
    ) -> None:
        """Answer a datagram: at once if it is about the cluster, otherwise when somebody else has answered."""

        async def reply(answer: bytes) -> None:
            with suppress(*GONE):  # as on any network: a datagram may be lost
                await datagrams.sendto(answer, *client)

        async def later(asked: _Question) -> None:
            async with self._limit:
                await reply(await self._answer(asked))

        asked = self._read(question, udp=True)
        if asked is None:
            return  # what is no question gets no answer
        if asked.known is not None:
            await reply(self._packed(asked, asked.known))
        elif self._limit.borrowed_tokens < AT_ONCE:
            group.start_soon(later, asked)

    async def _serve_connection(self, stream: anyio.abc.SocketStream) -> None:
        from anyio.streams.buffered import BufferedByteReceiveStream

        buffer = BufferedByteReceiveStream(stream)
        async with stream:
            try:
                while True:
                    with anyio.fail_after(IDLE):
                        size = int.from_bytes(await buffer.receive_exactly(2), "big")
                        question = await buffer.receive_exactly(size)
                    asked = self._read(question, udp=False)
                    if asked is None:
                        return
                    if asked.known is not None:
                        answer = self._packed(asked, asked.known)
                    else:
                        async with self._limit:
                            answer = await self._answer(asked)
                    with anyio.fail_after(IDLE):
                        await stream.send(len(answer).to_bytes(2, "big") + answer)
            except (*GONE, TimeoutError, anyio.IncompleteRead):
                return

    def _read(self, message: bytes, *, udp: bool) -> "_Question | None":
        """Return what a message asks, and what there is of it here; None if it does not ask one question."""
        from dnslib import QTYPE

        asked = _parsed(message)
        if asked is None or asked.header.qr or len(asked.questions) != 1:
            return None
        type = str(QTYPE.get(asked.q.qtype))
        return _Question(message, asked, type, self._names.look_up(str(asked.q.qname), type), udp)

    async def _answer(self, question: "_Question") -> bytes:
        """Return the answer to a question that others know, at least in part."""
        from dnslib import RCODE

        if question.found is None:
            answer = await self._ask_others(question.message, udp=question.udp)
            if answer is not None:
                return answer
        else:
            chain = await self._followed(question.found, question.type)
            if chain is not None:
                return self._packed(question, question.found, chain)
        failed = question.asked.reply(aa=0)
        failed.header.rcode = RCODE.SERVFAIL
        return bytes(failed.pack())

    async def _followed(self, found: Found, type: str) -> list["RR"] | None:
        """Return the records at the end of an alias, other aliases on the way among them; None if nobody can tell."""
        from dnslib import DNSRecord

        records: list[RR] = []
        for _ in range(ALIASES):
            alias = _alias(found)
            if alias is None:
                break
            inside = self._names.look_up(alias.data, type)
            if inside is None:
                question = DNSRecord.question(alias.data, type)
                question.header.id = self._random.getrandbits(16)
                answer = await self._ask_others(bytes(question.pack()), udp=False)
                parsed = _parsed(answer) if answer is not None else None
                if parsed is None:
                    return None
                return [*records, *parsed.rr]
            records += [_wire(record) for record in inside.records]
            found = inside
        return records

    async def _ask_others(self, question: bytes, *, udp: bool) -> bytes | None:
        for server in self._upstream:
            try:
                with anyio.fail_after(PATIENCE):
                    answer = await (_ask_by_udp if udp else _ask_by_tcp)(server, question)
            except (*GONE, TimeoutError, anyio.IncompleteRead):
                continue
            if answer[:2] == question[:2]:
                return answer
        return None

    def _packed(self, question: "_Question", found: Found, chain: Sequence["RR"] = ()) -> bytes:
        """Return an answer as it is sent; cut short over UDP if it is too long, so that it is asked for over TCP."""
        from dnslib import EDNS0, QTYPE, RCODE, RR, SOA

        asked = question.asked
        answer = asked.reply()
        for record in found.records:
            answer.add_answer(_wire(record))
        answer.add_answer(*chain)
        answer.add_ar(*(_wire(record) for record in found.additional))
        if not found.exists:
            answer.header.rcode = RCODE.NXDOMAIN
        if not found.records:
            zone = self._names.domain
            times = (1, 7200, 1800, 86400, NEGATIVE_TTL)
            start = SOA(f"ns.dns.{zone}", f"hostmaster.{zone}", times)
            answer.add_auth(RR(zone, QTYPE.SOA, rdata=start, ttl=NEGATIVE_TTL))
        size = UDP_SIZE
        for extra in asked.ar:
            if extra.rtype == QTYPE.OPT:
                size = max(UDP_SIZE, min(extra.edns_len, LARGEST_UDP))
                answer.add_ar(EDNS0(udp_len=LARGEST_UDP))
        packed = bytes(answer.pack())
        if not question.udp or len(packed) <= size:
            return packed
        cut = asked.reply()
        cut.header.tc = 1
        return bytes(cut.pack())


@attrs.frozen
class _Question:
    """What somebody asks."""

    message: bytes
    asked: "DNSRecord"
    type: str
    found: Found | None
    """What there is of the name in the cluster; None if it is not the cluster's."""
    udp: bool

    @property
    def known(self) -> Found | None:
        """The answer, if nobody else has to be asked for it."""
        if self.found is None or (_alias(self.found) is not None and self.type != "CNAME"):
            return None
        return self.found


def _parsed(message: bytes) -> "DNSRecord | None":
    """Return a message; None if it is none."""
    from dnslib import DNSError, DNSRecord

    try:
        return DNSRecord.parse(message)
    except (DNSError, ValueError, IndexError):
        return None


def _alias(found: Found) -> Record | None:
    """Return the record that says to look elsewhere, if it is one."""
    return found.records[0] if found.records and found.records[0].type == "CNAME" else None


def _wire(record: Record) -> "RR":
    from dnslib import QTYPE, RDMAP, RR, SRV, TXT

    match record.type:
        case "SRV":
            priority, weight, port, target = record.data.split(" ")
            data = SRV(int(priority), int(weight), int(port), target)
        case "TXT":
            data = TXT(record.data.strip('"'))
        case other:
            data = RDMAP[other](record.data)
    return RR(record.name, getattr(QTYPE, record.type), rdata=data, ttl=TTL)


async def _ask_by_udp(server: tuple[str, int], question: bytes) -> bytes:
    async with await anyio.create_connected_udp_socket(*server) as other:
        await other.send(question)
        while True:
            answer = await other.receive()
            if answer[:2] == question[:2]:
                return answer


async def _ask_by_tcp(server: tuple[str, int], question: bytes) -> bytes:
    from anyio.streams.buffered import BufferedByteReceiveStream

    async with await anyio.connect_tcp(*server) as other:
        await other.send(len(question).to_bytes(2, "big") + question)
        buffer = BufferedByteReceiveStream(other)
        size = int.from_bytes(await buffer.receive_exactly(2), "big")
        return await buffer.receive_exactly(size)
