"""The rules of conflicts, against plain loops that go claim by claim."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kubelib.transactions.columns import landing, outdated, overfull, repeats, turns

MACHINES = st.lists(st.integers(0, 4), max_size=30)


@given(MACHINES)
def test_turns_count_the_earlier_claims_on_the_same_machine(machines: list[int]) -> None:
    expected = [machines[:position].count(machine) for position, machine in enumerate(machines)]
    assert turns(np.array(machines, dtype=np.int64)).tolist() == expected


@given(MACHINES)
def test_repeats_are_the_claims_that_are_not_the_first_on_their_machine(machines: list[int]) -> None:
    rows = np.array(machines, dtype=np.int64)
    assert repeats(rows, 5).tolist() == np.flatnonzero(turns(rows)).tolist()


@given(MACHINES, st.lists(st.integers(0, 8), min_size=5, max_size=5), st.integers(1, 4), st.integers(1, 4))
def test_fine_detection_takes_claims_one_by_one_while_there_is_room(
    machines: list[int], used: list[int], cpu: int, memory: int
) -> None:
    cpus, memories = [float(value) for value in used], [float(value) for value in reversed(used)]
    columns = (np.array(cpus), np.array(memories))
    expected = []
    for machine in machines:
        conflict = cpus[machine] + cpu > 8 or memories[machine] + memory > 10
        if not conflict:
            cpus[machine] += cpu
            memories[machine] += memory
        expected.append(conflict)
    total = (np.full(5, 8.0), np.full(5, 10.0))
    rows = np.array(machines, dtype=np.int64)
    assert overfull(rows, columns, total, (float(cpu), float(memory))).tolist() == expected


def test_coarse_detection_refuses_all_claims_on_a_machine_that_has_changed() -> None:
    """Also the claims after as many own ones as there were foreign ones, by which numbers alone would agree again."""
    machines = np.array([1, 0, 1, 1, 2])
    seen, now = np.array([5, 5, 5]), np.array([5, 6, 5])
    assert outdated(machines, seen, now).tolist() == [True, False, True, True, False]


def test_claims_land_together_or_each_for_itself() -> None:
    conflicts = np.array([False, True, False])
    assert landing(conflicts, together=False).tolist() == [True, False, True]
    assert landing(conflicts, together=True).tolist() == [False, False, False]
    assert landing(np.array([False, False]), together=True).tolist() == [True, True]
