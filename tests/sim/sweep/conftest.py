from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kubelib.sim.sweep.base import Outcome, Work
from kubelib.sim.sweep.executors import Inline
from kubelib.sim.sweep.reading import sweep_of

SMALL: dict[str, Any] = {
    "seeds": 2,
    "cell": {"machines": [{"count": 60, "cpu": 4, "memory": 16.0}]},
    "sweep": {
        "architecture": ["single-path", "shared-state", "two-level"],
        "service_t_job": [0.1, 5],
        "horizon": 600,
        "load": 0.1,
    },
}


class Counting:
    """Runs points here, notes which, and is interrupted after some."""

    def __init__(self, interrupted_after: int | None = None) -> None:
        self.ran: list[Work] = []
        self._left = interrupted_after

    def run(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        for one, outcome in Inline().run(work):
            if self._left is not None and len(self.ran) == self._left:
                raise KeyboardInterrupt
            self.ran.append(one)
            yield one, outcome


@pytest.fixture
def small() -> list[Work]:
    return sweep_of(SMALL)
