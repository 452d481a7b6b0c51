"""Which API servers there are: each keeps a Lease, and the Service `kubernetes` leads to those whose Lease is kept."""

import hashlib
import logging
from contextlib import suppress
from datetime import timedelta

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.coordination import Lease, LeaseSpec
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key, ObjectMeta
from kubelib.api.times import format_micro_time, parse_time
from kubelib.client import LocalClient
from kubelib.labels import parse_selector
from kubelib.network.apiservice import Addresses, ensure_kubernetes_service
from kubelib.registry.base import Patch, Query
from kubelib.registry.registries import ResourceRegistries

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
IDENTITY = "apiserver.kubernetes.io/identity"
ADDRESS = "kubelib.io/address"
EVERY = 4.0
"""Seconds between two signs of life."""
GONE_AFTER = 12.0
"""Seconds of silence after which a server is taken out of the Service."""


class Presence:
    """One API server among those that share a store."""

    name = "presence"

    def __init__(self, registries: ResourceRegistries, address: str, port: int) -> None:
        self._registries = registries
        self._me = (address, port)
        self._client = LocalClient(registries, manager="kube-apiserver")
        digest = hashlib.sha256(f"{address}:{port}".encode()).hexdigest()
        self._key = Key(NAMESPACE, f"apiserver-{digest[:26]}")
        self._shown: Addresses = ()
        self._left = False

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep the Lease, and the Service in step with everybody's."""
        task_status.started()
        while True:
            await anyio.sleep(EVERY)
            try:
                await self.show()
            except ApiError as error:
                log.warning("cannot show that this API server is there: %s", error)

    async def show(self) -> None:
        """Show once that this server is there, unless it has left."""
        if self._left:
            return
        if not self._registries.shared:
            await ensure_kubernetes_service(self._registries, [self._me])
            return
        await self._renew()
        await self._point_to(await self._present())

    async def leave(self) -> None:
        """Take this server out at once, as it is about to stop."""
        self._left = True
        if not self._registries.shared:
            return
        with suppress(ApiError):
            await self._client.resource(Lease).delete(self._key)
            others = await self._present()
            if others:
                await self._point_to(others)

    async def _point_to(self, servers: Addresses) -> None:
        if servers != self._shown:
            await ensure_kubernetes_service(self._registries, servers)
            self._shown = servers

    async def _renew(self) -> None:
        leases = self._client.resource(Lease)
        now = format_micro_time(self._registries.clock.now())
        address, port = self._me
        try:
            await leases.patch(self._key, Patch("merge", {"spec": {"renewTime": now}}))
        except NotFound:
            await leases.create(
                Lease(
                    metadata=ObjectMeta(
                        name=self._key.name,
                        namespace=NAMESPACE,
                        labels={IDENTITY: "kube-apiserver"},
                        annotations={ADDRESS: f"{address} {port}"},
                    ),
                    spec=LeaseSpec(
                        holder_identity=self._key.name,
                        lease_duration_seconds=int(GONE_AFTER),
                        renew_time=now,
                    ),
                )
            )

    async def _present(self) -> Addresses:
        query = Query(namespace=NAMESPACE, labels=parse_selector(f"{IDENTITY}=kube-apiserver"))
        oldest = self._registries.clock.now() - timedelta(seconds=GONE_AFTER)
        servers = []
        for lease in (await self._client.resource(Lease).list(query)).items:
            address, _, port = lease.metadata.annotations.get(ADDRESS, "").partition(" ")
            renewed = lease.spec.renew_time
            if port.isdigit() and renewed and parse_time(renewed) >= oldest:
                servers.append((address, int(port)))
        return sorted(servers)
