"""Services as a scheduler knows them: which Pods belong together, also those that no controller has made."""

from collections.abc import Mapping

from kubelib.api.core.service import Service
from kubelib.api.meta import Key
from kubelib.labels.selector import Selector, selector_from_match_labels
from kubelib.sched.pods import PodInfo
from kubelib.sched.selectors import PodSelector


class Services:
    """The selectors of Services, by namespace and name."""

    def __init__(self) -> None:
        self._selectors: dict[str, dict[str, tuple[Selector, Mapping[str, str]]]] = {}

    def put(self, key: Key, service: Service | None) -> bool:
        """Learn of a Service, or that it is gone (None). That lets no Pod be tried again, as in Kubernetes: the answer is False."""
        here = self._selectors.setdefault(key.namespace, {})
        here.pop(key.name, None)
        if service is not None and service.spec.selector:
            here[key.name] = selector_from_match_labels(service.spec.selector), service.spec.selector
        if not here:
            del self._selectors[key.namespace]
        return False

    def peers(self, pod: PodInfo) -> PodSelector | None:
        """Return which Pods are selected by all Services that select a Pod; None if none does."""
        here = self._selectors.get(pod.namespace) or {}
        # All of them match one Pod, so they do not contradict each other.
        labels = {
            name: value
            for selector, pairs in here.values()
            if selector.matches(pod.labels)
            for name, value in pairs.items()
        }
        if not labels:
            return None
        return PodSelector(selector_from_match_labels(labels), (pod.namespace,), staying=True)
