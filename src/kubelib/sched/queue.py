"""Pods that wait for a node: those to try now, those to try in a while, those that nothing has changed for."""

import heapq
import itertools

import anyio

from kubelib.api.meta import Key
from kubelib.sched.pods import PodInfo

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0
FLUSH_AFTER = 300.0
"""Seconds after which a Pod that fitted nowhere is tried again even if nothing seems to have changed."""


class SchedulingQueue:
    """Ordered by priority, then by arrival."""

    def __init__(self) -> None:
        self._active: list[tuple[int, int, Key]] = []
        self._pods: dict[Key, PodInfo] = {}
        self._where: dict[Key, str] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._attempts: dict[Key, int] = {}
        self._count = itertools.count()
        self._news = anyio.Event()

    def __len__(self) -> int:
        return len(self._pods)

    def add(self, pod: PodInfo) -> None:
        """Take in a Pod, or what has become of one."""
        known = self._pods.get(pod.key)
        self._pods[pod.key] = pod
        if known is not None and known.uid == pod.uid and self._where.get(pod.key) in ("active", "later"):
            return
        if known is not None and known.uid == pod.uid and known.shape == pod.shape:
            return  # only its status has changed: that helps nobody
        self._activate(pod)

    def _activate(self, pod: PodInfo) -> None:
        self._where[pod.key] = "active"
        heapq.heappush(self._active, (-pod.priority, next(self._count), pod.key))
        self._news.set()

    def remove(self, key: Key) -> None:
        """Forget a Pod: it is bound, or gone."""
        self._pods.pop(key, None)
        self._where.pop(key, None)
        self._attempts.pop(key, None)

    def failed(self, pod: PodInfo) -> None:
        """Put away a Pod that fits nowhere until something changes."""
        if pod.key in self._pods:
            self._attempts[pod.key] = self._attempts.get(pod.key, 0) + 1
            self._where[pod.key] = "unschedulable"
            heapq.heappush(self._later, (anyio.current_time() + FLUSH_AFTER, next(self._count), pod.key))

    def retry(self, pod: PodInfo) -> None:
        """Try a Pod again after its back-off: binding it did not work."""
        if pod.key in self._pods:
            self._attempts[pod.key] = self._attempts.get(pod.key, 0) + 1
            self._put_off(pod.key)

    def _put_off(self, key: Key) -> None:
        self._where[key] = "later"
        delay = min(FIRST_BACKOFF * 2 ** (self._attempts.get(key, 1) - 1), LONGEST_BACKOFF)
        heapq.heappush(self._later, (anyio.current_time() + delay, next(self._count), key))
        self._news.set()

    def wake(self) -> None:
        """Something has changed that may help: try what fitted nowhere again, after its back-off."""
        for key, where in list(self._where.items()):
            if where == "unschedulable":
                self._put_off(key)

    def _collect(self) -> float:
        """Move what is due to the active part; return how long until more is."""
        now = anyio.current_time()
        while self._later and self._later[0][0] <= now:
            _, _, key = heapq.heappop(self._later)
            if self._where.get(key) in ("later", "unschedulable"):
                self._activate(self._pods[key])
        return self._later[0][0] - now if self._later else float("inf")

    async def take(self, most: int) -> list[PodInfo]:
        """Wait for Pods to try; return the first `most` in order."""
        while True:
            self._news = anyio.Event()
            wait = self._collect()
            taken: list[PodInfo] = []
            while self._active and len(taken) < most:
                _, _, key = heapq.heappop(self._active)
                if self._where.get(key) == "active":
                    self._where[key] = "taken"
                    taken.append(self._pods[key])
            if taken:
                return taken
            with anyio.move_on_after(wait):
                await self._news.wait()
