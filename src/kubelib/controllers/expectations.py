"""What a controller has done that its cache has not shown it yet: so that it does not do the same twice."""

from typing import Any

import anyio
import attrs

from kubelib.api.meta import Key, Object
from kubelib.informers import Cache, revision_of

TIMEOUT = 300.0
"""Seconds after which an expectation is given up: a created object may be deleted before anybody sees it."""


@attrs.define
class _Expected:
    revision: int = 0
    deleted: dict[Key, str] = attrs.field(factory=dict)
    at: float = 0.0


class Expectations:
    """Per key of the controller: the revision of its latest creation, and the objects that it has deleted."""

    def __init__(self, cache: Cache[Any]) -> None:
        self._cache = cache
        self._expected: dict[Key, _Expected] = {}

    def created(self, key: Key, obj: Object) -> None:
        """Note that an object has been created for `key`."""
        expected = self._of(key)
        expected.revision = max(expected.revision, revision_of(obj.metadata.resource_version))

    def deleted(self, key: Key, obj: Object) -> None:
        """Note that an object of `key` has been deleted."""
        self._of(key).deleted[obj.key] = obj.metadata.uid

    def forget(self, key: Key) -> None:
        """Forget everything about `key`, which is gone."""
        self._expected.pop(key, None)

    def satisfied(self, key: Key) -> bool:
        """Return whether the cache shows all that was done for `key`, or will never (`TIMEOUT`)."""
        expected = self._expected.get(key)
        if expected is None:
            return True
        if anyio.current_time() - expected.at <= TIMEOUT:
            if self._cache.revision < expected.revision:
                return False
            for pod, uid in expected.deleted.items():
                document = self._cache.get(pod)
                if document is not None and document.meta.uid == uid and not document.meta.deletion_timestamp:
                    return False
        del self._expected[key]
        return True

    def _of(self, key: Key) -> _Expected:
        expected = self._expected.setdefault(key, _Expected())
        expected.at = anyio.current_time()
        return expected
