"""The light-weight simulation of days on 10,000 machines; jobs are made beforehand, the prefill belongs to the run.

Budgets are for the median of five runs after a first one, with nothing else going on.
"""

from typing import Any

import attrs
import pytest

from kubelib.sim.cell import Architecture, Cell, Setup, paper_like, simulate
from kubelib.sim.cell.results import DAY
from kubelib.sim.cell.setup import Engine
from tests.bench.budgets import median_within


@attrs.frozen
class Case:
    """What is simulated, how many batch jobs come, and how many seconds that may take in plain Python and compiled."""

    architecture: Architecture
    jobs: int
    python: float = 0.0
    numba: float = 0.0
    load: float = 1.0
    days: int = 1


WEEK = ("shared-state-7-days", "python")  # takes its time, and says no more than a day
SHARED, MANY = Architecture.shared_state(), Architecture.shared_state(batch_schedulers=32)
CASES = {
    "monolithic": Case(Architecture.monolithic(), 21_298),
    "shared-state": Case(SHARED, 21_298, 0.5, 0.06),
    "shared-state-x4": Case(SHARED, 85_913, 3, 0.5, load=4),
    "shared-state-x4-32-schedulers": Case(MANY, 85_913, 0, 0.8, load=4),
    "shared-state-7-days": Case(SHARED, 150_423, 0, 0.4, days=7),
    "two-level": Case(Architecture.two_level(), 21_298, 2, 0.3),
}

RUNS = [(name, engine) for name in CASES for engine in ("python", "numba") if (name, engine) != WEEK]


def _measure(benchmark: Any, case: Case, budget: float, **options: Any) -> None:
    day = paper_like(load=case.load, horizon=case.days * DAY)
    workloads = (day.batch, day.service)
    setup = Setup(
        Cell(), workloads, case.architecture, day.prefill, horizon=case.days * DAY, **options
    )  # fmt: skip
    results = benchmark.pedantic(simulate, (setup,), rounds=5, warmup_rounds=1)
    assert results.workload("batch").jobs == case.jobs
    median_within(benchmark, budget)


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_days(benchmark: Any, name: str, engine: Engine) -> None:
    case = CASES[name]
    _measure(benchmark, case, case.python if engine == "python" else case.numba, engine=engine)


@pytest.mark.parametrize("engine", ["python", "numba"])
@pytest.mark.parametrize("name", ["monolithic", "shared-state"])
def test_a_day_as_the_paper_s_own_simulator_places(benchmark: Any, name: str, engine: Engine) -> None:
    _measure(benchmark, CASES[name], 0, engine=engine, exact=True)
