"""A scheduler of a run: its queue, how it places, and what it did with its time."""

from collections import deque
from collections.abc import Mapping, Sequence

from kubelib.sim.cell.architecture import SchedulerSpec
from kubelib.sim.cell.placement import Drawn, Placement, Replayed
from kubelib.sim.cell.results import DAY, CellResult, JobTable, Results, SchedulerResult, days_of
from kubelib.sim.cell.setup import Setup
from kubelib.sim.cell.state import Ledger, Snapshot
from kubelib.transactions.figures import use_of


def placement_of(setup: Setup, ledger: Ledger, number: int, machines: tuple[int, int] | None) -> Placement:
    """Return how the scheduler of a number places; -1 is whoever places the prefill, on any machine."""
    span = range(*machines) if machines else range(setup.cell.size)
    blacklist = setup.blacklist if number >= 0 else 0.0
    if setup.exact:
        return Replayed(ledger, span, blacklist, setup.seed)
    return Drawn(ledger, span, blacklist, (setup.seed, number + 1))


class Scheduler:
    """A scheduler's queue and its books."""

    def __init__(self, number: int, spec: SchedulerSpec, setup: Setup, ledger: Ledger) -> None:
        self.spec = spec
        self.queue: deque[int] = deque()
        self.deciding = 0
        """How many jobs it thinks about."""
        self.asked = 0
        """How many tasks the job had that it began to think about."""
        self.since = 0
        """How many releases the state had seen on which it placed that."""
        self.given = 0
        self.stuck: dict[int, int] = {}
        """Jobs for whose tasks there was no room anywhere, and how many releases there had been then."""
        self.snapshot = (
            Snapshot(setup.cell.size, len(setup.cell.more))
            if setup.architecture.sharing == "shared-state"
            else None
        )
        self.placement = placement_of(setup, ledger, number, spec.machines)
        days = days_of(setup.horizon) + 1
        self.useful_by_day = [0.0] * days
        self.wasted_by_day = [0.0] * days
        self.succeeded_by_day = [0] * days
        self.failed_by_day = [0] * days
        self.busy_by_day = [0.0] * days
        self.by_workload = {name: [0.0, 0.0] for name in spec.decides}
        self.fruitless = 0.0
        self.retried = self.landed = self.refused = self.no_room = self.denied = self.abandoned = (
            self.offers
        ) = 0

    def account(
        self,
        workload: str,
        now: float,
        think: float,
        placed: int,
        landed: int,
        *,
        again: bool,
        denied: bool = False,
    ) -> bool:
        """Book a decision of so many claims, of which some landed; return whether its time was useful."""
        day = min(int(now / DAY), len(self.useful_by_day) - 1)
        self.busy_by_day[day] += think
        use = use_of(placed, landed)
        if use == "fruitless":
            if denied:
                self.denied += 1
            else:
                self.no_room += 1
            self.fruitless += think
            return False
        self.landed += landed
        if again:
            self.retried += 1
        seconds = self.by_workload[workload]
        if use == "useful":
            self.succeeded_by_day[day] += 1
            self.useful_by_day[day] += think
            seconds[0] += think
            return True
        self.refused += placed - landed
        self.failed_by_day[day] += 1
        self.wasted_by_day[day] += think
        seconds[1] += think
        return False

    def result(self, end: float, days: int) -> SchedulerResult:
        """Return what came of it, and close the books."""
        last = days - 1
        # an event past the horizon is of the last day
        for books in (self.useful_by_day, self.wasted_by_day, self.busy_by_day):
            books[last] += books.pop()
        for counts in (self.succeeded_by_day, self.failed_by_day):
            counts[last] += counts.pop()
        behind = len(self.queue) + self.deciding
        length = max(end - DAY * last, 1e-9)
        return SchedulerResult(
            name=self.spec.name,
            multi_path=self.spec.multi_path,
            useful=sum(self.useful_by_day),
            wasted=sum(self.wasted_by_day),
            fruitless=self.fruitless,
            seconds_by_workload={
                name: (useful, wasted) for name, (useful, wasted) in self.by_workload.items()
            },
            useful_by_day=tuple(self.useful_by_day),
            wasted_by_day=tuple(self.wasted_by_day),
            succeeded=sum(self.succeeded_by_day),
            failed=sum(self.failed_by_day),
            retried=self.retried,
            succeeded_by_day=tuple(self.succeeded_by_day),
            failed_by_day=tuple(self.failed_by_day),
            claims_landed=self.landed,
            claims_refused=self.refused,
            no_room=self.no_room,
            denied=self.denied,
            abandoned=self.abandoned,
            offers=self.offers,
            queue_left=len(self.queue),
            misses=self.placement.misses,
            saturated=behind > max(1.0, 0.01 * self.given) and self.busy_by_day[last] > 0.95 * length,
            end=end,
        )


def results_of(
    setup: Setup,
    jobs: JobTable,
    rows: Mapping[str, range],
    schedulers: Sequence[Scheduler],
    ledger: Ledger,
    *,
    prefilled: int,
    breakdowns: int,
    end: float,
    events: int,
) -> Results:
    """Return what came of a run that has ended, and close the books."""
    last = min(end, setup.horizon)
    looks, exact = ledger.usage.means(last)
    return Results(
        workloads=tuple(jobs.result(name, which) for name, which in rows.items()),
        schedulers=tuple(scheduler.result(end, days_of(setup.horizon)) for scheduler in schedulers),
        cell=CellResult(
            *looks,
            *exact,
            *ledger.locked.means(last)[1],
            broken=ledger.lost.means(last)[1][0],
            breakdowns=breakdowns,
            more={
                name: usage.means(last)[1][0]
                for name, usage in zip(setup.cell.more, ledger.more_usage, strict=True)
            },
        ),
        prefilled_tasks=prefilled,
        end=end,
        events=events,
    )
