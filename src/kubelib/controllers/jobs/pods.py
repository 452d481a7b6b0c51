"""The Pods of a Job: how they are made, and how they have ended. Pure."""

from collections.abc import Sequence
from datetime import datetime

from kubelib.api.batch import Job, JobCondition
from kubelib.api.core.container import Container
from kubelib.api.core.environment import EnvVar, EnvVarSource
from kubelib.api.core.pod import Pod
from kubelib.api.core.projections import ObjectFieldSelector
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.names import MAX_BASE
from kubelib.api.times import later
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.pods import condition_of

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
VARIABLE = "JOB_COMPLETION_INDEX"


def is_indexed(job: Job) -> bool:
    """Return whether each Pod of a Job has an index of its own."""
    return job.spec.completion_mode == "Indexed"


def condition(job: Job, type: str) -> JobCondition | None:
    """Return a condition of a Job that is true, or None."""
    return next((c for c in job.status.conditions if c.type == type and c.status == "True"), None)


def is_finished(job: Job) -> bool:
    """Return whether a Job has succeeded or failed for good."""
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in job.status.conditions)


def replaces_only_failed(job: Job) -> bool:
    """Return whether a Pod that is being deleted is replaced only when it has ended."""
    return job.spec.pod_replacement_policy == "Failed"


def is_failed(pod: Pod, job: Job) -> bool:
    """Return whether a Pod counts as failed: one that is deleted does, unless its end is waited for."""
    if pod.status.phase == "Failed":
        return True
    if replaces_only_failed(job):
        return False
    return pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded"


def index_of(pod: Pod) -> int:
    """Return the index of a Pod, -1 if it has none."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def number_in(pod: Pod, annotation: str) -> int:
    """Return a count that a Pod carries, 0 if it does not."""
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def finished_at(pod: Pod, now: datetime) -> datetime:
    """Return when a Pod has ended, as well as that is known: its last container, or else the Pod as a whole."""
    meta, spec, status = pod.metadata, pod.spec, pod.status
    # Sidecars end after the others.
    sidecars = {c.name for c in spec.init_containers if c.restart_policy == "Always"}
    statuses = (
        *status.container_statuses,
        *(s for s in status.init_container_statuses if s.name in sidecars),
    )
    ends = [s.state.terminated.finished_at for s in statuses if s.state.terminated is not None]
    known = [end for end in ends if end is not None]
    if known and len(known) == len(statuses):
        return max(known)
    ready = condition_of(pod, "Ready")
    if ready is not None and ready.status == "False" and ready.last_transition_time is not None:
        return ready.last_transition_time
    if meta.deletion_timestamp is not None:
        return later(meta.deletion_timestamp, -(meta.deletion_grace_period_seconds or 0))
    return meta.creation_timestamp or now


def _with_variable(containers: Sequence[Container]) -> tuple[Container, ...]:
    source = EnvVarSource(field_ref=ObjectFieldSelector(field_path=f"metadata.labels['{INDEX}']"))
    variable = EnvVar(name=VARIABLE, value_from=source)
    return tuple(
        c if any(v.name == VARIABLE for v in c.env) else replace(c, env=(*c.env, variable))
        for c in containers
    )


def new_pod(job: Job, index: int | None = None, failures: int | None = None, ignored: int = 0) -> Pod:
    """Return a Pod of a Job; with an index and, where failures are counted per index, how often it has failed."""
    template, name = job.spec.template, job.metadata.name
    spec = template.spec
    labels, annotations = dict(template.metadata.labels), dict(template.metadata.annotations)
    generate_name = f"{name}-"
    if index is not None:
        labels[INDEX] = annotations[INDEX] = str(index)
        if failures is not None:
            annotations[FAILURES] = str(failures)
            if ignored:
                annotations[IGNORED] = str(ignored)
        suffix = f"-{index}-"
        generate_name = name[: MAX_BASE - len(suffix)] + suffix
        spec = replace(
            spec,
            containers=_with_variable(spec.containers),
            init_containers=_with_variable(spec.init_containers),
            hostname=f"{name}-{index}",
        )
    return Pod(
        metadata=ObjectMeta(
            generate_name=generate_name,
            namespace=job.metadata.namespace,
            labels=labels,
            annotations=annotations,
            finalizers=(*(f for f in template.metadata.finalizers if f != FINALIZER), FINALIZER),
            owner_references=(controller_reference(job),),
        ),
        spec=spec,
    )
