"""What becomes of a decision in compiled runs: tasks that begin, books, and jobs that are tried again."""

import numpy as np

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.events import push
from kubelib.sim.cell.compiled.state import (
    BUSY,
    FAILED,
    SECONDS_USEFUL,
    SECONDS_WASTED,
    SUCCEEDED,
    USEFUL,
    WASTED,
    State,
)
from kubelib.sim.cell.results import DAY
from kubelib.sim.cell.run import ATTEMPTS, BACK, ENDED, FRUITLESS_ATTEMPTS, PAUSE


@inner
def note_claims(state: State, count: int) -> int:
    """Keep on which machines tasks are placed; return where that begins."""
    sheet = state.sheet[0]
    first: int = sheet.claimed
    claims, places = state.claims, state.placed
    for index in range(count):
        claims[first + index] = places[index]
    sheet.claimed = first + count
    return first


@inner
def begin_tasks(state: State, job: int, count: int, now: float) -> None:
    """Let tasks of a job run on the machines that are placed."""
    first = note_claims(state, count)
    push(
        state.sheet[0],
        state.agenda,
        now + state.jobs[job].duration,
        ENDED,
        -1,
        job,
        first,
        first + count,
        0.0,
    )


@inner
def repeat_or_abandon(state: State, number: int, job: int, now: float) -> None:
    """Bring a job back whose tasks are not all placed, unless it has been tried too often."""
    task = state.jobs[job]
    if (task.attempts > FRUITLESS_ATTEMPTS and task.left == task.tasks) or task.attempts > ATTEMPTS:
        state.desks[number].abandoned += 1
        task.abandoned = 1
    else:
        push(state.sheet[0], state.agenda, now + PAUSE, BACK, number, job, 0, 0, 0.0)


@inner
def account(state: State, number: int, job: int, now: float, think: float, placed: int, landed: int) -> None:
    """Book a decision; see `kubelib.sim.cell.books.Scheduler.account`."""
    task, desk, days = state.jobs[job], state.desks[number], state.days
    day = min(np.int64(now / DAY), days.shape[1] - 1)
    days[number, day, BUSY] += think
    if not placed:
        desk.no_room += 1
        desk.fruitless += think
        return
    desk.landed += landed
    if task.attempts > 1:
        desk.retried += 1
    if landed == placed:
        days[number, day, SUCCEEDED] += 1
        days[number, day, USEFUL] += think
        state.paths[number, task.workload, SECONDS_USEFUL] += think
        task.useful += think
    else:
        desk.refused += placed - landed
        days[number, day, FAILED] += 1
        days[number, day, WASTED] += think
        state.paths[number, task.workload, SECONDS_WASTED] += think
