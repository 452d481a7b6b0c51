"""Where a scheduler's claims meet what others did while it thought: which of them land."""

import numpy as np

from kubelib.sim.cell.architecture import Architecture
from kubelib.sim.cell.state import LARGE, Amounts, Claims, Ledger, View
from kubelib.transactions.columns import landing, outdated, overfull
from kubelib.transactions.rules import judge


class Commits:
    """The rule of an architecture by which claims land in a ledger."""

    def __init__(self, architecture: Architecture, ledger: Ledger, *, exact: bool) -> None:
        self._ledger = ledger
        self._exact = exact
        self._coarse = architecture.detection == "coarse"
        self._together = architecture.commit == "all-or-nothing"

    def commit(
        self, view: View, placed: Claims, cpu: float, memory: float, now: float, more: Amounts = ()
    ) -> Claims:
        """Return the machines on which claims landed that were decided on an older view."""
        ledger = self._ledger
        if self._exact:
            return self._replayed(view, placed, cpu, memory, now)
        if len(placed) <= LARGE and not self._coarse and not more:
            landed: Claims = self._with_room(placed, cpu, memory)
        else:
            rows = np.asarray(placed)
            if self._coarse:
                conflicts = outdated(rows, view.sequences, ledger.sequences)
            else:
                need = (cpu, memory, *more)
                conflicts = overfull(rows, ledger.used[: len(need)], ledger.limits[: len(need)], need)
            landed = rows[landing(conflicts, self._together)]
        if len(landed):
            ledger.claim(landed, cpu, memory, now, more)
        return landed

    def _with_room(self, placed: Claims, cpu: float, memory: float) -> list[int]:
        """Say what `overfull` and `landing` say, at less cost for a few claims."""
        ledger = self._ledger
        turns: dict[int, int] = {}

        def take(machine: int) -> bool | None:
            upto = turns[machine] = turns.get(machine, 0) + 1
            fits = (
                ledger.cpu[machine] + upto * cpu <= ledger.cpu_capacity[machine]
                and ledger.memory[machine] + upto * memory <= ledger.memory_capacity[machine]
            )
            return None if fits else True

        conflicts = judge(placed, take)
        landed = [machine for machine, conflict in zip(placed, conflicts, strict=True) if not conflict]
        return [] if self._together and len(landed) < len(placed) else landed

    def _replayed(self, view: View, placed: Claims, cpu: float, memory: float, now: float) -> Claims:
        """Commit claim by claim as the simulator of the paper did, with its quirks.

        A claim is compared with the number that the private copy had when it was made, own claims included; numbers
        count claims that were rolled back too.
        """
        ledger, seen = self._ledger, view.sequence
        ledger.changing()
        turns: dict[int, int] = {}
        landed: list[int] = []
        for machine in placed:
            turn = turns.get(machine, 0)
            turns[machine] = turn + 1
            if self._coarse:
                conflict = seen[machine] + turn != ledger.sequence[machine]
            else:
                conflict = (
                    ledger.cpu_capacity[machine] - ledger.cpu[machine] < cpu
                    or ledger.memory_capacity[machine] - ledger.memory[machine] < memory
                )
            if not conflict:
                ledger.take([machine], cpu, memory)
                if self._coarse:
                    ledger.sequence[machine] += 1
                landed.append(machine)
            elif self._together:
                for claimed in landed:
                    ledger.take([claimed], -cpu, -memory)
                return []
        ledger.claimed(len(landed), cpu, memory, now)
        return landed
