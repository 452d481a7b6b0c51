"""What an elastic cluster is made of: templates of nodes, and who provides nodes of them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from kubelib.api.core.node import Node, NodeCondition, NodeSpec, NodeStatus, Taint
from kubelib.api.meta import ObjectMeta
from kubelib.api.quantity import parse_quantity

TEMPLATE_LABEL = "elastic.kubelib.dev/template"
"""Says of a node of which template it is."""
HOSTNAME = "kubernetes.io/hostname"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_NEEDED = ("cpu", "memory", "pods")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@attrs.frozen(kw_only=True)
class NodeTemplate:
    """A kind of node that can be had. Raises ValueError, in one sentence, for one that makes no sense."""

    name: str
    capacity: Mapping[str, str]
    """What Pods may use of it, as quantities: cpu, memory and pods at least."""
    price: float = 1.0
    """What a node costs, in any unit that is the same for all templates."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    taints: tuple[Taint, ...] = ()
    minimum: int = 0
    """How many nodes there always are."""
    maximum: int = 10
    """How many nodes there are at most."""

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no name of a template: use up to 40 small letters, digits and hyphens."
            )
        for resource in (*_NEEDED, *self.capacity):
            try:
                value = parse_quantity(self.capacity[resource]).milli()
            except KeyError:
                raise ValueError(f"The template {self.name} does not say its {resource}.") from None
            except (ValueError, TypeError):
                value = -1
            if value < 0 or (resource in _NEEDED and value == 0):
                raise ValueError(
                    f"The template {self.name} has {self.capacity[resource]!r} of {resource}: write a quantity above 0."
                )
        if not (math.isfinite(self.price) and self.price >= 0):
            raise ValueError(
                f"The template {self.name} costs {self.price}: write a price that is not below 0."
            )
        if not 0 <= self.minimum <= self.maximum:
            raise ValueError(
                f"The template {self.name} has from {self.minimum} to {self.maximum} nodes:"
                " the first must not be below 0, nor above the second."
            )
        for taint in self.taints:
            if not taint.key or taint.effect not in _EFFECTS:
                raise ValueError(
                    f"A taint of the template {self.name} needs a key and one of {', '.join(_EFFECTS)}."
                )

    def node(self, name: str) -> Node:
        """Return a node of this template as it will be once it is ready."""
        return Node(
            metadata=ObjectMeta(name=name, labels={**self.labels, HOSTNAME: name, TEMPLATE_LABEL: self.name}),
            spec=NodeSpec(taints=self.taints),
            status=NodeStatus(
                capacity=self.capacity,
                allocatable=self.capacity,
                conditions=(NodeCondition(type="Ready", status="True", reason="KubeletReady"),),
            ),
        )


@attrs.frozen
class ProvidedNode:
    """A node that a provider has made or is making."""

    name: str
    """That of the Node object, too."""
    template: str


class ProviderError(Exception):
    """The provider refuses, in one sentence. What it does not list among its nodes will not come."""


class NodeProvider(Protocol):
    """Makes nodes and takes them back: a cloud, a hypervisor, processes.

    Nodes join the cluster by themselves, under the name that they were asked for. All calls may be made again, and must then do
    nothing more: whoever asks may have lost the answer. Errors other than `ProviderError` mean that it is not known what was done.
    `kubelib.testing.provider` has the suite of what a provider must do.
    """

    async def templates(self) -> Sequence[NodeTemplate]:
        """Return what can be had. Raises ProviderError."""
        ...

    async def nodes(self) -> Sequence[ProvidedNode]:
        """Return all nodes that are there or on their way. Raises ProviderError."""
        ...

    async def add(self, template: str, names: Sequence[str]) -> Sequence[str]:
        """Begin to make nodes of these names; those that there are already are left as they are.

        Return the names of those that there are now or will be: fewer if it cannot make all. Raises ProviderError.
        """
        ...

    async def remove(self, name: str) -> None:
        """Take a node back, with all that runs on it; one that is not there is no error. Raises ProviderError."""
        ...
