"""Devices as a scheduler knows them: what drivers offer, which claims there are, and which devices these have or are about to get."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from uuid import UUID

import attrs

from kubelib.api.core.references import NodeSelector
from kubelib.api.deviceclaims import why_not_made_for
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.api.resource import (
    AllocationResult,
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceSlice,
)
from kubelib.quantity import parse_quantity
from kubelib.sched.allocating import Taken, Unallocatable, allocate
from kubelib.sched.devicepools import DeviceId, DevicePools, Selects
from kubelib.sched.pods import PodInfo

MOST_ALTERNATIVES = 8
"""How many alternatives a request may have."""
KEPT = 64
"""For so many different wishes it is kept which nodes can meet them."""
LACKING = "cannot allocate all claims"
ELSEWHERE = "resourceclaim not available on the node"

DeviceObject = ResourceClaim | DeviceClass | ResourceSlice | DeviceTaintRule


@attrs.frozen
class Needs:
    """The claims of a Pod to devices, by what they need of a node."""

    outright: str = ""
    """Why the Pod can be nowhere at all, whatever the nodes are like."""
    lacking: tuple[ResourceClaim, ...] = ()
    """Those that have no devices yet."""
    where: tuple[NodeSelector, ...] = ()
    """Where the devices can be used that the others have; each of these must match."""


@attrs.frozen
class Judgement:
    """What a node can do for claims that have no devices."""

    problem: str = ""
    """Why they cannot have any; empty if they can."""
    points: int = 0
    """The more, the earlier the alternatives are that they would get."""


@attrs.frozen
class _Promise:
    """Devices that a claim is about to get."""

    allocation: AllocationResult
    users: set[str]
    """The Pods that are placed with it, by uid."""


class Devices:
    """What is known of devices and claims. Kept in step by `Following`, and ahead of it by what was just decided."""

    def __init__(self) -> None:
        self.pools = DevicePools()
        self._claims: dict[Key, ResourceClaim] = {}
        self._classes: dict[str, DeviceClass] = {}
        self._promises: dict[Key, _Promise] = {}
        self._taken: Counter[DeviceId] = Counter()
        self._consumed: dict[DeviceId, Counter[str]] = {}
        self._judgements: OrderedDict[str, dict[str, tuple[int, Judgement]]] = OrderedDict()
        """By what is asked for, then by node: what was found, and the stamp of the node then."""

    def claim(self, key: Key) -> ResourceClaim | None:
        """Return a claim."""
        return self._claims.get(key)

    # What happens

    def put_claim(self, key: Key, claim: ResourceClaim | None) -> bool:
        """Learn of a claim, or that it is gone (None); return whether that may help a Pod."""
        old = self._claims.get(key)
        if old is not None and claim is not None and _is_older(claim, old):
            return False  # what was written has been seen before what was written earlier
        self._claims.pop(key, None)
        had = self._allocation(key, old)
        if (
            claim is None
            or claim.status.allocation is not None
            or old is None
            or old.metadata.uid != claim.metadata.uid
        ):
            self._promises.pop(key, None)
        if claim is not None:
            self._claims[key] = claim
        has = self._allocation(key, claim)
        if had != has:
            self._count(had, -1)
            self._count(has, 1)
        if claim is None:
            return had is not None
        return (
            old is None
            or old.metadata.uid != claim.metadata.uid
            or old.status.allocation != claim.status.allocation
        )

    def put_class(self, name: str, found: DeviceClass | None) -> bool:
        """Learn of a class, or that it is gone (None); return whether that may help a Pod."""
        old = self._classes.pop(name, None)
        self._judgements.clear()
        if found is None:
            return False
        self._classes[name] = found
        return old is None or old.spec != found.spec

    def put(self, thing: DeviceObject) -> bool:
        """Learn of any object about devices; return whether that may help a Pod."""
        match thing:
            case ResourceClaim():
                return self.put_claim(thing.key, thing)
            case DeviceClass():
                return self.put_class(thing.metadata.name, thing)
            case ResourceSlice():
                return self.pools.put_slice(thing.metadata.name, thing)
            case DeviceTaintRule():
                return self.put_rule(thing.metadata.name, thing)

    # What Pods need

    def needs(self, pod: PodInfo) -> Needs:
        """Return what a Pod's claims need of a node. The reasons are in kube-scheduler's words."""
        claims: list[ResourceClaim] = []
        for name, own in pod.devices:
            key = Key(pod.namespace, name)
            claim = self._claims.get(key)
            if not name:
                return Needs(f"Pod {pod.key}: ResourceClaim not created yet")
            if claim is None:
                return Needs(f'could not find ResourceClaim "{key}"')
            if claim.metadata.deletion_timestamp is not None:
                return Needs(f'resourceclaim "{name}" is being deleted')
            if own and (why := why_not_made_for(claim, str(pod.key), pod.uid)):
                return Needs(why)
            claims.append(claim)
        given = [(claim, self._allocation(claim.key, claim)) for claim in claims]
        lacking = tuple(claim for claim, allocation in given if allocation is None)
        for claim in lacking:
            for request, wanted in _classes(claim):
                if wanted not in self._classes:
                    return Needs(f"request {request}: device class {wanted} does not exist")
        selectors = (allocation.node_selector for _, allocation in given if allocation is not None)
        return Needs("", lacking, tuple(selector for selector in selectors if selector is not None))

    def put_rule(self, name: str, rule: DeviceTaintRule | None) -> bool:
        """Learn of a rule that taints devices, or that it is gone (None); return whether that may help a Pod."""
        self._judgements.clear()
        return self.pools.put_rule(name, rule)

    def judge(
        self, claims: tuple[ResourceClaim, ...], nodes: Iterable[tuple[str, Selects]]
    ) -> Iterator[Judgement]:
        """Judge, one by one, whether nodes can give devices to claims that have none, and how good these are."""
        asked = repr([claim.spec for claim in claims])
        known = self._judgements.setdefault(asked, {})
        self._judgements.move_to_end(asked)
        if len(self._judgements) > KEPT:
            self._judgements.popitem(last=False)
        for node, selects in nodes:
            stamp, kept = self.pools.stamp(node), known.get(node)
            if kept is not None and kept[0] == stamp:
                yield kept[1]
                continue
            try:
                found = self.allocate(claims, node, selects)
                judgement = Judgement(LACKING) if found is None else Judgement("", _points(claims, found))
            except Unallocatable as error:
                judgement = Judgement(str(error))
            if stamp is not None:
                known[node] = stamp, judgement
            yield judgement

    def allocate(
        self, claims: tuple[ResourceClaim, ...], node: str, selects: Selects
    ) -> list[AllocationResult] | None:
        """Return devices for claims that have none, of those that one node can use; None if there are not enough.

        Raises `kubelib.sched.allocating.Unallocatable`.
        """
        supplies = self.pools.supplies(node, selects)
        if not supplies and any(claim.spec.devices.requests for claim in claims):
            return None
        return allocate(
            claims,
            supplies=supplies,
            pools=self.pools,
            classes=self._classes,
            taken=Taken(self._taken.keys(), self._consumed),
        )

    def choose(self, pod: PodInfo, node: str, selects: Selects) -> dict[Key, AllocationResult]:
        """Return, by claim, the devices that a Pod's claims get on a node; nothing if they have some, or cannot have any."""
        needs = self.needs(pod)
        if needs.outright or not needs.lacking:
            return {}
        with suppress(Unallocatable):
            found = self.allocate(needs.lacking, node, selects)
            return dict(zip((c.key for c in needs.lacking), found, strict=True)) if found is not None else {}
        return {}

    # What was decided

    def promised(self, key: Key) -> AllocationResult | None:
        """Return the devices that a claim is about to get."""
        promise = self._promises.get(key)
        return promise.allocation if promise is not None else None

    def promise(self, pod: PodInfo, found: Mapping[Key, AllocationResult]) -> None:
        """Count devices as those of claims from now on, for a Pod that has been placed; it uses what is promised already, too."""
        for key, allocation in found.items():
            self._promises[key] = _Promise(allocation, set())
            self._count(allocation, 1)
        for name, _ in pod.devices:
            promise = self._promises.get(Key(pod.namespace, name))
            if promise is not None:
                promise.users.add(pod.uid)

    def forgo(self, pod: PodInfo) -> None:
        """Let a Pod use no more what its claims are about to get; what nobody uses then is free."""
        for name, _ in pod.devices:
            key = Key(pod.namespace, name)
            promise = self._promises.get(key)
            if promise is not None:
                promise.users.discard(pod.uid)
                if not promise.users:
                    del self._promises[key]
                    self._count(promise.allocation, -1)

    def idle(self, pod: PodInfo) -> ResourceClaim | None:
        """Return a claim of a Pod whose devices are somewhere, and are used by no other Pod."""
        for name, _ in pod.devices:
            claim = self._claims.get(Key(pod.namespace, name))
            if (
                claim is None
                or claim.status.allocation is None
                or claim.status.allocation.node_selector is None
            ):
                continue
            if all(user.uid == pod.uid for user in claim.status.reserved_for):
                return claim
        return None

    def afterword(self, pod: PodInfo, reasons: Iterable[str], outright: str) -> str:
        """Return what kube-scheduler says of a Pod with claims that fits nowhere, before it speaks of preemption."""
        if not pod.devices or outright:
            return ""
        taken_back = ELSEWHERE in reasons and self.idle(pod) is not None
        return "deallocation of ResourceClaim completed, " if taken_back else "still not schedulable, "

    def _allocation(self, key: Key, claim: ResourceClaim | None) -> AllocationResult | None:
        if claim is not None and claim.status.allocation is not None:
            return claim.status.allocation
        return self.promised(key)

    def _count(self, allocation: AllocationResult | None, sign: int) -> None:
        for result in allocation.devices.results if allocation is not None else ():
            if result.admin_access:
                continue
            id = result.driver, result.pool, result.device
            self.pools.touch(id[:2])
            if result.share_id is None:
                self._taken[id] += sign
                if not self._taken[id]:
                    del self._taken[id]
                continue
            there = self._consumed.setdefault(id, Counter())
            there[""] += sign
            for name, amount in result.consumed_capacity.items():
                there[name] += sign * parse_quantity(amount).nano
            if not there[""]:
                del self._consumed[id]


def _points(claims: Iterable[ResourceClaim], found: Iterable[AllocationResult]) -> int:
    total = 0
    for claim, allocation in zip(claims, found, strict=True):
        given = {result.request for result in allocation.devices.results}
        for request in claim.spec.devices.requests:
            for at, other in enumerate(request.first_available):
                if f"{request.name}/{other.name}" in given:
                    total += MOST_ALTERNATIVES - at
    return total


def _is_older(claim: ResourceClaim, than: ResourceClaim) -> bool:
    one, other = claim.metadata.resource_version, than.metadata.resource_version
    same = claim.metadata.uid == than.metadata.uid
    return same and one.isdigit() and other.isdigit() and int(one) < int(other)


def with_shares(allocation: AllocationResult, identity: Callable[[], UUID]) -> AllocationResult:
    """Return an allocation in which each share of a device has an identity of its own."""
    results = tuple(
        replace(result, share_id=str(identity())) if result.share_id is not None else result
        for result in allocation.devices.results
    )
    return replace(allocation, devices=replace(allocation.devices, results=results))


def _classes(claim: ResourceClaim) -> Iterator[tuple[str, str]]:
    """Yield the requests of a claim, alternatives too, and the classes that they ask for."""
    for request in claim.spec.devices.requests:
        if request.exactly is not None:
            yield request.name, request.exactly.device_class_name
        for other in request.first_available:
            yield f"{request.name}/{other.name}", other.device_class_name
