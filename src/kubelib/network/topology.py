"""Which endpoints clients of a machine use: by what endpoints say of themselves, by where they are, and by whom they are meant for. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import attrs

from kubelib.api.discovery import Endpoint

T = TypeVar("T")

ZONE = "topology.kubernetes.io/zone"
"""The label of nodes which says in which zone they are."""


@attrs.frozen
class Place:
    """Where a proxy is. One for several nodes on one machine is at all of them, as their clients cannot be told apart."""

    nodes: frozenset[str] = frozenset()
    """Names of nodes; endpoints on them are local."""
    zones: frozenset[str] = frozenset()
    pods: tuple[str, ...] = ()
    """Networks from which Pods of these nodes get their addresses."""


NOWHERE = Place()


def is_ready(endpoint: Endpoint) -> bool:
    """Return whether an endpoint takes new clients."""
    return endpoint.conditions.ready is not False


def is_going(endpoint: Endpoint) -> bool:
    """Return whether an endpoint that is not ready would still answer, as its Pod has not ended yet."""
    return bool(endpoint.conditions.terminating) and endpoint.conditions.serving is not False


def of_cluster(ready: Mapping[T, Endpoint], going: Collection[T], place: Place) -> Collection[T]:
    """Return where clients go who may go anywhere: those that are going answer when no other does."""
    return _preferred(ready, place) or going


def of_machine(ready: Mapping[T, Endpoint], going: Mapping[T, Endpoint], place: Place) -> Collection[T]:
    """Return where clients go who may not leave the machine; hints are of no account to them."""
    for ends in (ready, going):
        local = [backend for backend, endpoint in ends.items() if endpoint.node_name in place.nodes]
        if local:
            return local
    return ()


def _preferred(ready: Mapping[T, Endpoint], place: Place) -> Collection[T]:
    """Return those that are meant for this place; all if not every endpoint says for whom it is meant, or none is meant for this place."""
    if any(endpoint.hints is None for endpoint in ready.values()):
        return ready
    for here, meant_for in _PREFERENCES:
        names = here(place)
        meant = {backend: meant_for(endpoint) for backend, endpoint in ready.items()}
        if all(meant.values()):
            found = [backend for backend, hinted in meant.items() if not names.isdisjoint(hinted)]
            if found:
                return found
    return ready


def _nodes(endpoint: Endpoint) -> Sequence[str]:
    return [node.name for node in endpoint.hints.for_nodes] if endpoint.hints is not None else ()


def _zones(endpoint: Endpoint) -> Sequence[str]:
    return [zone.name for zone in endpoint.hints.for_zones] if endpoint.hints is not None else ()


_PREFERENCES: Sequence[tuple[Callable[[Place], frozenset[str]], Callable[[Endpoint], Sequence[str]]]] = (
    (lambda place: place.nodes, _nodes),
    (lambda place: place.zones, _zones),
)
"""What is tried first: the node, then the zone."""
