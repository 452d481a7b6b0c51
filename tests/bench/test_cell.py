"""The light-weight simulation of a day on 10,000 machines; jobs are made beforehand, the prefill belongs to the run."""

from typing import Any

import pytest

from kubelib.sim.cell import Architecture, Cell, Setup, paper_like, simulate
from kubelib.sim.cell.setup import Engine

ARCHITECTURES = {"monolithic": Architecture.monolithic(), "shared-state": Architecture.shared_state()}


@pytest.mark.parametrize("engine", ["python", "numba"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_day(benchmark: Any, architecture: str, exact: bool, engine: Engine) -> None:
    day = paper_like()
    setup = Setup(
        Cell(),
        (day.batch, day.service),
        ARCHITECTURES[architecture],
        day.prefill,
        exact=exact,
        engine=engine,
    )
    results = benchmark.pedantic(simulate, (setup,), rounds=5, warmup_rounds=1)
    assert results.workload("batch").placed == 21_298


@pytest.mark.parametrize("engine", ["python", "numba"])
def test_a_day_of_four_times_the_load(benchmark: Any, engine: Engine) -> None:
    day = paper_like(load=4)
    setup = Setup(
        Cell(),
        (day.batch, day.service),
        Architecture.shared_state(batch_schedulers=32),
        day.prefill,
        engine=engine,
    )
    results = benchmark.pedantic(simulate, (setup,), rounds=3, warmup_rounds=1)
    assert results.workload("batch").jobs == 85_913
