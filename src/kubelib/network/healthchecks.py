"""Which nodes load balancers may lead to: each node says at a port of the Service whether it has endpoints of it.

That is for Services of type LoadBalancer whose external traffic policy is Local: elsewhere a client would find nobody.
"""

import json
import logging
from collections.abc import Callable, Iterable

import anyio
import anyio.abc
import attrs
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from kubelib.api.core.service import Service
from kubelib.api.discovery import EndpointSlice
from kubelib.network.following import AGAIN, GONE, ServiceFollower
from kubelib.network.services import SERVICE_NAME, is_ours
from kubelib.network.topology import Place, is_ready
from kubelib.network.tracking import ServiceTracker

log = logging.getLogger("kubelib.network")

PATIENCE = 10.0
"""Seconds in which a question has to be put."""
LONGEST = 16384
"""Bytes that a question may have; what it is about does not matter."""


@attrs.frozen
class HealthCheck:
    """What is said at one port."""

    namespace: str
    name: str
    endpoints: int
    """How many ready endpoints of the Service are on this machine."""


def health_checks(
    services: Iterable[Service], slices: Iterable[EndpointSlice], place: Place
) -> dict[int, HealthCheck]:
    """Return what is to be said at which ports. Pure."""
    asked = {
        (service.metadata.namespace, service.metadata.name): service.spec
        for service in services
        if service.spec.type == "LoadBalancer"
        and service.spec.external_traffic_policy == "Local"
        and service.spec.health_check_node_port
        and is_ours(service.metadata)
    }
    if not asked:
        return {}
    local: dict[tuple[str, str], set[str]] = {key: set() for key in asked}
    for part in slices:
        key = (part.metadata.namespace, part.metadata.labels.get(SERVICE_NAME, ""))
        if key in local and is_ours(part.metadata):
            family = "IPv6" if ":" in asked[key].cluster_ip else "IPv4"
            if part.address_type == family:
                local[key].update(
                    endpoint.addresses[0]
                    for endpoint in part.endpoints
                    if endpoint.addresses and is_ready(endpoint) and endpoint.node_name in place.nodes
                )
    return {spec.health_check_node_port: HealthCheck(*key, len(local[key])) for key, spec in asked.items()}


class HealthChecks(ServiceFollower):
    """A component: keeps a listener for each port at which load balancers ask."""

    def __init__(
        self,
        tracker: ServiceTracker,
        *,
        node_address: str,
        healthy: Callable[[], bool],
        name: str = "service-health",
    ) -> None:
        """Answer at `node_address`; while the proxy is not `healthy`, nobody should be led here."""
        super().__init__(tracker, node_address=node_address, name=name)
        self._healthy = healthy
        self._checks: dict[int, HealthCheck] = {}
        self._listeners: dict[int, anyio.CancelScope] = {}
        self._refused: set[int] = set()
        """Where listening has failed, which is said once."""

    async def _update(self, group: TaskGroup) -> None:
        tracker = self._tracker
        self._checks = health_checks(
            (document.view(Service) for document in tracker.services),
            (document.view(EndpointSlice) for document in tracker.slices),
            tracker.place,
        )
        self._refused &= self._checks.keys()
        for port in [port for port in self._listeners if port not in self._checks]:
            self._listeners.pop(port).cancel()
        for port in [port for port in self._checks if port not in self._listeners]:
            try:
                await group.start(self._listen, port)
            except OSError as error:
                if port not in self._refused:
                    self._refused.add(port)
                    check, why = self._checks[port], error.strerror or error
                    log.warning(
                        "service %s/%s: load balancers cannot ask at port %d, trying again every %d s: %s",
                        check.namespace, check.name, port, AGAIN, why,
                    )  # fmt: skip
                group.start_soon(self._look_again)
            else:
                self._refused.discard(port)

    async def _listen(self, port: int, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host=self._node_address, local_port=port)
        with anyio.CancelScope() as scope:
            self._listeners[port] = scope
            task_status.started()

            async def answer(stream: anyio.abc.SocketStream) -> None:
                async with stream:
                    with anyio.move_on_after(PATIENCE):
                        await self._answer(stream, port)

            async with listener:
                await listener.serve(answer)

    async def _answer(self, stream: anyio.abc.SocketStream, port: int) -> None:
        """Answer whatever is asked, and hang up: load balancers ask every few seconds."""
        question = b""
        try:
            while b"\r\n\r\n" not in question:
                question += await stream.receive()
                if len(question) > LONGEST:
                    return
            if (check := self._checks.get(port)) is not None:
                await stream.send(_said(check, healthy=self._healthy(), head=question.startswith(b"HEAD ")))
        except GONE:
            return


def _said(check: HealthCheck, *, healthy: bool, head: bool) -> bytes:
    body = {
        "service": {"namespace": check.namespace, "name": check.name},
        "localEndpoints": check.endpoints,
        "serviceProxyHealthy": healthy,
    }
    text = json.dumps(body, indent="\t").encode()
    status = "200 OK" if check.endpoints and healthy else "503 Service Unavailable"
    headers = (
        f"HTTP/1.1 {status}\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"X-Load-Balancing-Endpoint-Weight: {check.endpoints}\r\n"
        f"Content-Length: {len(text)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return headers.encode() + (b"" if head else text)
