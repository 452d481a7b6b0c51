"""What a Job's policies say about failures, success and replacements."""

from typing import Any

import pytest

from kubelib.api.batch import (
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
    SuccessPolicy,
    SuccessPolicyRule,
)
from kubelib.api.core.pod import Pod, PodCondition
from kubelib.api.model import replace
from tests.controllers.jobs.workers import (
    conditions,
    ended,
    index_of,
    job_of,
    lasting,
    make_job,
    pods_of,
    running,
)


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
