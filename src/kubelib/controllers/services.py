"""From Pods to the Services that choose them."""

from collections.abc import Callable, Iterable

from kubelib.api.core.service import Service
from kubelib.api.document import Document
from kubelib.api.meta import Key
from kubelib.informers import Cache
from kubelib.labels import selector_from_match_labels


def services_of_pod(services: Cache[Service]) -> Callable[[Document], Iterable[Key]]:
    """Return a mapping from a Pod to the keys of the Services whose selector matches it."""

    def keys(pod: Document) -> Iterable[Key]:
        for document in services.by_index("namespace", pod.meta.namespace):
            selector = document.view(Service).spec.selector
            if selector and selector_from_match_labels(selector).matches(pod.meta.labels):
                yield document.key

    return keys
