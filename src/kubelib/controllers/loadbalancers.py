"""What leads to Services of type LoadBalancer from outside of the cluster: who makes it, and what of a Service that depends on."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from kubelib.api.core.node import Node
from kubelib.api.core.service import LoadBalancerIngress, LoadBalancerStatus, Service

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""The label of nodes that no load balancer is to lead to."""
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
"""The taint of nodes that are about to go."""


class LoadBalancers(Protocol):
    """Makes load balancers, one for each Service. All verbs may be repeated; all raise OSError when they cannot do it."""

    async def find(self, service: Service) -> LoadBalancerStatus | None:
        """Return where a Service's load balancer can be reached; None if it has none."""
        ...

    async def ensure(self, service: Service, nodes: Sequence[Node]) -> LoadBalancerStatus:
        """Make a Service's load balancer, or let it be as the Service is now, with these nodes behind it."""
        ...

    async def remove(self, service: Service) -> None:
        """Remove a Service's load balancer, if there is one."""
        ...


class OwnAddresses:
    """For clusters on one machine, where the addresses of Services are addresses of this machine: they are the way in.

    ``loadBalancerIP`` and ``loadBalancerSourceRanges`` have no effect.
    """

    async def find(self, service: Service) -> LoadBalancerStatus | None:
        """Return what the Service says."""
        return service.status.load_balancer if service.status.load_balancer.ingress else None

    async def ensure(self, service: Service, nodes: Sequence[Node]) -> LoadBalancerStatus:
        """Return the Service's own addresses."""
        addresses = service.spec.cluster_ips or (service.spec.cluster_ip,)
        return LoadBalancerStatus(
            ingress=tuple(LoadBalancerIngress(ip=ip, ip_mode="VIP") for ip in addresses)
        )

    async def remove(self, service: Service) -> None:
        """Do nothing: the addresses go with the Service."""


def wants_one(service: Service) -> bool:
    """Return whether a Service wants a load balancer of the cluster's own, and not one of a class that somebody else makes."""
    return service.spec.type == "LoadBalancer" and not service.spec.load_balancer_class


def may_be_behind(node: Node) -> bool:
    """Return whether load balancers may lead to a node."""
    if EXCLUDED in node.metadata.labels or any(taint.key == TO_BE_DELETED for taint in node.spec.taints):
        return False
    conditions = node.status.conditions
    return bool(conditions) and all(c.status == "True" for c in conditions if c.type == "Ready")


def differences(old: Service, new: Service) -> Iterable[tuple[str, str]]:
    """Yield what has changed of what a Service's load balancer depends on: reason and message of an event, or empty words where none tells."""
    before, after = old.spec, new.spec
    if wants_one(old) != wants_one(new):
        yield "Type", f"{before.type} -> {after.type}"
        return
    if not wants_one(new):
        return
    for reason, was, is_ in (
        ("LoadBalancerSourceRanges", _listed(before.load_balancer_source_ranges), _listed(after.load_balancer_source_ranges)),
        ("LoadbalancerIP", before.load_balancer_ip, after.load_balancer_ip),
        ("ExternalTrafficPolicy", before.external_traffic_policy, after.external_traffic_policy),
        ("HealthCheckNodePort", before.health_check_node_port or 0, after.health_check_node_port or 0),
        ("UID", old.metadata.uid, new.metadata.uid),
    ):  # fmt: skip
        if was != is_:
            yield reason, f"{was} -> {is_}"
    if len(before.external_ips) != len(after.external_ips):
        yield "ExternalIP", f"Count: {len(before.external_ips)} -> {len(after.external_ips)}"
    else:
        yield from (
            ("ExternalIP", f"Added: {ip}")
            for was, ip in zip(before.external_ips, after.external_ips, strict=True)
            if was != ip
        )
    quiet = (
        (before.ports, after.ports),
        (before.session_affinity, after.session_affinity),
        (before.session_affinity_config, after.session_affinity_config),
        (old.metadata.annotations, new.metadata.annotations),
    )
    if any(was != is_ for was, is_ in quiet):
        yield "", ""


def _listed(words: Sequence[str]) -> str:
    return f"[{' '.join(words)}]"
