"""Which devices claims get on a node: the first combination that satisfies all of them, tried one device after the other.

Semantics, and the words of what is wrong, are those of ``k8s.io/dynamic-resource-allocation/structured``.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import attrs

from kubelib.api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kubelib.api.resource import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceAttribute,
    DeviceClass,
    DeviceConstraint,
    DeviceRequestAllocationResult,
    DeviceSelector,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourceClaim,
)
from kubelib.api.tolerations import tolerates
from kubelib.quantity import parse_quantity
from kubelib.sched.devicecapacity import Consumed, consumed
from kubelib.sched.devicepools import DeviceId, DevicePools, Offer, PoolId, Supply

if TYPE_CHECKING:
    from kubelib.cel import Expression

MOST_DEVICES = 32
"""How many devices one claim may have."""
MOST_STEPS = 10_000
"""How many devices are tried for one node before that is given up."""
SHARED = "shared"
"""Stands for the identity of a share that has not been written yet."""


_DOMAIN = re.compile(r"""\[\s*["']([^"']+)["']\s*\]""")
"""What an expression looks for by name."""


class Unallocatable(Exception):
    """Claims cannot be allocated on a node for a reason that somebody must see to."""


@attrs.frozen
class Taken:
    """What others have."""

    devices: Set[DeviceId]
    capacity: Mapping[DeviceId, Mapping[str, int]]
    """Of devices that are shared: how much is taken, in billionths."""


@attrs.frozen(eq=False)
class _Want:
    """A request, or one alternative of it."""

    base: str
    name: str
    device_class: DeviceClass
    spec: ExactDeviceRequest | DeviceSubRequest
    count: int
    every: tuple[Offer, ...] | None
    """For all devices: those."""

    @property
    def admin(self) -> bool:
        """Whether devices may be in use."""
        return isinstance(self.spec, ExactDeviceRequest) and bool(self.spec.admin_access)


@attrs.frozen(eq=False)
class _Given:
    want: _Want
    offer: Offer
    share: Consumed | None


def allocate(
    claims: Sequence[ResourceClaim],
    *,
    supplies: Sequence[Supply],
    pools: DevicePools,
    classes: Mapping[str, DeviceClass],
    taken: Taken,
) -> list[AllocationResult] | None:
    """Return devices for each claim; None if there are none that satisfy all. Raises Unallocatable."""
    search = _Search(claims, supplies, pools, classes, taken)
    if not search.run():
        if any(supply.flaw == "invalid" for supply in supplies):
            raise Unallocatable("invalid resource pools were encountered")
        return None
    return [_result(claim, given) for claim, given in zip(claims, search.given, strict=True)]


class _Search:
    def __init__(
        self,
        claims: Sequence[ResourceClaim],
        supplies: Sequence[Supply],
        pools: DevicePools,
        classes: Mapping[str, DeviceClass],
        taken: Taken,
    ) -> None:
        self._supplies = supplies
        self._offers = [offer for supply in supplies if not supply.flaw for offer in supply.offers]
        self._pools = pools
        self._classes = classes
        self._taken = taken
        self._left: dict[PoolId, dict[tuple[str, str], int]] = {}
        self._steps = 0
        self._using: dict[DeviceId, list[int]] = {}
        """Which claims have been given a device so far."""
        self._shares: dict[DeviceId, dict[str, int]] = {}
        self.given: list[list[_Given]] = [[] for _ in claims]
        self._claims = claims
        self._requests = [
            (number, list(self._alternatives(claim, at)))
            for number, claim in enumerate(claims)
            for at in range(len(claim.spec.devices.requests))
        ]

    def run(self) -> bool:
        """Return whether all could be satisfied."""
        return self._request(0)

    # What is asked for

    def _alternatives(self, claim: ResourceClaim, at: int) -> Iterator[_Want]:
        request = claim.spec.devices.requests[at]
        if request.exactly is not None:
            yield self._want(claim, request.name, request.name, request.exactly)
        for other in request.first_available:
            yield self._want(claim, request.name, f"{request.name}/{other.name}", other)

    def _want(
        self, claim: ResourceClaim, base: str, name: str, spec: ExactDeviceRequest | DeviceSubRequest
    ) -> _Want:
        device_class = self._classes[spec.device_class_name]
        if spec.allocation_mode != "All":
            return _Want(base, name, device_class, spec, spec.count or 1, None)
        want = _Want(base, name, device_class, spec, 0, None)
        every: list[Offer] = []
        for supply in self._supplies:
            if supply.flaw:
                state = "being updated" if supply.flaw == "incomplete" else "invalid"
                pool = "/".join(supply.pool.id)
                raise Unallocatable(
                    f"claim {claim.key}, request {base}: asks for all devices, but resource pool {pool} is currently {state}"
                )
            every += [offer for offer in supply.offers if self._is_selected(claim, want, offer)]
        return attrs.evolve(want, count=len(every), every=tuple(every))

    def _is_selected(self, claim: ResourceClaim, want: _Want, offer: Offer) -> bool:
        if offer.device.binding_conditions:
            # Who takes such a device has to wait until its driver is ready for that, which nobody here does.
            return False
        return self._matches(
            f"class {want.device_class.metadata.name}", want.device_class.spec.selectors, offer
        ) and (self._matches(f"claim {claim.key}", want.spec.selectors, offer))

    def _matches(self, whose: str, selectors: Sequence[DeviceSelector], offer: Offer) -> bool:
        for number, selector in enumerate(selectors):
            text = selector.cel.expression if selector.cel is not None else ""
            answer = offer.answers.get(text)
            if answer is None:
                answer = offer.answers[text] = _ask(text, offer)
            if isinstance(answer, str):
                raise Unallocatable(f"{whose}: selector #{number}: {answer}")
            if not answer:
                return False
        return True

    # Trying

    def _request(self, number: int) -> bool:
        if number == len(self._requests):
            return True
        return any(self._fill(number, want, 0, 0) for want in self._requests[number][1])

    def _fill(self, number: int, want: _Want, have: int, start: int) -> bool:
        """Give what is missing of a request, and then all others; devices before `start` have been tried in combination."""
        claim = self._requests[number][0]
        if want.every == ():
            return False
        if have == want.count:
            return self._request(number + 1)
        if len(self.given[claim]) + want.count - have > MOST_DEVICES:
            return False
        if want.every is not None:
            return self._try(number, want, have, want.every[have], 0)
        for at in range(start, len(self._offers)):
            offer = self._offers[at]
            if self._is_selected(self._claims[claim], want, offer) and self._try(
                number, want, have, offer, at
            ):
                return True
        return False

    def _try(self, number: int, want: _Want, have: int, offer: Offer, at: int) -> bool:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Unallocatable("timed out trying to allocate devices")
        claim = self._requests[number][0]
        given = self._usable(claim, want, offer)
        if given is None:
            return False
        self._take(claim, given, 1)
        if self._fill(number, want, have + 1, at):
            return True
        self._take(claim, given, -1)
        return False

    def _usable(self, claim: int, want: _Want, offer: Offer) -> _Given | None:
        device, users = offer.device, self._using.get(offer.id, ())
        shared = bool(device.allow_multiple_allocations)
        if (claim in users) if want.admin else (not shared and (users or offer.id in self._taken.devices)):
            return None
        share = consumed(want.spec.capacity, device.capacity)
        if share is None or not self._has_capacity(offer, share, shared and not want.admin):
            return None
        if device.consumes_counters and not self._has_counters(offer):
            return None
        for taint in self._pools.taints(offer):
            if taint.effect in ("NoSchedule", "NoExecute") and not any(
                tolerates(toleration, taint) for toleration in want.spec.tolerations
            ):
                return None
        given = _Given(want, offer, share if shared else None)
        for constraint in self._claims[claim].spec.devices.constraints:
            if not _holds(constraint, [*self.given[claim], given]):
                if want.every is not None:
                    whose = f"claim {self._claims[claim].key}, request {want.name.rpartition('/')[2]}"
                    why = "because a claim constraint would not be satisfied"
                    raise Unallocatable(f"{whose}: cannot add device {'/'.join(offer.id)} {why}")
                return None
        return given

    def _has_capacity(self, offer: Offer, share: Consumed, shared: bool) -> bool:
        before = self._taken.capacity.get(offer.id, {}) if shared else {}
        now = self._shares.get(offer.id, {}) if shared else {}
        return all(
            amount.nano + before.get(name, 0) + now.get(name, 0)
            <= parse_quantity(offer.device.capacity[name].value).nano
            for name, amount in share.items()
        )

    def _has_counters(self, offer: Offer) -> bool:
        left = self._counters(offer.id[:2])
        return all(
            left.get((taken.counter_set, name), 0) >= parse_quantity(counter.value).nano
            for taken in offer.device.consumes_counters
            for name, counter in taken.counters.items()
        )

    def _counters(self, id: PoolId) -> dict[tuple[str, str], int]:
        """Return what is left of the counters of a pool."""
        left = self._left.get(id)
        if left is None:
            pool = self._pools.pool(id)
            assert pool is not None
            left = self._left[id] = {
                (name, counter): amount
                for name, counters in pool.counters.items()
                for counter, amount in counters.items()
            }
            for offer in pool.offers:
                if offer.id in self._taken.devices or offer.id in self._taken.capacity:
                    _count(left, offer, -1)
        return left

    def _take(self, claim: int, given: _Given, sign: int) -> None:
        id = given.offer.id
        users = self._using.setdefault(id, [])
        if sign > 0:
            self.given[claim].append(given)
            users.append(claim)
        else:
            self.given[claim].pop()
            users.remove(claim)
        if given.share is not None and not given.want.admin:
            shares = self._shares.setdefault(id, {})
            for name, amount in given.share.items():
                shares[name] = shares.get(name, 0) + sign * amount.nano
        if given.offer.device.consumes_counters:
            _count(self._counters(id[:2]), given.offer, -sign)


def _count(left: dict[tuple[str, str], int], offer: Offer, sign: int) -> None:
    for taken in offer.device.consumes_counters:
        for name, counter in taken.counters.items():
            key = taken.counter_set, name
            left[key] = left.get(key, 0) + sign * parse_quantity(counter.value).nano


def _ask(text: str, offer: Offer) -> bool | str:
    # CEL is loaded by the first selector.
    from kubelib.cel import CelError, EvaluationError

    try:
        expression = _compiled(text)
    except CelError as error:
        return f"CEL compile error: {error}"
    try:
        return expression.evaluate({"device": offer.seen(_DOMAIN.findall(text))}) is True
    except EvaluationError as error:
        return f"CEL runtime error: {error}"


@functools.lru_cache(maxsize=1024)
def _compiled(text: str) -> "Expression":
    from kubelib.cel.devices import environment

    return environment().compile(text)


def _holds(constraint: DeviceConstraint, given: Sequence[_Given]) -> bool:
    """Return whether a constraint may still hold. Once it does not, further devices change nothing."""
    concerned = [
        g for g in given if not constraint.requests or {g.want.base, g.want.name} & set(constraint.requests)
    ]
    name = constraint.match_attribute or constraint.distinct_attribute or ""
    values = [_attribute(g.offer, name) for g in concerned]
    if not values:
        return True
    if any(value is None for value in values):
        return False
    if constraint.match_attribute is not None:
        return all(value == values[0] for value in values)
    return all(values[-1] != value for value in values[:-1])


def _attribute(offer: Offer, name: str) -> DeviceAttribute | None:
    found = offer.device.attributes.get(name)
    domain, _, short = name.partition("/")
    if found is None and domain == offer.id[0]:
        return offer.device.attributes.get(short)
    return found


# What comes of it


def _result(claim: ResourceClaim, given: Sequence[_Given]) -> AllocationResult:
    results = tuple(
        DeviceRequestAllocationResult(
            request=one.want.name,
            driver=one.offer.id[0],
            pool=one.offer.id[1],
            device=one.offer.id[2],
            admin_access=True if one.want.admin else None,
            tolerations=one.want.spec.tolerations,
            share_id=SHARED if one.share is not None else None,
            consumed_capacity={name: str(amount) for name, amount in (one.share or {}).items()},
        )
        for one in given
    )
    return AllocationResult(
        devices=DeviceAllocationResult(results=results, config=tuple(_configuration(claim, given))),
        node_selector=_where(given),
    )


def _configuration(claim: ResourceClaim, given: Sequence[_Given]) -> Iterator[DeviceAllocationConfiguration]:
    wants = {one.want.base: one.want for one in given}
    names: dict[str, list[str]] = {}
    for want in wants.values():
        names.setdefault(want.device_class.metadata.name, []).append(want.name)
    classes = {want.device_class.metadata.name: want.device_class for want in wants.values()}
    for name, device_class in classes.items():
        for config in device_class.spec.config:
            yield DeviceAllocationConfiguration(
                source="FromClass", requests=tuple(names[name]), opaque=config.opaque
            )
    meant = {name for want in wants.values() for name in (want.base, want.name)}
    for own in claim.spec.devices.config:
        if not own.requests or meant & set(own.requests):
            yield DeviceAllocationConfiguration(source="FromClaim", requests=own.requests, opaque=own.opaque)


def _where(given: Sequence[_Given]) -> NodeSelector | None:
    """Return where all devices can be used; None: everywhere."""
    expressions: list[NodeSelectorRequirement] = []
    fields: list[NodeSelectorRequirement] = []
    for one in given:
        if one.offer.node:
            name = NodeSelectorRequirement(key="metadata.name", operator="In", values=(one.offer.node,))
            return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(name,)),))
        for term in one.offer.selector.node_selector_terms[:1] if one.offer.selector is not None else ():
            expressions += [r for r in term.match_expressions if r not in expressions]
            fields += [r for r in term.match_fields if r not in fields]
    if not expressions and not fields:
        return None
    term = NodeSelectorTerm(match_expressions=tuple(expressions), match_fields=tuple(fields))
    return NodeSelector(node_selector_terms=(term,))
