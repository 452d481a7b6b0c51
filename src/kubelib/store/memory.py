"""The store in memory: the reference implementation, and what simulations run on."""

from kubelib.store.base import Operation, Revision
from kubelib.store.engine import Engine


class MemoryStore(Engine):
    """A store that forgets everything when it is closed. Commits are synchronous: they take no turn of the loop."""

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none; see `kubelib.store.base.Store`."""
        self._require_open()
        writes = self._check(operations, self._modified)
        if writes:
            self._apply(Revision(self._revision + 1), writes)
        return self._revision
