"""Exact counts of Pods that have ended, whatever is interrupted between two writes. Pure.

Every Pod of a Job carries a finalizer. One that has ended is first written into the Job's status, by its uid; then its
finalizer is taken off; only once it is seen without the finalizer does the uid become a count. So no Pod can vanish before it
is counted, and none is counted twice. Indexes need no uids: a set cannot count twice.
"""

from collections.abc import Sequence

import attrs

from kubelib.api.batch import Job, UncountedTerminatedPods
from kubelib.api.core.pod import Pod
from kubelib.controllers.jobs.indexes import Indexes, parse_indexes
from kubelib.controllers.jobs.pods import (
    FAILURES,
    FINALIZER,
    IGNORED,
    index_of,
    is_failed,
    is_indexed,
    number_in,
)
from kubelib.controllers.jobs.policies import judge_failure

AT_ONCE = 500
"""How many Pods one write of a status notes at most."""


@attrs.frozen(kw_only=True)
class Tally:
    """The counts of a Job, and what changes them."""

    succeeded: int
    failed: int
    uncounted: UncountedTerminatedPods
    completed: Indexes = frozenset()
    failed_indexes: Indexes = frozenset()
    newly_succeeded: tuple[Pod, ...] = ()
    newly_failed: tuple[Pod, ...] = ()
    release: tuple[Pod, ...] = ()
    """Pods whose finalizers can be taken off once the status is written."""
    held: tuple[Pod, ...] = ()
    """Failed Pods that are kept because they tell how often their indexes have failed."""
    held_failures: int = 0
    """How many of these count."""
    more: bool = False
    """Whether there are Pods that did not fit into this write."""

    @property
    def total_failed(self) -> int:
        """The failures, counted or about to be."""
        return self.failed + len(self.uncounted.failed) + self.held_failures

    @property
    def total_succeeded(self) -> int:
        """The successes of a Job without indexes, counted or about to be."""
        return self.succeeded + len(self.uncounted.succeeded)


def tally(job: Job, pods: Sequence[Pod], *, over: bool = False, failed: bool = False) -> Tally:
    """Count the Pods of a Job that have ended. `pods` are those that it controls.

    The last failed Pod of an index stays uncounted until its successor is there. Once the Job is `over`, none has one, and
    Pods that still run are not waited for: they have failed if the Job has `failed`, otherwise they count for nothing.
    """
    indexed, completions = is_indexed(job), job.spec.completions or 0
    tracked = [pod for pod in pods if FINALIZER in pod.metadata.finalizers]
    there = {pod.metadata.uid for pod in tracked}
    before = job.status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded = [uid for uid in before.succeeded if uid in there]
    failures = [uid for uid in before.failed if uid in there]
    counted = job.status.succeeded + len(before.succeeded) - len(succeeded)
    known = {*succeeded, *failures}
    completed = parse_indexes(job.status.completed_indexes, completions)
    failed_indexes = parse_indexes(job.status.failed_indexes or "", completions)
    held: list[Pod] = []
    if indexed:
        mine = [pod for pod in tracked if 0 <= index_of(pod) < completions]
        completed |= {index_of(pod) for pod in mine if pod.status.phase == "Succeeded"}
        if job.spec.backoff_limit_per_index is not None:
            bad = [pod for pod in mine if is_failed(pod, job)]
            failed_indexes |= {index_of(pod) for pod in bad if _index_has_failed(job, pod)}
            if not over and job.metadata.deletion_timestamp is None:
                held = _still_needed(
                    [pod for pod in bad if pod.metadata.uid not in known], pods, completed | failed_indexes
                )
    kept = {pod.metadata.uid for pod in held}
    newly_succeeded: list[Pod] = []
    newly_failed: list[Pod] = []
    release: list[Pod] = []
    more = False
    for pod in tracked:
        uid = pod.metadata.uid
        good = pod.status.phase == "Succeeded"
        if uid in kept:
            continue
        if uid not in known:
            if not good and not failed and not is_failed(pod, job):
                if over or job.metadata.deletion_timestamp is not None:
                    release.append(pod)
                continue
            if indexed and not 0 <= index_of(pod) < completions:
                release.append(pod)
                continue
            counts = not indexed if good else judge_failure(job, pod).counts
            if counts and len(succeeded) + len(failures) >= AT_ONCE:
                more = True
                continue
            if counts:
                (succeeded if good else failures).append(uid)
            (newly_succeeded if good else newly_failed).append(pod)
        release.append(pod)
    return Tally(
        succeeded=len(completed) if indexed else counted,
        failed=job.status.failed + len(before.failed) - sum(uid in there for uid in before.failed),
        uncounted=UncountedTerminatedPods(succeeded=tuple(succeeded), failed=tuple(failures)),
        completed=completed,
        failed_indexes=failed_indexes - completed,
        newly_succeeded=tuple(newly_succeeded),
        newly_failed=tuple(newly_failed),
        release=tuple(release),
        held=tuple(held),
        held_failures=sum(judge_failure(job, pod).counts for pod in held),
        more=more,
    )


def _index_has_failed(job: Job, pod: Pod) -> bool:
    failure = judge_failure(job, pod)
    if failure.action == "FailIndex":
        return True
    if not failure.counts:
        return False
    return number_in(pod, FAILURES) >= (job.spec.backoff_limit_per_index or 0)


def _still_needed(held: Sequence[Pod], pods: Sequence[Pod], over: Indexes) -> list[Pod]:
    """Return the failed Pods whose index is not over and has no successor of theirs yet: of each index the latest."""
    latest: dict[int, Pod] = {}
    for pod in held:
        index = index_of(pod)
        if index in over:
            continue
        other = latest.get(index)
        if other is None or generation(pod) > generation(other):
            latest[index] = pod
    newest: dict[int, tuple[int, int]] = {}
    for pod in pods:
        index = index_of(pod)
        newest[index] = max(newest.get(index, (0, 0)), generation(pod))
    return [pod for index, pod in latest.items() if newest[index] <= generation(pod)]


def generation(pod: Pod) -> tuple[int, int]:
    """Return how many Pods its index has had before, for comparing."""
    failures, ignored = number_in(pod, FAILURES), number_in(pod, IGNORED)
    return failures + ignored, failures
