import asyncio
from random import Random

import anyio
import anyio.lowlevel
import pytest

from kubelib.informers import Backoff, KeyQueue
from kubelib.sim.loop import SimLoop


async def settle() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


def real_time() -> bool:
    return not isinstance(asyncio.get_running_loop(), SimLoop)


def passed(seconds: float, wanted: float) -> None:
    """A time has passed: exactly that where time is virtual, otherwise more on a busy machine, never less."""
    if real_time():
        assert seconds >= wanted - 0.002  # of the clock's resolution
    else:
        assert seconds == pytest.approx(wanted, abs=1e-4)


async def test_many_adds_before_a_take_are_one() -> None:
    queue: KeyQueue[str] = KeyQueue()
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    async with queue.take() as key:
        assert key == "a"
    async with queue.take() as key:
        assert key == "b"
    assert queue.idle


async def test_a_key_is_never_in_two_hands_and_an_add_during_its_work_is_not_lost() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    async with queue.take() as key:
        queue.add(key)
        others: list[str] = []

        async def work() -> None:
            async with queue.take() as other:
                others.append(other)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await settle()
            tasks.cancel_scope.cancel()
        assert others == []
    async with queue.take() as key:
        assert key == "a"
    assert queue.idle


async def test_a_waiting_taker_wakes_for_an_add() -> None:
    queue: KeyQueue[int] = KeyQueue()
    taken: list[int] = []

    async def work() -> None:
        async with queue.take() as key:
            taken.append(key)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(work)
        await settle()
        for key in range(3):
            queue.add(key)
    assert sorted(taken) == [0, 1, 2]


async def test_a_wake_up_that_meets_a_cancelled_taker_reaches_another() -> None:
    queue: KeyQueue[str] = KeyQueue()
    taken: list[str] = []

    async def work(scope: anyio.CancelScope) -> None:
        with scope:
            async with queue.take() as key:
                taken.append(key)

    first, second = anyio.CancelScope(), anyio.CancelScope()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, first)
            await settle()
            tasks.start_soon(work, second)
            await settle()
            queue.add("a")
            first.cancel()
            await settle()
            assert taken == ["a"]
            second.cancel()


async def test_the_earliest_of_several_times_wins() -> None:
    queue: KeyQueue[str] = KeyQueue()
    began = anyio.current_time()
    queue.add_after("a", 600)
    queue.add_after("a", 0.02)
    queue.add_after("a", 500)
    async with queue.take():
        passed(anyio.current_time() - began, 0.02)
    with anyio.move_on_after(0.05 if real_time() else 1000) as scope:
        async with queue.take():
            pass
    assert scope.cancelled_caught


async def test_an_earlier_timer_shortens_a_wait_that_has_begun() -> None:
    queue: KeyQueue[str] = KeyQueue()

    async def work() -> None:
        async with queue.take() as key:
            assert key == "early"

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            queue.add_after("late", 600)
            tasks.start_soon(work)
            await settle()
            queue.add_after("early", 0.01)


async def test_retries_wait_longer_each_time_until_forgotten() -> None:
    queue: KeyQueue[str] = KeyQueue(Backoff(base=0.01, maximum=0.03))
    waits = []
    for _ in range(4):
        began = anyio.current_time()
        queue.retry("a")
        async with queue.take():
            waits.append(anyio.current_time() - began)
    for wait, wanted in zip(waits, [0.01, 0.02, 0.03, 0.03], strict=True):
        passed(wait, wanted)
    queue.forget("a")
    assert queue.failures("a") == 0


@pytest.mark.seeds(30)
async def test_under_any_interleaving_every_key_is_worked_on_after_its_last_add() -> None:
    queue: KeyQueue[int] = KeyQueue()
    random = Random(5)
    added = dict.fromkeys(range(10), 0)
    seen = dict.fromkeys(range(10), 0)
    in_work: list[int] = []

    async def work() -> None:
        while True:
            async with queue.take() as key:
                assert key not in in_work
                in_work.append(key)
                seen[key] = added[key]
                await anyio.sleep(random.random() / 10)
                in_work.remove(key)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(work)
        for _ in range(200):
            key = random.randrange(10)
            added[key] += 1
            queue.add(key)
            await anyio.sleep(random.random() / 50)
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    assert seen == added


async def test_ten_thousand_delays_need_no_task_of_their_own() -> None:
    queue: KeyQueue[int] = KeyQueue()
    for n in range(10_000):
        queue.add_after(n, 0.001 + n * 1e-6)
    for _ in range(10_000):
        async with queue.take():
            pass
    assert queue.idle
