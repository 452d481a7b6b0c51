"""Jobs that have finished are deleted after as many seconds as they ask for."""

from kubelib.api.batch import Job
from kubelib.api.errors import NotFound
from kubelib.api.meta import Key
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself
from kubelib.controllers.events import EventRecorder
from kubelib.controllers.jobs.planning import expires_in
from kubelib.informers import SharedInformers
from kubelib.registry.base import Preconditions

NAME = "ttl-after-finished-controller"


class ExpiryReconciler:
    """Deletes one Job, with its Pods, when its time is over."""

    def __init__(self, informers: SharedInformers, *, clock: Clock) -> None:
        self._jobs = informers.of(Job)
        self._registry = informers.client.resource(Job)
        self._clock = clock

    async def reconcile(self, key: Key) -> After | None:
        """Delete the Job at `key` if it has expired, or say when it will."""
        job = self._jobs.cache.view(key)
        if job is None or job.metadata.deletion_timestamp is not None:
            return None
        left = expires_in(job, self._clock.now())
        if left is None or left > 0:
            return None if left is None else After(left)
        try:
            fresh = await self._registry.get(key)  # the time may just have been extended
            if fresh.metadata.uid != job.metadata.uid:
                return None
            left = expires_in(fresh, self._clock.now())
            if left is None or left > 0:
                return None if left is None else After(left)
            await self._registry.delete(
                key,
                preconditions=Preconditions(fresh.metadata.uid, fresh.metadata.resource_version),
                propagation="Foreground",
            )
        except NotFound:
            return None
        return None


def ttl_after_finished_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 2
) -> Controller:
    """Return the controller."""
    own = recorder.source(NAME)
    return Controller(
        NAME,
        ExpiryReconciler(informers, clock=clock),
        [(informers.of(Job), itself)],
        workers=workers,
        recorder=own,
    )
