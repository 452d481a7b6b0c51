"""The recent past: a bounded ring of changes, from which watches continue and earlier states are rebuilt."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from kubelib.store.base import Change, Revision, RevisionCompacted


class History:
    """Changes in revision order, the oldest forgotten first.

    Positions count all changes ever added, so that a cursor stays valid while the front is trimmed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.compacted = Revision(0)
        """Everything up to this revision has been forgotten; later changes are all here."""
        self._changes: list[Change] = []
        self._first = 0

    @property
    def end(self) -> int:
        """The position after the latest change."""
        return self._first + len(self._changes)

    @property
    def first(self) -> int:
        """The position of the oldest change that is kept."""
        return self._first

    def add(self, changes: Iterable[Change]) -> None:
        """Append the changes of one commit."""
        self._changes.extend(changes)

    @property
    def overfull(self) -> bool:
        """Whether there are twice as many changes as wanted: time to compact, which is then cheap per change."""
        return len(self._changes) > 2 * self.limit

    def revision_to_keep(self) -> Revision:
        """Return the oldest revision whose changes fit within the limit."""
        at = max(0, len(self._changes) - self.limit)
        return self._changes[at].revision if self._changes else Revision(self.compacted + 1)

    def compact(self, before: Revision) -> list[Change]:
        """Forget, and return, the changes of revisions before `before`."""
        at = bisect_right(self._changes, before - 1, key=lambda change: change.revision)
        dropped, self._changes = self._changes[:at], self._changes[at:]
        self._first += at
        self.compacted = Revision(max(self.compacted, before - 1))
        return dropped

    def restart(self, revision: Revision) -> None:
        """Forget everything, and make every position that was ever given out one of the past."""
        self._first = self.end + 1
        self._changes = []
        self.compacted = revision

    def forget(self, up_to: Revision) -> None:
        """Forget everything: changes added from now on follow revision `up_to`, and every cursor has lost its place."""
        self._first = self.end + 1
        self._changes = []
        self.compacted = up_to

    def position(self, since: Revision) -> int:
        """Return the position of the first change after revision `since`. Raises `RevisionCompacted`."""
        if since < self.compacted:
            raise RevisionCompacted(since, Revision(self.compacted))
        return self._first + bisect_right(self._changes, since, key=lambda change: change.revision)

    def between(self, start: int, end: int) -> list[Change]:
        """Return the changes from position `start` up to `end`."""
        return self._changes[start - self._first : end - self._first]

    def backwards(self, down_to: Revision) -> Iterator[Change]:
        """Yield changes from the latest to the one just after revision `down_to`."""
        for change in reversed(self._changes):
            if change.revision <= down_to:
                return
            yield change
