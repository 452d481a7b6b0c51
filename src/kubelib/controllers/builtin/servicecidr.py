"""ServiceCIDRs: ready as soon as they are there, and held back from going while Services have addresses that would belong to none."""

import ipaddress
from collections.abc import Iterable

from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.machinery import Condition
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.networking import IPAddress, ServiceCIDR, ServiceCIDRStatus
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.statuses import write_status
from kubelib.informers import SharedInformers

NAME = "service-cidr-controller"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE = 10.0
"""Seconds until a range that nobody needs goes: until then every API server knows that it gives out no more of it."""
MANAGED = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io")
ORPHANS = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks_of(range_: ServiceCIDR) -> list[Network]:
    """Return the networks of a ServiceCIDR."""
    return [ipaddress.ip_network(text) for text in range_.spec.cidrs]


def _contains(large: Network, small: Network) -> bool:
    return large.version == small.version and small[0] in large and small[-1] in large


def may_go(range_: ServiceCIDR, others: Iterable[ServiceCIDR], addresses: Iterable[str]) -> bool:
    """Return whether every address in a range belongs to another one as well."""
    left = [network for other in others for network in networks_of(other)]
    own = networks_of(range_)
    if all(any(_contains(other, network) for other in left) for network in own):
        return True
    found = [ipaddress.ip_address(address) for address in addresses]
    return not any(
        any(address in network for network in own) and not any(address in network for network in left)
        for address in found
    )


class ServiceRanges:
    """A `Reconciler` of ServiceCIDRs."""

    def __init__(self, informers: SharedInformers, *, clock: Clock) -> None:
        self._ranges = informers.of(ServiceCIDR).cache
        self._addresses = informers.of(IPAddress).cache
        self._registry = informers.client.resource(ServiceCIDR)
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Look at one ServiceCIDR."""
        range_ = self._ranges.view(key)
        if range_ is None:
            return None
        deleted, finalizers = range_.metadata.deletion_timestamp, range_.metadata.finalizers
        if deleted is None:
            if FINALIZER not in finalizers:
                range_ = await self._hold(range_, (*finalizers, FINALIZER))
            if range_ is not None:
                await self._say(range_, "True", "", "Kubernetes Service CIDR is ready")
            return None
        if FINALIZER not in finalizers:
            return None
        others = [other.view(ServiceCIDR) for other in self._ranges if other.key != key]
        if not may_go(range_, others, self._given_out()):
            await self._say(range_, "False", "Terminating", ORPHANS)
            return None
        left = GRACE - (self._clock.now() - deleted).total_seconds()
        if left > 0:
            return After(left)
        await self._hold(range_, tuple(one for one in finalizers if one != FINALIZER))
        return None

    def _given_out(self) -> list[str]:
        label, allocator = MANAGED
        return [d.meta.name for d in self._addresses if d.meta.labels.get(label) == allocator]

    async def _hold(self, range_: ServiceCIDR, finalizers: tuple[str, ...]) -> ServiceCIDR | None:
        meta = replace(range_.metadata, finalizers=finalizers)
        try:
            return await self._registry.update(replace(range_, metadata=meta))
        except NotFound:
            return None

    async def _say(self, range_: ServiceCIDR, status: str, reason: str, message: str) -> None:
        before = next((c for c in range_.status.conditions if c.type == "Ready"), None)
        if before is not None and (before.status, before.reason) == (status, reason):
            return
        said = Condition(
            type="Ready",
            status=status,
            reason=reason,
            message=message,
            last_transition_time=self._clock.now(),
        )
        others = tuple(c for c in range_.status.conditions if c.type != "Ready")
        await write_status(self._registry, range_, ServiceCIDRStatus(conditions=(*others, said)))

    def ranges(self, document: Document) -> tuple[Key, ...]:
        """Return every range: what becomes of one may depend on each address and each other range."""
        return tuple(range_.key for range_ in self._ranges)

    def going(self, document: Document) -> tuple[Key, ...]:
        """Return the ranges that wait to go: an address that was given back may let them."""
        return tuple(range_.key for range_ in self._ranges if range_.meta.deletion_timestamp)


def service_cidr_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder
) -> Controller:
    """Return the controller."""
    reconciler = ServiceRanges(informers, clock=clock)
    return Controller(
        NAME,
        reconciler,
        [(informers.of(ServiceCIDR), reconciler.ranges), (informers.of(IPAddress), reconciler.going)],
        workers=1,
        recorder=recorder.source(NAME),
    )
