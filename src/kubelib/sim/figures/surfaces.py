"""Figures 10 and 11: busyness over both parts of the decision time of service jobs."""

from collections.abc import Mapping

import attrs

from kubelib.sim.cell.base import Cell
from kubelib.sim.figures.base import (
    Claim,
    Panel,
    Picture,
    Results,
    Sample,
    Scale,
    Surface,
    column,
    over_seeds,
)
from kubelib.sim.figures.waits import plain_cell
from kubelib.sim.sweep.base import Point, Row, Work
from kubelib.sim.traces.synthetic import mixed_cell

_T_JOBS = (0.1, 1.0, 10.0, 100.0)
_T_TASKS = (0.001, 0.01, 0.1, 1.0)
_FULL = 0.85
"""How much of the cell of figure 10 is in use at the begin: the paper's cell B is a busy one."""
_SCHEMES = {
    "monolithic, single path": Point("single-path"),
    "monolithic, multi path": Point("multi-path"),
    "two-level": Point("two-level"),
    "shared state": Point("shared-state"),
    "shared state, coarse and gang": Point("shared-state", detection="coarse", commit="all-or-nothing"),
}


def _left(samples: tuple[tuple[Sample, ...], ...]) -> float:
    """Return the mean share of jobs that were not placed, over a surface."""
    flat = [one.left for line in samples for one in line]
    return sum(flat) / len(flat)


@attrs.frozen
class Surfaces:
    """A map of service busyness per scheme, with the share of jobs left unscheduled where that is above 1 %."""

    name: str
    title: str
    paper: str
    schemes: tuple[str, ...]

    def _cell(self, scale: Scale) -> Cell:
        return mixed_cell(scale.machines) if self.name == "11" else plain_cell(scale)

    def _point(self, scale: Scale, scheme: str, t_job: float, t_task: float) -> Point:
        return attrs.evolve(
            _SCHEMES[scheme],
            service_t_job=t_job,
            service_t_task=t_task,
            horizon=scale.seconds(0.25 if self.name == "11" else 0.125),
            load=scale.machines / 10_000,
            prefill=0.6 if self.name == "11" else _FULL,
            constrained=0.3 if self.name == "11" else 0.0,
        )

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated; a surface is of one seed."""
        points = [
            self._point(scale, scheme, t_job, t_task)
            for scheme in self.schemes
            for t_task in _T_TASKS
            for t_job in _T_JOBS
        ]
        return over_seeds(points, self._cell(scale), attrs.evolve(scale, seeds=1))

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(attrs.evolve(scale, seeds=1), self._cell(scale), rows)
        panels = []
        for scheme in self.schemes:
            samples = tuple(
                tuple(
                    results.sample(
                        t_job, self._point(scale, scheme, t_job, t_task), column("service_busyness")
                    )
                    for t_job in _T_JOBS
                )
                for t_task in _T_TASKS
            )
            panels.append(Panel(scheme, "t_job(service) [s]", "t_task(service) [s]", surface=Surface(_T_JOBS, _T_TASKS, samples)))  # fmt: skip
        left = {panel.title: _left(panel.surface.samples) for panel in panels if panel.surface}
        measured = ", ".join(f"{share:.1%} {scheme}" for scheme, share in left.items())
        if self.name == "11":
            (surface,) = (panel.surface for panel in panels if panel.surface)
            low = sum(one.y < 0.5 for line in surface.samples for one in line) / (
                len(_T_JOBS) * len(_T_TASKS)
            )
            return Picture(tuple(panels), (Claim("Service busyness is low over most of the range", low > 0.5, f"below 0.5 on {low:.0%} of the map"),))  # fmt: skip
        single, multi, two, shared, coarse = left.values()
        return Picture(
            tuple(panels),
            (
                Claim("The single path leaves most of the load unscheduled, over most of the range", single == max(left.values()), "left on average: " + measured),
                Claim("Two-level scheduling leaves more of the load than the multi path", two > multi, f"{two:.1%} against {multi:.1%}"),
                Claim("Shared state leaves no more than the other schemes", shared <= min(single, multi, two) + 0.001, f"{shared:.1%}"),
                Claim("Coarse detection with gangs leaves about as much", abs(coarse - shared) < 0.01, f"{coarse:.1%} against {shared:.1%}"),
            ),
        )  # fmt: skip


SURFACES = [
    Surfaces("10", "Busyness over t_job and t_task of service jobs", "A single path is worst, a multi path better; Mesos leaves much of the load unscheduled; shared state is competitive with the multi path and keeps batch jobs free.", tuple(_SCHEMES)),
    Surfaces("11", "Busyness over t_job and t_task, constraints obeyed", "In high fidelity, on a cell of mixed machines with constraints, busyness is low over nearly all of the range.", ("shared state",)),
]  # fmt: skip
