"""Pods that wait for a node: those to try now, those to try in a while, those that nothing has changed for."""

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import anyio
import attrs

from kubelib.api.meta import Key
from kubelib.sched.base import ANYTHING, Happening
from kubelib.sched.groups import Groups
from kubelib.sched.pods import PodInfo

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0
MOST_HASTE = 10
"""How often in a row a Pod is tried again at once."""
FLUSH_AFTER = 300.0
"""Seconds after which a Pod that fitted nowhere is tried again even if nothing seems to have changed."""
REMIND_AFTER = 1800.0
"""Seconds after which it is said again that a Pod fits nowhere: Events are kept for an hour."""
MOST_PLACED = 32
"""Of so many kinds of Pods that were put on nodes it is asked whom they may help; of more it is taken for granted."""
GATHERING = 2.0
"""Seconds after which a Pod says that it waits for others of its group, or for the group."""


@attrs.define(eq=False)
class _Waiting:
    pod: PodInfo
    part: Literal["active", "gathering", "back-off", "unschedulable", "taken"] = "active"
    refusals: int = 0
    """How often it fitted nowhere."""
    errors: int = 0
    """How often in a row it was something else that went wrong."""
    failed_at: float = 0.0
    queued_at: float = 0.0
    """When it came, or failed last: of Pods of one priority, who waits longest is tried first."""
    retry_on: frozenset[Happening] = ANYTHING
    since: float = 0.0
    """When the Pod came."""
    tried: int = 0
    """How often it was taken."""
    haste: int = 0
    """How often in a row it was tried again at once."""
    reminded_at: float = float("-inf")
    """When it was last said by all means that it fits nowhere."""
    due: float = 0.0
    """When its back-off is over."""
    ticket: int = 0
    """The only entry of the heaps that counts for the Pod; older ones are passed over."""


class SchedulingQueue:
    """Ordered by priority, of groups that have one by theirs, then by when Pods came or failed last. Asks the event loop for the time,
    so that virtual time works.

    As in Kubernetes since 1.33, a back-off after a refusal is cut short when nothing else is to be tried and something has happened
    that may help. One after an error is not.

    Pods that must be placed with their group wait until enough of it are there, and are then taken together, with the first of them.
    """

    def __init__(self, groups: Groups | None = None) -> None:
        self.groups = groups if groups is not None else Groups()
        self.first_backoff, self.longest_backoff = FIRST_BACKOFF, LONGEST_BACKOFF
        self._members: dict[Key, dict[Key, _Waiting]] = {}
        self._waiting: dict[Key, _Waiting] = {}
        self._stuck: dict[Key, _Waiting] = {}
        self._resting: dict[Key, _Waiting] = {}
        """Those whose back-off may be cut short."""
        self.heeds: Callable[[PodInfo, PodInfo], bool] = lambda pod, other: True
        """Returns whether a Pod that waits may be helped by another that was put on a node."""
        self._happened: dict[Happening, None] = {}
        self._placed: dict[tuple[str, int], PodInfo] = {}
        """Pods that were put on nodes, one for each namespace and set of labels."""
        self._claims: set[Key] = set()
        """Claims of which something has changed, or of the volumes that are kept for them."""
        self._changed: dict[Key, None] = {}
        self._active: list[tuple[int, float, int, Key]] = []
        self._timed: list[tuple[float, int, Key]] = []
        self._tickets = itertools.count(1)
        self._news = anyio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def add(self, pod: PodInfo) -> None:
        """Take in a Pod, or what has become of one: what it asks for may have changed."""
        waiting = self._waiting.get(pod.key)
        if waiting is None or waiting.pod.uid != pod.uid:
            self.remove(pod.key)
            now = anyio.current_time()
            waiting = self._waiting[pod.key] = _Waiting(pod, since=now, queued_at=now)
            if pod.group is None:
                self._activate(waiting)
            else:
                self._join(waiting, pod.group)
            return
        old, waiting.pod = waiting.pod, pod
        if waiting.part == "unschedulable" and old.shape != pod.shape:
            self._wake(waiting)
        elif waiting.part == "active" and old.priority != pod.priority:
            self._activate(waiting)

    def remove(self, key: Key, uid: str = "") -> bool:
        """Forget a Pod: it is bound, or gone; return whether it waited. With a uid, only if it is that Pod."""
        waiting = self._waiting.get(key)
        if waiting is None or uid not in ("", waiting.pod.uid):
            return False
        del self._waiting[key]
        self._stuck.pop(key, None)
        self._resting.pop(key, None)
        group = waiting.pod.group
        if group is not None:
            del self._members[group][key]
            if not self._members[group]:
                del self._members[group]
        return True

    def _join(self, waiting: _Waiting, group: Key) -> None:
        members = self._members.setdefault(group, {})
        members[waiting.pod.key] = waiting
        if self.groups.missing(group, len(members)):
            self._gather(waiting)
        else:
            self._activate(waiting)  # the others are taken with it

    def _gather(self, waiting: _Waiting) -> None:
        waiting.part = "gathering"
        self._at(waiting, anyio.current_time() + GATHERING)

    def regroup(self, group: Key) -> None:
        """Look anew at a group of which something has changed: that it is there, how many it must be, or how many have a node."""
        # Noted only, and looked into once for many: a whole group is given nodes Pod by Pod.
        if group in self._members:
            self._changed[group] = None
            self._news.set()

    def _regroup(self, group: Key) -> None:
        members = self._members.get(group)
        if members is None or self.groups.missing(group, len(members)):
            return
        for waiting in members.values():
            if waiting.part == "gathering":
                self._activate(waiting)
            elif waiting.part == "unschedulable":
                self._wake(waiting)

    def current(self, pods: Sequence[PodInfo]) -> list[PodInfo]:
        """Return those of some taken Pods that still wait for a node, as they are now: they may have changed since, or others have their names."""
        found = ((pod, self._waiting.get(pod.key)) for pod in pods)
        return [waiting.pod for pod, waiting in found if waiting is not None and waiting.pod.uid == pod.uid]

    def history(self, pod: PodInfo) -> tuple[float, int]:
        """Return when a Pod that waits came, by the loop's clock, and how often it was taken."""
        waiting = self._waiting[pod.key]
        return waiting.since, waiting.tried

    def is_to_be_told(self, pod: PodInfo) -> bool:
        """Return whether it is to be said that a Pod fits nowhere though nothing about that is new; True is taken for said."""
        waiting, now = self._waiting.get(pod.key), anyio.current_time()
        if waiting is None or now - waiting.reminded_at < REMIND_AFTER:
            return False
        waiting.reminded_at = now
        return True

    def failed(self, pod: PodInfo, retry_on: frozenset[Happening] = ANYTHING) -> None:
        """Put away a Pod that fits nowhere until something happens that may help."""
        waiting = self._took(pod)
        if waiting is not None:
            waiting.refusals += 1
            waiting.errors = 0
            waiting.part, waiting.retry_on, waiting.haste = "unschedulable", retry_on, 0
            self._stuck[pod.key] = waiting
            self._at(waiting, waiting.failed_at + FLUSH_AFTER)

    def park(self, pod: PodInfo) -> None:
        """Put away a Pod that has been given a node, until its storage is there. That is no failure, and costs no back-off."""
        waiting = self._took(pod)
        if waiting is not None:
            waiting.failed_at -= self.longest_backoff
            waiting.part, waiting.retry_on, waiting.haste = "unschedulable", frozenset({"own claim"}), 0
            self._stuck[pod.key] = waiting
            self._at(waiting, anyio.current_time() + FLUSH_AFTER)

    def retry(self, pod: PodInfo) -> None:
        """Try a Pod again after its back-off: binding it did not work."""
        waiting = self._took(pod)
        if waiting is not None:
            waiting.errors += 1
            self._wake(waiting, at_once_if_idle=False)

    def again(self, pod: PodInfo) -> None:
        """Try a Pod again at once: the room on its node went to another, and that has been learnt. If that goes on, with back-off."""
        waiting = self._waiting.get(pod.key)
        if waiting is not None and waiting.pod.uid == pod.uid and waiting.haste < MOST_HASTE:
            waiting.haste += 1
            waiting.queued_at = anyio.current_time()
            self._activate(waiting)
        else:
            self.retry(pod)

    def back(self, pod: PodInfo) -> None:
        """Take back a Pod about which nothing was decided: it is the next of its priority, as it was."""
        waiting = self._waiting.get(pod.key)
        if waiting is not None and waiting.pod.uid == pod.uid:
            waiting.tried -= 1
            self._activate(waiting)

    def _took(self, pod: PodInfo) -> _Waiting | None:
        """Return the Pod as it waits, if it is still that one."""
        waiting = self._waiting.get(pod.key)
        if waiting is None or waiting.pod.uid != pod.uid:
            return None
        waiting.failed_at = waiting.queued_at = anyio.current_time()
        return waiting

    def wake(self, what: Happening, pod: PodInfo | None = None, claim: Key | None = None) -> None:
        """Try again, after their back-off, the Pods that fitted nowhere and that this may help.

        `pod` is new on its node, and news of storage are about `claim` alone.
        """
        # Noted only, and looked into once for many: a wake-up per Pod placed would cost the square of the backlog.
        if not self._stuck:
            return
        if what == "pod placed" and "neighbour" not in self._happened:
            if pod is None or len(self._placed) >= MOST_PLACED:
                self._happened["neighbour"] = None
            else:
                self._placed.setdefault((pod.namespace, id(pod.labels)), pod)
            self._news.set()
        if what == "storage":
            if claim is None:
                self._happened["supply"] = None
            else:
                self._claims.add(claim)
            self._news.set()
        if what not in self._happened:
            self._happened[what] = None
            self._news.set()

    def _is_helped(self, waiting: _Waiting) -> bool:
        if not waiting.retry_on.isdisjoint(self._happened):
            return True
        pod = waiting.pod
        if (
            self._claims
            and "own claim" in waiting.retry_on
            and any(Key(pod.namespace, name) in self._claims for name, _ in pod.claims)
        ):
            return True
        placed = self._placed.values()
        return "neighbour" in waiting.retry_on and any(self.heeds(pod, other) for other in placed)

    def _wake(self, waiting: _Waiting, *, at_once_if_idle: bool = True) -> None:
        self._stuck.pop(waiting.pod.key, None)
        # As many refusals as there may have been are no reason to wait long when then something else goes wrong.
        backoff = self.first_backoff * 2.0 ** min((waiting.errors or waiting.refusals) - 1, 10)
        due = waiting.failed_at + min(backoff, self.longest_backoff)
        if due <= anyio.current_time():
            self._activate(waiting)
        else:
            waiting.part, waiting.due = "back-off", due
            if at_once_if_idle:
                self._resting[waiting.pod.key] = waiting
            self._at(waiting, due)

    def _cut_short(self, most: int) -> None:
        """Let those that rest be tried now: as many as are asked for, first those with the least to wait, in whole seconds, then by priority."""

        def order(waiting: _Waiting) -> tuple[int, int, float, int]:
            return int(waiting.due), -self.groups.precedence(waiting.pod), waiting.queued_at, waiting.ticket

        for waiting in heapq.nsmallest(most, self._resting.values(), order):
            self._activate(waiting)

    def _activate(self, waiting: _Waiting) -> None:
        self._stuck.pop(waiting.pod.key, None)
        self._resting.pop(waiting.pod.key, None)
        waiting.part, waiting.ticket = "active", next(self._tickets)
        precedence = self.groups.precedence(waiting.pod)
        heapq.heappush(self._active, (-precedence, waiting.queued_at, waiting.ticket, waiting.pod.key))
        self._news.set()

    def _at(self, waiting: _Waiting, time: float) -> None:
        waiting.ticket = next(self._tickets)
        heapq.heappush(self._timed, (time, waiting.ticket, waiting.pod.key))
        self._news.set()

    def _find(self, ticket: int, key: Key) -> _Waiting | None:
        waiting = self._waiting.get(key)
        return waiting if waiting is not None and waiting.ticket == ticket else None

    def _collect(self) -> float:
        """Move what is due to the active part; return how long until more is."""
        if self._happened:
            for stuck in [waiting for waiting in self._stuck.values() if self._is_helped(waiting)]:
                self._wake(stuck)
            self._happened.clear()
            self._placed.clear()
            self._claims.clear()
        for group in self._changed:
            self._regroup(group)
        self._changed.clear()
        now = anyio.current_time()
        while self._timed and self._timed[0][0] <= now:
            waiting = self._find(*heapq.heappop(self._timed)[1:])
            if waiting is not None:
                self._activate(waiting)
        return self._timed[0][0] - now if self._timed else float("inf")

    async def take(self, most: int) -> list[PodInfo]:
        """Wait for Pods to try; return the first `most` in order, and all of each group of which one is among them, side by side.

        Each is the taker's until `failed` or `retry`.
        """
        while True:
            self._news = anyio.Event()
            wait = self._collect()
            taken: list[PodInfo] = []
            while self._active and len(taken) < most:
                waiting = self._find(*heapq.heappop(self._active)[2:])
                if waiting is None:
                    continue
                group = self.groups.gang(waiting.pod)
                for chosen in (waiting,) if group is None else self._ready(group):
                    self._stuck.pop(chosen.pod.key, None)
                    self._resting.pop(chosen.pod.key, None)
                    chosen.part, chosen.ticket = "taken", 0
                    chosen.tried += 1
                    taken.append(chosen.pod)
            if taken:
                return taken
            if self._resting:
                self._cut_short(most)
                continue
            with anyio.move_on_after(wait):
                await self._news.wait()

    def _ready(self, group: Key) -> list[_Waiting]:
        """Return the Pods of a group that can be taken, in order."""
        found = [waiting for waiting in self._members[group].values() if waiting.part != "taken"]
        return sorted(found, key=lambda waiting: (-waiting.pod.priority, waiting.since))
