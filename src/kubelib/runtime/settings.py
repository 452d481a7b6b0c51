"""What a node agent is told about its node."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from kubelib.api.core.node import Taint


@attrs.frozen(kw_only=True)
class NodeSettings:
    """What a node offers, and how it is known."""

    name: str
    address: str = "127.0.0.1"
    labels: Mapping[str, str] = attrs.field(factory=dict)
    capacity: Mapping[str, str] = attrs.field(factory=dict)
    """Beyond, or instead of, what the machine has: cpu, memory, pods, ephemeral-storage."""
    taints: Sequence[Taint] = ()
    """What a node that nobody knows yet is registered with."""
    port: int = 0
    """Where the node's own server listens (`kubelib.server.nodeserver`); 0 if it is in the API server's process."""
    pod_network: str = "127.244.0.0/16"
    """Each node takes a /24 of it for its Pods."""
    cluster_dns: Sequence[str] = ()
    """The addresses of the cluster's DNS servers, if it has any: Pods with policy ClusterFirst ask them."""
    cluster_domain: str = "cluster.local"
    eviction_hard: Mapping[str, str] = attrs.field(factory=dict)
    """How much must be left of what before Pods are ended: ``{"memory.available": "100Mi"}``; see `kubelib.runtime.eviction`."""
    annotations: Mapping[str, str] = attrs.field(factory=dict)
    """What the node says of itself beside its labels."""
    pids_limit: int | None = None
    """How many processes a container may have; None: as many as the runtime says."""
    static_pods: Path | None = None
    """The directory whose files are Pods that the node runs by itself, with or without an API server."""
