"""A read-only, typed view of a cache: all that business logic sees of the machinery."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from kubelib.api.document import Documents
from kubelib.api.meta import Key, Object
from kubelib.informers.cache import Cache
from kubelib.labels import EVERYTHING, Selector

R = TypeVar("R", bound=Object)


class Lister(Generic[R]):
    """Objects as they were last heard of. Sequences decode an object when it is looked at."""

    def __init__(self, cache: Cache[R]) -> None:
        self._cache = cache

    def get(self, key: Key) -> R | None:
        """Return the object at `key`, or None."""
        return self._cache.view(key)

    def list(self, selector: Selector = EVERYTHING, namespace: str = "") -> Sequence[R]:
        """Return the objects whose labels match, in one namespace or in all."""
        return Documents(self._cache.select(selector, namespace), self._cache.cls)

    def by_index(self, name: str, value: str) -> Sequence[R]:
        """Return the objects that an index of the cache holds under `value`."""
        return Documents(self._cache.by_index(name, value), self._cache.cls)

    def __len__(self) -> int:
        return len(self._cache)
