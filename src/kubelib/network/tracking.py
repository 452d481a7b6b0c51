"""What a process knows of Services and their endpoints: one set of informers, and rules reckoned once, for all that follow them."""

from collections.abc import Callable, Collection, Mapping
from random import Random

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from kubelib.api.core.node import Node
from kubelib.api.core.service import Service
from kubelib.api.discovery import EndpointSlice
from kubelib.api.document import Document
from kubelib.client.base import Client
from kubelib.informers import Cache, SharedInformers
from kubelib.labels import parse_field_selector
from kubelib.network.services import Frontend, Rule, rules
from kubelib.network.topology import ZONE, Place
from kubelib.registry.base import WHOLE_CLUSTER, Query


class ServiceTracker:
    """A component: started before those that follow it, which are the service proxies and the DNS server of a process."""

    name = "services"

    def __init__(
        self,
        client: Client,
        *,
        random: Random,
        node: str = "",
        here: Callable[[Node], bool] | None = None,
    ) -> None:
        """Follow what Services and endpoints there are, for a proxy on the node of this name, or on all that are `here`.

        With neither, no endpoint is local, and none is preferred.
        """
        self._informers = SharedInformers(client, random=random)
        services, slices = self._informers.of(Service), self._informers.of(EndpointSlice)
        self.services: Cache[Service] = services.cache
        self.slices: Cache[EndpointSlice] = slices.cache
        self._rules: Mapping[Frontend, Rule] | None = None
        self._followers: list[Callable[[], object]] = []
        for informer in (services, slices):
            informer.subscribe(self._changed)
        self._node = node
        self._here = here or (lambda found: found.metadata.name == node)
        self._nodes: dict[str, tuple[str, Collection[str]]] = {}
        """Of each node here its zone, and the networks of its Pods."""
        self.place = self._placed()
        if node or here is not None:
            query = Query(fields=parse_field_selector(f"metadata.name={node}")) if node else WHOLE_CLUSTER
            self._informers.of(Node, query).subscribe(self._node_changed)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once all Services and endpoints are known."""
        await self._informers.run(task_status=task_status)

    def subscribe(self, follower: Callable[[], object]) -> None:
        """Call `follower`, which must be quick, at every change from now on."""
        self._followers.append(follower)

    def rules(self) -> Mapping[Frontend, Rule]:
        """Return the rules of all ports of Services; they are reckoned when they are first asked for after a change."""
        if self._rules is None:
            self._rules = rules(
                [document.view(Service) for document in self.services],
                [document.view(EndpointSlice) for document in self.slices],
                self.place,
            )
        return self._rules

    def _node_changed(self, old: Document | None, new: Document | None) -> None:
        """Take what has changed of a node, which is mostly its status: rules are reckoned anew only if the place is another now."""
        if old is not None:
            self._nodes.pop(old.key.name, None)
        if new is not None and self._here(node := new.view(Node)):
            spec = node.spec
            pods = spec.pod_cidrs or ((spec.pod_cidr,) if spec.pod_cidr else ())
            self._nodes[new.key.name] = (node.metadata.labels.get(ZONE, ""), pods)
        place = self._placed()
        if place != self.place:
            self.place = place
            self._changed(old, new)

    def _placed(self) -> Place:
        known = self._nodes.values()
        return Place(
            nodes=frozenset({*self._nodes, self._node} - {""}),
            zones=frozenset(zone for zone, _ in known if zone),
            pods=tuple(sorted({network for _, pods in known for network in pods})),
        )

    def _changed(self, old: Document | None, new: Document | None) -> None:
        self._rules = None
        for follower in self._followers:
            follower()
