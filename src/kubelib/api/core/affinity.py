"""Where a Pod wants to run: affinity, tolerations, spreading."""

from typing import ClassVar

from kubelib.api.core.references import NodeSelector, NodeSelectorTerm
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Int64
from kubelib.api.model import Model


class PreferredSchedulingTerm(Model):
    """Nodes to prefer, and how much."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "weight preference"

    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(Model):
    """Which nodes a Pod needs or prefers."""

    __proto__: ClassVar[str] = "1-2"

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredSchedulingTerm, ...] = ()


class PodAffinityTerm(Model):
    """A set of Pods, and the topology that counts as the same place."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "topologyKey"

    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    topology_key: str = ""
    namespace_selector: LabelSelector | None = None
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodAffinityTerm(Model):
    """Pods to be near or far from, and how much that matters."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "weight podAffinityTerm"

    weight: int = 0
    pod_affinity_term: PodAffinityTerm = PodAffinityTerm()


class PodAffinity(Model):
    """Which Pods a Pod needs or prefers to be near."""

    __proto__: ClassVar[str] = "1-2"

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()


class PodAntiAffinity(Model):
    """Which Pods a Pod must or would rather be away from."""

    __proto__: ClassVar[str] = "1-2"

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()


class Affinity(Model):
    """Preferences and conditions on where a Pod runs."""

    __proto__: ClassVar[str] = "1-3"

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class Toleration(Model):
    """A taint that a Pod puts up with."""

    __proto__: ClassVar[str] = "1-5"

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: Int64 | None = None


class TopologySpreadConstraint(Model):
    """How evenly matching Pods are spread over a topology."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "maxSkew topologyKey whenUnsatisfiable"

    max_skew: int = 0
    topology_key: str = ""
    when_unsatisfiable: str = ""
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str = ""
    node_taints_policy: str = ""
    match_label_keys: tuple[str, ...] = ()
