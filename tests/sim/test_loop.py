import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from kubelib.clock import LoopClock
from kubelib.sim import SimulationStalled, sim_backend, simulate

YEAR = 365 * 86400.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return sim_backend()


async def test_a_virtual_year_passes_at_once() -> None:
    began, virtual = time.process_time(), anyio.current_time()
    await anyio.sleep(YEAR)
    assert anyio.current_time() - virtual == pytest.approx(YEAR)
    assert time.process_time() - began < 1


async def test_short_sleeps_still_end_after_thirty_years() -> None:
    await anyio.sleep(30 * YEAR)
    for _ in range(100):
        before = anyio.current_time()
        await anyio.sleep(0.005)
        assert anyio.current_time() - before == pytest.approx(0.005, abs=1e-5)


async def test_the_loop_clock_advances_with_virtual_time() -> None:
    clock = LoopClock()
    before = clock.now()
    await anyio.sleep(3600)
    assert clock.now() - before == timedelta(hours=1)


async def test_timers_fire_in_the_order_of_their_instants() -> None:
    order: list[float] = []

    async def wait(delay: float) -> None:
        await anyio.sleep(delay)
        order.append(delay)

    async with anyio.create_task_group() as tasks:
        for delay in (5.0, 1.0, 3.0, 0.5):
            tasks.start_soon(wait, delay)
    assert order == [0.5, 1.0, 3.0, 5.0]


async def test_a_deadline_is_met_to_the_instant() -> None:
    began = anyio.current_time()
    with anyio.move_on_after(60) as scope:
        await anyio.sleep(61)
    assert scope.cancelled_caught
    assert anyio.current_time() - began == pytest.approx(60, abs=1e-5)


async def test_a_child_reports_started_and_is_cancelled() -> None:
    async def child(*, task_status: TaskStatus[str]) -> None:
        await anyio.sleep(10)
        task_status.started("ready")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        assert await tasks.start(child) == "ready"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("forever", [lambda: anyio.Event().wait(), anyio.sleep_forever])
def test_waiting_for_what_never_happens_is_reported_as_a_stall(forever: object) -> None:
    async def main() -> None:
        await anyio.sleep(5)
        await forever()  # type: ignore[operator]

    with pytest.raises(SimulationStalled, match=r"stalled at 5\.000000 s \(seed 3\)"):
        simulate(main, seed=3)


def interleaving(seed: int | None) -> str:
    trace: list[str] = []

    async def worker(name: str) -> None:
        for _ in range(4):
            await anyio.lowlevel.checkpoint()
            trace.append(name)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in "abcde":
                tasks.start_soon(worker, name)

    simulate(main, seed=seed)
    return "".join(trace)


def test_without_a_seed_tasks_take_turns_in_their_order() -> None:
    assert interleaving(None) == "abcde" * 4


def test_each_seed_is_another_interleaving_and_always_the_same() -> None:
    seen = {seed: interleaving(seed) for seed in range(100)}
    assert len(set(seen.values())) == 100
    assert all(interleaving(seed) == trace for seed, trace in seen.items())


def test_an_interleaving_is_the_same_in_another_process_under_another_hash_seed() -> None:
    code = (
        f"import importlib.util as u; s=u.spec_from_file_location('t', {__file__!r});"
        "m=u.module_from_spec(s); s.loader.exec_module(m); print(m.interleaving(42))"
    )
    for hash_seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout.strip() == interleaving(42)


def test_shuffling_does_not_touch_the_global_generator() -> None:
    random.seed(1)
    expected = random.Random(1).random()
    interleaving(9)
    assert random.random() == expected


class Held:
    """Work for a thread, which ends when it is allowed to: later than anything that the loop could do meanwhile."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self.began = threading.Event()

    def work(self) -> str:
        self.began.set()
        assert self._go.wait(60)
        return "done"

    def release(self) -> None:
        """Let it end after the loop has come to rest: nothing can be waited for that shows this but time."""
        assert self.began.wait(60)
        time.sleep(0.05)
        self._go.set()


In = Callable[[Callable[[], str]], Awaitable[str]]


@pytest.mark.parametrize("in_thread", [anyio.to_thread.run_sync, asyncio.to_thread])
@pytest.mark.parametrize("deadline", [0.001, 60.0])
def test_no_time_passes_while_a_thread_is_at_work(in_thread: In, deadline: float) -> None:
    held = Held()

    async def main() -> float:
        began = anyio.current_time()
        with anyio.fail_after(deadline):
            assert await in_thread(held.work) == "done"
        return anyio.current_time() - began

    releasing = threading.Thread(target=held.release)
    releasing.start()
    assert simulate(main) == 0
    releasing.join()


def test_others_do_not_run_ahead_of_a_thread() -> None:
    trace: list[str] = []
    held = Held()

    async def ticks() -> None:
        for tick in range(3):
            trace.append(f"tick {tick}")
            await anyio.sleep(1)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticks)
            trace.append(await anyio.to_thread.run_sync(held.work))

    releasing = threading.Thread(target=held.release)
    releasing.start()
    simulate(main)
    releasing.join()
    assert trace == ["tick 0", "done", "tick 1", "tick 2"]


def test_a_thread_that_waits_for_the_loop_s_time_does_not_hold_it_up() -> None:
    def work() -> float:
        anyio.from_thread.run(anyio.sleep, 3600)
        return anyio.from_thread.run_sync(anyio.current_time)

    async def main() -> float:
        return await anyio.to_thread.run_sync(work)

    assert simulate(main) == pytest.approx(3600)


async def test_a_thread_that_fails_and_one_that_is_abandoned_let_time_go_on() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await anyio.to_thread.run_sync(fail)
    held = Held()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: anyio.to_thread.run_sync(held.work, abandon_on_cancel=True))
        await anyio.lowlevel.checkpoint()
        assert await anyio.to_thread.run_sync(held.began.wait, 60)
        tasks.cancel_scope.cancel()
    before = anyio.current_time()
    await anyio.sleep(5)
    assert anyio.current_time() == pytest.approx(before + 5)
    held.release()
