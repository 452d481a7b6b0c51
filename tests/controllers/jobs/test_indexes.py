"""Indexed Jobs: each index succeeds once, and has a limit of its own."""

from collections.abc import Callable
from typing import Any

from kubelib.api.batch import Job
from kubelib.api.core.pod import Pod
from kubelib.api.model import replace
from kubelib.controllers.jobs.indexes import format_indexes, parse_indexes
from tests.controllers.jobs.workers import (
    INDEX,
    conditions,
    index_of,
    job_of,
    lasting,
    make_job,
    pods_of,
    running,
)


def test_indexes_are_text_and_back() -> None:
    for text in ("", "0", "1,2", "0-2,4", "0,1,3-5,9"):
        assert format_indexes(parse_indexes(text, 100)) == text
    assert parse_indexes("0-9,junk,3-x,-", 4) == frozenset(range(4))


async def test_each_index_succeeds_once_under_a_name_of_its_own(world: Any) -> None:
    tries: list[int] = []

    def outcome(pod: Pod) -> int | None:
        index = index_of(pod)
        tries.append(index)
        return 1 if index == 2 and tries.count(2) == 1 else 0

    async with running(world, outcome):
        await world.create(make_job(completions=4, parallelism=4, completion_mode="Indexed"))
        await world.settled(0.5)
        pods = await pods_of(world)
        for pod in pods:
            index = index_of(pod)
            assert pod.metadata.name.startswith(f"work-{index}-")
            assert pod.spec.hostname == f"work-{index}"
            assert pod.metadata.labels[INDEX] == str(index)
            (variable,) = pod.spec.containers[0].env
            assert variable.name == "JOB_COMPLETION_INDEX"
        await world.settled(20)
        job = await job_of(world)
        assert (job.status.completed_indexes, job.status.succeeded, job.status.failed) == ("0-3", 4, 1)
        assert sorted(tries) == [0, 1, 2, 2, 3]
        assert "Complete" in conditions(job)


async def test_an_indexed_job_grows_and_shrinks_with_completions_and_parallelism(world: Any) -> None:
    def sized(count: int) -> Callable[[Job], Job]:
        return lambda j: replace(j, spec=replace(j.spec, completions=count, parallelism=count))

    async with running(world, lasting):
        await world.create(make_job(completions=3, parallelism=3, completion_mode="Indexed"))
        for count in (5, 2):
            await world.settled(3)
            await world.change(Job, "work", sized(count))
            await world.settled(3)
            assert sorted(map(index_of, await pods_of(world))) == list(range(count))
        assert (await job_of(world)).status.failed == 0


async def test_each_index_has_a_limit_of_its_own(world: Any) -> None:
    async with running(world, lambda pod: 1 if index_of(pod) in (1, 3) else 0):
        await world.create(
            make_job(completions=4, parallelism=4, completion_mode="Indexed", backoff_limit_per_index=1)
        )
        await world.settled(60)
        job = await job_of(world)
        assert (job.status.completed_indexes, job.status.failed_indexes) == ("0,2", "1,3")
        assert (job.status.succeeded, job.status.failed) == (2, 4)
        assert conditions(job)["Failed"] == ("True", "FailedIndexes")
        pods = await pods_of(world)
        counts = sorted(
            (index_of(p), p.metadata.annotations["batch.kubernetes.io/job-index-failure-count"]) for p in pods
        )
        assert counts == [(0, "0"), (1, "0"), (1, "1"), (2, "0"), (3, "0"), (3, "1")]
        assert not any(p.metadata.finalizers for p in pods)


async def test_an_index_that_waits_for_its_next_try_keeps_its_place(world: Any) -> None:
    tries: list[int] = []

    def outcome(pod: Pod) -> int:
        tries.append(index_of(pod))
        return 1 if tries == [0] else 0

    async with running(world, outcome):
        await world.create(
            make_job(completions=2, parallelism=1, completion_mode="Indexed", backoff_limit_per_index=1)
        )
        await world.settled(5)
        job = await job_of(world)
        assert (tries, job.status.failed, job.status.failed_indexes) == ([0], 0, "")
        await world.settled(20)
        assert tries == [0, 0, 1]


async def test_too_many_failed_indexes_end_the_job(world: Any) -> None:
    async with running(world, lambda pod: 1 if index_of(pod) < 2 else None):
        await world.create(
            make_job(
                completions=4,
                parallelism=2,
                completion_mode="Indexed",
                backoff_limit_per_index=0,
                max_failed_indexes=1,
            )
        )
        await world.settled(20)
        job = await job_of(world)
        assert conditions(job)["Failed"] == ("True", "MaxFailedIndexesExceeded")
        assert job.status.failed_indexes == "0,1"
        assert job.status.active == 0
