"""What is counted of who asks and whether he may: how often, with which outcome, and how long it took to tell who it is.

Names of users are shown in the few classes that Kubernetes has for them: there are as many users as anybody likes to make.
"""

from collections.abc import Iterator
from typing import Final, Literal

from kubelib.exposition import Histogram, Sample, family
from kubelib.server.authz import Decision

BOUNDS: Final = tuple(0.001 * 2**n for n in range(15))
"""Of Kubernetes' histogram, in seconds."""
_QUICK: Final = BOUNDS[0]
MOST_NAMES: Final = 1024
"""How many users are counted by their names before these are put into their classes."""

_KNOWN = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})

Refusal = Literal["failure", "error"]
"""Nobody knew who asks, for want of credentials; or what he showed is not good."""


def class_of(name: str) -> str:
    """Return as what a user's requests are counted."""
    return name if name in _KNOWN else "email_id" if "@" in name else "other"


class AccessFigures:
    """What authentication and authorization have said since the server started."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        """Requests by user's name, of late: what is counted for each request is no more than this."""
        self._classes: dict[str, int] = {}
        self._quick_seconds = 0.0
        """How long those took together that belong into the first class of the histogram: most of all."""
        self._slow = Histogram(BOUNDS)
        self._refused: dict[Refusal, Histogram] = {}
        self.undecided = 0
        """Requests of known users that nobody had to decide on: they might not be somebody else."""
        self._forbidden: dict[str, int] = {}

    def authenticated(self, name: str, seconds: float) -> None:
        """Count a request whose user is known by now, after so long."""
        try:
            self._names[name] += 1
        except KeyError:
            if len(self._names) >= MOST_NAMES:
                self._fold()
            self._names[name] = 1
        if seconds <= _QUICK:
            self._quick_seconds += seconds
        else:
            self._slow.add(seconds)

    def refused(self, why: Refusal, seconds: float) -> None:
        """Count a request of nobody."""
        self._refused.setdefault(why, Histogram(BOUNDS)).add(seconds)

    def forbidden(self, decision: Decision) -> None:
        """Count a request that its user may not make."""
        result = "denied" if decision.denied else "no-opinion"
        self._forbidden[result] = self._forbidden.get(result, 0) + 1

    def _fold(self) -> None:
        for name, count in self._names.items():
            known = class_of(name)
            self._classes[known] = self._classes.get(known, 0) + count
        self._names.clear()

    def families(self) -> Iterator[list[str]]:
        """Return the metrics."""
        self._fold()
        successes = sum(self._classes.values())
        attempts: dict[str, Histogram] = dict(self._refused.items())
        if successes:
            durations = self._slow.with_zeros(successes - self._slow.count)
            durations.sum += self._quick_seconds
            attempts["success"] = durations
        yield family(
            "authenticated_user_requests",
            "counter",
            "[ALPHA] Counter of authenticated requests broken out by username.",
            (Sample(count, {"username": name}) for name, count in sorted(self._classes.items())),
        )
        yield family(
            "authentication_attempts",
            "counter",
            "[ALPHA] Counter of authenticated attempts.",
            (Sample(durations.count, {"result": result}) for result, durations in sorted(attempts.items())),
        )
        yield family(
            "authentication_duration_seconds",
            "histogram",
            "[ALPHA] Authentication duration in seconds broken out by result.",
            (
                sample
                for result, durations in sorted(attempts.items())
                for sample in durations.samples({"result": result})
            ),
        )
        # Between both nothing waits: all whose users are known and that were not refused were allowed.
        allowed = successes - sum(self._forbidden.values()) - self.undecided
        decisions = {**({"allowed": allowed} if allowed > 0 else {}), **self._forbidden}
        yield family(
            "authorization_attempts_total",
            "counter",
            "[ALPHA] Counter of authorization attempts broken down by result."
            " It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
            (Sample(count, {"result": result}) for result, count in sorted(decisions.items())),
        )
