"""What ends tasks before their time: machines that fail, and tasks of higher priority."""

from collections.abc import Callable

import numpy as np

from kubelib.sim.cell.base import Floats, Integers
from kubelib.sim.cell.setup import Failures
from kubelib.sim.cell.state import Allocation, Amounts, Claims, Ledger
from kubelib.transactions.columns import Bools

Killed = Callable[[int, int, bool], None]
"""Is told of a job, how many of its tasks were killed, and whether by preemption."""


class Tenants:
    """Who is on which machine, by priority. `killed` is told of every task that ends before its time."""

    def __init__(self, ledger: Ledger, killed: Killed) -> None:
        self._ledger = ledger
        self._killed = killed
        self._on: list[dict[Allocation, int]] = [{} for _ in range(ledger.cell.size)]
        self._priority: dict[Allocation, int] = {}
        self._held: dict[int, tuple[Floats, ...]] = {}

    def add(self, allocation: Allocation, priority: int) -> None:
        """Note tasks that begin."""
        machines = [int(machine) for machine in allocation.machines]
        allocation.machines = machines
        self._priority[allocation] = priority
        for machine in machines:
            tenants = self._on[machine]
            tenants[allocation] = tenants.get(allocation, 0) + 1
        self._hold(priority, machines, allocation, 1)

    def remove(self, allocation: Allocation) -> None:
        """Note tasks that end in their time."""
        priority = self._priority.pop(allocation)
        for machine in set(allocation.machines):
            del self._on[machine][allocation]
        self._hold(priority, allocation.machines, allocation, -1)

    def _hold(self, priority: int, machines: Claims, allocation: Allocation, sign: int) -> None:
        """Add so many tasks to what those of a priority hold, or take them off."""
        if priority not in self._held:
            self._held[priority] = tuple(np.zeros(len(self._on)) for _ in self._ledger.total)
        rows = np.asarray(machines, dtype=np.int64)
        # those that ask for nothing of further resources have no amounts of them
        need = (allocation.cpu, allocation.memory, *allocation.more)
        for column, amount in zip(self._held[priority], need, strict=False):
            np.add.at(column, rows, sign * amount)

    def _kill(self, allocation: Allocation, machine: int, now: float, preempted: bool) -> None:
        """End all tasks of an allocation on a machine."""
        count = self._on[machine].pop(allocation)
        allocation.machines = [other for other in allocation.machines if other != machine]
        self._hold(self._priority[allocation], [machine] * count, allocation, -1)
        self._ledger.release([machine] * count, allocation.cpu, allocation.memory, now, allocation.more)
        self._killed(allocation.job, count, preempted)

    def evacuate(self, machine: int, now: float) -> None:
        """Kill all tasks on a machine."""
        for allocation in list(self._on[machine]):
            self._kill(allocation, machine, now, preempted=False)

    def make_room(
        self,
        eligible: Integers,
        need: Amounts,
        priority: int,
        now: float,
        random: np.random.Generator,
    ) -> int | None:
        """Evict from one machine as few tasks of lower priority as make room for one task, which needs so much of each resource; return the machine.

        It is drawn from the eligible ones where that is possible. Those of lowest priority go first, of equals those
        that began last. None means that it is possible nowhere.
        """
        ledger = self._ledger
        could: Bools = np.ones(len(eligible), dtype=bool)
        for resource, amount in enumerate(need):
            if not amount:
                continue
            free = ledger.total[resource][eligible] - ledger.used[resource][eligible]
            for lower, held in self._held.items():
                if lower < priority:
                    free += held[resource][eligible]
            # sums of what is held carry rounding errors: an eviction must make room for certain
            could &= free >= amount + 1e-9
        possible = eligible[could]
        if not len(possible):
            return None
        machine = int(possible[random.integers(0, len(possible))])
        victims = [other for other in self._on[machine] if self._priority[other] < priority]
        victims.reverse()
        victims.sort(key=lambda allocation: self._priority[allocation])
        for victim in victims:
            if all(
                taken[machine] + amount <= there[machine]
                for taken, there, amount in zip(ledger.used, ledger.total, need, strict=True)
            ):
                break
            self._kill(victim, machine, now, preempted=True)
        return machine


class Breakdowns:
    """When which machine fails and comes back."""

    def __init__(self, failures: Failures, size: int, seed: int) -> None:
        self._failures = failures
        self._size = size
        self._random = np.random.Generator(np.random.PCG64([seed, 1 << 20]))
        self.broken: set[int] = set()
        self.count = 0

    def next(self) -> float:
        """Return the seconds until a machine fails."""
        return float(self._random.exponential(self._failures.between / self._size))

    def strike(self) -> int | None:
        """Return the machine that fails now, None if the one drawn is broken already."""
        machine = int(self._random.integers(0, self._size))
        if machine in self.broken:
            return None
        self.broken.add(machine)
        self.count += 1
        return machine

    def repair_time(self) -> float:
        """Return the seconds until a machine that failed is back."""
        return float(self._random.exponential(self._failures.repair))
