from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kubelib.api.batch import CronJob, CronJobSpec, Job, JobCondition, JobSpec, JobTemplateSpec
from kubelib.api.meta import ObjectMeta, controller_of
from kubelib.api.model import replace
from kubelib.controllers.builtin.cronjob import cron_job_controller
from kubelib.controllers.cronjobs import job_for, look_back, plan, reference
from kubelib.controllers.ownership import controller_reference
from kubelib.controllers.schedules import BadSchedule, parse_schedule
from kubelib.sim import Conflicting, Lossy
from kubelib.testing.objects import make_meta, make_template


def make_cron_job(name: str = "tick", *, schedule: str = "*/1 * * * *", **spec: Any) -> CronJob:
    template = JobSpec(template=make_template({}, restart_policy="Never"))
    return CronJob(
        metadata=make_meta(name),
        spec=CronJobSpec(
            schedule=schedule,
            job_template=JobTemplateSpec(metadata=ObjectMeta(labels={"of": name}), spec=template),
            **spec,
        ),
    )


def finished(type: str, at: datetime) -> Callable[[Job], Job]:
    at = at.replace(microsecond=0)

    def change(job: Job) -> Job:
        conditions = [JobCondition(type=type, status="True", last_transition_time=at)]
        if type == "Complete":
            conditions.append(JobCondition(type="SuccessCriteriaMet", status="True"))
        else:
            conditions.append(JobCondition(type="FailureTarget", status="True"))
        status = replace(
            job.status,
            conditions=tuple(conditions),
            start_time=at,
            completion_time=at if type == "Complete" else None,
        )
        return replace(job, status=status)

    return change


def running(world: Any) -> Any:
    return world.running(cron_job_controller(world.informers, clock=world.clock, recorder=world.recorder))


async def finish(world: Any, type: str = "Complete") -> None:
    for job in await world.all(Job):
        if not job.status.conditions:
            await world.change(
                Job, job.metadata.name, finished(type, world.clock.now()), subresource="status"
            )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "instants"),
    [
        ("*/15 * * * *", ["2026-01-01T00:15", "2026-01-01T00:30"]),
        ("0 12 * * mon", ["2026-01-05T12:00", "2026-01-12T12:00"]),
        ("30 4 1,15 * 5", ["2026-01-01T04:30", "2026-01-02T04:30"]),
        ("? 3 * * *", ["2026-01-01T03:00", "2026-01-01T03:01"]),
        ("@monthly", ["2026-02-01T00:00", "2026-03-01T00:00"]),
        ("@every 1h30m", ["2026-01-01T01:30", "2026-01-01T03:00"]),
        ("TZ=Asia/Tokyo 0 6 * * *", ["2026-01-01T21:00", "2026-01-02T21:00"]),
    ],
)
def test_schedules_come_due(schedule: str, instants: list[str]) -> None:
    parsed, instant = parse_schedule(schedule), at("2026-01-01T00:00")
    for expected in instants:
        following = parsed.after(instant)
        assert following == at(expected)
        assert parsed.latest(instant, following + timedelta(seconds=30)) == following
        assert parsed.latest(instant, following) == following
        assert parsed.latest(following, following + timedelta(seconds=30)) is None
        instant = following


def test_a_time_zone_moves_with_daylight_saving() -> None:
    parsed = parse_schedule("0 9 * * *", ZoneInfo("Europe/Berlin"))
    assert parsed.after(at("2026-03-28T00:00")) == at("2026-03-28T08:00")
    assert parsed.after(at("2026-03-29T00:00")) == at("2026-03-29T07:00")


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "99 * * * *", "0 0 31 13 *", "0 0 32 2 *", "@sometimes", "@every soon", "a b c d e"],
)
def test_what_is_not_a_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(BadSchedule):
        parse_schedule(schedule)


async def test_a_zone_in_the_schedule_is_told_to_be_unsupported_and_heeded(world: Any) -> None:
    owner = make_cron_job(schedule="TZ=UTC * * * * *")
    step = plan(owner, [], at("2026-01-01T00:00"))
    what = (
        'CRON_TZ or TZ used in schedule "TZ=UTC * * * * *" is not officially supported, see'
        " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
    )
    assert step.reports == (("Warning", "UnsupportedSchedule", what),)
    assert step.after is not None


async def test_a_name_that_somebody_else_has_is_left_to_them(world: Any) -> None:
    owner = make_cron_job(schedule="* * * * *")
    async with running(world):
        created = await world.create(owner)
        began = created.metadata.creation_timestamp
        name = f"{owner.metadata.name}-{int(began.timestamp()) // 60 + 1}"
        await world.create(Job(metadata=make_meta(name), spec=owner.spec.job_template.spec))
        await world.settled(150)
        others = [one for one in await world.names(Job) if one != name]
        assert len(others) >= 1
        assert not [reason for reason, _ in await world.events() if reason == "FailedCreate"]


async def test_of_a_date_that_no_month_has_it_is_told_and_nothing_is_started(world: Any) -> None:
    parsed = parse_schedule("59 23 31 2 *")
    assert parsed.after(at("2026-01-01T00:00")) is None
    assert parsed.latest(at("2016-01-01T00:00"), at("2026-01-01T00:00")) is None
    async with running(world):
        await world.create(make_cron_job(schedule="59 23 31 2 *"))
        await world.settled(125)
        why = "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second"
        assert {*await world.events()} == {("InvalidSchedule", why)}
        assert not await world.all(Job)


def test_only_the_latest_of_many_missed_starts_is_made() -> None:
    owner = make_cron_job()
    created = at("2026-01-01T00:00")
    owner = replace(owner, metadata=replace(owner.metadata, creation_timestamp=created))
    schedule = parse_schedule(owner.spec.schedule)
    assert look_back(owner, schedule, at("2026-01-01T00:00")) == (None, False)
    assert look_back(owner, schedule, at("2026-01-01T00:03")) == (at("2026-01-01T00:03"), False)
    assert look_back(owner, schedule, at("2026-01-02T00:03")) == (at("2026-01-02T00:03"), True)
    short = replace(owner, spec=replace(owner.spec, starting_deadline_seconds=600))
    assert look_back(short, schedule, at("2026-01-02T00:03")) == (at("2026-01-02T00:03"), False)


SHORT, MEDIUM, LONG = 10, 2 * 60 * 60, 1_000_000
"""Deadlines, in seconds."""
BEFORE, AFTER = "2016-05-19T09:59", "2016-05-19T10:01"
LATE, WEEK_LATER = "2016-05-19T10:12", "2016-05-26T10:00"


def hourly(before: str, **spec: Any) -> tuple[CronJob, list[Job]]:
    """A CronJob of every full hour and what it has started: never anything, one that is done, or one that still runs."""
    owner = make_cron_job(schedule="0 * * * ?", **spec)
    if before == "never":
        return replace(owner, metadata=replace(owner.metadata, creation_timestamp=at(BEFORE))), []
    last = at("2016-05-19T09:01")
    job = job_for(owner, last)
    job = replace(job, metadata=replace(job.metadata, uid="1234"))
    if before == "done":
        job = finished("Complete", last + timedelta(seconds=10))(job)
    status = replace(
        owner.status, last_schedule_time=last, active=(reference(job),) if before == "runs" else ()
    )
    meta = replace(owner.metadata, creation_timestamp=at("2016-05-19T08:59"))
    return replace(owner, metadata=meta, status=status), [job]


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
@pytest.mark.parametrize("before", ["never", "done", "runs"])
@pytest.mark.parametrize(
    ("now", "spec", "due", "warnings"),
    [
        (BEFORE, {}, False, []),
        (AFTER, {}, True, []),
        (AFTER, {"suspend": True}, False, []),
        (AFTER, {"starting_deadline_seconds": LONG}, True, []),
        (AFTER, {"starting_deadline_seconds": SHORT}, False, []),
        (LATE, {"starting_deadline_seconds": SHORT}, False, []),
        (WEEK_LATER, {}, True, ["TooManyMissedTimes"]),
        (WEEK_LATER, {"starting_deadline_seconds": LONG}, True, ["TooManyMissedTimes"]),
        (WEEK_LATER, {"starting_deadline_seconds": MEDIUM}, True, []),
        (WEEK_LATER, {"starting_deadline_seconds": SHORT}, True, []),
    ],
)
def test_what_is_due_is_started_as_policy_and_deadline_say(
    policy: str, before: str, now: str, spec: dict[str, Any], due: bool, warnings: list[str]
) -> None:
    owner, jobs = hourly(before, concurrency_policy=policy, **spec)
    step = plan(owner, jobs, at(now))
    forbidden = due and policy == "Forbid" and before == "runs"
    assert (step.start is not None) == (due and not forbidden)
    assert [job.metadata.uid for job in step.stop] == (
        ["1234"] if due and policy == "Replace" and before == "runs" else []
    )
    assert [reason for type, reason, _ in step.reports if type == "Warning"] == warnings
    assert ("JobAlreadyActive" in [reason for _, reason, _ in step.reports]) == forbidden
    assert len(step.status.active) == (before == "runs")
    if before == "done":
        assert step.status.last_successful_time == at("2016-05-19T09:01") + timedelta(seconds=10)
    if spec.get("suspend"):
        assert step.after is None
    else:
        following = at(now).replace(minute=0) + timedelta(hours=1)
        assert step.after is not None
        assert 0 <= step.after - (following - at(now)).total_seconds() < 1


async def test_a_job_is_started_each_time_and_named_after_it(world: Any) -> None:
    async with running(world):
        owner = await world.create(make_cron_job(time_zone="Europe/Berlin"))
        await world.settled(125)
        jobs = await world.all(Job)
        minute = int(world.clock.epoch.timestamp()) // 60
        assert [job.metadata.name for job in jobs] == [f"tick-{minute + 1}", f"tick-{minute + 2}"]
        reference = controller_of(jobs[0])
        assert reference is not None
        assert reference.uid == owner.metadata.uid
        assert jobs[0].metadata.labels["of"] == "tick"
        assert jobs[0].metadata.annotations == {
            "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T01:01:00+01:00"
        }
        status = (await world.get(CronJob, "tick")).status
        assert [ref.uid for ref in status.active] == [job.metadata.uid for job in jobs]
        assert status.last_schedule_time == world.clock.epoch + timedelta(minutes=2)
        await finish(world)
        await world.settled(5)
        status = (await world.get(CronJob, "tick")).status
        assert status.active == ()
        assert status.last_successful_time is not None
        events = await world.events()
        assert ("SuccessfulCreate", f"Created job {jobs[0].metadata.name}") in events
        assert (
            "SawCompletedJob",
            f"Saw completed job: {jobs[0].metadata.name}, condition: Complete",
        ) in events
        assert not any(reason == "UnexpectedJob" for reason, _ in events)


@pytest.mark.parametrize(("policy", "number"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
async def test_the_concurrency_policy_says_what_becomes_of_jobs_that_still_run(
    world: Any, policy: str, number: int
) -> None:
    async with running(world):
        await world.create(make_cron_job(concurrency_policy=policy))
        await world.settled(65)
        (first,) = await world.names(Job)
        await world.settled(120)
        names = await world.names(Job)
        assert len(names) == number
        assert (first in names) is (policy != "Replace")
        assert len((await world.get(CronJob, "tick")).status.active) == number
        reasons = {reason for reason, _ in await world.events()}
        assert ("JobAlreadyActive" in reasons) is (policy == "Forbid")


async def test_a_suspended_cron_job_starts_nothing_and_catches_up_at_most_once(world: Any) -> None:
    def suspended(value: bool) -> Callable[[CronJob], CronJob]:
        return lambda c: replace(c, spec=replace(c.spec, suspend=value))

    async with running(world):
        await world.create(make_cron_job(suspend=True))
        await world.settled(300)
        assert await world.names(Job) == []
        await world.change(CronJob, "tick", suspended(False))
        await world.settled(10)
        assert len(await world.names(Job)) == 1


async def test_a_start_that_is_too_late_is_left_out(world: Any) -> None:
    async with running(world):
        await world.create(make_cron_job(schedule="0 * * * *", suspend=True, starting_deadline_seconds=100))
        await world.settled(3600 + 300)
        await world.change(CronJob, "tick", lambda c: replace(c, spec=replace(c.spec, suspend=False)))
        await world.settled(60)
        assert await world.names(Job) == []
        await world.settled(3600)
        assert len(await world.names(Job)) == 1


async def test_only_so_many_finished_jobs_are_remembered(world: Any) -> None:
    async with running(world):
        await world.create(make_cron_job(successful_jobs_history_limit=2, failed_jobs_history_limit=1))
        for number in range(8):
            await world.settled(60)
            await finish(world, "Failed" if number % 2 else "Complete")
        await world.settled(5)
        kinds = [
            condition.type
            for job in await world.all(Job)
            for condition in job.status.conditions
            if condition.type in ("Complete", "Failed")
        ]
        assert sorted(kinds) == ["Complete", "Complete", "Failed"]


async def test_a_job_that_is_gone_is_active_no_more(world: Any) -> None:
    async with running(world):
        await world.create(make_cron_job())
        await world.settled(65)
        (name,) = await world.names(Job)
        await world.delete(Job, name, propagation="Background")
        await world.settled(5)
        assert (await world.get(CronJob, "tick")).status.active == ()
        assert ("MissingJob", f"Active job went missing: {name}") in await world.events()
        assert await world.names(Job) == []  # it is not started a second time


async def test_a_job_of_other_origin_is_reported(world: Any) -> None:
    async with running(world):
        owner = await world.create(make_cron_job(schedule="0 0 1 1 *"))
        job = Job(
            metadata=replace(make_meta("by-hand"), owner_references=(controller_reference(owner),)),
            spec=owner.spec.job_template.spec,
        )
        await world.create(job)
        await world.settled(5)
        message = "Saw a job that the controller did not create or forgot: by-hand"
        assert ("UnexpectedJob", message) in await world.events()


@pytest.mark.seeds(10)
async def test_under_conflicts_and_losses_no_start_is_made_twice_and_none_is_left_out(
    make_world: Any, anyio_backend: Any
) -> None:
    seed = anyio_backend[1]["loop_factory"].args[0]

    def line(client: Any) -> Any:
        return Conflicting(Lossy(client, Random(seed), rate=0.2, latency=0.1), every=4)

    async with make_world(line, seed) as world, running(world):
        await world.create(make_cron_job(successful_jobs_history_limit=100))
        await world.settled(655)
        minute = int(world.clock.epoch.timestamp()) // 60
        assert await world.names(Job) == [f"tick-{minute + n}" for n in range(1, 11)]
