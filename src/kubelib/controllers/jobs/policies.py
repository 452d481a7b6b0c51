"""What the failure of a Pod means for its Job, and when enough has succeeded. Pure."""

from collections.abc import Iterator, Sequence

import attrs

from kubelib.api.batch import Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule
from kubelib.api.core.container_status import ContainerStatus
from kubelib.api.core.pod import Pod
from kubelib.controllers.jobs.indexes import Indexes, parse_indexes


@attrs.frozen
class Failure:
    """What a failure counts for."""

    action: str = ""
    """The action of the rule that matches, empty if none does."""
    message: str = ""
    """Why the Job fails with it, if it does."""

    @property
    def counts(self) -> bool:
        """Whether it counts towards the limits."""
        return self.action != "Ignore"


_USUAL = Failure()


def judge_failure(job: Job, pod: Pod) -> Failure:
    """Return what the policy of a Job says about a failed Pod: the first rule that matches wins."""
    policy = job.spec.pod_failure_policy
    if policy is None:
        return _USUAL
    for number, rule in enumerate(policy.rules):
        if rule.on_exit_codes is not None:
            status = _failed_container(rule.on_exit_codes, pod)
            if status is not None:
                assert status.state.terminated is not None
                what = (
                    f"Container {status.name} for pod {pod.key} failed with exit code"
                    f" {status.state.terminated.exit_code}"
                )
                return _failure(rule, what, number)
        elif (type := _condition(rule, pod)) is not None:
            return _failure(rule, f"Pod {pod.key} has condition {type}", number)
    return _USUAL


def _failure(rule: PodFailurePolicyRule, what: str, number: int) -> Failure:
    if rule.action != "FailJob":
        return Failure(rule.action)
    return Failure(rule.action, f"{what} matching {rule.action} rule at index {number}")


def _statuses(pod: Pod) -> Iterator[ContainerStatus]:
    yield from pod.status.container_statuses
    yield from pod.status.init_container_statuses


def _failed_container(rule: PodFailurePolicyOnExitCodesRequirement, pod: Pod) -> ContainerStatus | None:
    for status in _statuses(pod):
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0 or rule.container_name not in ("", status.name):
            continue
        if (ended.exit_code in rule.values) == (rule.operator == "In"):
            return status
    return None


def _condition(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    for condition in pod.status.conditions:
        for pattern in rule.on_pod_conditions:
            if condition.type == pattern.type and condition.status == (pattern.status or "True"):
                return condition.type
    return None


def success_rule(job: Job, succeeded: Indexes) -> int | None:
    """Return the number of the first rule by which a Job has succeeded, or None."""
    policy, completions = job.spec.success_policy, job.spec.completions or 0
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        counted = succeeded
        if rule.succeeded_indexes:
            meant = parse_indexes(rule.succeeded_indexes, completions)
            counted = succeeded & meant
            if rule.succeeded_count is None:
                if meant and counted == meant:
                    return number
                continue
        if rule.succeeded_count is not None and len(counted) >= rule.succeeded_count:
            return number
    return None


def restarted_too_often(job: Job, pods: Sequence[Pod]) -> bool:
    """Return whether the containers of Pods that restart by themselves have done so more often than the limit."""
    if job.spec.template.spec.restart_policy != "OnFailure" or job.spec.backoff_limit is None:
        return False
    restarts = sum(
        status.restart_count
        for pod in pods
        if pod.status.phase in ("Running", "Pending")
        for status in _statuses(pod)
    )
    return restarts > 0 if job.spec.backoff_limit == 0 else restarts >= job.spec.backoff_limit
