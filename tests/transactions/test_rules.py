"""The rules of conflicts, against plain loops that go claim by claim."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kubelib.transactions.columns import landing, outdated, overfull, turns

MACHINES = st.lists(st.integers(0, 4), max_size=30)
FAR_APART = st.lists(st.sampled_from([0, 1, 65_535, 65_536, 65_537, 131_072, 9_999_999]), max_size=30)
"""Machines of a cell of ten million, of which some differ in the upper bits of their number alone."""


@given(MACHINES | FAR_APART)
def test_turns_count_the_claims_on_the_same_machine_so_far(machines: list[int]) -> None:
    expected = [1.0 + machines[:position].count(machine) for position, machine in enumerate(machines)]
    found = turns(np.array(machines, dtype=np.int64), 10_000_000)
    assert (found + np.zeros(len(machines))).tolist() == expected


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
    need = (float(cpu), float(memory))
    assert overfull(rows, columns, total, need).tolist() == expected
    assert overfull(rows, columns, (8.0, 10.0), need).tolist() == expected


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
