"""Jobs and cron jobs: Pods that finish."""

from typing import Any, ClassVar

from kubelib.api.core.pod import PodTemplateSpec
from kubelib.api.core.references import ObjectReference
from kubelib.api.machinery import LabelSelector
from kubelib.api.meta import Object, ObjectMeta, Time
from kubelib.api.model import Model


class PodFailurePolicyOnExitCodesRequirement(Model):
    """A pod failure policy on exit codes requirement."""

    __proto__: ClassVar[str] = "1-3"

    container_name: str = ""
    operator: str = ""
    values: tuple[int, ...] = ()


class PodFailurePolicyOnPodConditionsPattern(Model):
    """A pod failure policy on pod conditions pattern."""

    __proto__: ClassVar[str] = "1-2"

    type: str = ""
    status: str = ""


class PodFailurePolicyRule(Model):
    """A pod failure policy rule."""

    __proto__: ClassVar[str] = "1-3"

    action: str = ""
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: tuple[PodFailurePolicyOnPodConditionsPattern, ...] = ()


class PodFailurePolicy(Model):
    """A pod failure policy."""

    __proto__: ClassVar[str] = "1"

    rules: tuple[PodFailurePolicyRule, ...] = ()


class SuccessPolicyRule(Model):
    """A success policy rule."""

    __proto__: ClassVar[str] = "1-2"

    succeeded_indexes: str = ""
    succeeded_count: int | None = None


class SuccessPolicy(Model):
    """A success policy."""

    __proto__: ClassVar[str] = "1"

    rules: tuple[SuccessPolicyRule, ...] = ()


class JobSchedulingConfiguration(Model):
    """A job scheduling configuration."""

    __proto__: ClassVar[str] = "1-4"

    scheduling_policy: Any = None
    scheduling_constraints: Any = None
    disruption_mode: Any = None
    resource_claims: tuple[Any, ...] = ()


class JobSpec(Model):
    """What is wanted of a Job."""

    __proto__: ClassVar[str] = "1-17"

    parallelism: int | None = None
    completions: int | None = None
    active_deadline_seconds: int | None = None
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

    type: str = ""
    status: str = ""
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class UncountedTerminatedPods(Model):
    """Uncounted terminated pods."""

    __proto__: ClassVar[str] = "1-2"

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(Model):
    """What is observed of a Job."""

    __proto__: ClassVar[str] = "1-11"

    conditions: tuple[JobCondition, ...] = ()
    start_time: Time | None = None
    completion_time: Time | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    completed_indexes: str = ""
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int = 0
    failed_indexes: str = ""
    terminating: int = 0


class Job(Object):
    """Runs Pods until enough have succeeded."""

    api_version: ClassVar[str] = "batch/v1"
    kind: ClassVar[str] = "Job"
    __proto__: ClassVar[str] = "2-3"

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class JobTemplateSpec(Model):
    """What is wanted of a JobTemplate."""

    __proto__: ClassVar[str] = "1-2"

    metadata: ObjectMeta = ObjectMeta()
    spec: JobSpec = JobSpec()


class CronJobSpec(Model):
    """What is wanted of a CronJob."""

    __proto__: ClassVar[str] = "1-8"

    schedule: str = ""
    starting_deadline_seconds: int | None = None
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

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()
