"""Randomized first fit, as `kubelib.sim.cell.placement` does it: the same draws, the same machines."""

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.state import State
from kubelib.sim.cell.compiled.streams import below, java_below
from kubelib.sim.cell.placement import BLOCK, MISSES, SPARE
from kubelib.sim.cell.state import LARGE


@inner
def take(state: State, machine: int, cpu: float, memory: float) -> None:
    """Add one task to a machine, and note what it was like before."""
    sheet = state.sheet[0]
    entry = state.diary[sheet.noted]
    sheet.noted += 1
    entry.machine = machine
    entry.cpu = state.cpu[machine]
    entry.memory = state.memory[machine]
    entry.sequence = state.sequence[machine]
    state.cpu[machine] += cpu
    state.memory[machine] += memory


@inner
def _accept(state: State, number: int, drawn: int, placed: int, tasks: int, cpu: float, memory: float) -> int:
    """Take the first `tasks` of the drawn machines that have room; return how many are taken."""
    turn = state.turn
    taken, looked, examined, more = 0, 0, 0, False
    while examined < drawn:
        machine = state.drawn[examined]
        upto = turn[machine] + 1
        turn[machine] = upto
        examined += 1
        if (
            state.cpu[machine] + upto * cpu <= state.cpu_total[machine]
            and state.memory[machine] + upto * memory <= state.memory_total[machine]
        ):
            if taken == tasks:
                more = True
                break
            state.placed[placed + taken] = machine
            taken += 1
            looked = examined
    for index in range(examined):
        turn[state.drawn[index]] = 0
    state.desks[number].misses += (looked if more else drawn) - taken
    for index in range(placed, placed + taken):
        take(state, state.placed[index], cpu, memory)
    return taken


@inner
def _place_among(
    state: State, number: int, eligible: int, fit: bool, placed: int, tasks: int, cpu: float, memory: float
) -> int:
    """Place on the first `eligible` of the machines in question, all of which have room if they `fit`; return how many tasks are placed then."""
    # those that are known to have room need not be looked at in the first round
    fitting = eligible if fit else -1
    state.fitting[: max(fitting, 0)] = state.eligible[: max(fitting, 0)]
    while tasks:
        if fitting < 0:
            fitting = 0
            for index in range(eligible):
                machine = state.eligible[index]
                # without a branch, for nobody could predict it
                state.fitting[fitting] = machine
                fitting += int(
                    (state.cpu[machine] + cpu <= state.cpu_total[machine])
                    & (state.memory[machine] + memory <= state.memory_total[machine])
                )
        if not fitting:
            break
        for index in range(tasks + 2):
            state.drawn[index] = state.fitting[below(state.desks[number], fitting)]
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
    state.fits[count : 8 * eights] = 0
    eligible = 0
    for eight in range(eights):
        if state.eights[eight]:
            for index in range(8 * eight, 8 * eight + 8):
                state.eligible[eligible] = first + index
                eligible += state.fits[index]
    return eligible


@inner
def draw_machines(state: State, number: int, eligible: int, tasks: int, cpu: float, memory: float) -> int:
    """Place up to `tasks` tasks and return how many; with `eligible` from 0 on only that many machines come into question."""
    desk = state.desks[number]
    first, count = desk.first, desk.count
    placed = missed = 0
    if eligible < 0 and not count:
        return 0
    if eligible < 0 and tasks <= LARGE:
        while placed < tasks and missed < MISSES:
            if not desk.in_block:
                for index in range(BLOCK):
                    state.pool[number, index] = first + below(desk, count)
                desk.in_block = BLOCK
            desk.in_block -= 1
            machine = state.pool[number, desk.in_block]
            if (
                state.cpu_total[machine] - state.cpu[machine] >= cpu
                and state.memory_total[machine] - state.memory[machine] >= memory
            ):
                take(state, machine, cpu, memory)
                state.placed[placed] = machine
                placed += 1
                missed = 0
            else:
                missed += 1
                desk.misses += 1
    elif eligible < 0:
        for index in range(SPARE * tasks):
            state.drawn[index] = first + below(desk, count)
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
    remaining = desk.count
    placed = 0
    while placed < tasks and remaining:
        index = java_below(desk, remaining)
        machine = state.pool[number, index]
        if (
            state.cpu_total[machine] - state.cpu[machine] >= cpu
            and state.memory_total[machine] - state.memory[machine] >= memory
        ):
            take(state, machine, cpu, memory)
            state.placed[placed] = machine
            placed += 1
        else:
            remaining -= 1
            state.pool[number, index] = state.pool[number, remaining]
            state.pool[number, remaining] = machine
            desk.misses += 1
    return placed


@inner
def place(state: State, number: int, eligible: int, tasks: int, cpu: float, memory: float) -> int:
    """Place up to `tasks` tasks as the run's tier does and return how many."""
    if state.sheet[0].exact:
        return replay_machines(state, number, tasks, cpu, memory)
    return draw_machines(state, number, eligible, tasks, cpu, memory)
