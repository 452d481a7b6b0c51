"""Which selectors match this object: from a changed Pod to those who are interested, without asking each of them."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from kubelib.api.apps import Deployment, ReplicaSet
from kubelib.api.apps_sets import DaemonSet, StatefulSet
from kubelib.api.batch import Job
from kubelib.api.document import Document
from kubelib.api.meta import Key, Object
from kubelib.controllers.controller import Keys
from kubelib.controllers.ownership import controller_in
from kubelib.informers import Informer
from kubelib.labels import Selector, SelectorIndex, selector_from_label_selector

R = TypeVar("R", bound=Object)


class Selecting:
    """The selectors of the objects of one informer, per namespace, kept in step with it."""

    def __init__(self, informer: Informer[R], selector: Callable[[R], Selector]) -> None:
        self._cls = informer.cls
        self._selector = selector
        self._by_namespace: dict[str, SelectorIndex[Key]] = {}
        informer.subscribe(self._changed)

    def _changed(self, old: Document | None, new: Document | None) -> None:
        if old is not None:
            self._by_namespace[old.meta.namespace].discard(old.key)
        if new is not None:
            index = self._by_namespace.setdefault(new.meta.namespace, SelectorIndex())
            index.discard(new.key)
            index.add(new.key, self._selector(new.view(self._cls)))

    def keys(self, document: Document) -> Iterable[Key]:
        """Map an object to those of its namespace whose selector matches its labels."""
        index = self._by_namespace.get(document.meta.namespace)
        return list(index.matching(document.meta.labels)) if index is not None else ()


def selector_of(owner: DaemonSet | Deployment | Job | ReplicaSet | StatefulSet) -> Selector:
    """Return which Pods, and other things of its own, a workload is about."""
    return selector_from_label_selector(owner.spec.selector)


def owner_or_matching(informer: Informer[R], owner: Keys, selector: Callable[[R], Selector]) -> Keys:
    """Return a mapping to what controls an object or, if nothing does, to all that could adopt it."""
    selecting = Selecting(informer, selector)

    def keys(document: Document) -> Iterable[Key]:
        return owner(document) if controller_in(document.meta) is not None else selecting.keys(document)

    return keys
