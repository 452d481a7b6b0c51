"""Jobs run as many Pods as they may until enough have succeeded, and count each exactly once."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from kubelib.api.batch import Job, JobStatus, UncountedTerminatedPods
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.controllers.jobs import Backoffs, plan
from kubelib.controllers.jobs.pods import new_pod
from kubelib.testing.objects import make_pod_status
from tests.controllers.jobs.workers import (
    FINALIZER,
    bad,
    conditions,
    good,
    index_of,
    job_of,
    lasting,
    make_job,
    pods_of,
    running,
)


async def test_a_job_runs_until_enough_pods_have_succeeded_and_never_more_at_once_than_it_may(
    world: Any,
) -> None:
    async with running(world, good):
        await world.create(make_job(completions=5, parallelism=2))
        await world.settled(0.5)
        job = await job_of(world)
        assert (job.status.active, job.status.ready, job.status.succeeded) == (2, 2, 0)
        assert job.status.start_time is not None
        await world.settled(10)
        job = await job_of(world)
        assert (job.status.active, job.status.succeeded, job.status.failed) == (0, 5, 0)
        assert conditions(job) == {
            "SuccessCriteriaMet": ("True", "CompletionsReached"),
            "Complete": ("True", "CompletionsReached"),
        }
        assert job.status.completion_time is not None
        uncounted = job.status.uncounted_terminated_pods
        assert uncounted is not None
        assert uncounted.succeeded == ()
        pods = await pods_of(world)
        assert len(pods) == 5
        assert all(FINALIZER not in pod.metadata.finalizers for pod in pods)
        assert all(pod.metadata.labels["batch.kubernetes.io/job-name"] == "work" for pod in pods)
        assert ("Completed", "Job completed") in await world.events()


async def test_pods_keep_their_finalizer_until_they_are_counted(world: Any) -> None:
    async with running(world, lasting):
        await world.create(make_job(completions=1, parallelism=1))
        await world.settled(1)
        (pod,) = await pods_of(world)
        assert pod.metadata.finalizers == (FINALIZER,)
        # Deleted by somebody: it counts as failed, and another takes its place after a while.
        await world.delete(Pod, pod.metadata.name)
        await world.settled(5)
        job = await job_of(world)
        assert (job.status.failed, job.status.active) == (1, 0)
        await world.settled(10)
        assert (await job_of(world)).status.active == 1


async def test_a_queue_of_work_is_done_when_one_pod_has_succeeded_and_all_have_ended(world: Any) -> None:
    ends: dict[str, int] = {}

    def outcome(pod: Pod) -> int | None:
        ends[pod.metadata.name] = len(ends)
        return 0

    async with running(world, outcome):
        await world.create(make_job(parallelism=3))
        await world.settled(10)
        job = await job_of(world)
        assert (job.spec.completions, job.status.succeeded, len(ends)) == (None, 3, 3)
        assert "Complete" in conditions(job)


async def test_failures_are_retried_ever_more_slowly_until_the_limit(world: Any) -> None:
    async with running(world, bad):
        await world.create(make_job(completions=1, parallelism=1, backoff_limit=3))
        await world.settled(200)
        job = await job_of(world)
        assert (job.status.failed, job.status.succeeded) == (4, 0)
        assert conditions(job) == {
            "FailureTarget": ("True", "BackoffLimitExceeded"),
            "Failed": ("True", "BackoffLimitExceeded"),
        }
        starts = world.workers.started
        gaps = [round(b - a) for a, b in pairwise(starts)]
        assert all(low <= gap <= low + 2 for gap, low in zip(gaps, (10, 20, 40), strict=True))
        assert (
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ) in await world.events()


async def test_pods_that_restart_by_themselves_count_by_their_restarts(world: Any) -> None:
    async with running(world, lasting):
        await world.create(make_job(restart_policy="OnFailure", backoff_limit=2))
        await world.settled(1)
        (pod,) = await pods_of(world)

        def restarted(p: Pod) -> Pod:
            statuses = (ContainerStatus(name="main", restart_count=2),)
            return replace(p, status=replace(p.status, container_statuses=statuses))

        await world.change(Pod, pod.metadata.name, restarted, subresource="status")
        await world.settled(5)
        assert conditions(await job_of(world))["Failed"] == ("True", "BackoffLimitExceeded")
        assert (await job_of(world)).status.failed == 1
        assert await pods_of(world) == []


async def test_a_deadline_ends_what_runs_and_the_job_fails_once_all_is_gone(world: Any) -> None:
    async with running(world, lasting, linger=5.0):
        await world.create(make_job(completions=2, parallelism=2, active_deadline_seconds=10, node="n"))
        await world.settled(12)
        job = await job_of(world)
        assert conditions(job) == {"FailureTarget": ("True", "DeadlineExceeded")}
        assert job.status.terminating == 2
        await world.settled(10)
        job = await job_of(world)
        assert conditions(job)["Failed"] == ("True", "DeadlineExceeded")
        assert (job.status.active, job.status.terminating, job.status.failed) == (0, 0, 2)


@pytest.mark.parametrize("policy", ["TerminatingOrFailed", "Failed"])
async def test_what_still_runs_when_a_job_fails_has_failed_at_once_though_its_end_is_waited_for(
    world: Any, policy: str
) -> None:
    async with running(world, lambda pod: 1 if index_of(pod) == 0 else None, linger=20.0):
        await world.create(
            make_job(
                completions=3,
                parallelism=3,
                completion_mode="Indexed",
                backoff_limit=0,
                pod_replacement_policy=policy,
                node="n",
            )
        )
        await world.settled(5)
        job = await job_of(world)
        assert conditions(job) == {"FailureTarget": ("True", "BackoffLimitExceeded")}
        assert (job.status.failed, job.status.active, job.status.terminating) == (3, 0, 2)
        assert job.status.failed_indexes is None
        assert not any(pod.metadata.finalizers for pod in await pods_of(world))
        await world.settled(30)
        job = await job_of(world)
        assert conditions(job)["Failed"] == ("True", "BackoffLimitExceeded")
        assert (job.status.failed, job.status.terminating) == (3, 0)


def test_more_successes_than_were_asked_for_are_told() -> None:
    job, now = make_job(completions=3, parallelism=3), datetime(2026, 1, 1, tzinfo=UTC)
    pod = replace(new_pod(job), metadata=replace(new_pod(job).metadata, name="late", uid="late"))
    pod = replace(pod, status=make_pod_status("Succeeded"))
    step = plan(replace(job, status=JobStatus(succeeded=3)), [pod], Backoffs(), now)
    assert step.status.uncounted_terminated_pods == UncountedTerminatedPods(succeeded=("late",))
    told = plan(replace(job, status=step.status), [], Backoffs(), now).reports
    assert [reason for _, reason, _ in told] == ["TooManySucceededPods", "Completed"]


async def test_fewer_at_once_means_that_some_are_taken_away_without_counting(world: Any) -> None:
    async with running(world, lasting):
        await world.create(make_job(completions=6, parallelism=4))
        await world.settled(2)
        await world.change(Job, "work", lambda j: replace(j, spec=replace(j.spec, parallelism=1)))
        await world.settled(5)
        assert len(await pods_of(world)) == 1
        assert (await job_of(world)).status.failed == 0
