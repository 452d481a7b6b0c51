"""What a Job does next. Pure.

`plan` counts the Pods that have ended (`counting`), decides whether the Job is to succeed or to fail, and, if neither, which
Pods are missing or too many. How a Job will end is written first (``SuccessCriteriaMet``, ``FailureTarget``); that it has
ended (``Complete``, ``Failed``) only when none of its Pods runs any more and all are counted.
"""

from collections.abc import Sequence
from datetime import datetime

import attrs

from kubelib.api.batch import Job, JobCondition, JobStatus
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.api.times import later
from kubelib.controllers.jobs.counting import Tally, generation, tally
from kubelib.controllers.jobs.indexes import format_indexes
from kubelib.controllers.jobs.pods import (
    FAILURES,
    IGNORED,
    condition,
    finished_at,
    index_of,
    is_indexed,
    new_pod,
    number_in,
    replaces_only_failed,
)
from kubelib.controllers.jobs.policies import judge_failure, restarted_too_often, success_rule
from kubelib.controllers.pods import choose_to_delete, is_active, is_ready, is_terminal
from kubelib.informers import Backoff

BURST = 500
"""How many Pods one look creates or deletes at most."""
RECREATE = Backoff(10.0, 600.0)
"""How long to wait before another Pod is made after one has failed, longer with each in a row."""
SUCCESS, FAILURE = "SuccessCriteriaMet", "FailureTarget"


@attrs.frozen
class Backoffs:
    """The failures since the last success, and when the last one was."""

    failures: int = 0
    last: datetime | None = None

    def after(self, succeeded: Sequence[Pod], failed: Sequence[Pod], now: datetime) -> "Backoffs":
        """Return what becomes of it when Pods have ended."""
        if not succeeded and not failed:
            return self
        successes = [finished_at(pod, now) for pod in succeeded]
        failures = sorted(finished_at(pod, now) for pod in failed)
        if successes:
            latest = max(successes)
            failures = [at for at in failures if at > latest]
            return Backoffs(len(failures), failures[-1] if failures else None)
        last = failures[-1] if self.last is None else max(self.last, failures[-1])
        return Backoffs(self.failures + len(failures), last)

    def wait(self, now: datetime) -> float:
        """Return how many seconds to wait before the next Pod."""
        return _wait(self.failures, self.last, now)


def _wait(failures: int, last: datetime | None, now: datetime) -> float:
    if not failures or last is None:
        return 0.0
    return max(0.0, RECREATE.delay(failures - 1) - (now - last).total_seconds())


@attrs.frozen(kw_only=True)
class Plan:
    """What to do now: first with Pods, then with the status, then with the finalizers of Pods that have ended."""

    status: JobStatus
    """As it is to be, but for the Pods that are created and deleted now."""
    create: tuple[Pod, ...] = ()
    remove: tuple[Pod, ...] = ()
    """Pods that are too many: they are not counted."""
    end: tuple[Pod, ...] = ()
    """Pods of a Job that is over: they are."""
    release: tuple[Pod, ...] = ()
    backoffs: Backoffs = Backoffs()
    """What to remember once the status is written."""
    reports: tuple[tuple[str, str, str], ...] = ()
    """Events: type, reason, message; once the status is written."""
    after: float | None = None


@attrs.frozen
class _End:
    """How a Job will end."""

    type: str
    reason: str
    message: str


def _condition(type: str, value: str, reason: str, message: str, now: datetime) -> JobCondition:
    return JobCondition(
        type=type,
        status=value,
        reason=reason,
        message=message,
        last_probe_time=now,
        last_transition_time=now,
    )


class _Planner:
    def __init__(self, job: Job, pods: Sequence[Pod], backoffs: Backoffs, now: datetime) -> None:
        self.job, self.now = job, now
        self.spec = job.spec
        self.indexed, self.completions = is_indexed(job), job.spec.completions
        self.suspended = bool(job.spec.suspend)
        self.pods = pods
        self.active = [pod for pod in pods if is_active(pod)]
        self.terminating = [
            pod for pod in pods if pod.metadata.deletion_timestamp is not None and not is_terminal(pod)
        ]
        decided = condition(job, SUCCESS) or condition(job, FAILURE)
        self.end = _End(decided.type, decided.reason, decided.message) if decided is not None else None
        self.tally: Tally = self.count()
        t = self.tally
        self.backoffs = backoffs.after(t.newly_succeeded, t.newly_failed, now)
        self.reports: list[tuple[str, str, str]] = []
        self.start = job.status.start_time
        self.conditions = list(job.status.conditions)
        self.after: float | None = None
        self.create: list[Pod] = []
        self.remove: list[Pod] = []
        self.doomed: Sequence[Pod] = ()

    def count(self) -> Tally:
        end = self.end
        return tally(
            self.job, self.pods, over=end is not None, failed=end is not None and end.type == FAILURE
        )

    @property
    def succeeded(self) -> int:
        return len(self.tally.completed) if self.indexed else self.tally.total_succeeded

    def wait(self, seconds: float) -> None:
        self.after = seconds if self.after is None else min(self.after, seconds)

    # How it ends

    def decide(self) -> _End | None:
        spec, status = self.spec, self.tally
        if spec.pod_failure_policy is not None:
            for pod in (*status.newly_failed, *status.held):
                if message := judge_failure(self.job, pod).message:
                    return _End(FAILURE, "PodFailurePolicy", message)
        limit = spec.backoff_limit
        if limit is not None and (status.total_failed > limit or restarted_too_often(self.job, self.pods)):
            return _End(FAILURE, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if self._is_past_deadline():
            return _End(FAILURE, "DeadlineExceeded", "Job was active longer than specified deadline")
        if self.indexed:
            failed = len(status.failed_indexes)
            if spec.max_failed_indexes is not None and failed > spec.max_failed_indexes:
                message = "Job has exceeded the specified maximal number of failed indexes"
                return _End(FAILURE, "MaxFailedIndexesExceeded", message)
            if failed and failed + self.succeeded >= (self.completions or 0):
                return _End(FAILURE, "FailedIndexes", "Job has failed indexes")
            rule = success_rule(self.job, status.completed)
            if rule is not None:
                return _End(SUCCESS, "SuccessPolicy", f"Matched rules at index {rule}")
        return None

    def is_complete(self) -> bool:
        """Return whether enough Pods have succeeded, and none is left running."""
        if len(self.active) > len(self.remove) or self.create:
            return False
        # Without a number this is a queue of work: it is empty when one Pod says so, and the others have ended.
        return self.succeeded >= (1 if self.completions is None else self.completions)

    def _is_past_deadline(self) -> bool:
        deadline = self.spec.active_deadline_seconds
        if deadline is None or self.suspended or self.start is None:
            return False
        left = deadline - (self.now - self.start).total_seconds()
        if left > 0:
            self.wait(left)
        return left <= 0

    def set(self, type: str, value: str, reason: str, message: str) -> bool:
        """Set a condition; return whether that changes it. One that never was true is not written as false."""
        now = self.now.replace(microsecond=0)
        for number, old in enumerate(self.conditions):
            if old.type == type:
                if (old.status, old.reason, old.message) == (value, reason, message):
                    return False
                self.conditions[number] = _condition(type, value, reason, message, now)
                return True
        if value == "False":
            return False
        self.conditions.append(_condition(type, value, reason, message, now))
        return True

    # Which Pods

    def manage(self) -> None:
        self._adjust()
        if self.is_complete():
            return
        if self.suspended:
            if self.set("Suspended", "True", "JobSuspended", "Job suspended"):
                self.reports.append(("Normal", "Suspended", "Job suspended"))
        elif self.set("Suspended", "False", "JobResumed", "Job resumed"):
            self.start = self.now.replace(microsecond=0)
            self.reports.append(("Normal", "Resumed", "Job resumed"))

    def _adjust(self) -> None:
        active = len(self.active)
        if self.suspended:
            self.remove = list(self.active)[:BURST]
            return
        parallelism = 1 if self.spec.parallelism is None else self.spec.parallelism
        if self.completions is None:
            wanted = active if self.succeeded else parallelism
        else:
            left = self.completions - self.succeeded - len(self.tally.failed_indexes)
            wanted = max(0, min(left, parallelism))
        surplus = self._surplus(max(0, active - wanted))
        if surplus:
            self.remove = surplus[:BURST]
            return
        ending = len(self.terminating) if replaces_only_failed(self.job) else 0
        missing = min(wanted - ending - active, BURST)
        if missing <= 0:
            return
        if self.spec.backoff_limit_per_index is None and (seconds := self.backoffs.wait(self.now)) > 0:
            self.wait(seconds)
            return
        if self.indexed:
            self._create_indexes(missing)
        else:
            self.create = [new_pod(self.job)] * missing

    def _surplus(self, count: int) -> list[Pod]:
        """Return active Pods that are too many; of a Job with indexes first those whose index is not theirs to have."""
        if not self.indexed:
            return choose_to_delete(self.active, count, self.now) if count else []
        ordered = choose_to_delete(self.active, len(self.active) - 1, self.now) if self.active else []
        ordered += [pod for pod in self.active if pod not in ordered]
        kept: dict[int, Pod] = {}
        wrong: list[Pod] = []
        over = self.tally.completed | self.tally.failed_indexes
        for pod in reversed(ordered):
            index = index_of(pod)
            if not 0 <= index < (self.completions or 0) or index in kept or index in over:
                wrong.append(pod)
            else:
                kept[index] = pod
        rest = [pod for pod in ordered if pod not in wrong]
        return [*wrong, *rest[: max(0, count - len(wrong))]]

    def _create_indexes(self, missing: int) -> None:
        taken = {index_of(pod) for pod in self.active} | self.tally.completed | self.tally.failed_indexes
        if replaces_only_failed(self.job):
            taken |= {index_of(pod) for pod in self.terminating}
        per_index = self.spec.backoff_limit_per_index is not None
        last = {index_of(pod): pod for pod in sorted(self.tally.held, key=generation)}
        for index in range(self.completions or 0):
            if missing == 0:
                return
            if index in taken:
                continue
            before = last.get(index)
            if before is None:
                self.create.append(new_pod(self.job, index, 0 if per_index else None))
            else:
                failures, ignored = number_in(before, FAILURES), number_in(before, IGNORED)
                if judge_failure(self.job, before).counts:
                    failures += 1
                else:
                    ignored += 1
                seconds = _wait(failures + ignored, finished_at(before, self.now), self.now)
                if seconds > 0:
                    self.wait(seconds)  # with its place kept: no later index goes before it
                else:
                    self.create.append(new_pod(self.job, index, failures, ignored))
            missing -= 1

    # All of it

    def plan(self, *, acting: bool) -> Plan:
        if self.start is None and not self.suspended:
            self.start = self.now.replace(microsecond=0)
        if self.end is None:
            self._proceed(acting=acting)
        if self.end is not None:
            self.doomed = self.active if not self.remove else ()
        return Plan(
            status=self._status(),
            create=tuple(self.create),
            remove=tuple(self.remove),
            end=tuple(self.doomed),
            release=self.tally.release,
            backoffs=self.backoffs,
            reports=tuple(self.reports),
            after=0.0 if self.tally.more else self.after,
        )

    def _proceed(self, *, acting: bool) -> None:
        end = self.decide()
        if end is None and acting and self.job.metadata.deletion_timestamp is None:
            self.manage()
        if end is None and self.is_complete():
            end = _End(SUCCESS, "CompletionsReached", "Reached expected number of succeeded pods")
        if end is None:
            return
        if not acting:
            # Some of our Pods may not be known yet: once the end is written, nobody would count them.
            self.doomed = self.active
            return
        self.end = end
        self.set(end.type, "True", end.reason, end.message)
        self.tally = self.count()

    def _status(self) -> JobStatus:
        t, end, completed_at = self.tally, self.end, self.job.status.completion_time
        outstanding = t.uncounted.succeeded or t.uncounted.failed or t.more or t.held
        if end is not None and not (self.active or self.terminating or outstanding):
            if end.type == SUCCESS:
                self.set("Complete", "True", end.reason, end.message)
                completed_at = self.now.replace(microsecond=0)
                if self.completions is not None and t.succeeded > self.completions:
                    what = "Too many succeeded pods running after completion count reached"
                    self.reports.append(("Warning", "TooManySucceededPods", what))
                self.reports.append(("Normal", "Completed", "Job completed"))
            else:
                self.set("Failed", "True", end.reason, end.message)
                self.reports.append(("Warning", end.reason, end.message))
        return replace(
            self.job.status,
            conditions=tuple(self.conditions),
            start_time=self.start,
            completion_time=completed_at,
            active=len(self.active),
            ready=sum(is_ready(pod) for pod in self.active),
            terminating=len(self.terminating),
            succeeded=t.succeeded,
            failed=t.failed,
            uncounted_terminated_pods=t.uncounted,
            completed_indexes=format_indexes(t.completed) if self.indexed else "",
            failed_indexes=format_indexes(t.failed_indexes)
            if self.indexed and self.spec.backoff_limit_per_index is not None
            else None,
        )


def plan(job: Job, pods: Sequence[Pod], backoffs: Backoffs, now: datetime, *, acting: bool = True) -> Plan:
    """Return what a Job does next. Without `acting`, no Pods are made: some of ours may not be known yet."""
    return _Planner(job, pods, backoffs, now).plan(acting=acting)


def expires_in(job: Job, now: datetime) -> float | None:
    """Return in how many seconds a Job that has finished is to be deleted; None if it is to stay."""
    seconds = job.spec.ttl_seconds_after_finished
    done = condition(job, "Complete") or condition(job, "Failed")
    if seconds is None or done is None or done.last_transition_time is None:
        return None
    return (later(done.last_transition_time, seconds) - now).total_seconds()
