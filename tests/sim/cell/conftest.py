from functools import cache

import pytest

from kubelib.sim.cell import Architecture, Cell, Setup
from kubelib.sim.cell.engine import simulate
from kubelib.sim.cell.results import Results
from kubelib.sim.cell.setup import Engine
from kubelib.sim.cell.workloads import Day, paper_like

days = cache(paper_like)


class Runs:
    """Runs of the paper-like day."""

    def __call__(
        self,
        architecture: Architecture,
        *,
        exact: bool = False,
        seed: int = 42,
        load: float = 1.0,
        horizon: float = 86_400.0,
        prefill: float = 0.6,
        prefill_horizon: float | None = None,
        engine: Engine = "python",
    ) -> Results:
        day = self.day(load, horizon, prefill)
        held = self.day(load, prefill_horizon, prefill) if prefill_horizon else day
        setup = Setup(
            Cell(),
            (day.batch, day.service),
            architecture,
            held.prefill,
            horizon=horizon,
            seed=seed,
            exact=exact,
            engine=engine,
        )
        return simulate(setup)

    def day(self, load: float = 1.0, horizon: float = 86_400.0, prefill: float = 0.6) -> Day:
        return days(load=load, horizon=horizon, prefill=prefill)


@pytest.fixture(scope="session")
def run() -> Runs:
    return Runs()
