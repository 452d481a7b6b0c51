"""The node agent as a daemon, with the HTTPS server through which the API server reaches the node's containers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import attrs

from kubelib.api.authorization import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kubelib.client.base import Client
from kubelib.clock import SYSTEM_CLOCK, system_random
from kubelib.controllers.events import EventRecorder
from kubelib.registry.base import User
from kubelib.server.listener import Tls, bind, serve
from kubelib.server.nodeserver import NodeServer, pod_list
from reference_cluster.daemon import connected, running
from reference_cluster.nodes import LocalNodes

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
    pod_network: str = "127.244.0.0/16"


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
        self._known[user, subresource] = (review.status.allowed, anyio.current_time() + REMEMBERED)
        return review.status.allowed


@asynccontextmanager
async def run_kubelet(kubeconfig: Path, settings: KubeletSettings) -> AsyncIterator[str]:
    """Run a node while the context is open. Its Pods go on when it is closed, and are found again."""
    from kubelib.runtime.agent import NodeAgent, NodeSettings
    from kubelib.runtime.operations import PodOperations
    from reference_cluster.runtimes import open_runtime

    clock, random, name = SYSTEM_CLOCK, system_random(), settings.name
    listening = bind(settings.address, settings.port, option="--port")
    try:
        async with (
            connected(kubeconfig, "kubelet") as client,
            open_runtime(settings.runtime, settings.root) as runtime,
        ):
            events = EventRecorder(client, clock=clock, random=random)
            agent = NodeAgent(
                client,
                runtime,
                NodeSettings(
                    name=name,
                    address=settings.address,
                    port=listening.getsockname()[1],
                    pod_network=settings.pod_network,
                ),
                settings.root,
                random=random,
                recorder=events.source("kubelet", name),
            )
            nodes = LocalNodes(clock)
            nodes.operations[name] = PodOperations(agent)
            app = NodeServer(
                nodes,
                pod=agent.pod,
                pods=lambda: pod_list(agent.pod_documents()),
                allowed=_Callers(client, name).allowed,
            )
            tls = Tls(settings.cert, settings.key, settings.client_ca)
            async with serve(app, listening, tls, stop=app.stop), running("kubelet", [events, agent]):
                yield f"kubelet {name} is ready for {client.connection.server}"
    finally:
        listening.close()
