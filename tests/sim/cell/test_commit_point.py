"""The policies of the commit point in simulated cells: the code that clusters run decides whose turn it is."""

from typing import Any

import attrs
import pytest

from kubelib.sim.cell import (
    Architecture,
    Cell,
    DecisionTime,
    Job,
    Machines,
    Results,
    SchedulerSpec,
    Setup,
    Workload,
    simulate,
)
from tests.sim.cell.test_invariants import SMALL, omega

WIDE = Cell((Machines(1, 1_000.0, 1_000.0),))
QUICK = DecisionTime(0.1, 0.0)


def run(jobs: dict[str, list[Job]], cell: Cell = WIDE, horizon: float = 1_000.0, **more: Any) -> Results:
    """Let a scheduler for each workload, named like that, commit the jobs of that workload."""
    slow = more.pop("slow", QUICK)
    specs = [SchedulerSpec(name, {name: slow if name == "slow" else QUICK}) for name in jobs]
    workloads = tuple(Workload.of(name, list(given)) for name, given in jobs.items())
    return simulate(
        Setup(cell, workloads, Architecture("shared-state", tuple(specs), **more), horizon=horizon)
    )


def order(results: Results) -> list[str]:
    """Return the workloads, of one job each, in the order in which these were placed."""
    return [w.name for w in sorted(results.workloads, key=lambda w: w.time_until_placed.mean)]


def one(priority: int = 0, **more: Any) -> list[Job]:
    return [attrs.evolve(Job(0.0, 1, 5_000.0, 1.0, 1.0), priority=priority, **more)]


FOUR = {"first": one(), "a": one(1), "b": one(9), "c": one(5)}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((), ["first", "a", "b", "c"]),
        (("priority",), ["first", "b", "c", "a"]),
        (("precedence=c,a",), ["first", "c", "a", "b"]),
        (("precedence=c", "priority"), ["first", "c", "b", "a"]),
    ],
)
def test_those_that_wait_while_another_commits_go_in_the_order_of_the_policies(
    policies: tuple[str, ...], expected: list[str]
) -> None:
    results = run(FOUR, commit_policies=policies, commit_time=10.0)
    assert order(results) == expected
    times = sorted(workload.time_until_placed.mean for workload in results.workloads)
    assert times == pytest.approx([10.1, 20.1, 30.1, 40.1])
    waits = sorted(workload.wait_at_commit.mean for workload in results.workloads)
    assert waits == pytest.approx([0.0, 10.0, 20.0, 30.0])


def test_who_holds_least_goes_first_with_fair_shares() -> None:
    held = [Job(0.0, 100, 5_000.0, 1.0, 1.0), Job(99.95, 1, 5_000.0, 1.0, 1.0)]
    late = [Job(100.0, 1, 5_000.0, 1.0, 1.0)]
    jobs = {"large": held, "other": [Job(99.9, 1, 5_000.0, 1.0, 1.0)], "small": late}
    waits = {
        policies: [run(jobs, commit_policies=policies, commit_time=10.0).workload(name).wait_at_commit.mean for name in ("large", "small")]
        for policies in ((), ("fair-shares",))
    }  # fmt: skip
    # the mean of the large one is of two jobs, the first of which waits for nobody
    assert waits[()] == pytest.approx([9.95 / 2, 19.9])
    assert waits["fair-shares",] == pytest.approx([19.95 / 2, 9.9])


@pytest.mark.parametrize("limit", ["fair-shares=namespace::greedy=30%", "fair-shares=scheduler::greedy=30%"])
def test_nobody_gets_more_than_its_limit(limit: str) -> None:
    greedy = [Job(float(number), 100, 5_000.0, 1.0, 1.0) for number in range(8)]
    results = run({"greedy": greedy, "modest": one()}, commit_policies=(limit,))
    assert results.workload("greedy").placed == 3
    assert results.workload("modest").placed == 1
    scheduler = results.scheduler("greedy")
    assert scheduler.denied > 5
    assert (scheduler.failed, scheduler.no_room) == (0, 0)
    assert scheduler.fruitless > 0
    assert results.cell.cpu_integral < 0.31


def test_who_would_starve_is_placed_with_ageing() -> None:
    """Somebody quick changes the only machine every second: who thinks for five is always too late."""
    jobs = {"quick": [Job(0.5 + number, 1, 10.0, 1.0, 1.0) for number in range(900)], "slow": one()}
    slow = DecisionTime(5.0, 0.0)
    starved = run(jobs, slow=slow, detection="coarse")
    assert starved.workload("slow").placed == 0
    assert starved.scheduler("slow").failed > 100
    aged = run(jobs, slow=slow, detection="coarse", commit_policies=("ageing=3:10",))
    assert aged.workload("slow").placed == 1
    assert aged.workload("slow").attempts.mean == 4
    # three that lose, of five seconds and a pause each, and one that nobody may overtake
    assert aged.workload("slow").time_until_placed.mean == pytest.approx(4 * 5.0 + 3 * 1.0)
    assert aged.workload("quick").placed == aged.workload("quick").jobs
    # one of the quick ones comes at 17.6 and waits until the slow one has landed, the next ones are behind it in the queue
    assert 900 * aged.workload("quick").wait_at_commit.mean == pytest.approx(23.0 - 17.6)
    # a hold that is over before the loser can be back is of no use
    assert (
        run(jobs, slow=slow, detection="coarse", commit_policies=("ageing=3:2",)).workload("slow").placed == 0
    )


def test_where_nobody_is_in_anybody_s_way_policies_change_nothing() -> None:
    batch = Workload.of("batch", [Job(float(n), 30, 100.0, 0.1, 0.1) for n in range(100)])
    service = Workload.of("service", [Job(3.5 * n, 3, 100.0, 0.1, 0.1) for n in range(30)])
    free, ruled = (
        simulate(Setup(SMALL, (batch, service), omega(0.2, 2, commit_policies=policies), horizon=300.0))
        for policies in ((), ("precedence=service", "ageing", "fair-shares"))
    )
    assert free == ruled
    assert free.conflict_fraction() == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: omega(commit_policies=("nobody",)), "The commit policy 'nobody' cannot be: no commit policy 'nobody'; there are: "),
        (lambda: omega(commit_policies=("ageing=0",)), "'ageing=0' cannot be: ageing after 0 losses"),
        (lambda: omega(commit_time=-1.0), "commit_time of Architecture is -1.0"),
        (lambda: omega(commit_time=float("nan")), "commit_time of Architecture is nan"),
        (lambda: attrs.evolve(Architecture.monolithic(), commit_time=1.0), "Only schedulers that share their state"),
        (lambda: Setup(SMALL, (), omega(commit_time=1.0), exact=True), "without a commit point"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(make: Any, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the sentence is looked at below
        make()
    message = str(caught.value)
    assert says in message
    assert message.count(". ") == 0
    assert message.endswith(".")
