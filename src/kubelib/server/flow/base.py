"""Words of API priority and fairness: what a request is counted as, and what it holds while it is served."""

from collections.abc import Awaitable, Callable

DEFAULT_CONCURRENCY = 600
"""Seats of a server: the sum of kube-apiserver's ``--max-requests-inflight`` and ``--max-mutating-requests-inflight``."""
QUEUE_WAIT = 15.0
"""Seconds that a request waits for a seat at most where nothing is said of the time that it has."""
PART_OF_TIME, LONGEST_WAIT = 0.25, 60.0
"""The part of its time that a request may wait, and the most seconds that this may be."""
OBJECTS_PER_SEAT = 100
MOST_SEATS = 10
"""How many seats one request takes at most: a list takes one for every hundred objects that it may touch."""

Gone = Callable[[], Awaitable[None]]
"""Returns when the client of a waiting request has gone."""
