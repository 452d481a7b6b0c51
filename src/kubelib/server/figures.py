"""What is counted of requests: how many, how long they took, how large the answers were, and how many are under way.

The labels are those of Kubernetes' metrics. Clients choose what they ask for, so whatever is no resource of this server shares
one set of labels: strangers cannot make the figures grow.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

import attrs

from kubelib.api.scheme import Scheme, UnknownKind
from kubelib.exposition import Histogram, Sample
from kubelib.server.request import Request
from kubelib.server.responses import Response

DURATIONS: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
)  # fmt: skip
"""Of Kubernetes' histogram, in seconds."""
SIZES: Final = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
"""Of Kubernetes' histogram, in bytes."""

_VERBS = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION", "post": "POST", "put": "PUT", "head": "HEAD", "options": "OPTIONS",
}  # fmt: skip
MOST_READS: Final = 4096
_CONNECTED = frozenset({"exec", "attach", "portforward", "proxy", "log"})
_APPLY = b"application/apply-patch+"
_SIZED = frozenset({"GET", "LIST"})

_Key: TypeAlias = tuple[str, str, str, str, str, str, str]
"""Verb, group, version, resource, subresource, scope, dry run."""


@attrs.define(eq=False)
class Answered:
    """Requests of one kind."""

    labels: Mapping[str, str]
    dry_run: str
    codes: dict[int, int] = attrs.Factory(dict)
    durations: Histogram = attrs.Factory(lambda: Histogram(DURATIONS))
    sizes: Histogram | None = None
    """In bytes; None for verbs whose answers are small."""
    running: int | None = None
    """How many are under way of those that last, None where there have been none."""


class RequestFigures:
    """What an API server has answered since it started."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._answered: dict[_Key, Answered] = {}
        self._reads: dict[object, Answered] = {}
        """By the kind of request: what is asked again and again is found at once."""
        self.in_flight = [0, 0]
        """Requests under way: those that only read, and the others."""
        self.failed_handshakes = 0
        """Clients with whom TLS could not be agreed upon."""
        self.deprecated: set[tuple[str, str, str, str]] = set()
        """Group, version, resource and subresource of requests for what is deprecated."""
        self.health: dict[tuple[str, str], bool] = {}
        """What was healthy when it was last asked, by endpoint and check."""
        self.checks: dict[tuple[str, str, bool], int] = {}
        """How often each check was made, by endpoint, check and whether it succeeded."""

    def handshake_failed(self) -> None:
        """Count a client that went without a request, for want of TLS that both like."""
        self.failed_handshakes += 1

    def checked(self, which: str, name: str, *, healthy: bool) -> None:
        """Count a check of health."""
        self.health[which, name] = healthy
        key = (which, name, healthy)
        self.checks[key] = self.checks.get(key, 0) + 1

    @staticmethod
    def clock() -> Callable[[], float]:
        """Return the clock of the event loop, in seconds, which a simulation turns. To ask for the loop costs more than for its time."""
        return asyncio.get_running_loop().time

    def note(self, request: Request | None, method: str, response: Response, seconds: float) -> None:
        """Count a request that took so long. None is one that was refused before it was known what it is about."""
        kind = request.info.kind if request is not None else None
        answered = self._reads.get(kind)
        if answered is None:
            answered = self._of(request, method)
            if kind is not None and answered.sizes is not None:
                if len(self._reads) >= MOST_READS:
                    self._reads.clear()
                self._reads[kind] = answered
        self._count(answered, response.status, seconds)
        if answered.sizes is not None:
            answered.sizes.add(len(response.body))

    @staticmethod
    def _count(answered: Answered, status: int, seconds: float) -> None:
        answered.codes[status] = answered.codes.get(status, 0) + 1
        answered.durations.add(seconds)

    def begin(self, request: Request) -> Answered:
        """Note that a request is under way that lasts: a watch, a log, a command, a proxied connection."""
        answered = self._of(request, "GET")
        answered.running = (answered.running or 0) + 1
        return answered

    def end(self, answered: Answered, status: int | None, seconds: float) -> None:
        """Count one that has begun, and took so long; None is the status of one that nobody waited for."""
        assert answered.running
        answered.running -= 1
        if status is not None:
            self._count(answered, status, seconds)

    def _of(self, request: Request | None, method: str) -> Answered:
        if request is None:
            key = (_VERBS.get(method.lower(), "other"), "", "", "", "", "", "")
        else:
            info = request.info
            verb = _VERBS.get(info.verb, "other")
            dry_run = ""
            if verb == "PATCH" and request.headers.get(b"content-type", b"").startswith(_APPLY):
                verb = "APPLY"
            elif info.subresource in _CONNECTED:
                verb = "CONNECT"
            if verb not in _SIZED and "dryRun" in request.query:
                dry_run = "All"
            scope = (
                "resource" if info.name or verb == "POST" else "namespace" if info.namespace else "cluster"
            )
            key = (verb, info.group, info.version, info.resource, info.subresource, scope, dry_run)
        return self._answered.get(key) or self._new(key)

    def _new(self, key: _Key) -> Answered:
        verb, group, version, resource, subresource, scope, dry_run = key
        known = None
        if resource:
            try:
                known = self._scheme.path(group, version, resource)
            except UnknownKind:
                pass
            else:
                if subresource and subresource not in known.subresources:
                    known = None
        if known is None:
            key = (verb, "", "", "", "", "", "")
            group = version = resource = subresource = scope = dry_run = ""
            if key in self._answered:
                return self._answered[key]
        elif known.warning:
            self.deprecated.add((group, version, resource, subresource))
        labels = {
            "component": "apiserver",
            "group": group,
            "resource": resource,
            "scope": scope,
            "subresource": subresource,
            "verb": verb,
            "version": version,
        }
        sizes = Histogram(SIZES) if verb in _SIZED else None
        answered = self._answered[key] = Answered(labels, dry_run, sizes=sizes)
        return answered

    def totals(self) -> Iterator[Sample]:
        """Return how many requests were answered, by what they were and by status."""
        for answered in self._answered.values():
            for code, count in sorted(answered.codes.items()):
                yield Sample(count, {**answered.labels, "code": str(code), "dry_run": answered.dry_run})

    def lasting(self) -> Iterator[Sample]:
        """Return how many requests are under way of those that last."""
        for answered in self._answered.values():
            if answered.running is not None and not answered.dry_run:
                yield Sample(answered.running, answered.labels)

    def durations(self) -> Iterator[Sample]:
        """Return how long requests took, in seconds."""
        for answered in self._answered.values():
            yield from answered.durations.samples({**answered.labels, "dry_run": answered.dry_run})

    def sizes(self) -> Iterator[Sample]:
        """Return how large the answers were that were read, in bytes."""
        for answered in self._answered.values():
            if answered.sizes is not None and not answered.dry_run:
                yield from answered.sizes.samples(answered.labels)
