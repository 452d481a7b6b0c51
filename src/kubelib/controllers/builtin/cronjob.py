"""CronJobs: Jobs by the clock."""

from kubelib.api.batch import CronJob, CronJobStatus, Job
from kubelib.api.errors import AlreadyExists, ApiError, NotFound
from kubelib.api.meta import Key, controller_of
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, owner_of_kind
from kubelib.controllers.cronjobs import plan, reference
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.expectations import Expectations
from kubelib.controllers.podcontrol import namespace_is_ending
from kubelib.informers import BY_CONTROLLER, SharedInformers, revision_of
from kubelib.registry.base import Preconditions

NAME = "cronjob-controller"
LOOK_AGAIN = 0.2
"""Seconds after which is looked again whether the cache has caught up."""


class CronJobReconciler:
    """Carries out the plan of `kubelib.controllers.cronjobs`."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, recorder: Recorder) -> None:
        client = informers.client
        self._owners = informers.of(CronJob)
        self._jobs = informers.of(Job)
        self._owner_registry = client.resource(CronJob)
        self._job_registry = client.resource(Job)
        self._expectations = Expectations(self._jobs.cache)
        self._written: dict[Key, int] = {}
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Start, stop and forget Jobs for the CronJob at `key`."""
        owner = self._owners.cache.view(key)
        if owner is None:
            self._expectations.forget(key)
            self._written.pop(key, None)
            return None
        # A Job that our own list of active ones does not show yet would look like somebody else's.
        if not self._expectations.satisfied(key) or self._owners.cache.revision < self._written.get(key, 0):
            return After(LOOK_AGAIN)
        owned = self._jobs.cache.by_index(BY_CONTROLLER, owner.metadata.uid)
        step = plan(owner, [document.view(Job) for document in owned], self._clock.now())
        status = step.status
        for job in (*step.stop, *step.forget):
            await self._delete(key, owner, job)
        if step.stop:
            stopped = {job.metadata.uid for job in step.stop}
            status = replace(status, active=tuple(r for r in status.active if r.uid not in stopped))
        if step.start is not None:
            started = await self._start(key, owner, step.start)
            if started is not None:
                status = replace(
                    status, active=(*status.active, reference(started)), last_schedule_time=step.scheduled
                )
        await self._write(owner, status)
        for type, reason, message in step.reports:
            report = self._recorder.normal if type == "Normal" else self._recorder.warning
            report(owner, reason, message)
        return After(step.after) if step.after is not None else None

    async def _start(self, key: Key, owner: CronJob, job: Job) -> Job | None:
        """Start a Job; return None if somebody else has the name, or the namespace is going."""
        try:
            started = await self._job_registry.create(job)
        except AlreadyExists:
            # The name says when: it is ours, and the answer or the status was lost; or it is somebody else's.
            there = await self._job_registry.get(job.key)
            holder = controller_of(there)
            if holder is None or holder.uid != owner.metadata.uid:
                return None
            self._expectations.created(key, there)
            return there
        except ApiError as error:
            if namespace_is_ending(error):
                return None
            self._recorder.warning(owner, "FailedCreate", f"Error creating job: {error}")
            raise
        self._expectations.created(key, started)
        self._recorder.normal(owner, "SuccessfulCreate", f"Created job {started.metadata.name}")
        return started

    async def _delete(self, key: Key, owner: CronJob, job: Job) -> None:
        try:
            await self._job_registry.delete(
                job.key, preconditions=Preconditions(uid=job.metadata.uid), propagation="Background"
            )
        except NotFound:
            return
        except ApiError as error:
            self._recorder.warning(owner, "FailedDelete", f"Deleted job: {error}")
            raise
        self._expectations.deleted(key, job)
        self._recorder.normal(owner, "SuccessfulDelete", f"Deleted job {job.metadata.name}")

    async def _write(self, owner: CronJob, status: CronJobStatus) -> None:
        if status == owner.status:
            return
        try:
            written = await self._owner_registry.update(replace(owner, status=status), subresource="status")
        except NotFound:
            return
        self._written[owner.key] = revision_of(written.metadata.resource_version)


def cron_job_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 5
) -> Controller:
    """Return the controller of CronJobs."""
    own = recorder.source(NAME)
    return Controller(
        NAME,
        CronJobReconciler(informers, clock=clock, recorder=own),
        [(informers.of(CronJob), itself), (informers.of(Job), owner_of_kind(CronJob))],
        workers=workers,
        recorder=own,
    )
