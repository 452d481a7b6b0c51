"""How an elastic cluster is kept. The defaults are the cluster autoscaler's."""

import attrs

from kubelib.informers.backoff import Backoff

UNAVAILABLE = Backoff(base=30.0, maximum=1800.0, jitter=0.1)


@attrs.frozen(kw_only=True)
class ElasticSettings:
    """Times in seconds, by the event loop's clock. Raises ValueError for those that make no sense."""

    interval: float = 10.0
    """Between two looks at the cluster."""
    threshold: float = 0.5
    """A node of whose cpu and memory less than this share is asked for may be emptied into others."""
    unneeded_time: float = 600.0
    """How long a node must not have been needed before it is returned."""
    delay_after_growth: float = 600.0
    delay_after_failure: float = 180.0
    """How long no node is returned after one has been asked for; after one could not be drained."""
    drain_time: float = 600.0
    """How long the Pods of a node may take to go."""
    provision_time: float = 900.0
    """How long a node may take to be ready: after that it is returned, and its template avoided for a while."""
    request_timeout: float = 60.0
    """How long a provider may take to answer."""
    backoff: Backoff = UNAVAILABLE
    """How long a template is avoided that could not be had."""

    def __attrs_post_init__(self) -> None:
        times = attrs.asdict(self, recurse=False)
        for name, value in times.items():
            if name != "backoff" and not value >= 0:
                raise ValueError(f"{name} must not be below 0, and is {value}.")
        if not self.interval or not self.request_timeout:
            raise ValueError("The interval and the request timeout must be above 0.")
