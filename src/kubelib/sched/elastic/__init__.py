"""A cluster that grows and shrinks: nodes are asked of a provider when Pods fit nowhere, and returned when they are not needed."""

from kubelib.sched.elastic.base import (
    TEMPLATE_LABEL,
    NodeProvider,
    NodeTemplate,
    ProvidedNode,
    ProviderError,
)
from kubelib.sched.elastic.planning import ClusterView, Growth, Offer, plan_growth
from kubelib.sched.elastic.providers import FakeProvider, LocalProvider
from kubelib.sched.elastic.scaler import Elastic
from kubelib.sched.elastic.settings import ElasticSettings
from kubelib.sched.elastic.shrinking import Spare, find_spare

__all__ = [
    "TEMPLATE_LABEL",
    "ClusterView",
    "Elastic",
    "ElasticSettings",
    "FakeProvider",
    "Growth",
    "LocalProvider",
    "NodeProvider",
    "NodeTemplate",
    "Offer",
    "ProvidedNode",
    "ProviderError",
    "Spare",
    "find_spare",
    "plan_growth",
]
