"""The paper-like day is the very one that the reference results are about, and what cannot be simulated is refused."""

from typing import Any

import pytest

from kubelib.sim.cell import (
    Architecture,
    Cell,
    DecisionTime,
    Job,
    Machines,
    SchedulerSpec,
    Setup,
    Shape,
    Workload,
    simulate,
)
from kubelib.sim.cell.rng import JavaRandom
from kubelib.sim.cell.setup import Engine
from kubelib.sim.cell.workloads import BATCH, generate, paper_like


def counts(workload: Workload) -> tuple[int, int]:
    return len(workload), int(workload.tasks.sum())


def test_the_paper_like_day_has_the_published_jobs() -> None:
    day = paper_like()
    assert counts(day.prefill) == (6_058, 28_712)
    assert counts(day.service) == (674, 2_723)
    assert counts(day.batch) == (21_298, 605_206)
    first = next(iter(day.batch))
    assert first == Job(submit=2.408691, tasks=3, duration=1547.877976, cpu=0.313352, memory=1.063431)


@pytest.mark.parametrize(("load", "expected"), [(2, (42_829, 1_241_044)), (4, (85_913, 2_529_099))])
def test_more_load_means_more_batch_jobs(load: float, expected: tuple[int, int]) -> None:
    day = paper_like(load=load)
    assert counts(day.batch) == expected
    assert counts(day.service) == (674, 2_723)


def test_seeds_give_other_jobs() -> None:
    one, two = (generate("batch", BATCH, seed, Cell(), 3600.0) for seed in (1, 2))
    assert list(one) != list(two)
    assert list(one) == list(generate("batch", BATCH, 1, Cell(), 3600.0))


def test_the_java_generator_gives_what_java_gives() -> None:
    random = JavaRandom(42)
    assert [random.below(10) for _ in range(6)] == [0, 3, 8, 4, 0, 5]


def test_the_java_generator_is_the_same_across_its_blocks() -> None:
    random = JavaRandom(7)
    state = (7 ^ 0x5DEECE66D) & ((1 << 48) - 1)
    for _ in range(20_000):
        state = (state * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        assert random.below(1 << 30) == state >> 18


def job(**changes: Any) -> Workload:
    values = {"submit": 0.0, "tasks": 1, "duration": 1.0, "cpu": 1.0, "memory": 1.0, **changes}
    return Workload.of("batch", [Job(**values)])


MONOLITHIC = Architecture.monolithic()
IMPOSSIBLE: list[tuple[Any, str]] = [
    (lambda: DecisionTime(-1.0), "t_job of DecisionTime is -1.0"),
    (lambda: DecisionTime(0.1, float("nan")), "t_task of DecisionTime is nan"),
    (lambda: Machines(0, 4, 16), "count of Machines is 0"),
    (lambda: Cell(()), "needs machines"),
    (lambda: job(duration=float("nan")), "has nan for duration"),
    (lambda: job(tasks=0), "has 0 for tasks"),
    (lambda: job(submit=-1.0), "rising submission times"),
    (lambda: Workload("w", [0.0, 1.0], [1], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]), "2 jobs but 1 of tasks"),
    (lambda: Setup(Cell(), (job(cpu=5.0),), MONOLITHIC), "asks for 5 CPUs and 1 GB, which no machine"),
    (lambda: Setup(Cell(), (job(),), MONOLITHIC, horizon=0.0), "horizon of Setup is 0.0"),
    (lambda: Setup(Cell(), (job(),), MONOLITHIC, blacklist=1.0), "leaves no machine"),
    (lambda: Setup(Cell(), (job(), job()), MONOLITHIC), "different names"),
    (
        lambda: Setup(Cell(), (Workload.of("other", []),), MONOLITHIC),
        "No scheduler serves workload other",
    ),
    (lambda: Architecture("monolithic", ()), "needs schedulers"),
    (lambda: Architecture.partitioned(Cell(), 1.0), "leaves one partition empty"),
    (lambda: Architecture("partitioned", (SchedulerSpec("a", {}),)), "Partitions must be ranges"),
    (lambda: paper_like(load=0), "A load of 0 is none"),
    (lambda: paper_like(load=1e9, horizon=60.0), "would have 2e+10 jobs: give less load"),
    (lambda: paper_like(horizon=1e308), "give less load or a shorter horizon"),
    (lambda: Cell((Machines(10**12, 4, 16),)), "A cell of 1,000,000,000,000 machines is too large"),
    (lambda: paper_like(prefill=1.5), "A prefill of 1.5 is no share"),
    (lambda: Shape(0, 1, 1, 1, 1, 1), "gap of a workload's shape is 0"),
]


@pytest.mark.parametrize(("make", "says"), IMPOSSIBLE)
def test_the_impossible_is_refused_in_one_sentence(make: Any, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the sentence is looked at below
        make()
    message = str(caught.value)
    assert says in message
    assert message.count(". ") == 0
    assert message.endswith(".")


@pytest.mark.parametrize("engine", ["python", "numba"])
@pytest.mark.parametrize("architecture", [MONOLITHIC, Architecture.two_level()])
def test_less_than_a_second_can_be_simulated(architecture: Architecture, engine: Engine) -> None:
    setup = Setup(Cell((Machines(1, 4, 16),)), (job(),), architecture, horizon=0.5, engine=engine)
    results = simulate(setup)
    assert results.end == 0.5
    assert results.cell.locked_cpu == 0
