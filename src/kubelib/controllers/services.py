"""From Pods to the Services that choose them."""

from collections.abc import Callable, Iterable

from kubelib.api.core.service import Service
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.controllers.matching import Selecting
from kubelib.informers import Informer
from kubelib.labels import NOTHING, Selector, selector_from_match_labels


def chooses_pods(service: Service) -> bool:
    """Return whether a Service is for Pods that it chooses: it may be only a name, or somebody says what is behind it."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def selector_of(service: Service) -> Selector:
    """Return which pods a Service is for; one that chooses none is for none that we know of."""
    return selector_from_match_labels(service.spec.selector) if chooses_pods(service) else NOTHING


HEADLESS = "service.kubernetes.io/headless"


def labels_of(service: Service) -> dict[str, str]:
    """Return the labels that what lists a Service's addresses has of it: its own, and whether it has no address."""
    labels = {name: value for name, value in service.metadata.labels.items() if name != HEADLESS}
    return {**labels, HEADLESS: ""} if service.spec.cluster_ip in ("", "None") else labels


def services_of_pod(services: Informer[Service]) -> Callable[[Document], Iterable[Key]]:
    """Return a mapping from a Pod to the keys of the Services whose selector matches it, without asking each of them."""
    return Selecting(services, selector_of).keys
