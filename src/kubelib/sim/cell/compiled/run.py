"""A compiled run from its setup to its results."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kubelib.sim.cell.base import Floats, Workload
from kubelib.sim.cell.books import Scheduler, placement_of, results_of
from kubelib.sim.cell.compiled.loop import AGENDA_FULL, DIARY_FULL, FINISHED, OFFERS_FULL, play
from kubelib.sim.cell.compiled.state import (
    BUSY,
    DESK,
    DIARY,
    EVENT,
    FAILED,
    HALF,
    HALVES,
    JOB,
    OFFER,
    RELEASE,
    SECONDS_USEFUL,
    SECONDS_WASTED,
    SHEET,
    STREAM,
    SUCCEEDED,
    T_JOB,
    T_TASK,
    USEFUL,
    WASTED,
    Records,
    Small,
    State,
)
from kubelib.sim.cell.compiled.streams import words_of
from kubelib.sim.cell.loading import Loaded, load
from kubelib.sim.cell.placement import BLOCK, SPARE
from kubelib.sim.cell.results import JobTable, Results, days_of
from kubelib.sim.cell.rng import seeded
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.state import REMEMBERED, Ledger

EVENTS, ENTRIES, OFFERS = 8_192, 32_768, 4
"""For how many events, entries of the diary and open offers there is room at first."""
_GROWING = {AGENDA_FULL: ("agenda",), DIARY_FULL: ("diary",), OFFERS_FULL: ("offers", "amounts")}


class CompiledRun:
    """One simulation, without disruption, constraints and policies of the commit point."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._loaded = loaded = load(setup)
        self._ledger = ledger = Ledger(setup.cell, numbered=setup.architecture.detection == "coarse")
        self._schedulers = [
            Scheduler(number, spec, setup, ledger)
            for number, spec in enumerate(setup.architecture.schedulers)
        ]
        for scheduler, count in zip(self._schedulers, loaded.given, strict=True):
            scheduler.given = count
        before = setup.prefill or Workload.of("prefill", [])
        machines = setup.cell.size
        most = int(max(loaded.tasks.max(initial=1), before.tasks.max(initial=1)))
        fits = np.zeros(8 * (machines // 8 + 1), dtype=np.uint8)
        self.state = State(
            sheet=_sheet(setup, ledger.totals),
            cpu_total=ledger.cpu_total,
            memory_total=ledger.memory_total,
            cpu=ledger.cpus,
            memory=ledger.memories,
            sequence=ledger.sequences,
            turn=np.zeros(machines, dtype=np.int64),
            diary=np.zeros(ENTRIES + 6 * most, dtype=DIARY),
            jobs=_jobs(loaded, before),
            arrivals=loaded.submit[loaded.order],
            arriving=loaded.order,
            desks=_desks(setup, self._schedulers, ledger),
            paths=_paths(self._schedulers, list(loaded.rows)),
            days=np.zeros((len(self._schedulers), days_of(setup.horizon) + 1, 5)),
            pool=_pool(setup),
            agenda=np.zeros(EVENTS + len(before), dtype=EVENT),
            claims=np.zeros(int(loaded.tasks.sum() + before.tasks.sum()), dtype=np.int32),
            recent=np.zeros(REMEMBERED, dtype=RELEASE),
            drawn=np.zeros(SPARE * most + 2, dtype=np.int32),
            placed=np.zeros(most, dtype=np.int32),
            seen=np.zeros(most, dtype=np.int64),
            eligible=np.zeros(len(fits) + 1, dtype=np.int32),
            fitting=np.zeros(machines + 1, dtype=np.int32),
            fits=fits,
            eights=fits.view(np.uint64),
            offers=np.zeros(OFFERS, dtype=OFFER),
            amounts=np.zeros((OFFERS if setup.architecture.allocator else 1, 2, machines)),
            locked=np.zeros((2, machines)),
            shown=np.zeros((2, machines)),
            halves=np.zeros(HALVES, dtype=HALF),
        )

    def results(self) -> Results:
        """Run to the horizon and return what came of it."""
        jobs = len(self._loaded.tasks)
        prefill = jobs
        while (why := play(self.state, prefill)) != FINISHED:
            prefill = len(self.state.jobs)
            for full in _GROWING[why]:
                array = getattr(self.state, full)
                self.state = self.state._replace(**{full: np.concatenate([array, np.zeros_like(array)])})
        sheet: Any = self.state.sheet[0]
        self._ledger.usage.restore(
            (float(sheet["used_cpu"]), float(sheet["used_memory"])),
            int(sheet["ticks"]),
            (float(sheet["looks_cpu"]), float(sheet["looks_memory"])),
            (float(sheet["integral_cpu"]), float(sheet["integral_memory"])),
            float(sheet["last"]),
        )
        self._ledger.locked.restore(
            (float(sheet["locked_cpu"]), float(sheet["locked_memory"])),
            1,
            (0.0, 0.0),
            (float(sheet["locked_integral_cpu"]), float(sheet["locked_integral_memory"])),
            float(sheet["locked_last"]),
        )
        for number, scheduler in enumerate(self._schedulers):
            self._close_books(scheduler, number)
        return results_of(
            self._setup,
            self._table(jobs),
            self._loaded.rows,
            self._schedulers,
            self._ledger,
            prefilled=int(sheet["prefilled"]),
            breakdowns=0,
            end=float(sheet["end"]),
            events=int(sheet["events"]),
        )

    def _table(self, jobs: int) -> JobTable:
        """Return what has become of the jobs."""
        table, rows = JobTable.of(self._loaded, self._ledger.totals), self.state.jobs[:jobs]
        for name in ("left", "attempts", "task_attempts", "wait_first", "wait_full", "useful"):
            setattr(table, name, np.ascontiguousarray(rows[name]))
        placed = np.flatnonzero(rows["left"] == 0)
        table.placed_at = dict(zip(placed.tolist(), rows["placed_at"][placed].tolist(), strict=True))
        table.abandoned = set(np.flatnonzero(rows["abandoned"]).tolist())
        return table

    def _close_books(self, scheduler: Scheduler, number: int) -> None:
        """Tell a scheduler what it did."""
        state = self.state
        desk: Any = state.desks[number]
        job = int(desk["head"])
        for _ in range(desk["queued"]):
            scheduler.queue.append(job)
            job = int(state.jobs[job]["follower"])
        days = state.days[number]
        scheduler.useful_by_day = days[:, USEFUL].tolist()
        scheduler.wasted_by_day = days[:, WASTED].tolist()
        scheduler.busy_by_day = days[:, BUSY].tolist()
        scheduler.succeeded_by_day = days[:, SUCCEEDED].astype(int).tolist()
        scheduler.failed_by_day = days[:, FAILED].astype(int).tolist()
        for which, name in enumerate(self._loaded.rows):
            if name in scheduler.by_workload:
                seconds = state.paths[number, which, [SECONDS_USEFUL, SECONDS_WASTED]]
                scheduler.by_workload[name] = seconds.tolist()
        scheduler.fruitless = float(desk["fruitless"])
        for count in ("deciding", "retried", "landed", "refused", "no_room", "abandoned", "offers"):
            setattr(scheduler, count, int(desk[count]))
        scheduler.placement.misses = int(desk["misses"])


def _sheet(setup: Setup, totals: Sequence[float]) -> Records:
    sheet = np.zeros(1, dtype=SHEET)
    sheet["horizon"] = setup.horizon
    sheet["exact"] = setup.exact
    sheet["shared"] = setup.architecture.sharing == "shared-state"
    sheet["coarse"] = setup.architecture.detection == "coarse"
    sheet["together"] = setup.architecture.commit == "all-or-nothing"
    sheet["total_cpu"], sheet["total_memory"] = totals[:2]
    if allocator := setup.architecture.allocator:
        sheet["offering"] = True
        sheet["gathering"], sheet["deciding"] = allocator.batch, allocator.decision
        sheet["minimum"] = allocator.minimum
    return sheet


def _jobs(loaded: Loaded, before: Workload) -> Records:
    count = len(loaded.tasks)
    jobs = np.zeros(count + len(before), dtype=JOB)
    for name in ("tasks", "duration", "cpu", "memory"):
        jobs[name][:count] = getattr(loaded, name)
        jobs[name][count:] = getattr(before, name)
    jobs["chosen"] = -1
    jobs["chosen"][:count] = loaded.chosen
    jobs["workload"][:count] = loaded.workload
    jobs["left"] = jobs["tasks"]
    jobs["stuck"] = -1
    return jobs


def _desks(setup: Setup, schedulers: list[Scheduler], ledger: Ledger) -> Records:
    desks = np.zeros(len(schedulers) + 1, dtype=DESK)
    placements = [*(scheduler.placement for scheduler in schedulers), placement_of(setup, ledger, -1, None)]
    for desk, placement in zip(desks, placements, strict=True):
        desk["first"], desk["count"] = placement.first, placement.count
        for name, word in zip(STREAM, words_of(placement.random), strict=True):
            desk[name] = word
        desk["java"] = seeded(setup.seed)
    return desks


def _paths(schedulers: list[Scheduler], names: list[str]) -> Floats:
    paths = np.zeros((len(schedulers), len(names), 4))
    for scheduler, path in zip(schedulers, paths, strict=True):
        for name, times in zip(names, path, strict=True):
            if decision := scheduler.spec.decides.get(name):
                times[T_JOB], times[T_TASK] = decision.t_job, decision.t_task
    return paths


def _pool(setup: Setup) -> Small:
    spans = [*(scheduler.machines for scheduler in setup.architecture.schedulers), None]
    pool = np.zeros((len(spans), setup.cell.size if setup.exact else BLOCK), dtype=np.int32)
    if setup.exact:
        for span, line in zip(spans, pool, strict=True):
            first, after = span or (0, setup.cell.size)
            line[: after - first] = np.arange(first, after)
    return pool
