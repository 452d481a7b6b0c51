"""Policies: which nodes fit, which are better, which is chosen. Others register under ``kubelib.policies``."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from kubelib.sched.base import Filter, Policy, Score
from kubelib.sched.policies.allocation import (
    BalancedAllocation,
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
)
from kubelib.sched.policies.choosers import AnyOf, Best, InTurn
from kubelib.sched.policies.devices import HasDevices, PrefersFirstChoices
from kubelib.sched.policies.filters import (
    FitsResources,
    HasFeatures,
    HasFreePorts,
    HasName,
    IsSchedulable,
    MatchesNodeAffinity,
    ToleratesTaints,
)
from kubelib.sched.policies.neighbours import KeepsCompany, LikesCompany, PrefersEven, SpreadsEvenly
from kubelib.sched.policies.pernode import PerNode, per_node
from kubelib.sched.policies.plugins import make_plugin
from kubelib.sched.policies.scores import (
    HasImages,
    PrefersNodeAffinity,
    PrefersUntainted,
    SpreadOwner,
    SpreadZones,
)
from kubelib.sched.policies.spaces import PrefersSpace
from kubelib.sched.policies.storage import FindsVolumes, IsInVolumeZone, KeepsVolumeLimits, SharesVolumes

ENTRY_POINTS = "kubelib.policies"

FILTERS: tuple[Filter, ...] = (
    IsSchedulable(),
    HasName(),
    ToleratesTaints(),
    MatchesNodeAffinity(),
    HasFreePorts(),
    FitsResources(),
    SharesVolumes(),
    KeepsVolumeLimits(),
    FindsVolumes(),
    IsInVolumeZone(),
    SpreadsEvenly(),
    KeepsCompany(),
    HasDevices(),
    HasFeatures(),
)
"""The conditions that every Pod may rely on, in kube-scheduler's order."""

PREFERENCES: tuple[tuple[Score, float], ...] = (
    (PrefersUntainted(), 3.0),
    (PrefersNodeAffinity(), 2.0),
    (PrefersEven(), 2.0),
    (LikesCompany(), 2.0),
    (PrefersFirstChoices(), 2.0),
)
"""What Pods and nodes say that they prefer."""


def default_policy() -> Policy:
    """Room and balance, few of the same controller on one node and in one zone, preferences of the Pod."""
    return Policy(
        name="default",
        filters=FILTERS,
        scores=(
            (LeastAllocated(), 1.0),
            (BalancedAllocation(), 1.0),
            (SpreadOwner(), 2.0),
            (SpreadZones(), 4.0),
            (HasImages(), 1.0),
            (PrefersSpace(), 1.0),
            *PREFERENCES,
        ),
        choose=Best(),
    )


def random_policy() -> Policy:
    """Any node that fits."""
    return Policy(name="random", filters=FILTERS, choose=AnyOf())


def round_robin_policy() -> Policy:
    """Node after node."""
    return Policy(name="round-robin", filters=FILTERS, choose=InTurn())


def least_allocated_policy() -> Policy:
    """The node with the most room left."""
    return Policy(name="least-allocated", filters=FILTERS, scores=((LeastAllocated(), 1.0),), choose=Best())


def most_allocated_policy() -> Policy:
    """The fullest node that fits."""
    return Policy(name="most-allocated", filters=FILTERS, scores=((MostAllocated(), 1.0),), choose=Best())


def spread_policy() -> Policy:
    """The node with the fewest Pods of the same controller, in the zone with the fewest."""
    return Policy(
        name="spread",
        filters=FILTERS,
        scores=((SpreadOwner(), 1.0), (SpreadZones(), 2.0), (PrefersEven(), 1.0), (LeastAllocated(), 0.01)),
        choose=Best(),
    )


POLICIES: dict[str, Callable[[], Policy]] = {
    "default": default_policy,
    "random": random_policy,
    "round-robin": round_robin_policy,
    "least-allocated": least_allocated_policy,
    "most-allocated": most_allocated_policy,
    "spread": spread_policy,
}


def load_policy(name: str) -> Policy:
    """Return a policy by name, ours or one that is installed. Raises LookupError with the names that there are."""
    if name in POLICIES:
        return POLICIES[name]()
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in installed:
        raise LookupError(f"no policy {name!r}; there are: {', '.join(sorted({*POLICIES, *installed}))}")
    return cast("Policy", make_plugin(installed[name]))


__all__ = [
    "FILTERS",
    "POLICIES",
    "PREFERENCES",
    "AnyOf",
    "BalancedAllocation",
    "Best",
    "FindsVolumes",
    "FitsResources",
    "HasDevices",
    "HasFeatures",
    "HasFreePorts",
    "HasImages",
    "HasName",
    "InTurn",
    "IsInVolumeZone",
    "IsSchedulable",
    "KeepsCompany",
    "KeepsVolumeLimits",
    "LeastAllocated",
    "LikesCompany",
    "MatchesNodeAffinity",
    "MostAllocated",
    "PerNode",
    "PrefersEven",
    "PrefersFirstChoices",
    "PrefersNodeAffinity",
    "PrefersSpace",
    "PrefersUntainted",
    "RequestedToCapacityRatio",
    "SharesVolumes",
    "SpreadOwner",
    "SpreadZones",
    "SpreadsEvenly",
    "ToleratesTaints",
    "default_policy",
    "least_allocated_policy",
    "load_policy",
    "most_allocated_policy",
    "per_node",
    "random_policy",
    "round_robin_policy",
    "spread_policy",
]
