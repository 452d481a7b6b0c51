"""What plug-ins of others may do to a scheduler: they are named when they fail, and stopped when they take too long.

Ours are called as they are. All others are called through a `Guarded`, which costs a call more.
"""

import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import attrs

from kubelib.sched.base import Policy, Watch
from kubelib.sched.pods import PodInfo
from kubelib.sched.policies.pernode import PerNode

T = TypeVar("T")

LIMIT = 3.0
"""Seconds that plug-ins have for one decision, unless another limit is given: less than a leader may be silent."""
AGAIN = 0.05
"""Seconds after which what could not be interrupted is tried again."""
REST = 30.0
"""Seconds for which Pods of a shape that plug-ins took too long for are refused without asking them again."""
RESTING = 512
OURS = "kubelib"
METHODS = (
    "fits", "reasons", "score", "concerns", "refuses", "fits_row", "score_row", "may_pass", "fits_with", "count_reasons", "choose",
    "candidates",
)  # fmt: skip


class BadPlugin(Exception):
    """A plug-in failed, or returned what cannot be used; the message names it."""


class TookTooLong(BadPlugin):
    """A plug-in did not answer in time."""


class _Ring(BaseException):
    """Raised inside a plug-in that has to stop. No `Exception`: those a plug-in may well catch."""


class Alarm:
    """Limits how long the plug-ins of one decision may take, all together: they are interrupted where they are.

    It is a signal that interrupts (SIGALRM), so only the main thread of a process is limited. What cannot be stopped: a
    plug-in that catches `BaseException` and goes on, and code in C that does not return to Python or ask for signals.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self._left = limit
        self._busy = False
        self._shape: tuple[object, ...] = ()
        self._resting: OrderedDict[tuple[object, ...], tuple[float, str]] = OrderedDict()

    def begin(self, pod: PodInfo) -> None:
        """Begin a decision about a Pod. Raises `TookTooLong` if plug-ins took too long for its like a short time ago."""
        self._left, self._shape = self.limit, pod.shape
        resting = self._resting.get(pod.shape)
        if resting is None:
            return
        until, why = resting
        if time.monotonic() < until:
            raise TookTooLong(why)
        del self._resting[pod.shape]

    def call(self, title: str, function: Callable[..., T], *args: Any) -> T:
        """Call a plug-in. Raises `TookTooLong`."""
        if self._busy or threading.current_thread() is not threading.main_thread():
            return function(*args)
        began = time.monotonic()
        known = signal.signal(signal.SIGALRM, self._ring)
        self._busy = True
        other = signal.setitimer(signal.ITIMER_REAL, max(self._left, AGAIN), AGAIN)
        try:
            return function(*args)
        except _Ring:
            why = f"{title} took longer than {self.limit:g} seconds"
            self._resting[self._shape] = time.monotonic() + REST, why
            if len(self._resting) > RESTING:
                self._resting.popitem(last=False)
            raise TookTooLong(why) from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, *other)
            signal.signal(signal.SIGALRM, known)
            self._busy = False
            self._left -= time.monotonic() - began

    def _ring(self, number: int, frame: FrameType | None) -> None:
        # Our own code is left to finish what it does, so that no table is left half changed; then it is tried again.
        module = str(frame.f_globals.get("__name__", "")) if frame is not None else OURS
        if module.partition(".")[0] != OURS:
            raise _Ring


class Guarded:
    """A plug-in of somebody else: what goes wrong in it is a `BadPlugin` that names it.

    It has the methods that the plug-in has, so that whoever asks which protocols it has gets the same answer.
    """

    def __init__(self, plugin: Any, kind: str, watch: Watch | None) -> None:
        self.name = str(getattr(plugin, "name", "") or type(plugin).__name__)
        self._title = f"the {kind} {self.name}"
        self._watch = watch
        if hasattr(plugin, "retry_on"):
            self.retry_on = plugin.retry_on
        for method in METHODS:
            if callable(function := getattr(plugin, method, None)):
                setattr(self, method, self._guard(function))

    def _guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        title, watch = self._title, self._watch

        def call(*args: Any) -> Any:
            try:
                return watch.call(title, function, *args) if watch is not None else function(*args)
            except BadPlugin:
                raise
            except (Exception, SystemExit) as error:
                raise BadPlugin(f"{title} raised {type(error).__name__}: {error}") from error

        return call


def is_ours(plugin: object) -> bool:
    """Return whether a plug-in is one of this library's, which are trusted."""
    return type(plugin).__module__.partition(".")[0] == OURS and not isinstance(plugin, PerNode)


def guarded(policy: Policy) -> Policy:
    """Return a policy with all plug-ins that are not ours guarded."""

    def guard(plugin: Any, kind: str) -> Any:
        ours = isinstance(plugin, Guarded) or is_ours(plugin)
        return plugin if ours else Guarded(plugin, kind, policy.watch)

    return attrs.evolve(
        policy,
        filters=tuple(guard(condition, "filter") for condition in policy.filters),
        scores=tuple((guard(score, "score"), weight) for score, weight in policy.scores),
        choose=guard(policy.choose, "chooser"),
    )
