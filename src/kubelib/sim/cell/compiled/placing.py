"""Randomized first fit, as `kubelib.sim.cell.placement` does it: the same draws, the same machines."""

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.state import Small, State
from kubelib.sim.cell.compiled.streams import below, java_below
from kubelib.sim.cell.placement import BLOCK, MISSES, SPARE
from kubelib.sim.cell.state import LARGE


@inner
def copy(machines: Small, to: Small, count: int) -> None:
    """Copy the first so many of some machines."""
    for index in range(count):
        to[index] = machines[index]


@inner
def take(state: State, machines: Small, begin: int, end: int, cpu: float, memory: float) -> None:
    """Add one task to each of some machines, and note what they were like before.

    The arrays are taken out of the state once, and not for each task.
    """
    sheet, diary = state.sheet[0], state.diary
    cpus, memories, sequences = state.cpu, state.memory, state.sequence
    noted = sheet.noted
    for index in range(begin, end):
        machine = machines[index]
        entry = diary[noted]
        noted += 1
        entry.machine = machine
        entry.cpu = cpus[machine]
        entry.memory = memories[machine]
        entry.sequence = sequences[machine]
        cpus[machine] += cpu
        memories[machine] += memory
    sheet.noted = noted


@inner
def _accept(state: State, number: int, drawn: int, placed: int, tasks: int, cpu: float, memory: float) -> int:
    """Take the first `tasks` of the drawn machines that have room; return how many are taken."""
    turn, draws, places = state.turn, state.drawn, state.placed
    cpus, cpu_total, memories, memory_total = state.cpu, state.cpu_total, state.memory, state.memory_total
    taken, looked, examined, more = 0, 0, 0, False
    while examined < drawn:
        machine = draws[examined]
        upto = turn[machine] + 1
        turn[machine] = upto
        examined += 1
        if (
            cpus[machine] + upto * cpu <= cpu_total[machine]
            and memories[machine] + upto * memory <= memory_total[machine]
        ):
            if taken == tasks:
                more = True
                break
            places[placed + taken] = machine
            taken += 1
            looked = examined
    for index in range(examined):
        turn[draws[index]] = 0
    state.desks[number].misses += (looked if more else drawn) - taken
    take(state, places, placed, placed + taken, cpu, memory)
    return taken


@inner
def _place_among(
    state: State, number: int, eligible: int, fit: bool, placed: int, tasks: int, cpu: float, memory: float
) -> int:
    """Place on the first `eligible` of the machines in question, all of which have room if they `fit`; return how many tasks are placed then."""
    # those that are known to have room need not be looked at in the first round
    fitting = eligible if fit else -1
    among, found, draws, desk = state.eligible, state.fitting, state.drawn, state.desks[number]
    cpus, cpu_total, memories, memory_total = state.cpu, state.cpu_total, state.memory, state.memory_total
    copy(among, found, fitting)
    while tasks:
        if fitting < 0:
            fitting = 0
            for index in range(eligible):
                machine = among[index]
                # without a branch, for nobody could predict it
                found[fitting] = machine
                fitting += int(
                    (cpus[machine] + cpu <= cpu_total[machine])
                    & (memories[machine] + memory <= memory_total[machine])
                )
        if not fitting:
            break
        for index in range(tasks + 2):
            draws[index] = found[below(desk, fitting)]
        taken = _accept(state, number, tasks + 2, placed, tasks, cpu, memory)
        placed += taken
        tasks -= taken
        fitting = -1
    return placed


@inner
def _fitting(state: State, number: int, cpu: float, memory: float) -> int:
    """Put all machines that have room in question; return how many they are."""
    desk = state.desks[number]
    first, count = desk.first, desk.count
    after = first + count
    cpus, cpu_total = state.cpu[first:after], state.cpu_total[first:after]
    memories, memory_total = state.memory[first:after], state.memory_total[first:after]
    fits = state.fits[:count]
    # several at a time, which the processor can do where nothing else is to be done
    for index in range(count):
        fits[index] = (cpus[index] + cpu <= cpu_total[index]) & (
            memories[index] + memory <= memory_total[index]
        )
    eights = (count + 7) >> 3
    marks, words, among = state.fits, state.eights, state.eligible
    marks[count : 8 * eights] = 0
    eligible = 0
    for eight in range(eights):
        if words[eight]:
            for index in range(8 * eight, 8 * eight + 8):
                among[eligible] = first + index
                eligible += marks[index]
    return eligible


@inner
def draw_machines(state: State, number: int, eligible: int, tasks: int, cpu: float, memory: float) -> int:
    """Place up to `tasks` tasks and return how many; with `eligible` from 0 on only that many machines come into question."""
    desk = state.desks[number]
    first, count = desk.first, desk.count
    placed = missed = 0
    if eligible < 0 and not count:
        return 0
    pool, places, draws = state.pool, state.placed, state.drawn
    if eligible < 0 and tasks <= LARGE:
        cpus, cpu_total, memories, memory_total = state.cpu, state.cpu_total, state.memory, state.memory_total
        while placed < tasks and missed < MISSES:
            if not desk.in_block:
                for index in range(BLOCK):
                    pool[number, index] = first + below(desk, count)
                desk.in_block = BLOCK
            desk.in_block -= 1
            machine = pool[number, desk.in_block]
            if (
                cpu_total[machine] - cpus[machine] >= cpu
                and memory_total[machine] - memories[machine] >= memory
            ):
                places[placed] = machine
                take(state, places, placed, placed + 1, cpu, memory)
                placed += 1
                missed = 0
            else:
                missed += 1
                desk.misses += 1
    elif eligible < 0:
        for index in range(SPARE * tasks):
            draws[index] = first + below(desk, count)
        placed = _accept(state, number, SPARE * tasks, 0, tasks, cpu, memory)
    if placed < tasks:
        fit = eligible < 0
        if fit:
            eligible = _fitting(state, number, cpu, memory)
        placed = _place_among(state, number, eligible, fit, placed, tasks - placed, cpu, memory)
    return placed


@inner
def replay_machines(state: State, number: int, tasks: int, cpu: float, memory: float) -> int:
    """Place up to `tasks` tasks by the paper's own procedure and return how many."""
    desk = state.desks[number]
    pool, places = state.pool, state.placed
    cpus, cpu_total, memories, memory_total = state.cpu, state.cpu_total, state.memory, state.memory_total
    remaining = desk.count
    placed = 0
    while placed < tasks and remaining:
        index = java_below(desk, remaining)
        machine = pool[number, index]
        if cpu_total[machine] - cpus[machine] >= cpu and memory_total[machine] - memories[machine] >= memory:
            places[placed] = machine
            take(state, places, placed, placed + 1, cpu, memory)
            placed += 1
        else:
            remaining -= 1
            pool[number, index] = pool[number, remaining]
            pool[number, remaining] = machine
            desk.misses += 1
    return placed


@inner
def place(state: State, number: int, eligible: int, tasks: int, cpu: float, memory: float) -> int:
    """Place up to `tasks` tasks as the run's tier does and return how many."""
    if state.sheet[0].exact:
        return replay_machines(state, number, tasks, cpu, memory)
    return draw_machines(state, number, eligible, tasks, cpu, memory)
