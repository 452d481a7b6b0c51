"""The node agent as a daemon, with the HTTPS server through which the API server reaches the node's containers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import attrs

from kubelib.api.authorization import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kubelib.api.core.node import Taint
from kubelib.client.base import Client
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.informers import Component
from kubelib.registry.base import User
from kubelib.runtime.localnodes import LocalNodes
from kubelib.server.listener import bind, serve
from kubelib.server.tls import Tls
from reference_cluster.daemon import Later, connected, running
from reference_cluster.devicedrivers import make_drivers
from reference_cluster.join import (
    ClientCertificate,
    ServingCertificate,
    ensure_serving_files,
    join,
    load_x509,
)
from reference_cluster.networks import pair
from reference_cluster.runtimes import (
    NO_ISOLATION,
    IsolationSettings,
    node_annotations,
    open_runtime,
    own_pod_networks,
    with_network,
)

DEFAULT_PORT = 10250
REMEMBERED = 10.0
"""Seconds that the API server's answer about a caller is used again."""


@attrs.frozen(kw_only=True)
class KubeletSettings:
    """What a node is made of."""

    name: str
    root: Path
    """Where the node keeps its Pods."""
    cert: Path
    key: Path
    client_ca: Path
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    runtime: str = "process"
    isolation: IsolationSettings = NO_ISOLATION
    device_drivers: Sequence[str] = ()
    """The plug-ins that have devices on the node."""
    pod_network: str = ""
    """Where Pods get their addresses; empty: 10.244.0.0/16 where they have networks of their own, else 127.244.0.0/16."""
    static_pods: Path | None = None
    """The directory of the node's static Pods, which it runs with or without an API server."""
    eviction_hard: Mapping[str, str] | None = None
    """Below what Pods are ended; None: below what the kubelet does it by default."""
    cluster_dns: Sequence[str] = ()
    """Whom Pods ask for names; nobody: whom the host asks."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    """Beside those that every node has."""
    taints: Sequence[Taint] = ()
    capacity: Mapping[str, str] = attrs.field(factory=dict)
    """What Pods may use, where that is not all that the machine has."""
    bootstrap: Path | None = None
    """The kubeconfig by which the node asks for certificates of its own; None: it has been given some."""


class _Callers:
    """Asks the API server whether a caller may use the node's server; it itself may."""

    def __init__(self, client: Client, node: str) -> None:
        self._reviews = client.resource(SubjectAccessReview)
        self._node = node
        self._known: dict[tuple[User, str], tuple[bool, float]] = {}

    async def allowed(self, user: User, subresource: str) -> bool:
        if "system:masters" in user.groups:
            return True
        known = self._known.get((user, subresource))
        if known is not None and known[1] > anyio.current_time():
            return known[0]
        attributes = ResourceAttributes(
            verb="get", resource="nodes", subresource=subresource, name=self._node
        )
        spec = SubjectAccessReviewSpec(user=user.name, groups=user.groups, resource_attributes=attributes)
        review = await self._reviews.create(SubjectAccessReview(spec=spec))
        if len(self._known) > 1000:
            self._known.clear()
        self._known[user, subresource] = (review.status.allowed, anyio.current_time() + REMEMBERED)
        return review.status.allowed


@asynccontextmanager
async def run_kubelet(kubeconfig: Path, settings: KubeletSettings) -> AsyncIterator[str]:
    """Run a node while the context is open. Its Pods go on when it is closed, and are found again."""
    from kubelib.runtime.agent import NodeAgent
    from kubelib.runtime.eviction import DEFAULT_HARD
    from kubelib.runtime.node import is_loopback, known_range
    from kubelib.runtime.settings import NodeSettings

    clock, random, name = SYSTEM_CLOCK, system_random(), settings.name
    kept = is_loopback(known_range(settings.root))  # a node that is known keeps the addresses of its Pods
    apart = not settings.pod_network and not kept and own_pod_networks(settings.isolation)
    pod_network = settings.pod_network or pair(0, pods_routed=apart).pods
    isolation = with_network(settings.isolation, pod_network)
    for part in ("volumes", "pods", "logs"):  # Secrets and tokens are in them, and whatever containers say
        place = settings.root / part
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o750)
    listening = bind(settings.address, settings.port, option="--port")
    try:
        if settings.bootstrap is not None:
            await join(settings.bootstrap, kubeconfig, name, clock)
            ensure_serving_files(kubeconfig, settings.cert, settings.key, name, clock)
        async with (
            connected(kubeconfig, "kubelet", wait=settings.static_pods is None) as client,
            open_runtime(settings.runtime, settings.root, isolation) as runtime,
        ):
            events = EventRecorder(client, clock=clock, random=random)
            agent = NodeAgent(
                client,
                runtime,
                NodeSettings(
                    name=name,
                    address=settings.address,
                    port=listening.getsockname()[1],
                    pod_network=pod_network,
                    static_pods=settings.static_pods,
                    annotations=node_annotations(settings.runtime, isolation),
                    pids_limit=isolation.pids,
                    labels=settings.labels,
                    taints=settings.taints,
                    capacity=settings.capacity,
                    cluster_dns=settings.cluster_dns,
                    eviction_hard=DEFAULT_HARD if settings.eviction_hard is None else settings.eviction_hard,
                ),
                settings.root,
                random=random,
                recorder=events.source("kubelet", name),
                device_drivers=make_drivers(settings.device_drivers, settings.root),
            )
            nodes = LocalNodes(clock)
            app = nodes.add(agent, _Callers(client, name).allowed)
            tls = Tls(settings.cert, settings.key, settings.client_ca)
            renewed = ClientCertificate(client, kubeconfig, name, clock, random)
            components: list[Component] = [events, agent, Later(renewed.name, load_x509, lambda: renewed)]
            if settings.bootstrap is not None:
                hosts = (name, settings.address)
                components.append(ServingCertificate(client, tls, name, hosts, clock, random))
            async with serve(app, listening, tls, stop=app.stop), running("kubelet", components):
                yield f"kubelet {name} is ready for {client.connection.server}"
    finally:
        listening.close()
