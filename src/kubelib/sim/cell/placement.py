"""Randomized first fit: every task goes to a machine drawn uniformly from those that have room for it at that moment.

`Replayed` draws as the simulator of the paper did, from a shrinking pool; `Drawn` has the same distribution and is faster. Both
change the view that they place on, and return the machines in the order of the tasks.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from kubelib.sim.cell.base import Integers
from kubelib.sim.cell.rng import JavaRandom
from kubelib.sim.cell.state import LARGE, Amounts, Claims, Ledger, View
from kubelib.transactions.columns import Bools, overfull, rows_of

MISSES = 48  # in a row: then looking at all machines at once is cheaper than going on
BLOCK = 2048
SPARE = (
    2  # draws for each task of a large job: if they do not suffice, too, looking at all machines is cheaper
)
NOWHERE: Integers = np.zeros(0, dtype=np.int64)


class Placement(Protocol):
    """Where the tasks of a job go."""

    first: int
    count: int
    """How many machines it looks at, from the first on; for `Replayed` those are the first ones of its pool."""
    misses: int
    random: np.random.Generator
    """The scheduler's own stream."""

    def place(
        self,
        view: View,
        tasks: int,
        cpu: float,
        memory: float,
        eligible: Integers | None = None,
        more: Amounts = (),
    ) -> Claims:
        """Take room for up to `tasks` equal tasks in the view and return their machines.

        With `eligible` only those of the placement's machines come into question; it may name one several times.
        """
        ...

    def among(self, machines: Integers) -> Integers:
        """Return which of some machines the placement looks at."""
        ...


class Replayed:
    """The paper's own procedure: what does not fit is swapped out of a pool that is kept between jobs."""

    def __init__(self, ledger: Ledger, machines: range, blacklist: float, seed: int) -> None:
        self._ledger = ledger
        self._pool = list(machines)
        self.first = machines.start
        self.count = max(0, len(machines) - int(blacklist * len(machines)))
        self._random = JavaRandom(seed)
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.misses = 0

    def among(self, machines: Integers) -> Integers:
        """Return which of some machines the placement looks at."""
        return machines[np.isin(machines, self._pool[: self.count])]

    def place(
        self,
        view: View,
        tasks: int,
        cpu: float,
        memory: float,
        eligible: Integers | None = None,
        more: Amounts = (),
    ) -> Claims:
        """Take room for up to `tasks` equal tasks in the view; there are no constraints and further resources in what is replayed."""
        assert eligible is None
        assert not more
        pool, remaining = self._pool, self.count
        used_cpu, used_memory = view.cpu, view.memory
        all_cpu, all_memory = self._ledger.cpu_capacity, self._ledger.memory_capacity
        below = self._random.below
        bits = self._random.bits()
        placed: list[int] = []
        while tasks and remaining:
            # the usual case of `below`, without a call
            if bits and remaining & (remaining - 1):
                number = bits.pop()
                index = number % remaining
                if number - index + remaining > 1 << 31:
                    index = below(remaining)
            else:
                index = below(remaining)
                bits = self._random.bits()
            machine = pool[index]
            if (
                all_cpu[machine] - used_cpu[machine] >= cpu
                and all_memory[machine] - used_memory[machine] >= memory
            ):
                used_cpu[machine] += cpu
                used_memory[machine] += memory
                placed.append(machine)
                tasks -= 1
            else:
                remaining -= 1
                pool[index] = pool[remaining]
                pool[remaining] = machine
                self.misses += 1
        return placed


class Drawn:
    """The same distribution from a stream of the scheduler's own: draws from all machines, refused where nothing fits."""

    def __init__(self, ledger: Ledger, machines: range, blacklist: float, seed: Sequence[int]) -> None:
        self._ledger = ledger
        self.first = machines.start
        self.count = max(0, len(machines) - int(blacklist * len(machines)))
        self.random = np.random.Generator(np.random.PCG64(list(seed)))
        self._block: list[int] = []
        self.misses = 0

    def among(self, machines: Integers) -> Integers:
        """Return which of some machines the placement looks at."""
        if self.count == self._ledger.cell.size:
            return machines
        return machines[(machines >= self.first) & (machines < self.first + self.count)]

    def place(
        self,
        view: View,
        tasks: int,
        cpu: float,
        memory: float,
        eligible: Integers | None = None,
        more: Amounts = (),
    ) -> Claims:
        """Take room for up to `tasks` equal tasks in the view and return their machines."""
        if eligible is not None:
            need = (cpu, memory, *more)
            fitting = self._with_room(view, need, eligible)
            return self._place_among(view, tasks, need, distinct(fitting)) if len(fitting) else []
        if not self.count:
            return []
        if tasks > LARGE or more:
            return self._place_many(view, tasks, (cpu, memory, *more))
        used_cpu, used_memory = view.cpu, view.memory
        all_cpu, all_memory = self._ledger.cpu_capacity, self._ledger.memory_capacity
        placed: list[int] = []
        missed, block = 0, self._block
        while tasks:
            if not block:
                block = self._block = (self._draw(BLOCK, self.count) + self.first).tolist()
            machine = block.pop()
            if (
                all_cpu[machine] - used_cpu[machine] >= cpu
                and all_memory[machine] - used_memory[machine] >= memory
            ):
                used_cpu[machine] += cpu
                used_memory[machine] += memory
                placed.append(machine)
                tasks -= 1
                missed = 0
            else:
                self.misses += 1
                missed += 1
                if missed >= MISSES:
                    placed.extend(self._place_wherever(view, tasks, (cpu, memory)).tolist())
                    return placed
        return placed

    def _draw(self, count: int, bound: int) -> Integers:
        """Draw so many whole numbers from 0 to below `bound`: a third of what `Generator.integers` costs for few."""
        shares = self.random.random(count)
        shares *= bound
        drawn: Integers = shares.astype(np.int64)
        return drawn

    def _place_many(self, view: View, tasks: int, need: Amounts) -> Integers:
        drawn = self._draw(SPARE * tasks, self.count)
        drawn += self.first
        taken = self._accept(view, drawn, tasks, need)
        if len(taken) == tasks:
            return taken
        rest = self._place_wherever(view, tasks - len(taken), need)
        return np.concatenate((taken, rest))

    def _place_wherever(self, view: View, tasks: int, need: Amounts) -> Integers:
        span = slice(self.first, self.first + self.count)
        # only few have CPUs left where it matters
        limit = self._ledger.limits[0]
        there = limit if isinstance(limit, float) else limit[span]
        fitting = (view.cpus[span] + need[0] <= there).nonzero()[0] + self.first
        return self._place_among(view, tasks, need, self._with_room(view, need, fitting, 1))

    def _with_room(self, view: View, need: Amounts, machines: Integers, first: int = 0) -> Integers:
        """Return those of some machines that have room for a task, by the resources from the first on."""
        room: Bools | None = None
        used, limits = view.used, self._ledger.limits
        for resource in range(first, len(need)):
            enough = used[resource].take(machines) + need[resource] <= rows_of(limits[resource], machines)
            room = enough if room is None else room & enough
        assert room is not None
        return machines[room]

    def _place_among(self, view: View, tasks: int, need: Amounts, fitting: Integers) -> Integers:
        """Place on machines that have room for a task at first, each of which is named once."""
        parts: list[Integers] = []
        while len(fitting):
            drawn = fitting[self._draw(tasks + 2, len(fitting))]
            taken = self._accept(view, drawn, tasks, need)
            parts.append(taken)
            tasks -= len(taken)
            if not tasks:
                break
            # nothing has room later that has none now
            fitting = self._with_room(view, need, fitting)
        return np.concatenate(parts) if parts else NOWHERE

    def _accept(self, view: View, drawn: Integers, tasks: int, need: Amounts) -> Integers:
        """Take the first `tasks` of the drawn machines that have room, one task for each time they are drawn."""
        used, limits = view.used[: len(need)], self._ledger.limits[: len(need)]
        fitting = (~overfull(drawn, used, limits, need)).nonzero()[0]
        rows = fitting[:tasks]
        self.misses += (int(rows[-1]) + 1 if len(fitting) > tasks else len(drawn)) - len(rows)
        taken: Integers = drawn[rows]
        view.take(taken, need[0], need[1], need[2:])
        return taken


def distinct(machines: Integers) -> Integers:
    """Return machines in order, each once: what `numpy.unique` says, at a third of its cost for few."""
    ordered = np.sort(machines)
    differs = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=differs[1:])
    return ordered[differs]
