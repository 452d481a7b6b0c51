"""Words of API priority and fairness: what a request is counted as, and what it holds while it is served."""

from collections.abc import Awaitable, Callable

DEFAULT_CONCURRENCY = 600
"""Seats of a server: the sum of kube-apiserver's ``--max-requests-inflight`` and ``--max-mutating-requests-inflight``."""
QUEUE_WAIT = 15.0
"""Seconds that a request waits for a seat at most: a quarter of the time that a request has, as in Kubernetes."""
OBJECTS_PER_SEAT = 100
MOST_SEATS = 10
"""How many seats one request takes at most: a list takes one for every hundred objects that it may touch."""

Gone = Callable[[], Awaitable[None]]
"""Returns when the client of a waiting request has gone."""
