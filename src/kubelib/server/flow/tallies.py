"""What became of requests, by priority level and flow schema, for the figures."""

import attrs

from kubelib.exposition import Histogram

BOUNDS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
"""Of Kubernetes' histogram of waiting, in seconds."""
QUICK = 0.005
"""The second bound."""
AT_ONCE = ("concurrency-limit", "queue-full")
"""Why requests are refused that have not waited."""


def _waits() -> Histogram:
    return Histogram(BOUNDS)


@attrs.define(eq=False)
class Tally:
    """The requests of a flow schema at a priority level."""

    dispatched: int = 0
    executing: int = 0
    seats: int = 0
    """Those that the executing ones hold."""
    in_queue: int = 0
    wanted: int = 0
    """Seats that those in queues wait for."""
    queued: int = 0
    """How many of the dispatched ones had to wait."""
    waits: Histogram = attrs.field(factory=_waits)
    """How long those were in a queue that have left it, served or not."""
    quick: int = 0
    """How many were executed within `QUICK` seconds, in more than none: most of all."""
    quick_seconds: float = 0.0
    """How long those took together."""
    slow: Histogram = attrs.field(factory=_waits)
    """How long the others took."""
    watches: Histogram = attrs.field(factory=_waits)
    """How long watches took until they had sent their beginning."""
    refused: dict[str, int] = attrs.field(factory=dict)
    """How many were refused, by reason."""

    def waited(self) -> Histogram:
        """Return how long requests have waited that were let in; most of them not at all."""
        return self.waits.with_zeros(self.dispatched - self.queued)

    def executed(self, seconds: float) -> None:
        """Count a request, other than a watch, that was executed in so long."""
        if 0.0 < seconds <= QUICK:
            self.quick += 1
            self.quick_seconds += seconds
        else:
            self.slow.add(seconds)

    def executions(self) -> Histogram:
        """Return how long requests were executed that are no watches."""
        return self.slow.with_more(QUICK, self.quick, self.quick_seconds)

    def turned_away(self) -> Histogram:
        """Return the same of those that were not even let into a queue."""
        return _waits().with_zeros(sum(self.refused.get(reason, 0) for reason in AT_ONCE))
