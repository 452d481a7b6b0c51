"""What drivers offer: devices of ResourceSlices by pool and by the nodes that can use them, and what keeps claims away from them."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from kubelib.api.core.references import NodeSelector
from kubelib.api.resource import Device, DeviceTaint, DeviceTaintRule, ResourceSlice
from kubelib.quantity import parse_quantity

DeviceId = tuple[str, str, str]
"""Driver, pool and name."""
PoolId = tuple[str, str]
Amounts = Mapping[str, int]
"""By name, in billionths."""
Flaw = Literal["", "incomplete", "invalid"]

Selects = Callable[[NodeSelector], bool]
"""Returns whether a selector selects the node that is looked at."""


@attrs.frozen(eq=False)
class Offer:
    """A device."""

    id: DeviceId
    device: Device
    node: str
    """The only node that can use it; empty: those that `selector` selects."""
    selector: NodeSelector | None
    """None, without a node: every node can."""
    answers: dict[str, bool | str] = attrs.field(factory=dict)
    """By expression: whether it selects the device, or what is wrong with it."""
    facts: dict[str, Any] = attrs.field(factory=dict)
    """What expressions see of the device, once one has looked."""

    def seen(self, domains: Iterable[str] = ()) -> Mapping[str, Any]:
        """Return what expressions see of the device: nothing of `domains` that it has nothing of, about which one may ask all the same."""
        if not self.facts:
            # CEL is loaded by the first selector.
            from kubelib.cel.libraries.quantities import Amount
            from kubelib.cel.libraries.semvers import parse

            driver = self.id[0]
            attributes: dict[str, dict[str, Any]] = {}
            for name, value in self.device.attributes.items():
                domain, _, short = name.rpartition("/")
                plain = (value.int_, value.bool_, value.string, parse(value.version or ""))
                found = next((v for v in plain if v is not None), "")
                attributes.setdefault(domain or driver, {})[short] = found
            capacity: dict[str, dict[str, Any]] = {}
            for name, amount in self.device.capacity.items():
                domain, _, short = name.rpartition("/")
                capacity.setdefault(domain or driver, {})[short] = Amount(parse_quantity(amount.value))
            self.facts.update(
                driver=driver,
                attributes=attributes,
                capacity=capacity,
                allowMultipleAllocations=bool(self.device.allow_multiple_allocations),
            )
        facts = self.facts
        nothing: dict[str, dict[str, Any]] = {
            domain: {}
            for domain in domains
            if domain not in facts["attributes"] or domain not in facts["capacity"]
        }
        if not nothing:
            return facts
        return facts | {part: nothing | facts[part] for part in ("attributes", "capacity")}


@attrs.frozen(eq=False)
class Pool:
    """The devices of one pool, as far as the newest slices tell."""

    id: PoolId
    flaw: Flaw
    offers: tuple[Offer, ...]
    counters: Mapping[str, Amounts]
    """By set: what the devices share."""
    nodes: frozenset[str]
    """The nodes that are the only ones for some of them."""


@attrs.frozen(eq=False)
class Supply:
    """What one pool has for one node."""

    pool: Pool
    flaw: Flaw
    offers: tuple[Offer, ...]


class DevicePools:
    """The slices of all drivers, and the taints that rules add."""

    def __init__(self) -> None:
        self._slices: dict[str, ResourceSlice] = {}
        self._by_pool: dict[PoolId, dict[str, ResourceSlice]] = {}
        self._pools: dict[PoolId, Pool] = {}
        self._local: dict[str, dict[PoolId, None]] = {}
        """By node: the pools that have something which only this one can use."""
        self._wide: dict[PoolId, None] = {}
        """The pools that have something for several nodes."""
        self._rules: dict[str, DeviceTaintRule] = {}
        self._stamps: dict[str, int] = {}
        self._tickets = itertools.count(1)

    def stamp(self, node: str) -> int | None:
        """Return a number that changes with all that a node could use; None where more than this counts: its labels, other nodes."""
        return None if self._wide else self._stamps.get(node, 0)

    def touch(self, id: PoolId) -> None:
        """Note that of a pool's devices others are in use now."""
        pool = self._pools.get(id)
        if pool is not None:
            ticket = next(self._tickets)
            for node in pool.nodes:
                self._stamps[node] = ticket

    def put_slice(self, name: str, found: ResourceSlice | None) -> bool:
        """Learn of a slice, or that it is gone (None); return whether that may help a Pod."""
        old = self._slices.pop(name, None)
        if old is not None and found is not None and old.spec == found.spec:
            self._slices[name] = found
            return False
        for one in (old, found):
            if one is not None:
                pool = one.spec.driver, one.spec.pool.name
                slices = self._by_pool.setdefault(pool, {})
                slices.pop(name, None)
                if one is found:
                    slices[name] = found
                    self._slices[name] = found
                self._build(pool, slices)
        return True

    def put_rule(self, name: str, rule: DeviceTaintRule | None) -> bool:
        """Learn of a rule, or that it is gone (None); return whether that may help a Pod."""
        old = self._rules.pop(name, None)
        if rule is not None:
            self._rules[name] = rule
        return old is not None and (rule is None or rule.spec != old.spec)

    def _build(self, id: PoolId, slices: Mapping[str, ResourceSlice]) -> None:
        self.touch(id)
        pool = self._pools.pop(id, None)
        if pool is not None:
            for offer in pool.offers:
                self._local.get(offer.node, {}).pop(id, None)
            self._wide.pop(id, None)
        if not slices:
            del self._by_pool[id]
            return
        self._pools[id] = pool = _pool(id, slices.values())
        for offer in pool.offers:
            (self._local.setdefault(offer.node, {}) if offer.node else self._wide)[id] = None
        self.touch(id)

    def pool(self, id: PoolId) -> Pool | None:
        """Return a pool."""
        return self._pools.get(id)

    def supplies(self, node: str, selects: Selects) -> list[Supply]:
        """Return what pools have for a node, in the order of drivers and pools."""
        ids = {*self._local.get(node, ()), *self._wide}
        found = []
        for id in sorted(ids):
            pool = self._pools[id]
            offers = tuple(offer for offer in pool.offers if _is_for(offer, node, selects))
            if offers:
                names = {offer.id for offer in offers}
                found.append(
                    Supply(pool, pool.flaw or ("invalid" if len(names) < len(offers) else ""), offers)
                )
        return found

    def taints(self, offer: Offer) -> Iterable[DeviceTaint]:
        """Yield the taints of a device: its driver's, and those of rules."""
        yield from offer.device.taints
        for rule in self._rules.values():
            selector = rule.spec.device_selector
            if selector is not None and all(
                wanted is None or wanted == part
                for wanted, part in zip(
                    (selector.driver, selector.pool, selector.device), offer.id, strict=True
                )
            ):
                yield rule.spec.taint


def _is_for(offer: Offer, node: str, selects: Selects) -> bool:
    if offer.node:
        return offer.node == node
    return offer.selector is None or selects(offer.selector)


def _pool(id: PoolId, slices: Iterable[ResourceSlice]) -> Pool:
    newest = max(slice.spec.pool.generation for slice in slices)
    current = [slice for slice in slices if slice.spec.pool.generation == newest]
    offers: list[Offer] = []
    counters: dict[str, dict[str, int]] = {}
    flaw: Flaw = "" if len(current) == current[0].spec.pool.resource_slice_count else "incomplete"
    for slice in sorted(current, key=lambda slice: slice.metadata.name):
        spec = slice.spec
        for shared in spec.shared_counters:
            if shared.name in counters:
                flaw = flaw or "invalid"
            counters[shared.name] = {
                name: parse_quantity(counter.value).nano for name, counter in shared.counters.items()
            }
        for device in spec.devices:
            place = device if spec.per_device_node_selection else spec
            if place.node_name or place.all_nodes or place.node_selector is not None:
                selector = None if place.node_name or place.all_nodes else place.node_selector
                offers.append(Offer((*id, device.name), device, place.node_name or "", selector))
    if any(
        counter not in counters.get(taken.counter_set, {})
        for offer in offers
        for taken in offer.device.consumes_counters
        for counter in taken.counters
    ):
        flaw = flaw or "invalid"
    nodes = frozenset(offer.node for offer in offers if offer.node)
    return Pool(id, flaw, tuple(offers), counters, nodes)
