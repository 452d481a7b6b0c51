"""What a CronJob does next: which Job to start, which to stop or forget, and when to look again. Pure."""

import json
from collections.abc import Sequence
from datetime import datetime

import attrs

from kubelib.api.batch import CronJob, CronJobStatus, Job
from kubelib.api.core.references import ObjectReference
from kubelib.api.meta import ObjectMeta
from kubelib.api.model import replace
from kubelib.api.times import format_time, later
from kubelib.controllers.jobs.pods import condition, is_finished
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.schedules import BadSchedule, BadTimeZone, Schedule, parse_schedule, time_zone

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
TOO_MANY = 100
"""How many missed starts are normal."""
TOO_MANY_MISSED = (
    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
)
STILL_ACTIVE = "Not starting job because prior execution is running and concurrency policy is Forbid"

Report = tuple[str, str, str]
"""An Event: type, reason, message."""


@attrs.frozen(kw_only=True)
class Plan:
    """What to do now."""

    status: CronJobStatus
    """As it is to be, but for the Job that is started now."""
    start: Job | None = None
    scheduled: datetime | None = None
    """For when the Job was meant."""
    stop: tuple[Job, ...] = ()
    """Jobs that make way for the one that is started."""
    forget: tuple[Job, ...] = ()
    """Jobs that have finished and are beyond the limits of the history."""
    reports: tuple[Report, ...] = ()
    after: float | None = None


def _finished_first(job: Job) -> tuple[bool, str, str]:
    began = job.status.start_time
    return began is None, str(began), job.metadata.name


def beyond_history(owner: CronJob, jobs: Sequence[Job]) -> list[Job]:
    """Return the oldest finished Jobs that are too many, of those that succeeded and of those that failed."""
    spec, found = owner.spec, []
    for type, limit in (
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ):
        done = sorted((job for job in jobs if condition(job, type)), key=_finished_first)
        if limit is not None:
            found += done[: max(0, len(done) - limit)]
    return found


def look_back(owner: CronJob, schedule: Schedule, now: datetime) -> tuple[datetime | None, bool]:
    """Return the latest start that is due and has not been made, and whether suspiciously many have been missed."""
    earliest = owner.status.last_schedule_time or owner.metadata.creation_timestamp or now
    if owner.spec.starting_deadline_seconds is not None:
        earliest = max(earliest, later(now, -owner.spec.starting_deadline_seconds))
    if earliest > now:
        return None, False
    latest = schedule.latest(earliest, now)
    missed, at = 0, earliest
    while latest is not None and missed <= TOO_MANY:
        following = schedule.after(at)
        if following is None or following > latest:
            break
        missed, at = missed + 1, following
    return latest, missed > TOO_MANY


def job_for(owner: CronJob, scheduled: datetime) -> Job:
    """Return the Job of a start; its name tells when that was, so that no start can be made twice."""
    template = owner.spec.job_template
    zone = time_zone(owner.spec.time_zone)
    local = scheduled.astimezone(zone).isoformat(timespec="seconds") if owner.spec.time_zone else ""
    stamp = local or format_time(scheduled)
    return Job(
        metadata=ObjectMeta(
            name=f"{owner.metadata.name}-{int(scheduled.timestamp()) // 60}",
            namespace=owner.metadata.namespace,
            labels=template.metadata.labels,
            annotations={**template.metadata.annotations, SCHEDULED: stamp},
            owner_references=(controller_reference(owner),),
        ),
        spec=template.spec,
    )


def reference(job: Job) -> ObjectReference:
    """Return a reference to a Job as the list of active ones holds it."""
    meta = job.metadata
    return ObjectReference(
        kind=job.kind,
        api_version=job.api_version,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


def _settle(owner: CronJob, jobs: Sequence[Job], reports: list[Report]) -> CronJobStatus:
    """Return the status with what has become of the Jobs that were started."""
    status = owner.status
    active = {ref.uid: ref for ref in status.active}
    successful = status.last_successful_time
    for job in jobs:
        uid, name = job.metadata.uid, job.metadata.name
        if uid not in active and not is_finished(job):
            if not owner.metadata.deletion_timestamp:
                message = f"Saw a job that the controller did not create or forgot: {name}"
                reports.append(("Warning", "UnexpectedJob", message))
        elif uid in active and is_finished(job):
            del active[uid]
            how = "Complete" if condition(job, "Complete") else "Failed"
            reports.append(("Normal", "SawCompletedJob", f"Saw completed job: {name}, condition: {how}"))
        if condition(job, "Complete") and job.status.completion_time is not None:
            at = job.status.completion_time
            successful = at if successful is None else max(successful, at)
    there = {job.metadata.uid for job in jobs}
    for uid, ref in list(active.items()):
        if uid not in there:
            del active[uid]
            reports.append(("Normal", "MissingJob", f"Active job went missing: {ref.name}"))
    return replace(status, active=tuple(active.values()), last_successful_time=successful)


@attrs.frozen
class _Due:
    """Which start is due, and in how many seconds the next one is; nothing where that cannot be said."""

    scheduled: datetime | None = None
    after: float | None = None


def _due(owner: CronJob, now: datetime, reports: list[Report]) -> _Due:
    """Return what the schedule says, and report what is wrong with it."""
    spec = owner.spec
    if owner.metadata.deletion_timestamp is not None:
        return _Due()
    try:
        zone = time_zone(spec.time_zone)
    except BadTimeZone as error:
        reports.append(("Warning", "UnknownTimeZone", f'invalid timeZone: "{spec.time_zone}": {error}'))
        return _Due()
    if spec.suspend:
        return _Due()
    if "TZ" in spec.schedule:
        what = (
            f"CRON_TZ or TZ used in schedule {json.dumps(spec.schedule)} is not officially supported, see"
            " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
        reports.append(("Warning", "UnsupportedSchedule", what))
    try:
        schedule = parse_schedule(spec.schedule, zone)
        scheduled, too_many = look_back(owner, schedule, now)
    except (BadSchedule, BadTimeZone) as error:
        reports.append(
            ("Warning", "UnparseableSchedule", f'unparseable schedule: "{spec.schedule}" : {error}')
        )
        return _Due()
    following = schedule.after(max(now, scheduled or now))
    if following is None and scheduled is None:
        why = "time difference between two schedules is less than 1 second"
        reports.append(("Warning", "InvalidSchedule", f"invalid schedule: {spec.schedule} : {why}"))
        return _Due()
    if too_many:
        reports.append(("Warning", "TooManyMissedTimes", TOO_MANY_MISSED))
    # A little later than the instant itself, so that the clock has passed it for certain.
    after = max(0.0, (following - now).total_seconds()) + 0.1 if following is not None else None
    if scheduled is None or scheduled == owner.status.last_schedule_time:
        return _Due(after=after)
    deadline = spec.starting_deadline_seconds
    if deadline is not None and later(scheduled, deadline) < now:
        missed = f"Missed scheduled time to start a job: {scheduled.strftime('%a, %d %b %Y %H:%M:%S %z')}"
        reports.append(("Warning", "MissSchedule", missed))
        return _Due(after=after)
    return _Due(scheduled, after)


def plan(owner: CronJob, jobs: Sequence[Job], now: datetime) -> Plan:
    """Return what to do. `jobs` are those that the CronJob controls, all of its own starts among them."""
    reports: list[Report] = []
    status = _settle(owner, jobs, reports)
    due = _due(owner, now, reports)
    forget = tuple(beyond_history(owner, jobs))
    idle = Plan(status=status, forget=forget, reports=tuple(reports), after=due.after)
    if due.scheduled is None:
        return idle
    running = {ref.uid for ref in status.active}
    start = job_for(owner, due.scheduled)
    if any(job.metadata.name == start.metadata.name and job.metadata.uid in running for job in jobs):
        return idle
    policy = owner.spec.concurrency_policy
    if policy == "Forbid" and running:
        return attrs.evolve(idle, reports=(*idle.reports, ("Normal", "JobAlreadyActive", STILL_ACTIVE)))
    stop = tuple(job for job in jobs if job.metadata.uid in running) if policy == "Replace" else ()
    return attrs.evolve(idle, start=start, scheduled=due.scheduled, stop=stop)
