"""What is special about a kind: one strategy each, the generic one for all others."""

from kubelib.api.scheme import Resource
from kubelib.registry.strategies.base import Strategy
from kubelib.registry.strategies.namespaces import NamespaceStrategy
from kubelib.registry.strategies.pods import PodStrategy
from kubelib.registry.strategies.services import ServiceStrategy
from kubelib.registry.strategies.workloads import EventStrategy, JobStrategy, ScaledStrategy

_CREATED_BY_UPDATE = {
    "Lease",
    "Endpoints",
    "LimitRange",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
}


def strategy_of(resource: Resource) -> Strategy:
    """Return the strategy of a resource."""
    match resource.kind:
        case "Pod":
            return PodStrategy()
        case "Service":
            return ServiceStrategy()
        case "Namespace":
            return NamespaceStrategy()
        case "Event":
            return EventStrategy()
        case "Job":
            return JobStrategy()
    if "scale" in resource.subresources:
        return ScaledStrategy(orphans_by_default=resource.kind == "ReplicationController")
    strategy = Strategy()
    strategy.create_on_update = resource.kind in _CREATED_BY_UPDATE
    return strategy
