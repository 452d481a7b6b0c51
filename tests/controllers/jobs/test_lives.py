"""Jobs that are suspended, managed elsewhere, deleted or expire, and Pods that find a new owner."""

from collections.abc import Callable
from typing import Any

import pytest

from kubelib.api.batch import Job
from kubelib.api.core.pod import Pod
from kubelib.api.meta import OwnerReference
from kubelib.api.model import replace
from kubelib.controllers.builtin.garbagecollector import garbage_collector
from kubelib.controllers.builtin.job import job_controller
from kubelib.controllers.builtin.ttlafterfinished import ttl_after_finished_controller
from kubelib.testing.objects import make_pod
from tests.controllers.jobs.workers import (
    FINALIZER,
    Workers,
    conditions,
    good,
    job_of,
    lasting,
    make_job,
    pods_of,
    running,
)


async def test_a_suspended_job_has_no_pods_and_begins_anew_when_it_is_resumed(world: Any) -> None:
    def suspended(value: bool) -> Callable[[Job], Job]:
        return lambda j: replace(j, spec=replace(j.spec, suspend=value))

    async with running(world, lasting):
        await world.create(make_job(completions=2, parallelism=2, suspend=True))
        await world.settled(5)
        job = await job_of(world)
        assert (job.status.start_time, conditions(job)) == (None, {"Suspended": ("True", "JobSuspended")})
        await world.change(Job, "work", suspended(False))
        await world.settled(5)
        job = await job_of(world)
        began = job.status.start_time
        assert (job.status.active, conditions(job)["Suspended"]) == (2, ("False", "JobResumed"))
        await world.change(Job, "work", suspended(True))
        await world.settled(5)
        job = await job_of(world)
        assert (job.status.active, job.status.terminating, job.status.failed) == (0, 0, 0)
        assert await pods_of(world) == []
        await world.change(Job, "work", suspended(False))
        await world.settled(5)
        job = await job_of(world)
        assert job.status.start_time is not None
        assert began is not None
        assert job.status.start_time > began
        reasons = {reason for reason, _ in await world.events()}
        assert {"Suspended", "Resumed"} <= reasons


async def test_what_somebody_else_manages_is_left_alone(world: Any) -> None:
    async with running(world, good):
        await world.create(make_job(managed_by="example.com/mine"))
        await world.settled(5)
        assert await pods_of(world) == []
        assert (await job_of(world)).status.start_time is None


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
async def test_pods_of_a_deleted_job_can_go(world: Any, propagation: str) -> None:
    collector = garbage_collector(
        world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
    )
    controller = job_controller(world.informers, clock=world.clock, recorder=world.recorder)
    async with world.running(Workers(world, lasting), controller, collector):
        await world.create(make_job(completions=2, parallelism=2))
        await world.settled(2)
        await world.delete(Job, "work", propagation=propagation)
        await world.settled(20)
        assert await world.names(Job) == []
        pods = await pods_of(world)
        assert len(pods) == (2 if propagation == "Orphan" else 0)
        assert not any(pod.metadata.finalizers or pod.metadata.owner_references for pod in pods)


async def test_orphans_are_adopted_and_strays_released_with_the_finalizer(world: Any) -> None:
    async with running(world, lasting):
        job = await world.create(make_job(completions=2, parallelism=2))
        await world.settled(2)
        pod = (await pods_of(world))[0]
        label = "batch.kubernetes.io/controller-uid"
        without = {k: v for k, v in pod.metadata.labels.items() if k != label}
        await world.change(
            Pod, pod.metadata.name, lambda p: replace(p, metadata=replace(p.metadata, labels=without))
        )
        await world.settled(2)
        stray = await world.get(Pod, pod.metadata.name)
        assert (stray.metadata.owner_references, stray.metadata.finalizers) == ((), ())
        assert len(await pods_of(world)) == 3
        labels = {**without, label: job.metadata.uid}
        await world.change(
            Pod, pod.metadata.name, lambda p: replace(p, metadata=replace(p.metadata, labels=labels))
        )
        await world.settled(2)
        assert len(await pods_of(world)) == 2


@pytest.mark.parametrize(
    ("owner", "freed"),
    [
        (None, True),
        (("batch/v1", "Job", True), True),
        (("batch/v1", "Job", False), True),
        (("example.com/v1", "Job", False), True),
        (("example.com/v1", "Job", True), False),
        (("batch/v1", "CronJob", True), False),
    ],
)
@pytest.mark.parametrize("labels", [{}, {"batch.kubernetes.io/job-name": "gone"}])
async def test_pods_that_no_job_has_and_nobody_else_controls_lose_the_finalizer(
    world: Any, owner: tuple[str, str, bool] | None, freed: bool, labels: dict[str, str]
) -> None:
    references: tuple[OwnerReference, ...] = ()
    if owner is not None:
        version, kind, controls = owner
        reference = OwnerReference(api_version=version, kind=kind, name="gone", uid="u", controller=controls)
        references = (reference,)
    pod = make_pod("stray", labels=labels, restart_policy="Never")
    meta = replace(pod.metadata, finalizers=(FINALIZER,), owner_references=references)
    async with running(world, lasting):
        await world.create(replace(pod, metadata=meta))
        await world.settled(2)
        assert (await world.get(Pod, "stray")).metadata.finalizers == (() if freed else (FINALIZER,))


async def test_an_adopted_pod_is_tracked(world: Any) -> None:
    job = await world.create(make_job())
    labels = {"batch.kubernetes.io/controller-uid": job.metadata.uid}
    await world.create(make_pod("own", labels=labels, restart_policy="Never"))
    async with running(world, lasting):
        await world.settled(2)
        (pod,) = await pods_of(world)
        assert (pod.metadata.name, pod.metadata.finalizers) == ("own", (FINALIZER,))
        assert (await job_of(world)).status.active == 1


async def test_finished_jobs_expire(world: Any) -> None:
    async with world.running(
        Workers(world, good),
        job_controller(world.informers, clock=world.clock, recorder=world.recorder),
        ttl_after_finished_controller(world.informers, clock=world.clock, recorder=world.recorder),
        garbage_collector(
            world.informers, clock=world.clock, recorder=world.recorder, scheme=world.registries.scheme
        ),
    ):
        await world.create(make_job(ttl_seconds_after_finished=30))
        await world.create(make_job("kept"))
        await world.settled(20)
        assert await world.names(Job) == ["kept", "work"]
        await world.settled(30)
        assert await world.names(Job) == ["kept"]
        assert len(await pods_of(world)) == 1
