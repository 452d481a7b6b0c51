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

LARGE = 24
"""Transactions of more claims than this are worked on with numpy, smaller ones one claim at a time."""


class View:
    """What is taken of each machine, as somebody knows it."""

    def __init__(self, size: int) -> None:
        self.cpu = array("d", bytes(8 * size))
        self.memory = array("d", bytes(8 * size))
        self.sequence = array("q", bytes(8 * size))
        self.cpus: Floats = np.frombuffer(self.cpu, dtype=np.float64)
        self.memories: Floats = np.frombuffer(self.memory, dtype=np.float64)
        self.sequences: Integers = np.frombuffer(self.sequence, dtype=np.int64)

    def take(self, machines: Claims, cpu: float, memory: float) -> None:
        """Add one task to each of some machines; one that is named twice gets two."""
        if len(machines) > LARGE:
            rows = np.asarray(machines)
            np.add.at(self.cpus, rows, cpu)
            np.add.at(self.memories, rows, memory)
            return
        for machine in machines:
            self.cpu[machine] += cpu
            self.memory[machine] += memory


class Allocation:
    """What some tasks of a job hold until they end; tasks that are killed leave it before."""

    __slots__ = ("cpu", "job", "machines", "memory")

    def __init__(self, job: int, cpu: float, memory: float, machines: Claims) -> None:
        self.job = job
        self.cpu = cpu
        self.memory = memory
        self.machines = machines


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

    def __init__(self, size: int) -> None:
        self.view = View(size)
        self.copied = False
        self.since = 0
        """How many releases the shared state had seen when it began."""


class Ledger(View):
    """The shared state of a cell, with who has an open snapshot of it and what has been in use over time."""

    def __init__(self, cell: Cell, *, numbered: bool) -> None:
        super().__init__(cell.size)
        self.cell = cell
        self.cpu_total, self.memory_total = cell.capacities()
        self.cpu_capacity = array("d", self.cpu_total.tobytes())
        self.memory_capacity = array("d", self.memory_total.tobytes())
        self.numbered = numbered
        self.open: list[Snapshot] = []
        self.claims = 0
        self.releases = 0
        self.freed = Freed()
        totals = (float(self.cpu_total.sum()), float(self.memory_total.sum()))
        self.totals = totals
        self._usage = Usage(*totals)
        self.locked = Usage(*totals)
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
        if self.numbered:
            np.copyto(snapshot.view.sequences, self.sequences)
        snapshot.copied = True

    def _before_change(self) -> None:
        for snapshot in self.open:
            self._copy_to(snapshot)
        self.open.clear()

    def claim(self, machines: Claims, cpu: float, memory: float, now: float, *, placed: bool = False) -> None:
        """Land claims; with `placed` the columns have them already, as when a scheduler decides on the live state."""
        if not placed:
            if self.open:
                self._before_change()
            self.take(machines, cpu, memory)
        if self.numbered:
            np.add.at(self.sequences, np.asarray(machines), 1)
        self.claimed(len(machines), cpu, memory, now)

    def claimed(self, count: int, cpu: float, memory: float, now: float) -> None:
        """Book claims that the columns have already."""
        self.claims += count
        self._usage.change(now, count * cpu, count * memory)

    def changing(self) -> None:
        """Say that somebody is about to place on the live state."""
        if self.open:
            self._before_change()

    def release(self, machines: Claims, cpu: float, memory: float, now: float) -> None:
        """Give back what ended tasks held."""
        if self.open:
            self._before_change()
        self.take(machines, -cpu, -memory)
        self.releases += len(machines)
        self.freed.add(machines)
        self._usage.change(now, -len(machines) * cpu, -len(machines) * memory)

    def fail(self, machine: int, now: float) -> None:
        """Take a machine on which nothing runs any more out of the cell: it counts as full and as changed."""
        self.changing()
        self._broken.add(machine)
        self.cpu[machine] = self.cpu_capacity[machine]
        self.memory[machine] = self.memory_capacity[machine]
        self.sequence[machine] += 1
        self.lost.change(now, 1, 1)

    def repair(self, machine: int, now: float) -> None:
        """Bring a machine back, empty."""
        self.changing()
        self._broken.discard(machine)
        self.cpu[machine] = self.memory[machine] = 0.0
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
        self._sums = [0.0, 0.0]
        self._integrals = [0.0, 0.0]

    @property
    def now(self) -> tuple[float, float]:
        """How much CPU and memory is in use."""
        return self._cpu, self._memory

    def change(self, now: float, cpu: float, memory: float) -> None:
        """Note that from `now` on so much more is in use."""
        if now > self._last:
            self._pass(now)
        self._cpu += cpu
        self._memory += memory

    def _pass(self, now: float) -> None:
        last = self._last
        if now > last:
            # the look at a whole second sees what was in use up to it
            ticks = int(now) - int(last)
            if ticks:
                self._ticks += ticks
                self._sums[0] += ticks * self._cpu
                self._sums[1] += ticks * self._memory
            self._integrals[0] += (now - last) * self._cpu
            self._integrals[1] += (now - last) * self._memory
            self._last = now

    def start(self) -> None:
        """Take the first look, at time 0."""
        self._ticks += 1
        self._sums[0] += self._cpu
        self._sums[1] += self._memory

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
        self._sums, self._integrals = list(sums), list(integrals)

    def means(self, end: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the shares of CPU and memory in use up to `end`: by looks, and by integrals."""
        self._pass(end)
        # what never changed in less than a second was never looked at
        ticks = max(self._ticks, 1)
        looks = [total / ticks / there for total, there in zip(self._sums, self._total, strict=True)]
        exact = [total / end / there for total, there in zip(self._integrals, self._total, strict=True)]
        return (looks[0], looks[1]), (exact[0], exact[1])
