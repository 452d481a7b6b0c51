"""Jobs and cron jobs: Pods that finish."""

from typing import ClassVar

from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.core.references import ObjectReference
from kubelib.api.machinery import LabelSelector
from kubelib.api.merging import BY_NAME, SET, Merging, merged_by
from kubelib.api.meta import Int64, Object, ObjectMeta, Time
from kubelib.api.model import Model
from kubelib.api.scheduling_v1alpha3 import (
    WorkloadPodGroupDisruptionMode,
    WorkloadPodGroupResourceClaim,
    WorkloadPodGroupSchedulingConstraints,
    WorkloadPodGroupSchedulingPolicy,
)


class PodFailurePolicyOnExitCodesRequirement(Model):
    """Matches a failed Pod by the exit codes of its containers."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "operator values"
    __merge__: ClassVar[Merging] = {"values": SET}

    container_name: str = ""
    operator: str = ""
    values: tuple[int, ...] = ()


class PodFailurePolicyOnPodConditionsPattern(Model):
    """Matches a failed Pod by one of its conditions."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "type"

    type: str = ""
    status: str = ""


class PodFailurePolicyRule(Model):
    """What to do about a failed Pod that matches."""

    __proto__: ClassVar[str] = "1-3"
    __required__: ClassVar[str] = "action"

    action: str = ""
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: tuple[PodFailurePolicyOnPodConditionsPattern, ...] = ()


class PodFailurePolicy(Model):
    """Which failures count, which do not, and which end the Job; the first rule that matches wins."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "rules"

    rules: tuple[PodFailurePolicyRule, ...] = ()


class SuccessPolicyRule(Model):
    """Which indexes, or how many, must succeed."""

    __proto__: ClassVar[str] = "1-2"

    succeeded_indexes: str = ""
    succeeded_count: int | None = None


class SuccessPolicy(Model):
    """When a Job has succeeded although Pods still run."""

    __proto__: ClassVar[str] = "1"
    __required__: ClassVar[str] = "rules"

    rules: tuple[SuccessPolicyRule, ...] = ()


class JobSchedulingConfiguration(Model):
    """How the Pods of a Job are scheduled as a group."""

    __proto__: ClassVar[str] = "1-4"
    __merge__: ClassVar[Merging] = {"resourceClaims": BY_NAME}

    scheduling_policy: WorkloadPodGroupSchedulingPolicy | None = None
    scheduling_constraints: WorkloadPodGroupSchedulingConstraints | None = None
    disruption_mode: WorkloadPodGroupDisruptionMode | None = None
    resource_claims: tuple[WorkloadPodGroupResourceClaim, ...] = ()


class JobSpec(Model):
    """What is wanted of a Job."""

    __proto__: ClassVar[str] = "1-17"
    __required__: ClassVar[str] = "template"

    parallelism: int | None = None
    completions: int | None = None
    active_deadline_seconds: Int64 | None = None
    selector: LabelSelector | None = None
    manual_selector: bool | None = None
    template: PodTemplateSpec = PodTemplateSpec()
    backoff_limit: int | None = None
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = ""
    suspend: bool | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    pod_replacement_policy: str = ""
    managed_by: str = ""
    success_policy: SuccessPolicy | None = None
    scheduling: JobSchedulingConfiguration | None = None


class JobCondition(Model):
    """One aspect of the state of a Job."""

    __proto__: ClassVar[str] = "1-6"
    __required__: ClassVar[str] = "type status"

    type: str = ""
    status: str = ""
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class UncountedTerminatedPods(Model):
    """Pods that have ended but are not yet in the counters."""

    __proto__: ClassVar[str] = "1-2"
    __merge__: ClassVar[Merging] = {
        "succeeded": SET,
        "failed": SET,
    }

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(Model):
    """What is observed of a Job."""

    __proto__: ClassVar[str] = "1-11"
    __merge__: ClassVar[Merging] = {"conditions": merged_by("type")}

    conditions: tuple[JobCondition, ...] = ()
    start_time: Time | None = None
    completion_time: Time | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    completed_indexes: str = ""
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int | None = None
    failed_indexes: str | None = None
    terminating: int | None = None


class Job(Object):
    """Runs Pods until enough have succeeded."""

    api_version: ClassVar[str] = "batch/v1"
    kind: ClassVar[str] = "Job"
    __proto__: ClassVar[str] = "2-3"

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class JobTemplateSpec(Model):
    """The Jobs that a CronJob starts."""

    __proto__: ClassVar[str] = "1-2"

    metadata: ObjectMeta = ObjectMeta()
    spec: JobSpec = JobSpec()


class CronJobSpec(Model):
    """What is wanted of a CronJob."""

    __proto__: ClassVar[str] = "1-8"
    __required__: ClassVar[str] = "schedule jobTemplate"

    schedule: str = ""
    starting_deadline_seconds: Int64 | None = None
    concurrency_policy: str = ""
    suspend: bool | None = None
    job_template: JobTemplateSpec = JobTemplateSpec()
    successful_jobs_history_limit: int | None = None
    failed_jobs_history_limit: int | None = None
    time_zone: str = ""


class CronJobStatus(Model):
    """What is observed of a CronJob."""

    __proto__: ClassVar[str] = "1 4-5"

    active: tuple[ObjectReference, ...] = ()
    last_schedule_time: Time | None = None
    last_successful_time: Time | None = None


class CronJob(Object):
    """Starts Jobs by the clock."""

    api_version: ClassVar[str] = "batch/v1"
    kind: ClassVar[str] = "CronJob"
    __proto__: ClassVar[str] = "2-3"
    __required__: ClassVar[str] = "spec"

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()
