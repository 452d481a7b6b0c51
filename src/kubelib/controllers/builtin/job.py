"""Jobs: Pods until enough of them have succeeded, or too many have failed."""

from collections.abc import Iterable, Sequence

import anyio

from kubelib.api.batch import Job, JobStatus
from kubelib.api.core.pod import Pod
from kubelib.api.document import Document
from kubelib.api.errors import ApiError, NotFound
from kubelib.api.meta import Key
from kubelib.api.model import replace
from kubelib.clock import Clock
from kubelib.controllers.base import After
from kubelib.controllers.controller import Controller, itself, owner_of_kind
from kubelib.controllers.events import EventRecorder, Recorder
from kubelib.controllers.expectations import TIMEOUT
from kubelib.controllers.jobs import FINALIZER, Backoffs, Plan, is_finished, plan
from kubelib.controllers.matching import owner_or_matching, selector_of
from kubelib.controllers.ownership import Claims, controller_in
from kubelib.controllers.parallel import for_each, slow_start
from kubelib.controllers.podcontrol import PodControl, failures
from kubelib.controllers.pods import is_ready
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch

NAME = "job-controller"
MANAGER = "kubernetes.io/job-controller"
JOB_LABEL = "batch.kubernetes.io/job-name"
TRACKED = "tracked by job"
"""The index of Pods with the finalizer by the key of their Job."""


_owners = owner_of_kind(Job)


def _tracked_for(document: Document) -> Iterable[Key]:
    """Map a Pod with the finalizer to its Job, which may be gone; one that nobody controls to a Job which may have let it go.

    Of that one, the label may say which it was. Otherwise it gets a key that no Job has.
    """
    if FINALIZER not in document.meta.finalizers:
        return ()
    if controller_in(document.meta) is not None:
        return _owners(document)
    return (Key(document.meta.namespace, document.meta.labels.get(JOB_LABEL, "")),)


def _tracked_index(document: Document) -> Iterable[str]:
    return [str(key) for key in _tracked_for(document)]


class JobReconciler:
    """Carries out the plan of `kubelib.controllers.jobs`."""

    def __init__(self, informers: SharedInformers, *, clock: Clock, recorder: Recorder) -> None:
        client = informers.client
        self._jobs = informers.of(Job)
        self._pods = informers.of(Pod)
        self._pods.cache.add_index(TRACKED, _tracked_index)
        self._job_registry = client.resource(Job)
        self._pod_registry = client.resource(Pod)
        self._claims: Claims[Job, Pod] = Claims(client, Job, self._pods.cache, finalizers=(FINALIZER,))
        self._control = PodControl(client, self._pods.cache, recorder)
        self._expectations = self._control.expectations
        self._backoffs: dict[Key, tuple[str, Backoffs]] = {}
        # Pods whose finalizers are off, by uid, whatever our cache still shows: they must not be counted again.
        self._released: dict[str, float] = {}
        self._clock = clock
        self._recorder = recorder

    async def reconcile(self, key: Key) -> After | None:
        """Take the next step of the Job at `key`."""
        job = self._jobs.cache.view(key)
        if job is None:
            self._expectations.forget(key)
            self._backoffs.pop(key, None)
        if job is not None and job.spec.managed_by not in ("", MANAGER):
            return None  # somebody else's, with its Pods
        strays = [
            document.view(Pod)
            for document in self._pods.cache.by_index(TRACKED, str(key))
            if job is None or is_finished(job) or not _belongs(document, job)
        ]
        await self._release(strays)
        if job is None or is_finished(job):
            return None
        uid, backoffs = self._backoffs.get(key, ("", Backoffs()))
        if uid != job.metadata.uid:
            backoffs = Backoffs()
        acting = self._expectations.satisfied(key)
        claimed = await self._claims.claim(job, selector_of(job))
        pods = [self._as_released(document.view(Pod)) for document in claimed]
        step = plan(job, pods, backoffs, self._clock.now(), acting=acting)
        status, errors = await self._act(key, job, step)
        await self._write(job, status)
        self._backoffs[key] = (job.metadata.uid, step.backoffs)
        self._forget_released()
        for type, reason, message in step.reports:
            report = self._recorder.normal if type == "Normal" else self._recorder.warning
            report(job, reason, message)
        await self._release(step.release)
        if errors:
            raise errors[0]
        return After(step.after) if step.after is not None else None

    def _forget_released(self) -> None:
        """Forget Pods that are gone for so long that no cache shows them any more. The oldest come first."""
        oldest = anyio.current_time() - TIMEOUT
        while self._released and self._released[uid := next(iter(self._released))] < oldest:
            del self._released[uid]

    def _as_released(self, pod: Pod) -> Pod:
        """Return a Pod without the finalizer if that is off already."""
        uid, meta = pod.metadata.uid, pod.metadata
        if uid not in self._released:
            return pod
        if FINALIZER not in meta.finalizers:
            del self._released[uid]  # our cache has caught up
            return pod
        return replace(
            pod, metadata=replace(meta, finalizers=tuple(f for f in meta.finalizers if f != FINALIZER))
        )

    async def _act(self, key: Key, job: Job, step: Plan) -> tuple[JobStatus, list[Exception]]:
        """Create and delete Pods; return the status with how many are active and ready then, and what went wrong.

        Raises the first error of deleting: nobody may be told that Pods are gone which are not.
        """
        status, made = step.status, 0
        gone: list[Pod] = []
        errors: list[Exception] = []
        if step.remove:
            # Nobody counts these: what is taken away has not failed.
            await self._delete(key, job, step.remove, gone, uncounted=True)
        if step.end:
            await self._delete(key, job, step.end, gone)
        if step.create:
            made, errors = await self._create(key, job, step.create)
        status = replace(
            status,
            active=status.active - len(gone) + made,
            ready=(status.ready or 0) - sum(map(is_ready, gone)),
            terminating=(status.terminating or 0) + len(gone),
        )
        return status, failures(errors)

    async def _create(self, key: Key, job: Job, pods: Sequence[Pod]) -> tuple[int, list[Exception]]:
        made = 0

        async def create(pod: Pod) -> None:
            nonlocal made
            await self._control.create(key, job, pod)
            made += 1

        errors = await slow_start(pods, create)
        return made, errors

    async def _delete(
        self, key: Key, job: Job, pods: Sequence[Pod], gone: list[Pod], *, uncounted: bool = False
    ) -> None:
        """Delete Pods, and add to those that are `gone` each that is. Raises the first error."""

        async def delete(pod: Pod) -> None:
            if uncounted and FINALIZER in pod.metadata.finalizers:
                try:
                    await self._let_go(pod)
                except ApiError as error:
                    self._recorder.warning(job, "FailedDelete", f"Error deleting: {error}")
                    raise
            await self._control.delete(key, job, pod)
            gone.append(pod)

        if errors := await for_each(pods, delete):
            raise errors[0]

    async def _release(self, pods: Sequence[Pod]) -> None:
        """Take the finalizer off Pods. Raises the first error."""
        held = [
            pod
            for pod in pods
            if FINALIZER in pod.metadata.finalizers and pod.metadata.uid not in self._released
        ]
        errors = await for_each(held, self._let_go)
        if errors:
            raise errors[0]

    async def _let_go(self, pod: Pod) -> None:
        # With the uid in it, the patch cannot meet another Pod that has taken the name.
        body = {"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
        try:
            await self._pod_registry.patch(pod.key, Patch("strategic", body))
        except NotFound:
            return
        self._released[pod.metadata.uid] = anyio.current_time()

    async def _write(self, job: Job, status: JobStatus) -> None:
        if status != job.status:
            await self._job_registry.update(replace(job, status=status), subresource="status")


def _belongs(document: Document, job: Job) -> bool:
    return any(r.controller and r.uid == job.metadata.uid for r in document.meta.owner_references)


def job_controller(
    informers: SharedInformers, *, clock: Clock, recorder: EventRecorder, workers: int = 5
) -> Controller:
    """Return the controller of Jobs."""
    own = recorder.source(NAME)
    jobs = informers.of(Job)
    owners = owner_or_matching(jobs, _owners, selector_of)

    def concerned(document: Document) -> Iterable[Key]:
        return dict.fromkeys([*owners(document), *_tracked_for(document)])

    reconciler = JobReconciler(informers, clock=clock, recorder=own)
    return Controller(
        NAME, reconciler, [(jobs, itself), (informers.of(Pod), concerned)], workers=workers, recorder=own
    )
