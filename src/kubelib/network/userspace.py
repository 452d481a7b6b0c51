"""A service proxy without privileges: it listens on each Service's own loopback address and forwards connections.

Endpoints take turns; with client affinity, a client (by the address it connects from: a Pod's own only if it binds it)
keeps its endpoint. An endpoint that refuses is passed over. Connections that exist are left alone when endpoints change.
"""

import logging
from collections.abc import Callable

import anyio
import anyio.abc
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.network.following import AGAIN, GONE, ServiceFollower
from kubelib.network.services import Backend, Frontend, Rule, changed
from kubelib.network.tracking import ServiceTracker

log = logging.getLogger("kubelib.network")

CHUNK = 65536
CONNECT_TIMEOUT = 5.0
UDP_IDLE = 60.0


_PROTOCOLS = ("TCP", "UDP")
"""What can be forwarded; SCTP only the kernel can."""


@attrs.define
class _Turns:
    """Whose turn it is among the backends of one frontend."""

    rule: Rule
    next: int = 0
    sticky: dict[str, tuple[Backend, float]] = attrs.Factory(dict)

    def order(self, client: str, asked: str, now: float) -> list[Backend]:
        """Return the backends in the order in which to try them, for a client that has asked an address."""
        backends = self.rule.open_to(client, asked)
        if not backends:
            return []
        self.next = (self.next + 1) % len(backends)
        order = [*backends[self.next :], *backends[: self.next]]
        if self.rule.affinity:
            kept, until = self.sticky.get(client, (None, 0.0))
            if kept in order and now < until:
                assert kept is not None
                order.remove(kept)
                order.insert(0, kept)
        return order

    def used(self, client: str, backend: Backend, now: float) -> None:
        """Note which backend a client got."""
        if self.rule.affinity:
            if len(self.sticky) > 10_000:
                self.sticky = {c: kept for c, kept in self.sticky.items() if kept[1] > now}
            self.sticky[client] = (backend, now + self.rule.affinity)


class ServiceProxy(ServiceFollower):
    """A component: keeps a listener for each port of each Service."""

    def __init__(
        self,
        tracker: ServiceTracker,
        *,
        node_address: str = "127.0.0.1",
        name: str = "kube-proxy",
        concerns: Callable[[Rule], bool] = lambda rule: True,
    ) -> None:
        super().__init__(
            tracker,
            node_address=node_address,
            name=name,
            concerns=lambda rule: rule.frontend.protocol in _PROTOCOLS and concerns(rule),
        )
        self._turns: dict[Frontend, _Turns] = {}
        self._listeners: dict[Frontend, anyio.CancelScope] = {}
        self._refused: set[Frontend] = set()
        """Where listening has failed, which is said once."""

    async def _update(self, group: TaskGroup) -> None:
        wanted = self.wanted()
        gone, new = changed({f: t.rule for f, t in self._turns.items()}, wanted)
        self._refused &= wanted.keys()
        for frontend in gone:
            del self._turns[frontend]
            if (scope := self._listeners.pop(frontend, None)) is not None:
                scope.cancel()
        for frontend, rule in wanted.items():
            if frontend in self._turns:
                self._turns[frontend].rule = rule
        for frontend in new:
            self._turns[frontend] = _Turns(wanted[frontend])
            try:
                await group.start(self._listen, frontend)
            except OSError as error:
                del self._turns[frontend]
                if frontend not in self._refused:
                    self._refused.add(frontend)
                    log.warning(
                        "service %s: cannot listen on %s:%s, trying again every %d s: %s",
                        wanted[frontend].service,
                        frontend.address,
                        frontend.port,
                        AGAIN,
                        error.strerror or error,
                    )
                group.start_soon(self._look_again)
            else:
                self._refused.discard(frontend)

    async def _listen(
        self, frontend: Frontend, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        scope = anyio.CancelScope()
        if frontend.protocol == "UDP":
            socket = await anyio.create_udp_socket(
                local_host=frontend.address, local_port=frontend.port, reuse_port=False
            )
            self._listeners[frontend] = scope
            task_status.started()
            with scope:
                async with socket:
                    await self._serve_udp(frontend, socket)
            return
        listener = await anyio.create_tcp_listener(
            local_host=frontend.address, local_port=frontend.port, backlog=1024
        )
        self._listeners[frontend] = scope
        task_status.started()
        # The listener ends with the Service; connections that it has accepted go on in a group of their own.
        async with anyio.create_task_group() as connections:

            async def accept(stream: anyio.abc.SocketStream) -> None:
                await self._forward(frontend, stream)

            with scope:
                async with listener:
                    await listener.serve(accept, connections)

    async def _forward(self, frontend: Frontend, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            turns = self._turns.get(frontend)
            if turns is None:
                return
            client = str(stream.extra(anyio.abc.SocketAttribute.remote_address)[0])
            asked = str(stream.extra(anyio.abc.SocketAttribute.local_address)[0])
            for backend in turns.order(client, asked, anyio.current_time()):
                try:
                    with anyio.fail_after(CONNECT_TIMEOUT):
                        other = await anyio.connect_tcp(backend.address, backend.port)
                except (OSError, TimeoutError):
                    continue
                turns.used(client, backend, anyio.current_time())
                async with other, anyio.create_task_group() as group:
                    group.start_soon(_pump, stream, other)
                    group.start_soon(_pump, other, stream)
                return
            log.debug("service %s: no endpoint answers", turns.rule.service)

    async def _serve_udp(self, frontend: Frontend, socket: anyio.abc.UDPSocket) -> None:
        """Carry datagrams: a client's go to one endpoint for as long as it is one, and answers come back."""
        sessions: dict[tuple[str, int], tuple[Backend, anyio.abc.ConnectedUDPSocket]] = {}
        async with anyio.create_task_group() as group:

            async def answers(client: tuple[str, int], other: anyio.abc.ConnectedUDPSocket) -> None:
                async with other:
                    while True:
                        with anyio.move_on_after(UDP_IDLE) as idle:
                            try:
                                await socket.sendto(await other.receive(), *client)
                            except GONE:
                                break
                        if idle.cancelled_caught:
                            break
                if sessions.get(client, (None, None))[1] is other:
                    del sessions[client]

            async for data, client in socket:
                turns = self._turns.get(frontend)
                if turns is None:
                    return
                known = sessions.get(client)
                if known is not None and known[0] not in turns.rule.serving:
                    await known[1].aclose()
                    known = None
                try:
                    if known is None:
                        order = turns.order(client[0], frontend.address, anyio.current_time())
                        if not order:
                            continue
                        backend = order[0]
                        opened = await anyio.create_connected_udp_socket(backend.address, backend.port)
                        known = sessions[client] = (backend, opened)
                        turns.used(client[0], backend, anyio.current_time())
                        group.start_soon(answers, client, opened)
                    await known[1].send(data)
                except GONE:
                    continue  # as on any network: a datagram may be lost


async def _pump(source: anyio.abc.SocketStream, target: anyio.abc.SocketStream) -> None:
    """Carry bytes one way until the source ends, then tell the target."""
    try:
        while True:
            await target.send(await source.receive(CHUNK))
    except anyio.EndOfStream:
        try:
            await target.send_eof()
        except GONE:
            return
    except GONE:
        await source.aclose()
        await target.aclose()
