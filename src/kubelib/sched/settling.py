"""Before the decision and after the commit: what has become of Pods is taken into the queue, the table and the books."""

import logging
from collections.abc import Sequence

import anyio

from kubelib.api.core.pod import Pod
from kubelib.api.errors import NotFound
from kubelib.sched.committing import Fate
from kubelib.sched.following import Following
from kubelib.sched.pods import PodInfo
from kubelib.sched.queue import SchedulingQueue
from kubelib.sched.reporting import Reporter
from kubelib.transactions.figures import Books

log = logging.getLogger("kubelib.sched")


class Settler:
    """Takes in the fates of one queue's Pods."""

    def __init__(
        self, following: Following, queue: SchedulingQueue, reporter: Reporter, books: Books
    ) -> None:
        self._following = following
        self._table = following.table
        self._queue = queue
        self._reporter = reporter
        self._books = books

    def waiting(self, pods: Sequence[PodInfo]) -> list[PodInfo]:
        """Return those of some taken Pods that still wait for a node, as they are now. One that is being deleted waits no more, and says so."""
        found = self._queue.current(pods)
        for pod in found:
            if pod.going:
                self._queue.remove(pod.key, pod.uid)
                self._following.abandoned += 1
                self._reporter.warning(pod, "FailedScheduling", f"skip schedule deleting pod: {pod.key}")
        return [pod for pod in found if not pod.going]

    def settle(self, fate: Fate, since: float) -> bool:
        """Take in what became of a placement of a Pod that came at `since`; return whether it landed."""
        pod = fate.pod
        if not fate.on:
            self._lost(fate)
            return False
        # Another scheduler may have been quicker. The informer knows that already, or will soon.
        self._following.settled(pod, fate.on)
        self._queue.remove(pod.key, pod.uid)
        if fate.landed:
            self._books.wait.add(anyio.current_time() - since)
            self._reporter.bound(pod, fate.on)
        return fate.landed

    def _lost(self, fate: Fate) -> None:
        """Take back a placement that did not land."""
        pod = fate.pod
        document = self._following.document(pod)
        if document is None:
            self._table.remove_pod(pod.uid)
            self._queue.remove(pod.key, pod.uid)
            return
        node = document.view(Pod).spec.node_name
        if node:
            self._following.settled(pod, node)
            self._queue.remove(pod.key, pod.uid)
            return
        if self._table.remove_pod(pod.uid):
            self._following.wake("pod gone")
            if pod.devices:
                self._following.wake("devices")
        if isinstance(fate.error, NotFound):
            self._queue.remove(pod.key, pod.uid)
            return
        log.info("binding %s: %s", pod.key, fate.error)
        if fate.cause in ("NoRoom", "Outdated", "Together"):
            # Another scheduler was quicker with the node. That is learnt now, so there is nothing to wait for.
            if fate.cause == "NoRoom":
                self._table.doubt(pod, fate.node)
            self._queue.again(pod)
        else:
            self._queue.retry(pod)
        # What the informer told us meanwhile was not taken in, because the Pod counted as placed.
        self._following.on_pod(None, document)
