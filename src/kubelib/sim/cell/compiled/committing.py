"""Snapshots and commits of compiled runs, as `kubelib.sim.cell.commits` and `Ledger` have them.

A snapshot is not copied: the diary says what the shared state was like when it began, and brings that back for as long as it is placed on.
"""

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.events import use
from kubelib.sim.cell.compiled.placing import take
from kubelib.sim.cell.compiled.state import State


@inner
def exchange(state: State, first: int, after: int, step: int) -> None:
    """Exchange what machines are like for what the diary says: backward that brings the past back, forward the present."""
    for index in range(first, after, step):
        entry = state.diary[index]
        machine = entry.machine
        cpu, memory, sequence = entry.cpu, entry.memory, entry.sequence
        entry.cpu = state.cpu[machine]
        entry.memory = state.memory[machine]
        entry.sequence = state.sequence[machine]
        state.cpu[machine] = cpu
        state.memory[machine] = memory
        state.sequence[machine] = sequence


@inner
def changing(state: State) -> None:
    """Say that the shared state is about to differ from the snapshots that are open."""
    sheet = state.sheet[0]
    if sheet.open:
        for number in range(len(state.desks)):
            state.desks[number].open = 0
        sheet.open = 0


@inner
def _replayed(state: State, placed: int, cpu: float, memory: float, now: float) -> int:
    """Commit as the simulator of the paper did; see `kubelib.sim.cell.commits.Commits`."""
    sheet, turn = state.sheet[0], state.turn
    landed = 0
    for index in range(placed):
        machine = state.placed[index]
        own = turn[machine]
        turn[machine] = own + 1
        if sheet.coarse:
            conflict = state.seen[index] + own != state.sequence[machine]
        else:
            conflict = (
                state.cpu_total[machine] - state.cpu[machine] < cpu
                or state.memory_total[machine] - state.memory[machine] < memory
            )
        if not conflict:
            take(state, machine, cpu, memory)
            if sheet.coarse:
                state.sequence[machine] += 1
            state.drawn[landed] = machine
            landed += 1
        elif sheet.together:
            for other in range(landed):
                take(state, state.drawn[other], -cpu, -memory)
            landed = -1
            break
    for index in range(placed):
        turn[state.placed[index]] = 0
    if landed < 0:
        return 0
    state.placed[:landed] = state.drawn[:landed]
    use(sheet, now, landed * cpu, landed * memory)
    return landed


@inner
def _without_conflict(state: State, placed: int, cpu: float, memory: float) -> int:
    """Put the claims that land first; return how many they are."""
    sheet, turn = state.sheet[0], state.turn
    landed = 0
    for index in range(placed):
        machine = state.placed[index]
        upto = turn[machine] + 1
        turn[machine] = upto
        if sheet.coarse:
            lands = state.seen[index] == state.sequence[machine]
        else:
            lands = (
                state.cpu[machine] + upto * cpu <= state.cpu_total[machine]
                and state.memory[machine] + upto * memory <= state.memory_total[machine]
            )
        if lands:
            state.drawn[landed] = machine
            landed += 1
    for index in range(placed):
        turn[state.placed[index]] = 0
    if sheet.together and landed < placed:
        return 0
    state.placed[:landed] = state.drawn[:landed]
    return landed


@inner
def number_claims(state: State, count: int) -> None:
    """Count the claims that machines have taken, if detection is coarse."""
    if state.sheet[0].coarse:
        for index in range(count):
            state.sequence[state.placed[index]] += 1


@inner
def commit(state: State, placed: int, cpu: float, memory: float, now: float) -> int:
    """Let those of the placed claims land that do not conflict; return how many, which are then the first ones."""
    if state.sheet[0].exact:
        changing(state)
        return _replayed(state, placed, cpu, memory, now)
    sheet = state.sheet[0]
    landed = _without_conflict(state, placed, cpu, memory)
    if landed:
        changing(state)
        for index in range(landed):
            take(state, state.placed[index], cpu, memory)
        number_claims(state, landed)
        use(sheet, now, landed * cpu, landed * memory)
    return landed
