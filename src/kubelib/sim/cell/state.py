"""The state of a cell: what is taken on each machine, in columns that scalar code and numpy both see.

What is taken is kept, not what is free: adding and subtracting it in the order of the claims gives the same numbers to the last
bit whoever replays them.
"""

import itertools
from array import array
from collections import deque
from collections.abc import Sequence

import numpy as np

from kubelib.sim.cell.base import Cell, Floats, Integers
from kubelib.transactions.columns import Bools

Claims = Sequence[int] | Integers
"""The machines that tasks go to, in the order of the tasks: an array if there are many."""

Amounts = tuple[float, ...]
"""What a task asks for of further resources; empty if it asks for none of them."""

LARGE = 24
"""Transactions of more claims than this are worked on with numpy, smaller ones one claim at a time."""


class View:
    """What is taken of each machine, as somebody knows it."""

    def __init__(self, size: int, more: int = 0) -> None:
        self.cpu = array("d", bytes(8 * size))
        self.memory = array("d", bytes(8 * size))
        self.sequence = array("q", bytes(8 * size))
        self.cpus: Floats = np.frombuffer(self.cpu, dtype=np.float64)
        self.memories: Floats = np.frombuffer(self.memory, dtype=np.float64)
        self.sequences: Integers = np.frombuffer(self.sequence, dtype=np.int64)
        self.more: tuple[Floats, ...] = tuple(np.zeros(size) for _ in range(more))
        """Further resources, by their order in the cell; only numpy looks at them."""

    @property
    def used(self) -> tuple[Floats, ...]:
        """What is taken of all resources."""
        return (self.cpus, self.memories, *self.more)

    def take(self, machines: Claims, cpu: float, memory: float, more: Amounts = ()) -> None:
        """Add one task to each of some machines; one that is named twice gets two."""
        if more:
            rows = np.asarray(machines, dtype=np.int64)
            for column, amount in zip(self.more, more, strict=True):
                np.add.at(column, rows, amount)
        if len(machines) > LARGE:
            rows = np.asarray(machines)
            np.add.at(self.cpus, rows, cpu)
            np.add.at(self.memories, rows, memory)
            return
        cpus, memories = self.cpu, self.memory
        for machine in machines:
            cpus[machine] += cpu
            memories[machine] += memory


class Allocation:
    """What some tasks of a job hold until they end; tasks that are killed leave it before."""

    __slots__ = ("cpu", "job", "machines", "memory", "more")

    def __init__(self, job: int, cpu: float, memory: float, machines: Claims, more: Amounts = ()) -> None:
        self.job = job
        self.cpu = cpu
        self.memory = memory
        self.machines = machines
        self.more = more


REMEMBERED = 512


class Freed:
    """On which machines room was made, for those who found none: nothing can fit elsewhere that did not fit before."""

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[Claims] = deque(maxlen=REMEMBERED)

    def add(self, machines: Claims) -> None:
        """Note that tasks on some machines ended."""
        self.count += 1
        self._recent.append(machines)

    def since(self, count: int) -> Integers | None:
        """Return the machines on which tasks ended after so many releases, each as often; None if that is long ago."""
        missing = self.count - count
        if missing > len(self._recent):
            return None
        if not missing:
            return np.zeros(0, dtype=np.int64)
        recent = itertools.islice(reversed(self._recent), missing)
        return np.concatenate([np.asarray(machines, dtype=np.int64) for machines in recent])


class Snapshot:
    """A scheduler's private view, copied only when the shared state is about to change while it thinks."""

    def __init__(self, size: int, more: int = 0) -> None:
        self.view = View(size, more)
        self.copied = False
        self.since = 0
        """How many releases the shared state had seen when it began."""


class Ledger(View):
    """The shared state of a cell, with who has an open snapshot of it and what has been in use over time."""

    def __init__(self, cell: Cell, *, numbered: bool) -> None:
        super().__init__(cell.size, len(cell.more))
        self.cell = cell
        self.total = cell.capacities()
        """What every machine has, by resource."""
        self.limits: tuple[Floats | float, ...] = tuple(
            float(column[0]) if (column == column[0]).all() else column for column in self.total
        )
        """The same, one number for a resource of which all have as much."""
        self.cpu_total, self.memory_total = self.total[:2]
        self.cpu_capacity = array("d", self.cpu_total.tobytes())
        self.memory_capacity = array("d", self.memory_total.tobytes())
        self.numbered = numbered
        self.open: list[Snapshot] = []
        self.claims = 0
        self.releases = 0
        self.freed = Freed()
        totals = tuple(float(column.sum()) for column in self.total)
        self.totals = totals
        self._usage = Usage(*totals[:2])
        self.more_usage = tuple(Usage(total, total) for total in totals[2:])
        """The same of each further resource."""
        self.locked = Usage(*totals[:2])
        """What offers hold over time; see `kubelib.sched.fairness.Offers`."""
        self.lost = Usage(cell.size, cell.size)
        """How many machines are broken over time."""
        self._broken: set[int] = set()

    @property
    def usage(self) -> "Usage":
        """How much of the cell has been in use."""
        return self._usage

    def look(self, snapshot: Snapshot) -> None:
        """Begin a snapshot: equal to the shared state until that changes."""
        snapshot.copied = False
        snapshot.since = self.freed.count
        self.open.append(snapshot)

    def close(self, snapshot: Snapshot) -> bool:
        """End a snapshot; return whether the shared state has changed since it began."""
        if not snapshot.copied:
            self.open.remove(snapshot)
        return snapshot.copied

    def private(self, snapshot: Snapshot) -> View:
        """End a snapshot and return what it shows, copied if it has not been yet."""
        if not snapshot.copied:
            self.open.remove(snapshot)
            self._copy_to(snapshot)
        return snapshot.view

    def _copy_to(self, snapshot: Snapshot) -> None:
        np.copyto(snapshot.view.cpus, self.cpus)
        np.copyto(snapshot.view.memories, self.memories)
        for theirs, ours in zip(snapshot.view.more, self.more, strict=True):
            np.copyto(theirs, ours)
        if self.numbered:
            np.copyto(snapshot.view.sequences, self.sequences)
        snapshot.copied = True

    def _before_change(self) -> None:
        for snapshot in self.open:
            self._copy_to(snapshot)
        self.open.clear()

    def claim(
        self,
        machines: Claims,
        cpu: float,
        memory: float,
        now: float,
        more: Amounts = (),
        *,
        placed: bool = False,
    ) -> None:
        """Land claims; with `placed` the columns have them already, as when a scheduler decides on the live state."""
        if not placed:
            if self.open:
                self._before_change()
            self.take(machines, cpu, memory, more)
        if self.numbered:
            np.add.at(self.sequences, np.asarray(machines), 1)
        self.claimed(len(machines), cpu, memory, now, more)

    def claimed(self, count: int, cpu: float, memory: float, now: float, more: Amounts = ()) -> None:
        """Book claims that the columns have already."""
        self.claims += count
        self._usage.change(now, count * cpu, count * memory)
        if more:
            self._use_more(count, now, more)

    def _use_more(self, count: int, now: float, more: Amounts) -> None:
        for usage, amount in zip(self.more_usage, more, strict=True):
            usage.change(now, count * amount, 0.0)

    def changing(self) -> None:
        """Say that somebody is about to place on the live state."""
        if self.open:
            self._before_change()

    def release(self, machines: Claims, cpu: float, memory: float, now: float, more: Amounts = ()) -> None:
        """Give back what ended tasks held."""
        if self.open:
            self._before_change()
        count = len(machines)
        self.take(machines, -cpu, -memory, tuple(-amount for amount in more) if more else ())
        self.releases += count
        self.freed.add(machines)
        self._usage.change(now, -count * cpu, -count * memory)
        if more:
            self._use_more(-count, now, more)

    def fail(self, machine: int, now: float) -> None:
        """Take a machine on which nothing runs any more out of the cell: it counts as full and as changed."""
        self.changing()
        self._broken.add(machine)
        self.cpu[machine] = self.cpu_capacity[machine]
        self.memory[machine] = self.memory_capacity[machine]
        for column, there in zip(self.more, self.total[2:], strict=True):
            column[machine] = there[machine]
        self.sequence[machine] += 1
        self.lost.change(now, 1, 1)

    def repair(self, machine: int, now: float) -> None:
        """Bring a machine back, empty."""
        self.changing()
        self._broken.discard(machine)
        self.cpu[machine] = self.memory[machine] = 0.0
        for column in self.more:
            column[machine] = 0.0
        self.freed.add([machine])
        self.lost.change(now, -1, -1)

    def up(self) -> Bools:
        """Return which machines are not broken."""
        up = np.ones(self.cell.size, dtype=bool)
        up[list(self._broken)] = False
        return up


class Usage:
    """What of a cell is in use over time: as exact integrals, and as the mean of looks once a second."""

    def __init__(self, cpu_total: float, memory_total: float) -> None:
        self._total = (cpu_total, memory_total)
        self._cpu = self._memory = 0.0
        self._last = 0.0
        self._ticks = 0
        # each a number of its own, for this happens with every claim and every release
        self._cpu_sum = self._memory_sum = 0.0
        self._cpu_integral = self._memory_integral = 0.0

    @property
    def now(self) -> tuple[float, float]:
        """How much CPU and memory is in use."""
        return self._cpu, self._memory

    def change(self, now: float, cpu: float, memory: float) -> None:
        """Note that from `now` on so much more is in use."""
        last = self._last
        if now > last:
            # the look at a whole second sees what was in use up to it
            ticks = int(now) - int(last)
            if ticks:
                self._ticks += ticks
                self._cpu_sum += ticks * self._cpu
                self._memory_sum += ticks * self._memory
            self._cpu_integral += (now - last) * self._cpu
            self._memory_integral += (now - last) * self._memory
            self._last = now
        self._cpu += cpu
        self._memory += memory

    def start(self) -> None:
        """Take the first look, at time 0."""
        self._ticks += 1
        self._cpu_sum += self._cpu
        self._memory_sum += self._memory

    def restore(
        self,
        in_use: tuple[float, float],
        ticks: int,
        sums: tuple[float, float],
        integrals: tuple[float, float],
        last: float,
    ) -> None:
        """Take over what somebody else has summed up until `last`."""
        self._cpu, self._memory = in_use
        self._ticks, self._last = ticks, last
        self._cpu_sum, self._memory_sum = sums
        self._cpu_integral, self._memory_integral = integrals

    def means(self, end: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the shares of CPU and memory in use up to `end`: by looks, and by integrals; 0 of what there is none of."""
        self.change(end, 0.0, 0.0)
        # what never changed in less than a second was never looked at
        ticks = max(self._ticks, 1)
        cpu, memory = self._total
        return (
            (_share(self._cpu_sum / ticks, cpu), _share(self._memory_sum / ticks, memory)),
            (_share(self._cpu_integral / end, cpu), _share(self._memory_integral / end, memory)),
        )


def _share(used: float, there: float) -> float:
    return used / there if there else 0.0
