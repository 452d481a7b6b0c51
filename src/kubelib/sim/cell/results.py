"""What a run says of its workloads, its schedulers and its cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import fsum
from statistics import median

import attrs
import numpy as np

from kubelib.sim.cell.base import Floats, Integers
from kubelib.sim.cell.loading import Loaded
from kubelib.transactions import figures
from kubelib.transactions.columns import Bools
from kubelib.transactions.figures import Spread, place_of

DAY = 86_400.0


@attrs.frozen
class WorkloadResult:
    """How the jobs of a workload fared.

    Waits are seconds in the queue: neither the decision itself nor the second between two attempts counts.
    Jobs that were never attempted have no wait and are left out of the means: in a cell that is
    `saturated` the means are therefore too low, and grow with the horizon.
    """

    name: str
    jobs: int
    attempted: int
    unattempted: int
    placed: int
    abandoned: int
    wait_to_first_attempt: Spread
    wait_until_placed: Spread
    attempts: Spread
    task_attempts: Spread
    useful_seconds: Spread
    wait_at_commit: Spread
    """Of all attempts on a job together."""
    time_until_placed: Spread
    """From submission until a job was placed whole for the first time, decisions and pauses included; of those that were."""
    total_attempts: int
    larger_than_the_cell: int
    """Jobs whose tasks all together ask for more than the whole cell has, and so never run all at once."""
    killed_tasks: int
    """Tasks that ended with their machine."""
    preempted_tasks: int
    """Tasks that were evicted for others of higher priority."""


@attrs.frozen
class SchedulerResult:
    """What a scheduler did with its time.

    Seconds of decisions are *useful* if no claim conflicted, *wasted* if one did, *fruitless* if nothing could be placed.
    A transaction fails if any of its claims conflicts. It is `saturated` if it was still behind at the end: more
    jobs in its queue than 1 % of those it was given and busy for more than 95 % of the last day.
    """

    name: str
    multi_path: bool
    useful: float
    wasted: float
    fruitless: float
    seconds_by_workload: dict[str, tuple[float, float]]
    useful_by_day: tuple[float, ...]
    wasted_by_day: tuple[float, ...]
    succeeded: int
    failed: int
    retried: int
    succeeded_by_day: tuple[int, ...]
    failed_by_day: tuple[int, ...]
    claims_landed: int
    claims_refused: int
    no_room: int
    denied: int
    """Transactions that a policy of the commit point refused; they are not among those that failed, and their seconds are fruitless."""
    abandoned: int
    offers: int
    queue_left: int
    misses: int
    saturated: bool
    end: float

    @property
    def busyness(self) -> float:
        """The share of time spent on decisions that led to a transaction."""
        return figures.busyness(self.useful, self.wasted, self.end)

    @property
    def busyness_with_fruitless(self) -> float:
        """The share of time spent on decisions of any outcome."""
        return (self.useful + self.wasted + self.fruitless) / self.end

    @property
    def conflict_fraction(self) -> float:
        """Failed transactions per successful one; infinite if there are only failed ones."""
        return figures.conflict_fraction(self.failed, self.succeeded)

    @property
    def daily_busyness(self) -> float:
        """The median over days of `busyness`; the last day may be a part of one."""
        lengths = [min(DAY, self.end - DAY * day) for day in range(len(self.useful_by_day))]
        days = zip(self.useful_by_day, self.wasted_by_day, lengths, strict=True)
        return median((useful + wasted) / length for useful, wasted, length in days)

    @property
    def daily_conflict_fraction(self) -> float:
        """The median over days of `conflict_fraction`, of days with transactions that succeeded."""
        days = zip(self.failed_by_day, self.succeeded_by_day, strict=True)
        return median([failed / succeeded for failed, succeeded in days if succeeded] or [0.0])


@attrs.frozen
class CellResult:
    """How much of the cell was in use, as shares: by looks once a second, and by integrals over time.

    `locked_cpu` and `locked_memory` were offered and not yet claimed, `broken` is the share of machines that were down.
    """

    cpu: float
    memory: float
    cpu_integral: float
    memory_integral: float
    locked_cpu: float = 0.0
    locked_memory: float = 0.0
    broken: float = 0.0
    breakdowns: int = 0
    more: Mapping[str, float] = attrs.field(factory=dict)
    """What was in use of each further resource, by integrals over time."""


@attrs.frozen
class Results:
    """All that a run tells."""

    workloads: tuple[WorkloadResult, ...]
    schedulers: tuple[SchedulerResult, ...]
    cell: CellResult
    prefilled_tasks: int
    end: float
    events: int

    def workload(self, name: str) -> WorkloadResult:
        """Return the result of a workload by its name."""
        return next(result for result in self.workloads if result.name == name)

    def scheduler(self, name: str) -> SchedulerResult:
        """Return the result of a scheduler by its name."""
        return next(result for result in self.schedulers if result.name == name)

    @property
    def saturated(self) -> bool:
        """Whether any scheduler fell behind."""
        return any(scheduler.saturated for scheduler in self.schedulers)

    def conflict_fraction(self, prefix: str = "") -> float:
        """Return failed per successful transactions of all schedulers whose name begins so."""
        chosen = [scheduler for scheduler in self.schedulers if scheduler.name.startswith(prefix)]
        succeeded = sum(scheduler.succeeded for scheduler in chosen)
        failed = sum(scheduler.failed for scheduler in chosen)
        return figures.conflict_fraction(failed, succeeded)


class JobTable:
    """The jobs of all workloads of a run, and what has become of each."""

    def __init__(self, tasks: Sequence[int]) -> None:
        count = len(tasks)
        self.tasks = list(tasks)
        self.left = list(tasks)
        self.enqueued = [0.0] * count
        self.wait_first = [0.0] * count
        self.wait_full = [0.0] * count
        self.attempts = [0] * count
        self.task_attempts = [0] * count
        self.useful = [0.0] * count
        self.wait_at_commit = [0.0] * count
        self.submit = np.zeros(count)
        self.placed_at: dict[int, float] = {}
        """When jobs were placed whole for the first time."""
        self.abandoned: set[int] = set()
        self.killed: Counter[int] = Counter()
        self.preempted: Counter[int] = Counter()
        self.waited_until_placed: dict[int, float] = {}
        """What jobs had waited that were placed once and lost tasks afterwards."""
        self.oversize: Bools = np.zeros(count, dtype=bool)

    @classmethod
    def of(cls, loaded: Loaded, totals: Sequence[float]) -> "JobTable":
        """Return the table of jobs of which nothing has become yet, in a cell of so many CPUs and GB."""
        table = cls(loaded.tasks.tolist())
        table.submit = loaded.submit
        asked = (loaded.tasks * loaded.cpu, loaded.tasks * loaded.memory)
        table.oversize = (asked[0] > totals[0]) | (asked[1] > totals[1])
        return table

    def result(self, name: str, rows: range) -> WorkloadResult:
        """Return how the jobs in some rows fared."""
        chosen = slice(rows.start, rows.stop)
        attempts = np.asarray(self.attempts[chosen], dtype=np.int64)
        attempted = attempts > 0
        placed = np.asarray(self.left[chosen], dtype=np.int64) == 0
        until_placed = np.array(self.wait_full[chosen])
        for row, waited in self.waited_until_placed.items():
            if row in rows:
                until_placed[row - rows.start] = waited
        when = np.fromiter(self.placed_at, dtype=np.int64, count=len(self.placed_at))
        times = np.fromiter(self.placed_at.values(), dtype=np.float64, count=len(when)) - self.submit[when]
        times = times[(when >= rows.start) & (when < rows.stop)]
        return WorkloadResult(
            name=name,
            jobs=len(rows),
            attempted=int(attempted.sum()),
            unattempted=len(rows) - int(attempted.sum()),
            placed=int(placed.sum()),
            abandoned=sum(row in rows for row in self.abandoned),
            wait_to_first_attempt=_spread(np.asarray(self.wait_first[chosen])[attempted]),
            wait_until_placed=_spread(until_placed[placed]),
            attempts=_spread(attempts[attempted]),
            task_attempts=_spread(np.asarray(self.task_attempts[chosen], dtype=np.int64)[attempted]),
            useful_seconds=_spread(np.asarray(self.useful[chosen])[attempted]),
            wait_at_commit=_spread(np.asarray(self.wait_at_commit[chosen])[attempted]),
            time_until_placed=_spread(times),
            total_attempts=int(attempts.sum()),
            larger_than_the_cell=int(self.oversize[chosen].sum()),
            killed_tasks=sum(count for row, count in self.killed.items() if row in rows),
            preempted_tasks=sum(count for row, count in self.preempted.items() if row in rows),
        )


def _spread(values: Floats | Integers) -> Spread:
    # what is 0 adds nothing, and numpy looks for it and sorts much faster
    count = len(values)
    if not count:
        return Spread.of([])
    ordered = np.sort(values)
    mean = fsum(values[values != 0].tolist()) / count
    return Spread(mean, *(ordered[place_of(share, count)].item() for share in (0.9, 0.99)))


def days_of(horizon: float) -> int:
    """Return how many days a horizon touches."""
    return max(1, int(np.ceil(horizon / DAY)))
