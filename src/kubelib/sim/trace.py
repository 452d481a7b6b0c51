"""What has happened in a simulation, change by change: equal for equal seeds."""

from collections.abc import Callable

import anyio
import attrs

from kubelib.store import Change, SupportsObserve

KEPT = 100_000


@attrs.frozen
class Line:
    """One change: when (virtual seconds), what, to which object (``core/pods default/web``), at which revision."""

    time: float
    what: str
    resource: str
    name: str
    revision: int

    def __str__(self) -> str:
        return f"{self.time:12.3f}s {self.what:8} {self.resource} {self.name} @{self.revision}"


class Trace:
    """The changes of a store, as they are committed."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._forget: Callable[[], None] | None = None

    def follow(self, store: SupportsObserve, heard: Callable[[], None]) -> None:
        """Note every change from now on, and call `heard` after each commit."""

        def note(changes: tuple[Change, ...]) -> None:
            now = anyio.current_time()
            self.lines += [_line(change, now) for change in changes]
            if len(self.lines) > 2 * KEPT:
                del self.lines[:KEPT]
            heard()

        self._forget = store.observe(note)

    def stop(self) -> None:
        """Note nothing more."""
        if self._forget is not None:
            self._forget()

    def about(self, words: str) -> list[Line]:
        """Return the lines in whose resource or name `words` occur."""
        return [line for line in self.lines if words in line.resource or words in line.name]

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


def _line(change: Change, now: float) -> Line:
    if change.entry is None:
        what = "DELETED"
    else:
        what = "ADDED" if change.previous is None else "MODIFIED"
    _, _, group, plural, *name = change.key.split("/")
    return Line(now, what, f"{group}/{plural}", "/".join(name), change.revision)
