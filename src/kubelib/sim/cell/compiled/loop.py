"""The loop of compiled runs: what `kubelib.sim.cell.run` and `serial` do, in their order; `offers` has what is of two levels."""

import numpy as np

from kubelib.sim.cell.compiled.books import account, begin_tasks, repeat_or_abandon
from kubelib.sim.cell.compiled.committing import changing, commit, exchange, number_claims
from kubelib.sim.cell.compiled.compiling import entry, inner
from kubelib.sim.cell.compiled.events import pop, push, use
from kubelib.sim.cell.compiled.offers import begin_round, handle, occupy
from kubelib.sim.cell.compiled.placing import place, take
from kubelib.sim.cell.compiled.state import T_JOB, T_TASK, State
from kubelib.sim.cell.run import BACK, DECIDED, ENDED
from kubelib.sim.cell.state import REMEMBERED

FINISHED, AGENDA_FULL, DIARY_FULL, OFFERS_FULL = range(4)
PUSHES = 4
"""An event leads to less than so many others."""


@entry
def play(state: State, prefill: int) -> int:
    """Place the jobs from `prefill` on, then run to the horizon or to the first event after it.

    Returns why it stopped: if something is full, the next call goes on where this one was, and has no prefill.
    """
    sheet, agenda, arrivals = state.sheet[0], state.agenda, state.arrivals
    last = len(state.desks) - 1
    for job in range(prefill, len(state.jobs)):
        sheet.noted = 0
        held = state.jobs[job]
        placed = place(state, last, -1, held.tasks, held.cpu, held.memory)
        if placed:
            number_claims(state, placed)
            use(sheet, 0.0, placed * held.cpu, placed * held.memory)
            begin_tasks(state, job, placed, 0.0)
            sheet.prefilled += placed
    stop = float(np.int64(sheet.horizon) + 1) if sheet.exact else sheet.horizon
    if not sheet.ticks:
        sheet.ticks = 1
        sheet.looks_cpu += sheet.used_cpu
        sheet.looks_memory += sheet.used_memory
    # a job is placed, perhaps committed, and perhaps rolled back
    most = 3 * len(state.placed)
    while sheet.live or sheet.arrived < len(arrivals):
        # an answer may bring every job on which was decided back, or let it run
        if sheet.live + PUSHES + 2 * sheet.pending > len(agenda):
            return AGENDA_FULL
        if sheet.offered == len(state.offers):
            return OFFERS_FULL
        if not sheet.looking:
            sheet.noted = 0
        if sheet.noted + most > len(state.diary):
            _forget(state)
            if sheet.noted + most > len(state.diary):
                return DIARY_FULL
        arriving = sheet.arrived < len(arrivals) and (
            not sheet.live or arrivals[sheet.arrived] <= agenda[0].time
        )
        now = arrivals[sheet.arrived] if arriving else agenda[0].time
        if now > stop:
            sheet.end = stop
            return FINISHED
        sheet.events += 1
        if arriving:
            job = state.arriving[sheet.arrived]
            sheet.arrived += 1
            _enqueue(state, state.jobs[job].chosen, job, now)
        else:
            pop(sheet, state.agenda)
            event = agenda[sheet.live]
            if event.kind == ENDED:
                _release(state, event.job, event.begin, event.end, now)
            elif event.kind == BACK:
                _enqueue(state, event.number, event.job, now)
            elif event.kind == DECIDED:
                _decided(state, event.number, event.job, now, event.think)
            else:
                handle(state, event.kind, event.number, event.job, now)
        if now > sheet.horizon:
            sheet.end = now
            return FINISHED
    sheet.end = sheet.horizon
    return FINISHED


@inner
def _forget(state: State) -> None:
    """Drop what the diary says of times before the oldest snapshot."""
    sheet, desks, diary = state.sheet[0], state.desks, state.diary
    first = sheet.noted
    for number in range(len(desks)):
        if desks[number].looking:
            first = min(first, desks[number].noted)
    for index in range(first, sheet.noted):
        diary[index - first] = diary[index]
    for number in range(len(desks)):
        if desks[number].looking:
            desks[number].noted -= first
    sheet.noted -= first


@inner
def _release(state: State, job: int, begin: int, end: int, now: float) -> None:
    sheet = state.sheet[0]
    changing(state)
    cpu, memory = state.jobs[job].cpu, state.jobs[job].memory
    take(state, state.claims, begin, end, -cpu, -memory)
    recent = state.recent[sheet.releases % REMEMBERED]
    recent.begin = begin
    recent.end = end
    sheet.releases += 1
    use(sheet, now, -(end - begin) * cpu, -(end - begin) * memory)
    if sheet.offering:
        occupy(state, job, begin - end)
        begin_round(state, now)


@inner
def _enqueue(state: State, number: int, job: int, now: float) -> None:
    sheet, jobs, desk = state.sheet[0], state.jobs, state.desks[number]
    jobs[job].enqueued = now
    if not (desk.deciding or sheet.offering):
        _think(state, number, job, now)
        return
    if desk.queued:
        jobs[desk.tail].follower = job
    else:
        desk.head = job
    desk.tail = job
    desk.queued += 1
    if sheet.offering:
        begin_round(state, now)


@inner
def _think(state: State, number: int, job: int, now: float) -> None:
    sheet, task, desk = state.sheet[0], state.jobs[job], state.desks[number]
    desk.deciding = 1
    waited = now - task.enqueued
    task.wait_full += waited
    if not task.attempts:
        task.wait_first += waited
    if sheet.shared:
        desk.open = 1
        desk.looking = 1
        desk.noted = sheet.noted
        desk.since = sheet.releases
        sheet.open += 1
        sheet.looking += 1
    desk.asked = task.left
    paths = state.paths
    think = paths[number, task.workload, T_JOB] + paths[number, task.workload, T_TASK] * task.left
    push(sheet, state.agenda, now + think, DECIDED, number, job, 0, 0, think)


@inner
def _worth_a_look(state: State, number: int, job: int) -> int:
    """Put machines in question on which a job may find room; return how many, -1 if it may be any of the scheduler's."""
    since, releases = state.jobs[job].stuck, state.sheet[0].releases
    if since < 0 or releases - since > REMEMBERED:
        return -1
    desk, turn, claims = state.desks[number], state.turn, state.claims
    first, after = desk.first, desk.first + desk.count
    lowest, highest = after, first - 1
    for release in range(since, releases):
        recent = state.recent[release % REMEMBERED]
        for index in range(recent.begin, recent.end):
            machine = claims[index]
            if first <= machine < after:
                turn[machine] = 1
                lowest, highest = min(lowest, machine), max(highest, machine)
    # in order, each once
    count, among = 0, state.eligible
    for machine in range(lowest, highest + 1):
        among[count] = machine
        count += turn[machine]
        turn[machine] = 0
    return count


@inner
def _decided(state: State, number: int, job: int, now: float, think: float) -> None:
    sheet, task, desk = state.sheet[0], state.jobs[job], state.desks[number]
    asked = desk.asked
    task.attempts += 1
    task.task_attempts += asked
    cpu, memory = task.cpu, task.memory
    eligible = _worth_a_look(state, number, job)
    since = sheet.releases
    changed = False
    if sheet.shared:
        changed = not desk.open
        sheet.open -= desk.open
        desk.open = 0
        desk.looking = 0
        sheet.looking -= 1
    if changed:
        since = desk.since
        begin, end = desk.noted, sheet.noted
        exchange(state, end - 1, begin - 1, -1)
        placed = place(state, number, eligible, asked, cpu, memory)
        seen, sequences, places = state.seen, state.sequence, state.placed
        for index in range(placed):
            seen[index] = sequences[places[index]]
        exchange(state, sheet.noted - 1, end - 1, -1)
        sheet.noted = end
        exchange(state, begin, end, 1)
        landed = commit(state, placed, cpu, memory, now) if placed else 0
    else:
        changing(state)
        placed = landed = place(state, number, eligible, asked, cpu, memory)
        if placed:
            number_claims(state, placed)
            use(sheet, now, placed * cpu, placed * memory)
    task.stuck = since if placed < asked and landed == placed and not sheet.exact else -1
    if landed:
        task.left -= landed
        if not task.left:
            task.placed_at = now
        begin_tasks(state, job, landed, now)
    account(state, number, job, now, think, placed, landed)
    if task.left:
        repeat_or_abandon(state, number, job, now)
    desk.deciding = 0
    if desk.queued:
        follower = desk.head
        desk.head = state.jobs[follower].follower
        desk.queued -= 1
        _think(state, number, follower, now)
