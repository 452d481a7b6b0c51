"""The store in memory: the reference implementation, and what simulations run on."""

from collections.abc import Mapping

from attrs import frozen

from kubelib.store.base import Entry, Operation, Revision
from kubelib.store.engine import Embedded


@frozen
class Snapshot:
    """Everything that a store held at one revision. Entries are never changed, so that taking one copies no value."""

    revision: Revision
    entries: Mapping[str, Entry]
    leases: tuple[tuple[float, str, Revision], ...]


class MemoryStore(Embedded):
    """A store that forgets everything when it is closed. Commits are synchronous: they take no turn of the loop."""

    async def commit(self, *operations: Operation) -> Revision:
        """Carry out all operations or none; see `kubelib.store.base.Store`."""
        self._require_open()
        writes = self._check(operations, self._modified)
        if writes:
            self._apply(Revision(self._revision + 1), writes)
        return self._revision

    def snapshot(self) -> Snapshot:
        """Return everything that is stored now."""
        self._require_open()
        return Snapshot(self._revision, dict(self._entries), tuple(self._leases))

    def restore(self, snapshot: Snapshot) -> Revision:
        """Hold again what a snapshot holds, every entry at the revision that it had; return the store's new revision.

        The counter goes on and never back, and the history before this point is forgotten: watches end with `WatchLagged`,
        lists of earlier revisions with `RevisionCompacted`, as after a restore of etcd that bumps the revision and marks what
        was before as compacted. Observers are not told: whoever observes loads anew.
        """
        self._require_open()
        self._entries = dict(snapshot.entries)
        self._keys = sorted(self._entries)
        self._revision = Revision(self._revision + 1)
        self._leases = list(snapshot.leases)
        if self._lease_added is not None:
            self._lease_added.set()
        self._history.restart(self._revision)
        self._fanout.restart(self._revision)
        return self._revision
