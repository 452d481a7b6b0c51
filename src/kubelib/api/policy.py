"""Disruption budgets and evictions."""

from collections.abc import Mapping
from typing import ClassVar

from kubelib.api.machinery import Condition, DeleteOptions, LabelSelector
from kubelib.api.merging import BY_TYPE, REPLACE, Merging
from kubelib.api.meta import Int64, Object, Time
from kubelib.api.model import Model


class PodDisruptionBudgetSpec(Model):
    """What is wanted of a PodDisruptionBudget."""

    __proto__: ClassVar[str] = "1-4"
    __merge__: ClassVar[Merging] = {"selector": REPLACE}

    min_available: int | str | None = None
    selector: LabelSelector | None = None
    max_unavailable: int | str | None = None
    unhealthy_pod_eviction_policy: str = ""


class PodDisruptionBudgetStatus(Model):
    """What is observed of a PodDisruptionBudget."""

    __proto__: ClassVar[str] = "1-7"
    __always__: ClassVar[str] = "disruptionsAllowed currentHealthy desiredHealthy expectedPods"
    __merge__: ClassVar[Merging] = {"conditions": BY_TYPE}

    observed_generation: Int64 = 0
    disrupted_pods: Mapping[str, Time] = {}
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    conditions: tuple[Condition, ...] = ()


class PodDisruptionBudget(Object):
    """How many Pods of a set must stay up during voluntary disruptions."""

    api_version: ClassVar[str] = "policy/v1"
    kind: ClassVar[str] = "PodDisruptionBudget"
    __proto__: ClassVar[str] = "2-3"

    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()


class Eviction(Object):
    """A request to delete a Pod if the disruption budgets allow it."""

    api_version: ClassVar[str] = "policy/v1"
    kind: ClassVar[str] = "Eviction"
    __proto__: ClassVar[str] = "2"

    delete_options: DeleteOptions | None = None
