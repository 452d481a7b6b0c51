"""Snapshots and commits of compiled runs, as `kubelib.sim.cell.commits` and `Ledger` have them.

A snapshot is not copied: the diary says what the shared state was like when it began, and brings that back for as long as it is placed on.
"""

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.events import use
from kubelib.sim.cell.compiled.placing import copy, take
from kubelib.sim.cell.compiled.state import State


@inner
def exchange(state: State, first: int, after: int, step: int) -> None:
    """Exchange what machines are like for what the diary says: backward that brings the past back, forward the present."""
    diary, cpus, memories, sequences = state.diary, state.cpu, state.memory, state.sequence
    for index in range(first, after, step):
        entry = diary[index]
        machine = entry.machine
        cpu, memory, sequence = entry.cpu, entry.memory, entry.sequence
        entry.cpu = cpus[machine]
        entry.memory = memories[machine]
        entry.sequence = sequences[machine]
        cpus[machine] = cpu
        memories[machine] = memory
        sequences[machine] = sequence


@inner
def changing(state: State) -> None:
    """Say that the shared state is about to differ from the snapshots that are open."""
    sheet = state.sheet[0]
    if sheet.open:
        desks = state.desks
        for number in range(len(desks)):
            desks[number].open = 0
        sheet.open = 0


@inner
def _replayed(state: State, placed: int, cpu: float, memory: float, now: float) -> int:
    """Commit as the simulator of the paper did; see `kubelib.sim.cell.commits.Commits`."""
    sheet, turn, places, drawn = state.sheet[0], state.turn, state.placed, state.drawn
    seen, sequences = state.seen, state.sequence
    cpus, cpu_total, memories, memory_total = state.cpu, state.cpu_total, state.memory, state.memory_total
    landed = 0
    for index in range(placed):
        machine = places[index]
        own = turn[machine]
        turn[machine] = own + 1
        if sheet.coarse:
            conflict = seen[index] + own != sequences[machine]
        else:
            conflict = (
                cpu_total[machine] - cpus[machine] < cpu or memory_total[machine] - memories[machine] < memory
            )
        if not conflict:
            drawn[landed] = machine
            take(state, drawn, landed, landed + 1, cpu, memory)
            if sheet.coarse:
                sequences[machine] += 1
            landed += 1
        elif sheet.together:
            take(state, drawn, 0, landed, -cpu, -memory)
            landed = -1
            break
    for index in range(placed):
        turn[places[index]] = 0
    if landed < 0:
        return 0
    copy(drawn, places, landed)
    use(sheet, now, landed * cpu, landed * memory)
    return landed


@inner
def _without_conflict(state: State, placed: int, cpu: float, memory: float) -> int:
    """Put the claims that land first; return how many they are."""
    sheet, turn, places, drawn = state.sheet[0], state.turn, state.placed, state.drawn
    seen, sequences = state.seen, state.sequence
    cpus, cpu_total, memories, memory_total = state.cpu, state.cpu_total, state.memory, state.memory_total
    landed = 0
    for index in range(placed):
        machine = places[index]
        upto = turn[machine] + 1
        turn[machine] = upto
        if sheet.coarse:
            lands = seen[index] == sequences[machine]
        else:
            lands = (
                cpus[machine] + upto * cpu <= cpu_total[machine]
                and memories[machine] + upto * memory <= memory_total[machine]
            )
        if lands:
            drawn[landed] = machine
            landed += 1
    for index in range(placed):
        turn[places[index]] = 0
    if sheet.together and landed < placed:
        return 0
    copy(drawn, places, landed)
    return landed


@inner
def number_claims(state: State, count: int) -> None:
    """Count the claims that machines have taken, if detection is coarse."""
    if state.sheet[0].coarse:
        sequences, places = state.sequence, state.placed
        for index in range(count):
            sequences[places[index]] += 1


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
        take(state, state.placed, 0, landed, cpu, memory)
        number_claims(state, landed)
        use(sheet, now, landed * cpu, landed * memory)
    return landed
