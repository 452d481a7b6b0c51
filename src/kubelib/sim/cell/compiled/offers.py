"""Two-level scheduling in compiled runs, as `kubelib.sim.cell.twolevel` and `kubelib.sched.fairness.Offers` have it."""

from kubelib.sim.cell.base import Floats
from kubelib.sim.cell.compiled.books import account, note_claims, repeat_or_abandon
from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.events import push, use
from kubelib.sim.cell.compiled.placing import place, take
from kubelib.sim.cell.compiled.state import T_JOB, T_TASK, Records, State
from kubelib.sim.cell.run import ANSWERED, ENDED, OFFERED, ROUND

_BLOCK = 128


@inner
def _block(values: Floats, first: int, count: int) -> float:
    """Add up at most 128 values, eight by eight."""
    if count < 8:
        small = 0.0
        for index in range(first, first + count):
            small += values[index]
        return small
    a, b, c, d = values[first], values[first + 1], values[first + 2], values[first + 3]
    e, f, g, h = values[first + 4], values[first + 5], values[first + 6], values[first + 7]
    whole = count - count % 8
    for index in range(first + 8, first + whole, 8):
        a += values[index]
        b += values[index + 1]
        c += values[index + 2]
        d += values[index + 3]
        e += values[index + 4]
        f += values[index + 5]
        g += values[index + 6]
        h += values[index + 7]
    block: float = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for index in range(first + whole, first + count):
        block += values[index]
    return block


@inner
def total(values: Floats, halves: Records) -> float:
    """Add up values in the order in which ``numpy.sum`` does: what halves of them have in all, down to blocks.

    `halves` notes which ones are being added up.
    """
    halves[0].first, halves[0].count = 0, len(values)
    depth, result, done = 0, 0.0, False
    while depth >= 0:
        whole = halves[depth]
        first, count = whole.first, whole.count
        half = count // 2
        half -= half % 8
        if count <= _BLOCK:
            result, done = _block(values, first, count), True
        elif not done:
            whole.has_left = 0
            depth += 1
            halves[depth].first, halves[depth].count = first, half
            continue
        elif not whole.has_left:
            whole.left, whole.has_left, done = result, 1, False
            depth += 1
            halves[depth].first, halves[depth].count = first + half, count - half
            continue
        else:
            result = whole.left + result
        depth -= 1
    return result


@inner
def occupy(state: State, job: int, tasks: int) -> None:
    """Add so many tasks of a job to what its scheduler holds; the prefill is nobody's."""
    held = state.jobs[job]
    if held.chosen >= 0:
        desk = state.desks[held.chosen]
        desk.held_cpu += tasks * held.cpu
        desk.held_memory += tasks * held.memory


@inner
def begin_round(state: State, now: float) -> None:
    """Let requests be gathered, unless they are."""
    sheet = state.sheet[0]
    if not sheet.begun:
        sheet.begun = 1
        push(sheet, state.agenda, now + sheet.gathering, ROUND, -1, -1, 0, 0, 0.0)


@inner
def _lock(state: State, now: float, cpu: float, memory: float) -> None:
    """Note that from `now` on so much more is locked; see `kubelib.sim.cell.state.Usage`."""
    sheet = state.sheet[0]
    last = sheet.locked_last
    if now > last:
        sheet.locked_integral_cpu += (now - last) * sheet.locked_cpu
        sheet.locked_integral_memory += (now - last) * sheet.locked_memory
        sheet.locked_last = now
    sheet.locked_cpu += cpu
    sheet.locked_memory += memory


@inner
def _neediest(state: State) -> int:
    """Return which scheduler with jobs has the smallest dominant share, -1 if there is none."""
    sheet = state.sheet[0]
    chosen, least = -1, 0.0
    for number in range(len(state.desks) - 1):
        desk = state.desks[number]
        if desk.queued:
            share = max(desk.held_cpu / sheet.total_cpu, desk.held_memory / sheet.total_memory)
            if chosen < 0 or share < least:
                chosen, least = number, share
    return chosen


@inner
def _free_place(state: State) -> int:
    for place_of in range(len(state.offers)):
        if not state.offers[place_of].open:
            return place_of
    return -1


@inner
def _free(amounts: Floats, there: Floats, used: Floats) -> None:
    """Put into an offer what is not in use, where nothing else is offered."""
    for machine in range(len(there)):
        amount = there[machine] - used[machine]
        amounts[machine] = amount if amount > 0.0 else 0.0


@inner
def _free_beside(amounts: Floats, locked: Floats, there: Floats, used: Floats) -> None:
    """Put into an offer what is neither in use nor offered, and lock it."""
    for machine in range(len(there)):
        amount = there[machine] - used[machine]
        amount -= locked[machine]
        amount = amount if amount > 0.0 else 0.0
        locked[machine] += amount
        amounts[machine] = amount


@inner
def _set(locked: Floats, amounts: Floats) -> None:
    for machine in range(len(locked)):
        locked[machine] = amounts[machine]


@inner
def _unlock(locked: Floats, amounts: Floats) -> None:
    for machine in range(len(locked)):
        locked[machine] -= amounts[machine]


@inner
def _fill(state: State, number: int) -> None:
    """Put all that is free into an offer."""
    sheet = state.sheet[0]
    if not sheet.offered:
        sheet.summed = 0
        _free(state.amounts[number, 0], state.cpu_total, state.cpu)
        _free(state.amounts[number, 1], state.memory_total, state.memory)
        return
    if not sheet.summed:
        sheet.summed = 1
        for other in range(len(state.offers)):
            if state.offers[other].open:
                for resource in range(2):
                    _set(state.locked[resource], state.amounts[other, resource])
    _free_beside(state.amounts[number, 0], state.locked[0], state.cpu_total, state.cpu)
    _free_beside(state.amounts[number, 1], state.locked[1], state.memory_total, state.memory)


@inner
def _settle(state: State, offer: int) -> None:
    sheet = state.sheet[0]
    state.offers[offer].open = 0
    sheet.offered -= 1
    if sheet.offered:
        for resource in range(2):
            _unlock(state.locked[resource], state.amounts[offer, resource])


@inner
def _round(state: State, now: float) -> None:
    """Offer all that is free to the neediest scheduler."""
    sheet = state.sheet[0]
    sheet.begun = 0
    chosen = _neediest(state)
    if chosen < 0:
        return
    number = _free_place(state)
    offer = state.offers[number]
    _fill(state, number)
    offer.open = 1
    sheet.offered += 1
    offer.cpu = total(state.amounts[number, 0], state.halves)
    offer.memory = total(state.amounts[number, 1], state.halves)
    if offer.cpu < sheet.minimum or offer.cpu <= 0:
        _settle(state, number)
        return
    _lock(state, now, offer.cpu, offer.memory)
    state.desks[chosen].offers += 1
    push(sheet, state.agenda, now + sheet.deciding, OFFERED, chosen, number, 0, 0, 0.0)
    others = 0
    for other in range(len(state.desks) - 1):
        others += state.desks[other].queued > 0
    if others > 1:
        begin_round(state, now)


@inner
def showing(state: State, cpu: Floats, memory: Floats) -> State:
    """Return the state with something else in use on its machines."""
    return State(
        state.sheet,
        state.cpu_total,
        state.memory_total,
        cpu,
        memory,
        state.sequence,
        state.turn,
        state.diary,
        state.jobs,
        state.arrivals,
        state.arriving,
        state.desks,
        state.paths,
        state.days,
        state.pool,
        state.agenda,
        state.claims,
        state.recent,
        state.drawn,
        state.placed,
        state.seen,
        state.eligible,
        state.fitting,
        state.fits,
        state.eights,
        state.offers,
        state.amounts,
        state.locked,
        state.shown,
        state.halves,
    )


@inner
def _show(shown: Floats, there: Floats, amounts: Floats) -> None:
    """Let all that is not offered look as if it were in use."""
    for machine in range(len(there)):
        shown[machine] = there[machine] - amounts[machine]


@inner
def _look(state: State, number: int, offered: int, now: float) -> None:
    """Let a scheduler decide on all jobs of its queue, on what it is offered."""
    sheet, desk, offer, paths = state.sheet[0], state.desks[number], state.offers[offered], state.paths
    view = showing(state, state.shown[0], state.shown[1])
    _show(state.shown[0], state.cpu_total, state.amounts[offered, 0])
    _show(state.shown[1], state.memory_total, state.amounts[offered, 1])
    elapsed = 0.0
    offer.head, offer.tail, offer.jobs = desk.head, desk.tail, desk.queued
    job = desk.head
    for _ in range(desk.queued):
        task = state.jobs[job]
        waited = now - task.enqueued
        task.wait_full += waited
        if not task.attempts:
            task.wait_first += waited
        task.think = paths[number, task.workload, T_JOB] + paths[number, task.workload, T_TASK] * task.left
        elapsed += task.think
        task.attempts += 1
        task.task_attempts += task.left
        sheet.noted = 0
        count = place(view, number, -1, task.left, task.cpu, task.memory)
        task.begin = note_claims(state, count)
        task.end = task.begin + count
        job = task.follower
    desk.queued = 0
    desk.deciding += offer.jobs
    sheet.pending += offer.jobs
    push(sheet, state.agenda, now + elapsed, ANSWERED, number, offered, 0, 0, 0.0)


@inner
def _answered(state: State, number: int, offered: int, now: float) -> None:
    """Let all that a scheduler decided on an offer land."""
    sheet, desk, offer = state.sheet[0], state.desks[number], state.offers[offered]
    _settle(state, offered)
    _lock(state, now, -offer.cpu, -offer.memory)
    desk.deciding -= offer.jobs
    sheet.pending -= offer.jobs
    job = offer.head
    for _ in range(offer.jobs):
        task = state.jobs[job]
        follower = task.follower
        placed = task.end - task.begin
        if placed:
            sheet.noted = 0
            take(state, state.claims, task.begin, task.end, task.cpu, task.memory)
            use(sheet, now, placed * task.cpu, placed * task.memory)
            task.left -= placed
            if not task.left:
                task.placed_at = now
            push(sheet, state.agenda, now + task.duration, ENDED, -1, job, task.begin, task.end, 0.0)
            occupy(state, job, placed)
        account(state, number, job, now, task.think, placed, placed)
        if task.left:
            repeat_or_abandon(state, number, job, now)
        job = follower
    begin_round(state, now)


@inner
def handle(state: State, kind: int, number: int, offered: int, now: float) -> None:
    """Make an offer, let it be looked at, or take its answer."""
    if kind == ROUND:
        _round(state, now)
    elif kind == OFFERED:
        _look(state, number, offered, now)
    else:
        _answered(state, number, offered, now)
