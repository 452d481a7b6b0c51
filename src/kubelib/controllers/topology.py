"""For which zones endpoints are meant where a Service asks for shares of them (topology mode ``Auto``). Pure.

Each zone is to have as large a share of the endpoints as it has of the processors of all nodes. Endpoints are meant for their
own zone first; where a zone has too many, some are given to zones that have too few. Slices are written only where they
change anyway, or where what they say makes the shares impossible. Where no zone could have its share without being loaded by
more than a fifth beyond it, no endpoint is meant for anybody.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from kubelib.api.core.node import Node
from kubelib.api.core.service import Service
from kubelib.api.discovery import Endpoint, EndpointHints, ForZone
from kubelib.api.model import replace
from kubelib.controllers.taints import condition_status
from kubelib.quantity import parse_quantity

ZONE = "topology.kubernetes.io/zone"
OVERLOAD = 0.2
"""By how much more than its share a zone's endpoints may have to bear."""
_ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
_NOT_COUNTED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")

Endpoints = tuple[Endpoint, ...]
"""The endpoints of one slice."""


def asks_for_shares(service: Service) -> bool:
    """Return whether a Service has the topology mode ``Auto``. The older annotation counts before the other."""
    annotations = service.metadata.annotations
    value = next((annotations[name] for name in _ANNOTATIONS if name in annotations), "")
    return value in ("Auto", "auto")


def zone_shares(nodes: Iterable[Node]) -> dict[str, float]:
    """Return each zone's share of the processors of nodes that are ready; nothing where that cannot be said.

    It cannot where one node has no zone or no processors, or where there are not two zones at least.
    """
    processors: Counter[str] = Counter()
    for node in nodes:
        labels = node.metadata.labels
        if any(name in labels for name in _NOT_COUNTED) or condition_status(node, "Ready") != "True":
            continue
        zone = labels.get(ZONE, "")
        amount = parse_quantity(node.status.allocatable.get("cpu", "0")).milli()
        if not zone or not amount:
            return {}
        processors[zone] += amount
    total = processors.total()
    return {zone: processors[zone] / total for zone in sorted(processors)} if len(processors) > 1 else {}


def _fewest(endpoints: float, share: float) -> int:
    return math.ceil(endpoints * share * (1 / (1 + OVERLOAD)))


def is_overloaded(by_zone: Mapping[str, int], shares: Mapping[str, float]) -> bool:
    """Return whether a zone has too few of the endpoints that are meant `by_zone`."""
    if not by_zone:
        return False
    if not shares:
        return True
    total = sum(by_zone.values())
    return any(zone not in by_zone or by_zone[zone] < _fewest(total, share) for zone, share in shares.items())


@attrs.frozen
class Allotted:
    """For whom endpoints are meant, slice by slice as they were given."""

    changing: tuple[Endpoints, ...]
    settled: tuple[Endpoints | None, ...]
    """None for slices that are as they should be."""
    by_zone: Mapping[str, int] = {}
    """How many endpoints are meant for each zone; none if there are no hints."""
    refusal: str = ""
    """Why there are none."""


class _Refused(Exception):
    pass


@attrs.frozen
class _Bounds:
    most: int
    desired: float


def _bounds(shares: Mapping[str, float], total: int) -> dict[str, _Bounds]:
    if not shares:
        what = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
        raise _Refused(what)
    numbers = f"({total} endpoints, {len(shares)} zones)"
    if len(shares) > total:
        raise _Refused(f"Insufficient number of endpoints {numbers}")
    fewest = {zone: _fewest(total, share) for zone, share in shares.items()}
    spare = total - sum(fewest.values())
    if spare < 0:
        what = (
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        )
        raise _Refused(f"{what} {numbers}")
    return {
        zone: _Bounds(fewest[zone] + spare, max(share * total, fewest[zone]))
        for zone, share in shares.items()
    }


def _zones(endpoint: Endpoint) -> list[str]:
    return [zone.name for zone in endpoint.hints.for_zones] if endpoint.hints is not None else []


def _meant_for(endpoint: Endpoint, zone: str) -> Endpoint:
    return replace(endpoint, hints=EndpointHints(for_zones=(ForZone(name=zone),)))


def _without(endpoints: Endpoints) -> Endpoints:
    return tuple(replace(e, hints=None) if e.hints is not None else e for e in endpoints)


def _held(endpoints: Endpoints, by_zone: Mapping[str, int], bounds: Mapping[str, _Bounds]) -> Counter[str]:
    """Count what a slice that need not change says. Raises `_Refused` if it has to change after all."""
    held: Counter[str] = Counter()
    for endpoint in endpoints:
        if not endpoint.conditions.ready:
            continue
        zones = _zones(endpoint)
        if not zones or any(zone not in bounds for zone in zones):
            raise _Refused
        held.update(zones)
    if any(by_zone.get(zone, 0) + count > bounds[zone].most for zone, count in held.items()):
        raise _Refused
    return held


def transfers(
    desired: Mapping[str, float], by_zone: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many endpoints zones are to give away, and how many others are to get."""
    left = {zone: by_zone.get(zone, 0) - wanted for zone, wanted in sorted(desired.items())}
    givers = {zone: surplus for zone, surplus in left.items() if surplus > 0}
    takers = {zone: -surplus for zone, surplus in left.items() if surplus < 0}
    gives: Counter[str] = Counter()
    takes: Counter[str] = Counter()
    while givers and takers:
        giver, taker = max(givers, key=givers.__getitem__), max(takers, key=takers.__getitem__)
        give, take = givers[giver], takers[taker]
        # An endpoint rather stays in its zone than that it makes the shares a little better.
        if max(give, take) < 1 or min(give, take) < 0.5:
            break
        givers[giver] -= 1
        takers[taker] -= 1
        gives[giver] += 1
        takes[taker] += 1
    return dict(gives), dict(takes)


def allot(
    shares: Mapping[str, float], changing: Sequence[Endpoints], settled: Sequence[Endpoints]
) -> Allotted:
    """Say for which zones endpoints are meant: those of slices that change anyway, and of as few others as can be."""
    try:
        return _allot(shares, changing, settled)
    except _Refused as refused:
        return Allotted(
            changing=tuple(map(_without, changing)),
            settled=tuple(_without(s) if any(e.hints is not None for e in s) else None for s in settled),
            refusal=str(refused),
        )


def _allot(
    shares: Mapping[str, float], changing: Sequence[Endpoints], settled: Sequence[Endpoints]
) -> Allotted:
    total = sum(bool(endpoint.conditions.ready) for part in (*changing, *settled) for endpoint in part)
    bounds = _bounds(shares, total)
    by_zone: Counter[str] = Counter()
    kept: list[bool] = []
    for part in settled:
        try:
            by_zone.update(_held(part, by_zone, bounds))
        except _Refused:
            kept.append(False)
        else:
            kept.append(True)
    open_ = [list(part) for part in changing]
    open_ += [list(part) for part, stays in zip(settled, kept, strict=True) if not stays]
    for endpoints in open_:
        for number, endpoint in enumerate(endpoints):
            if not endpoint.conditions.ready:
                endpoints[number] = replace(endpoint, hints=None)
                continue
            if not endpoint.zone:
                raise _Refused("One or more endpoints do not have a zone specified")
            by_zone[endpoint.zone] += 1
            endpoints[number] = _meant_for(endpoint, endpoint.zone)
    gives, takes = transfers({zone: bound.desired for zone, bound in bounds.items()}, by_zone)
    for endpoints in open_:
        for number, endpoint in enumerate(endpoints):
            taker = next((zone for zone, count in takes.items() if count), None)
            if taker is None:
                break
            if endpoint.conditions.ready and gives.get(endpoint.zone, 0):
                endpoints[number] = _meant_for(endpoint, taker)
                gives[endpoint.zone] -= 1
                takes[taker] -= 1
                by_zone[endpoint.zone] -= 1
                by_zone[taker] += 1
    done = iter([tuple(endpoints) for endpoints in open_])
    return Allotted(
        changing=tuple(next(done) for _ in changing),
        settled=tuple(None if stays else next(done) for stays in kept),
        by_zone=dict(by_zone),
    )
