from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

import anyio
import pytest
from anyio import TASK_STATUS_IGNORED

from kubelib.api.batch import (
    Job,
    JobSpec,
    JobStatus,
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
    SuccessPolicy,
    SuccessPolicyRule,
    UncountedTerminatedPods,
)
from kubelib.api.core.container_status import ContainerState, ContainerStateTerminated, ContainerStatus
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.errors import ApiError
from kubelib.api.meta import Key, Object
from kubelib.api.model import replace
from kubelib.client.base import Client
from kubelib.client.update import update_with
from kubelib.controllers.builtin.garbagecollector import garbage_collector
from kubelib.controllers.builtin.job import job_controller
from kubelib.controllers.builtin.ttlafterfinished import ttl_after_finished_controller
from kubelib.controllers.jobs import Backoffs, plan
from kubelib.controllers.jobs.indexes import format_indexes, parse_indexes
from kubelib.controllers.jobs.pods import new_pod
from kubelib.informers import SharedInformers
from kubelib.registry.base import Patch, Registry
from kubelib.sim import Conflicting, Lossy
from kubelib.sim.hardship import Wrapper
from kubelib.testing.objects import make_meta, make_pod, make_pod_status, make_template

R = TypeVar("R", bound=Object)

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


def make_job(name: str = "work", **spec: Any) -> Job:
    return Job(
        metadata=make_meta(name),
        spec=JobSpec(
            template=make_template(
                {}, restart_policy=spec.pop("restart_policy", "Never"), node_name=spec.pop("node", "")
            ),
            **spec,
        ),
    )


Outcome = Callable[[Pod], int | None]


def good(pod: Pod) -> int | None:
    return 0


def bad(pod: Pod) -> int | None:
    return 1


def lasting(pod: Pod) -> int | None:
    return None


class Workers:
    """A `Component` in the place of scheduler and nodes: Pods run for a second and end with a code, or go on."""

    name = "workers"

    def __init__(self, world: Any, outcome: Outcome, *, seconds: float = 1.0, linger: float = 0.0) -> None:
        self.world = world
        self.outcome = outcome
        self.seconds = seconds
        self.linger = linger
        self.started: list[float] = []

    async def run(self, *, task_status: Any = TASK_STATUS_IGNORED) -> None:
        informer = SharedInformers(self.world.direct, random=Random(1)).of(Pod)
        async with anyio.create_task_group() as tasks:

            def changed(old: Any, new: Any) -> None:
                if old is None and new is not None:
                    tasks.start_soon(self._work, new.key)
                elif new is not None and new.meta.deletion_timestamp and not old.meta.deletion_timestamp:
                    tasks.start_soon(self._end, new.key)

            informer.subscribe(changed)
            await tasks.start(informer.run)
            task_status.started()

    async def _set(self, key: Key, change: Callable[[Pod], Any]) -> None:
        with suppress(ApiError):
            await update_with(
                self.world.direct,
                Pod,
                key,
                lambda p: (
                    replace(p, status=change(p)) if p.status.phase not in ("Succeeded", "Failed") else None
                ),
                subresource="status",
            )

    async def _work(self, key: Key) -> None:
        self.started.append(anyio.current_time())
        await self._set(key, lambda p: make_pod_status("Running", ready=True, since=self.world.clock.now()))
        with suppress(ApiError):
            code = self.outcome(await self.world.get(Pod, key.name))
            if code is not None:
                await anyio.sleep(self.seconds)
                await self._set(key, lambda p: ended(code, self.world.clock.now()))

    async def _end(self, key: Key) -> None:
        await anyio.sleep(self.linger)
        await self._set(key, lambda p: ended(137, self.world.clock.now()))
        with suppress(ApiError):
            await self.world.direct.resource(Pod).delete(key, grace=0)


def ended(code: int, now: Any, conditions: Any = ()) -> Any:
    state = ContainerState(
        terminated=ContainerStateTerminated(exit_code=code, finished_at=now.replace(microsecond=0))
    )
    return replace(
        make_pod_status("Failed" if code else "Succeeded"),
        container_statuses=(ContainerStatus(name="main", state=state),),
        conditions=conditions,
    )


def index_of(pod: Pod) -> int:
    return int(pod.metadata.annotations[INDEX])


def running(world: Any, outcome: Outcome, **how: Any) -> Any:
    workers = Workers(world, outcome, **how)
    world.workers = workers
    return world.running(workers, job_controller(world.informers, clock=world.clock, recorder=world.recorder))


async def job_of(world: Any, name: str = "work") -> Job:
    found: Job = await world.get(Job, name)
    return found


def conditions(job: Job) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in job.status.conditions}


async def pods_of(world: Any) -> list[Pod]:
    return list(await world.all(Pod))


def test_indexes_are_text_and_back() -> None:
    for text in ("", "0", "1,2", "0-2,4", "0,1,3-5,9"):
        assert format_indexes(parse_indexes(text, 100)) == text
    assert parse_indexes("0-9,junk,3-x,-", 4) == frozenset(range(4))


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


async def test_each_index_succeeds_once_under_a_name_of_its_own(world: Any) -> None:
    tries: list[int] = []

    def outcome(pod: Pod) -> int | None:
        index = index_of(pod)
        tries.append(index)
        return 1 if index == 2 and tries.count(2) == 1 else 0

    async with running(world, outcome):
        await world.create(make_job(completions=4, parallelism=4, completion_mode="Indexed"))
        await world.settled(0.5)
        pods = await pods_of(world)
        for pod in pods:
            index = index_of(pod)
            assert pod.metadata.name.startswith(f"work-{index}-")
            assert pod.spec.hostname == f"work-{index}"
            assert pod.metadata.labels[INDEX] == str(index)
            (variable,) = pod.spec.containers[0].env
            assert variable.name == "JOB_COMPLETION_INDEX"
        await world.settled(20)
        job = await job_of(world)
        assert (job.status.completed_indexes, job.status.succeeded, job.status.failed) == ("0-3", 4, 1)
        assert sorted(tries) == [0, 1, 2, 2, 3]
        assert "Complete" in conditions(job)


async def test_an_indexed_job_grows_and_shrinks_with_completions_and_parallelism(world: Any) -> None:
    def sized(count: int) -> Callable[[Job], Job]:
        return lambda j: replace(j, spec=replace(j.spec, completions=count, parallelism=count))

    async with running(world, lasting):
        await world.create(make_job(completions=3, parallelism=3, completion_mode="Indexed"))
        for count in (5, 2):
            await world.settled(3)
            await world.change(Job, "work", sized(count))
            await world.settled(3)
            assert sorted(map(index_of, await pods_of(world))) == list(range(count))
        assert (await job_of(world)).status.failed == 0


async def test_each_index_has_a_limit_of_its_own(world: Any) -> None:
    async with running(world, lambda pod: 1 if index_of(pod) in (1, 3) else 0):
        await world.create(
            make_job(completions=4, parallelism=4, completion_mode="Indexed", backoff_limit_per_index=1)
        )
        await world.settled(60)
        job = await job_of(world)
        assert (job.status.completed_indexes, job.status.failed_indexes) == ("0,2", "1,3")
        assert (job.status.succeeded, job.status.failed) == (2, 4)
        assert conditions(job)["Failed"] == ("True", "FailedIndexes")
        pods = await pods_of(world)
        counts = sorted(
            (index_of(p), p.metadata.annotations["batch.kubernetes.io/job-index-failure-count"]) for p in pods
        )
        assert counts == [(0, "0"), (1, "0"), (1, "1"), (2, "0"), (3, "0"), (3, "1")]
        assert not any(p.metadata.finalizers for p in pods)


async def test_an_index_that_waits_for_its_next_try_keeps_its_place(world: Any) -> None:
    tries: list[int] = []

    def outcome(pod: Pod) -> int:
        tries.append(index_of(pod))
        return 1 if tries == [0] else 0

    async with running(world, outcome):
        await world.create(
            make_job(completions=2, parallelism=1, completion_mode="Indexed", backoff_limit_per_index=1)
        )
        await world.settled(5)
        job = await job_of(world)
        assert (tries, job.status.failed, job.status.failed_indexes) == ([0], 0, "")
        await world.settled(20)
        assert tries == [0, 0, 1]


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


async def test_too_many_failed_indexes_end_the_job(world: Any) -> None:
    async with running(world, lambda pod: 1 if index_of(pod) < 2 else None):
        await world.create(
            make_job(
                completions=4,
                parallelism=2,
                completion_mode="Indexed",
                backoff_limit_per_index=0,
                max_failed_indexes=1,
            )
        )
        await world.settled(20)
        job = await job_of(world)
        assert conditions(job)["Failed"] == ("True", "MaxFailedIndexesExceeded")
        assert job.status.failed_indexes == "0,1"
        assert job.status.active == 0


def on_exit(action: str, *codes: int, operator: str = "In") -> PodFailurePolicyRule:
    return PodFailurePolicyRule(
        action=action,
        on_exit_codes=PodFailurePolicyOnExitCodesRequirement(operator=operator, values=codes),
    )


async def test_the_failure_policy_fails_the_job_for_codes_that_cannot_be_helped(world: Any) -> None:
    async with running(world, lambda pod: 42):
        policy = PodFailurePolicy(rules=(on_exit("Count", 1), on_exit("FailJob", 42)))
        await world.create(make_job(completions=2, parallelism=1, pod_failure_policy=policy))
        await world.settled(10)
        job = await job_of(world)
        assert conditions(job)["Failed"] == ("True", "PodFailurePolicy")
        (pod,) = await pods_of(world)
        (failed,) = [c for c in job.status.conditions if c.type == "Failed"]
        assert failed.message == (
            f"Container main for pod default/{pod.metadata.name} failed with exit code 42 matching FailJob rule at"
            " index 1"
        )
        assert job.status.failed == 1


async def test_the_failure_policy_ignores_disruptions(world: Any) -> None:
    rule = PodFailurePolicyRule(
        action="Ignore",
        on_pod_conditions=(PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True"),),
    )
    async with running(world, lasting):
        policy = PodFailurePolicy(rules=(rule,))
        await world.create(make_job(backoff_limit=0, pod_failure_policy=policy))
        await world.settled(1)
        (pod,) = await pods_of(world)
        disrupted = PodCondition(type="DisruptionTarget", status="True", reason="PreemptionByScheduler")
        await world.change(
            Pod,
            pod.metadata.name,
            lambda p: replace(p, status=ended(137, world.clock.now(), (disrupted,))),
            subresource="status",
        )
        await world.settled(15)
        job = await job_of(world)
        assert (job.status.failed, job.status.active) == (0, 1)
        assert conditions(job) == {}


async def test_the_failure_policy_fails_an_index_at_once(world: Any) -> None:
    async with running(world, lambda pod: 42 if index_of(pod) == 0 else 0):
        policy = PodFailurePolicy(rules=(on_exit("FailIndex", 42),))
        await world.create(
            make_job(
                completions=2,
                parallelism=2,
                completion_mode="Indexed",
                backoff_limit_per_index=5,
                pod_failure_policy=policy,
            )
        )
        await world.settled(10)
        job = await job_of(world)
        assert (job.status.failed_indexes, job.status.completed_indexes) == ("0", "1")
        assert "Failed" in conditions(job)


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        (SuccessPolicyRule(succeeded_indexes="0"), True),
        (SuccessPolicyRule(succeeded_count=1), True),
        (SuccessPolicyRule(succeeded_indexes="0-1", succeeded_count=1), True),
        (SuccessPolicyRule(succeeded_indexes="0-1"), False),
    ],
)
async def test_the_success_policy_ends_a_job_early(world: Any, rule: SuccessPolicyRule, met: bool) -> None:
    async with running(world, lambda pod: 0 if index_of(pod) == 0 else None):
        await world.create(
            make_job(
                completions=3,
                parallelism=3,
                completion_mode="Indexed",
                success_policy=SuccessPolicy(rules=(rule,)),
            )
        )
        await world.settled(20)
        job = await job_of(world)
        assert ("Complete" in conditions(job)) is met
        if met:
            assert conditions(job)["SuccessCriteriaMet"] == ("True", "SuccessPolicy")
            assert (job.status.active, job.status.ready, job.status.terminating) == (0, 0, 0)
            # Those that were no longer needed have not failed.
            assert (job.status.succeeded, job.status.failed) == (1, 0)


@pytest.mark.parametrize(("policy", "at_once"), [("TerminatingOrFailed", 1), ("Failed", 0)])
async def test_the_replacement_policy_says_whether_ending_pods_are_waited_for(
    world: Any, policy: str, at_once: int
) -> None:
    async with running(world, lasting, linger=60.0):
        await world.create(make_job(pod_replacement_policy=policy, node="n"))
        await world.settled(1)
        (pod,) = await pods_of(world)
        await world.delete(Pod, pod.metadata.name)
        await world.settled(30)
        job = await job_of(world)
        assert (job.status.active, job.status.terminating) == (at_once, 1)
        await world.settled(100)
        job = await job_of(world)
        assert (job.status.active, job.status.terminating, job.status.failed) == (1, 0, 1)


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


async def test_fewer_at_once_means_that_some_are_taken_away_without_counting(world: Any) -> None:
    async with running(world, lasting):
        await world.create(make_job(completions=6, parallelism=4))
        await world.settled(2)
        await world.change(Job, "work", lambda j: replace(j, spec=replace(j.spec, parallelism=1)))
        await world.settled(5)
        assert len(await pods_of(world)) == 1
        assert (await job_of(world)).status.failed == 0


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


class Witness:
    """A client that notes of each Pod what its controller saw when it took the finalizer off: an end to be counted, or not."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.world: Any = None
        self.seen_to_end: dict[str, bool] = {}

    def resource(self, kind: type[R], /) -> Registry[R]:
        registry = self._client.resource(kind)
        return WitnessedPods(registry, self) if kind is Pod else registry  # type: ignore[arg-type, return-value]


class WitnessedPods(Wrapper[Pod]):
    def __init__(self, registry: Registry[Pod], witness: Witness) -> None:
        super().__init__(registry)
        self._witness = witness

    async def patch(self, key: Key, patch: Patch, *, subresource: str = "") -> Pod:
        world = self._witness.world
        pod = world.informers.of(Pod).cache.view(key)
        job = world.informers.of(Job).cache.view(Key(key.namespace, "work"))
        seen = pod.status.phase in ("Succeeded", "Failed") and "Complete" not in conditions(job)
        try:
            return await self.registry.patch(key, patch, subresource=subresource)
        finally:
            # Whatever was answered: this is when it went, if it is not there any more.
            there = [p for p in await world.all(Pod) if p.metadata.uid == pod.metadata.uid]
            if not any(FINALIZER in p.metadata.finalizers for p in there):
                self._witness.seen_to_end.setdefault(pod.metadata.uid, seen)


class History:
    """The states of all objects of a kind, from a moment on."""

    def __init__(self, world: Any, kind: type[Any]) -> None:
        self._registry = world.direct.resource(kind)
        self.states: list[Any] = []

    async def run(self, *, task_status: Any = TASK_STATUS_IGNORED) -> None:
        now = (await self._registry.list()).resource_version
        async with self._registry.watch(since=now) as events:
            task_status.started()
            async for event in events:
                self.states.append(event.object)


@pytest.mark.seeds(20)
async def test_under_conflicts_and_losses_every_pod_is_counted_once(
    make_world: Any, anyio_backend: Any
) -> None:
    """A Pod counts exactly if, when its finalizer went, the controller had seen it end, and its Job not yet finished.

    It does not count in two cases, both Kubernetes' own: it was too many, and its end was not known yet when it was let go;
    or the controller had not heard of its end, or of the Pod at all, when all others were counted and the Job was complete.
    """
    seed = anyio_backend[1]["loop_factory"].args[0]
    random = Random(seed)

    def line(client: Any) -> Any:
        return Witness(Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1, until=200.0), every=4))

    def outcome(pod: Pod) -> int | None:
        return int(random.random() < 0.3)

    async with make_world(line, seed) as world, anyio.create_task_group() as watching:
        world.client.world = world
        jobs, pods = History(world, Job), History(world, Pod)
        await watching.start(jobs.run)
        await watching.start(pods.run)
        async with running(world, outcome):
            await world.create(make_job(completions=12, parallelism=4, backoff_limit=1000))
            await world.settled(5000)
        watching.cancel_scope.cancel()
    job = jobs.states[-1]
    assert "Complete" in conditions(job)
    # Later states of a Pod overwrite earlier ones: a phase that is an end is the last.
    phases = {pod.metadata.uid: pod.status.phase for pod in pods.states}
    counted = {uid for uid, seen in world.client.seen_to_end.items() if seen}
    assert job.status.succeeded == sum(phases[uid] == "Succeeded" for uid in counted) >= 12
    assert job.status.failed == sum(phases[uid] == "Failed" for uid in counted)
    # Each was noted by its uid first, as what it was, and every finalizer has gone.
    noted = [j.status.uncounted_terminated_pods for j in jobs.states if j.status.uncounted_terminated_pods]
    assert {uid for n in noted for uid in n.succeeded} == {u for u in counted if phases[u] == "Succeeded"}
    assert {uid for n in noted for uid in n.failed} == {u for u in counted if phases[u] == "Failed"}
    assert world.client.seen_to_end.keys() == phases.keys()


@pytest.mark.parametrize("pause", [0.3, 0.7, 1.0, 1.1])
async def test_nothing_is_counted_twice_when_the_controller_is_stopped_anywhere(
    world: Any, pause: float
) -> None:
    workers = Workers(world, good)
    await world.create(make_job(completions=8, parallelism=3))
    for last in (*[False] * 12, True):
        world.informers = SharedInformers(world.client, random=world.random)
        controller = job_controller(world.informers, clock=world.clock, recorder=world.recorder)
        async with world.running(workers, controller):
            await anyio.sleep(60 if last else pause)
    job = await job_of(world)
    made = [p for p in await pods_of(world) if p.status.phase == "Succeeded"]
    assert "Complete" in conditions(job)
    assert job.status.succeeded == len(made) >= 8
