"""Groups of Pods that are placed together or not at all: what the cluster says of them.

A Pod names its PodGroup in ``spec.schedulingGroup``. With the policy *gang* Pods of the group get nodes only when at least `minCount` of
them have one, or can have one at once; with *basic* they are Pods like any other.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from kubelib.api.meta import Key
from kubelib.api.scheduling_v1beta1 import PodGroup
from kubelib.sched.pods import PodInfo


class Groups:
    """What is known of groups: how many of each must be placed at once, and how many have a node."""

    def __init__(self) -> None:
        self._minima: dict[Key, int] = {}
        self._priorities: dict[Key, int] = {}
        self._polite: set[Key] = set()
        """Groups for which nobody may have to leave."""
        self._whole: set[Key] = set()
        self._bound: dict[Key, set[str]] = {}
        self._group_of: dict[str, Key] = {}

    def put(self, key: Key, group: PodGroup | None) -> bool:
        """Take in a group, or that it is gone; return whether that may help its Pods."""
        mode = group.spec.disruption_mode if group is not None else None
        if mode is not None and mode.all is not None:
            self._whole.add(key)
        else:
            self._whole.discard(key)
        if group is not None and group.spec.preemption_policy == "Never":
            self._polite.add(key)
        else:
            self._polite.discard(key)
        if group is None:
            self._minima.pop(key, None)
            self._priorities.pop(key, None)
            return False
        if group.spec.priority is not None:
            self._priorities[key] = group.spec.priority
        gang = group.spec.scheduling_policy.gang
        minimum = gang.min_count if gang is not None else 0
        before = self._minima.get(key)
        self._minima[key] = minimum
        return before is None or minimum < before

    def minimum(self, key: Key) -> int | None:
        """Return how many Pods of a group must be placed at once; 0 if they need not, None if there is no such group."""
        return self._minima.get(key)

    def precedence(self, pod: PodInfo) -> int:
        """Return by which priority a Pod waits: that of its group, or its own if the group has none."""
        return self._priorities.get(pod.group, pod.priority) if pod.group is not None else pod.priority

    def preempts(self, key: Key, pods: Iterable[PodInfo]) -> bool:
        """Return whether Pods of lower priority may have to leave for these of a group: neither it nor any of them says ``Never``."""
        return key not in self._polite and all(pod.preempts for pod in pods)

    def is_whole(self, key: Key) -> bool:
        """Return whether the Pods of a group may only be disrupted all together."""
        return key in self._whole

    def gang(self, pod: PodInfo) -> Key | None:
        """Return the group with which a Pod must be placed, known or not; None if it is placed alone."""
        return pod.group if pod.group is not None and self._minima.get(pod.group) != 0 else None

    def bind(self, pod: PodInfo) -> bool:
        """Count a Pod that has a node; return whether it is news of a group."""
        if pod.group is None or pod.uid in self._group_of:
            return False
        self._group_of[pod.uid] = pod.group
        self._bound.setdefault(pod.group, set()).add(pod.uid)
        return True

    def leave(self, uid: str) -> None:
        """Count a Pod no more: it has ended, or is gone."""
        group = self._group_of.pop(uid, None)
        if group is not None:
            self._bound[group].discard(uid)
            if not self._bound[group]:
                del self._bound[group]

    def group_of(self, uid: str) -> Key | None:
        """Return the group of a Pod that has a node."""
        return self._group_of.get(uid)

    def bound(self, key: Key) -> int:
        """Return how many Pods of a group have a node."""
        return len(self._bound.get(key, ()))

    def missing(self, key: Key, waiting: int) -> str:
        """Say what a group of which so many Pods wait must have before anything is decided about it; nothing if it has that."""
        minimum = self._minima.get(key)
        if minimum is None:
            return f'waiting for pod\'s pod group "{key.name}" to appear in scheduling queue'
        found = waiting + self.bound(key)
        if found >= minimum:
            return ""
        return f"waiting for minCount pods from a gang to appear in scheduling queue: {found} of {minimum}"

    def runs(self, pods: Sequence[PodInfo]) -> Iterator[tuple[Key | None, list[PodInfo]]]:
        """Cut Pods, of which those of one group are next to each other, into groups and runs of Pods that are placed alone."""
        if all(pod.group is None for pod in pods):
            yield None, list(pods)
            return
        for group, members in groupby(pods, self.gang):
            yield group, list(members)
