"""The light-weight simulation of a day on 10,000 machines; jobs are made beforehand, the prefill belongs to the run."""

from typing import Any

import pytest

from kubelib.sim.cell import Architecture, Cell, Setup, paper_like, simulate

ARCHITECTURES = {"monolithic": Architecture.monolithic(), "shared-state": Architecture.shared_state()}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_day(benchmark: Any, architecture: str, exact: bool) -> None:
    day = paper_like()
    setup = Setup(Cell(), (day.batch, day.service), ARCHITECTURES[architecture], day.prefill, exact=exact)
    results = benchmark.pedantic(simulate, (setup,), rounds=5, warmup_rounds=1)
    assert results.workload("batch").placed == 21_298
