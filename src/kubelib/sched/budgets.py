"""Disruption budgets, as the scheduler minds them: which Pods should rather not be victims. Pure."""

from collections.abc import Sequence

import attrs

from kubelib.api.meta import Key
from kubelib.api.policy import PodDisruptionBudget
from kubelib.labels.selector import Selector, selector_from_label_selector
from kubelib.sched.pods import PodInfo


@attrs.frozen
class _Budget:
    selector: Selector
    allowed: int
    disrupted: frozenset[str]


class Budgets:
    """All disruption budgets of the cluster."""

    def __init__(self) -> None:
        self.version = 0
        """Goes up with every change that matters."""
        self._budgets: dict[Key, _Budget] = {}

    def put(self, budget: PodDisruptionBudget) -> None:
        """Learn of a budget, or what has become of it. Raises ValueError if its selector makes no sense."""
        new = _Budget(
            selector_from_label_selector(budget.spec.selector),
            budget.status.disruptions_allowed,
            frozenset(budget.status.disrupted_pods),
        )
        if self._budgets.get(budget.key) != new:
            self._budgets[budget.key] = new
            self.version += 1

    def remove(self, key: Key) -> None:
        """Forget a budget."""
        if self._budgets.pop(key, None) is not None:
            self.version += 1

    def concern(self, pod: PodInfo) -> bool:
        """Return whether any budget is about a Pod."""
        return any(
            key.namespace == pod.namespace and budget.selector.matches(pod.labels)
            for key, budget in self._budgets.items()
        )

    def split(self, pods: Sequence[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
        """Return the Pods whose loss would break a budget if all went, in this order, and the others.

        As in kube-scheduler, a budget whose selector is empty means no Pod here, and a Pod that a budget knows to be going costs nothing.
        """
        if not self._budgets:
            return [], list(pods)
        allowed = {key: budget.allowed for key, budget in self._budgets.items()}
        violating: list[PodInfo] = []
        others: list[PodInfo] = []
        for pod in pods:
            broken = False
            for key, budget in self._budgets.items():
                if key.namespace != pod.namespace or budget.selector.everything or not pod.labels:
                    continue
                if budget.selector.matches(pod.labels) and pod.key.name not in budget.disrupted:
                    allowed[key] -= 1
                    broken = broken or allowed[key] < 0
            (violating if broken else others).append(pod)
        return violating, others
