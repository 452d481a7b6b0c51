"""Nodes are told how long they may keep Secrets and ConfigMaps without asking for them again: the longer, the more nodes there are."""

from collections.abc import Iterable

from kubelib.api.core.node import Node
from kubelib.api.document import Document
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller
from kubelib.controllers.events import EventRecorder
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch

NAME = "ttl-controller"
ANNOTATION = "node.alpha.kubernetes.io/ttl"
STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**31 - 1, 300))
"""From so many nodes, up to so many, so many seconds. What is gone up at one size is gone down at a smaller one."""


class NodeLifetimes:
    """A `Reconciler` of nodes: each has the annotation."""

    def __init__(self, informers: SharedInformers) -> None:
        nodes = informers.of(Node)
        self._nodes = nodes.cache
        self._registry = informers.client.resource(Node)
        self._count = self._step = 0
        nodes.subscribe(self._counted)

    def _counted(self, old: Document | None, new: Document | None) -> None:
        self._count += (new is not None) - (old is not None)
        low, high, _ = STEPS[self._step]
        self._step += (self._count > high) - (self._count < low)

    @property
    def seconds(self) -> int:
        """What all nodes are to be told."""
        return STEPS[self._step][2]

    def untold(self, document: Document) -> Iterable[Key]:
        """Map a node to itself unless it says so already: nodes report all the time."""
        return () if f'"{ANNOTATION}":"{self.seconds}"'.encode() in document.raw else (document.key,)

    async def reconcile(self, key: Key) -> After | None:
        """Tell one node."""
        node, seconds = self._nodes.view(key), str(self.seconds)
        if node is None or node.metadata.annotations.get(ANNOTATION) == seconds:
            return None
        try:
            await self._registry.patch(
                key, Patch("strategic", {"metadata": {"annotations": {ANNOTATION: seconds}}})
            )
        except NotFound:
            return None
        return None


def node_ttl_controller(informers: SharedInformers, *, clock: Clock, recorder: EventRecorder) -> Controller:
    """Return the controller."""
    lifetimes = NodeLifetimes(informers)
    return Controller(
        NAME, lifetimes, [(informers.of(Node), lifetimes.untold)], workers=5, recorder=recorder.source(NAME)
    )
