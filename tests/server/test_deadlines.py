"""How long a piece of work may take: in virtual time."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from kubelib.server.deadlines import Deadlines
from kubelib.sim.loop import sim_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return sim_backend()


async def test_what_takes_too_long_is_cancelled_when_its_own_time_is_over() -> None:
    deadlines, ended = Deadlines(10), []

    async def work(begins: float, takes: float) -> None:
        await anyio.sleep(begins)
        try:
            with deadlines.deadline():
                await anyio.sleep(takes)
        except TimeoutError:
            ended.append((begins, anyio.current_time() - start, "late"))
        else:
            ended.append((begins, anyio.current_time() - start, "done"))
        await anyio.sleep(0)  # and its task is not cancelled any more

    start = anyio.current_time()
    async with anyio.create_task_group() as group:
        for begins, takes in ((0, 5), (1, 11), (3, 9), (4, 100), (40, 20), (41, 1)):
            group.start_soon(work, begins, takes)
    assert [(begins, round(at, 6), how) for begins, at, how in ended] == [
        (0, 5, "done"),
        (1, 11, "late"),
        (3, 12, "done"),
        (4, 14, "late"),
        (41, 42, "done"),
        (40, 50, "late"),
    ]


async def test_an_error_of_the_work_itself_comes_out_as_it_is() -> None:
    deadlines = Deadlines(10)
    with pytest.raises(ValueError, match="mine"), deadlines.deadline():
        raise ValueError("mine")
    with pytest.raises(ValueError, match="mine"), deadlines.deadline():
        try:
            await anyio.sleep(100)
        finally:
            raise ValueError("mine")
    await anyio.sleep(1)


async def test_work_that_ignores_its_end_is_late_nevertheless() -> None:
    with pytest.raises(TimeoutError), Deadlines(10).deadline(), suppress(asyncio.CancelledError):
        await anyio.sleep(100)
    await anyio.sleep(1)


async def test_whoever_is_cancelled_by_others_is_not_late() -> None:
    deadlines, reached = Deadlines(10), []

    async def work() -> None:
        with deadlines.deadline():
            await anyio.sleep(100)
        reached.append("the end")

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    assert not reached
    with anyio.move_on_after(5) as scope:
        with deadlines.deadline():
            await anyio.sleep(100)
    assert scope.cancelled_caught
