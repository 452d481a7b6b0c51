"""The figures of an architecture that runs: as Python objects, and as Prometheus reads them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import anyio
import attrs

from kubelib.exposition import Sample, family, text
from kubelib.sched.architectures.base import Assembly, Member
from kubelib.sched.nodes import NodeTable
from kubelib.transactions.figures import Spread, Waits, conflict_fraction, fairness

UTILISED = ("cpu", "memory")


@attrs.frozen
class SchedulerFigures:
    """One scheduler since it began; shares are from 0 to 1, waits in seconds."""

    name: str
    busyness: float
    conflict_fraction: float
    succeeded: int
    failed: int
    retried: int
    claims_landed: int
    claims_refused: int
    no_room: int
    pending: int
    wait_to_first_attempt: Spread
    wait_until_placed: Spread


@attrs.frozen
class ClusterFigures:
    """The cluster as an architecture sees it."""

    schedulers: tuple[SchedulerFigures, ...]
    utilisation: Mapping[str, float]
    """Of cpu and memory, the share that placed Pods have asked for."""
    shares: Mapping[str, float]
    """The dominant share of each ``spec.schedulerName``, all that are in the cluster."""

    @property
    def fairness(self) -> float:
        """Jain's index of the dominant shares: 1 if all are equal."""
        return fairness(self.shares.values())

    @property
    def conflict_fraction(self) -> float:
        """Failed transactions per successful one, of all schedulers."""
        return conflict_fraction(
            sum(scheduler.failed for scheduler in self.schedulers),
            sum(scheduler.succeeded for scheduler in self.schedulers),
        )


class Figures:
    """What can be known of an assembly at any time."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._used = [table.tally(lambda pod: pod.scheduler) for table in assembly.tables]

    def now(self) -> ClusterFigures:
        """Return the figures as of now, by the event loop's clock."""
        at = anyio.current_time()
        total = self._total(lambda table: table.allocatable)
        used = self._total(lambda table: table.used)
        return ClusterFigures(
            tuple(_figures(member, at) for member in self._assembly.members),
            {name: used.get(name, 0) / total[name] for name in UTILISED if total.get(name)},
            self._shares(total),
        )

    def _total(self, columns: Callable[[NodeTable], Mapping[str, Any]]) -> dict[str, int]:
        # Shared-state schedulers all know the whole cluster; partitions, each a part.
        tables = self._assembly.tables
        if self._assembly.architecture.sharing != "partitioned":
            tables = tables[:1]
        total: dict[str, int] = {}
        for table in tables:
            for name, column in columns(table).items():
                total[name] = total.get(name, 0) + int(column.sum())
        return total

    def _shares(self, total: Mapping[str, int]) -> dict[str, float]:
        partitioned = self._assembly.architecture.sharing == "partitioned"
        used: dict[str, dict[str, int]] = {}
        for tally in self._used if partitioned else self._used[:1]:
            for scheduler, amounts in tally.items():
                mine = used.setdefault(scheduler, {})
                for name, amount in amounts.items():
                    mine[name] = mine.get(name, 0) + amount
        return {
            scheduler: max((a / total[name] for name, a in amounts.items() if total.get(name)), default=0.0)
            for scheduler, amounts in sorted(used.items())
        }

    def exposition(self) -> bytes:
        """Return the figures in Prometheus' text form."""
        return text(*_exposition(self._assembly.members, self.now()))


def _figures(member: Member, at: float) -> SchedulerFigures:
    books = member.books
    return SchedulerFigures(
        name=books.name,
        busyness=books.busyness(at),
        conflict_fraction=books.conflict_fraction,
        succeeded=books.succeeded,
        failed=books.failed,
        retried=books.retried,
        claims_landed=books.claims_landed,
        claims_refused=books.claims_refused,
        no_room=books.no_room,
        pending=len(member.queue),
        wait_to_first_attempt=books.first_wait.spread,
        wait_until_placed=books.wait.spread,
    )


PREFIX = "kubelib_scheduler"


def _exposition(members: Iterable[Member], cluster: ClusterFigures) -> Iterator[list[str]]:
    books = [member.books for member in members]

    def metric(
        name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]]
    ) -> list[str]:
        shown = (Sample(value, labels) for labels, value in samples)
        return family(f"{PREFIX}_{name}", kind, about, shown)

    def of_each(label: str, *pairs: tuple[str, str]) -> list[tuple[Mapping[str, str], float]]:
        return [
            ({"scheduler": book.name, label: value}, float(getattr(book, attribute)))
            for book in books
            for value, attribute in pairs
        ]

    yield metric(
        "decision_seconds_total", "counter", "Seconds spent on decisions, by what they were worth.",
        of_each("use", ("useful", "useful"), ("wasted", "wasted"), ("fruitless", "fruitless")),
    )  # fmt: skip
    yield metric(
        "transactions_total", "counter", "Transactions without (succeeded) and with a conflict (failed).",
        of_each("outcome", ("succeeded", "succeeded"), ("failed", "failed")),
    )  # fmt: skip
    yield metric(
        "claims_total", "counter", "Claims, by whether they landed.",
        of_each("outcome", ("landed", "claims_landed"), ("refused", "claims_refused")),
    )  # fmt: skip
    plain = [({"scheduler": book.name}, book) for book in books]
    yield metric(
        "retried_transactions_total", "counter", "Transactions with Pods that had been tried before.",
        [(label, book.retried) for label, book in plain],
    )  # fmt: skip
    yield metric(
        "attempts_without_room_total", "counter", "Decisions that found no node.",
        [(label, book.no_room) for label, book in plain],
    )  # fmt: skip
    named = [({"scheduler": scheduler.name}, scheduler) for scheduler in cluster.schedulers]
    yield metric(
        "busyness", "gauge", "Share of time spent on decisions that led to a transaction.",
        [(label, scheduler.busyness) for label, scheduler in named],
    )  # fmt: skip
    yield metric(
        "conflict_fraction", "gauge", "Failed transactions per successful one.",
        [(label, scheduler.conflict_fraction) for label, scheduler in named],
    )  # fmt: skip
    yield metric(
        "pending_pods", "gauge", "Pods that wait for a node.",
        [(label, scheduler.pending) for label, scheduler in named],
    )  # fmt: skip
    yield _waits("wait_to_first_attempt_seconds", "From when a Pod came to the first attempt.", [(b.name, b.first_wait) for b in books])  # fmt: skip
    yield _waits("wait_until_placed_seconds", "From when a Pod came until it had a node.", [(b.name, b.wait) for b in books])  # fmt: skip
    yield metric(
        "cluster_utilisation", "gauge", "Share of a resource that placed Pods have asked for.",
        [({"resource": name}, value) for name, value in cluster.utilisation.items()],
    )  # fmt: skip
    yield metric(
        "dominant_share", "gauge", "Largest share of any resource that a scheduler's Pods have asked for.",
        [({"scheduler_name": name}, value) for name, value in cluster.shares.items()],
    )  # fmt: skip
    yield metric(
        "fairness",
        "gauge",
        "Jain's index of the dominant shares: 1 if all are equal.",
        [({}, cluster.fairness)],
    )


def _waits(name: str, about: str, waits: Iterable[tuple[str, Waits]]) -> list[str]:
    samples: list[Sample] = []
    for scheduler, wait in waits:
        labels, spread = {"scheduler": scheduler}, wait.spread
        if wait.count:
            samples.append(Sample(spread.p90, {**labels, "quantile": "0.9"}))
            samples.append(Sample(spread.p99, {**labels, "quantile": "0.99"}))
        samples.append(Sample(wait.total, labels, suffix="_sum"))
        samples.append(Sample(wait.count, labels, suffix="_count"))
    return family(f"{PREFIX}_{name}", "summary", about, samples)
