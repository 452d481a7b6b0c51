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
from kubelib.controllers.jobs.indexes import parse_indexes
from kubelib.controllers.jobs.policies import success_rule
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
    ("succeeded", "indexes", "count", "met"),
    [
        ("0", None, None, False),
        ("0-2,4-7", "0-2", None, True),
        ("0-2", "3", None, False),
        ("0-2", None, 2, True),
        ("0-2", None, 4, False),
        ("0-2,4-7", "3-6", 2, True),
        ("0-2,6-7", "3-6", 2, False),
        ("", None, 4, False),
        ("1-9", "2-4,6-8", None, True),
        ("2-5,7-9", "2-4,8-12", None, True),
        ("2-4,6-8", "1-3,5-7", None, False),
        ("2-4,6-8", "1-3,5-7", 4, True),
        ("1-3,7-8", "0-4,6-9", None, False),
        ("1-3,7-8", "0-4,6-9", 5, True),
        ("1-3,5-7", "10-12,14-16", None, False),
        ("1-3", "", None, False),
        ("0", "invalid-form", None, False),
    ],
)
def test_a_success_rule_is_met_by_the_indexes_that_it_names_and_by_enough_of_them(
    succeeded: str, indexes: str | None, count: int | None, met: bool
) -> None:
    rule = SuccessPolicyRule(succeeded_indexes=indexes or "", succeeded_count=count)
    job = make_job(completions=10, success_policy=SuccessPolicy(rules=(rule,)))
    assert success_rule(job, parse_indexes(succeeded, 10)) == (0 if met else None)


def test_the_first_success_rule_that_is_met_counts() -> None:
    rules = tuple(SuccessPolicyRule(succeeded_indexes=indexes) for indexes in ("9", "4,6", "5"))
    job = make_job(completions=10, success_policy=SuccessPolicy(rules=rules))
    assert success_rule(job, parse_indexes("0-2,4-7", 10)) == 1


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
