"""Figure 7: two-level scheduling as the service framework thinks longer."""

from collections.abc import Mapping

import attrs

from kubelib.sim.figures.base import (
    Claim,
    Panel,
    Picture,
    Results,
    Scale,
    column,
    number,
    over_seeds,
    unscheduled,
)
from kubelib.sim.figures.waits import SLO, plain_cell
from kubelib.sim.sweep.base import Point, Row, Scheme, Work

_T_JOBS = (0.1, 1.0, 10.0, 30.0, 100.0)
_FULL = 0.85
_PARTS = {
    "a": ("Job wait time", "Batch jobs wait longer the longer the service framework thinks, though their own decisions are as fast as ever."),
    "b": ("Scheduler busyness", "The batch framework is busier than its decisions need: it tries again and again on offers too small for its jobs."),
    "c": ("Jobs left unscheduled", "Some batch jobs are never scheduled within the limit on attempts; with shared state all are."),
}  # fmt: skip


@attrs.frozen
class Offers:
    """Figure 7a, 7b or 7c; the last on a cell that is fuller, where what is left beside an offer is soon too little."""

    name: str

    @property
    def title(self) -> str:
        """What is drawn."""
        return f"{_PARTS[self.name[1]][0]}, two-level"

    @property
    def paper(self) -> str:
        """What the paper shows."""
        return _PARTS[self.name[1]][1]

    def _points(self, scale: Scale, scheme: Scheme) -> dict[float, Point]:
        full = self.name == "7c"
        common = Point(
            scheme,
            horizon=scale.seconds(0.25),
            load=scale.machines / 10_000,
            prefill=_FULL if full else 0.6,
        )
        return {t_job: attrs.evolve(common, service_t_job=t_job) for t_job in _T_JOBS}

    def _schemes(self) -> tuple[Scheme, ...]:
        return ("two-level", "shared-state") if self.name == "7c" else ("two-level",)

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        points = [point for scheme in self._schemes() for point in self._points(scale, scheme).values()]
        return over_seeds(points, plain_cell(scale), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, plain_cell(scale), rows)
        points = self._points(scale, "two-level")
        x = "t_job(service) [s]"
        match self.name:
            case "7a":
                curves = tuple(results.curve(name, points, column(f"{name}_wait_first_mean")) for name in ("batch", "service"))  # fmt: skip
                panel = Panel("two-level", x, "mean wait until the first attempt [s]", curves, logarithmic="xy", marks=SLO)  # fmt: skip
                low, high = curves[0].y(0.1), curves[0].y(100.0)
                claim = Claim("Batch wait rises with t_job(service)", high > 5 * low, f"{number(low)} s at 0.1 s, {number(high)} s at 100 s")  # fmt: skip
            case "7b":
                curves = tuple(results.curve(name, points, column(f"{name}_busyness_with_fruitless")) for name in ("batch", "service"))  # fmt: skip
                attempts = results.curve("batch attempts per job", points, column("batch_attempts_mean"))
                panel = Panel(
                    "two-level", x, "busyness, fruitless attempts included", curves, logarithmic="x"
                )
                low, high = curves[0].y(0.1), curves[0].y(100.0)
                claim = Claim("Batch busyness rises with t_job(service), for its jobs are attempted several times", high > 1.15 * low and attempts.y(100.0) > 1.5, f"{number(low)} at 0.1 s, {number(high)} at 100 s; {number(attempts.y(0.1))} and {number(attempts.y(100.0))} attempts per job")  # fmt: skip
            case _:
                curves = (
                    results.curve("two-level", points, unscheduled),
                    results.curve("shared-state", self._points(scale, "shared-state"), unscheduled),
                )
                panel = Panel(
                    "a fuller cell", x, "share of jobs not placed by the end", curves, logarithmic="x"
                )
                two, shared = curves[0].y(100.0), curves[1].y(100.0)
                claim = Claim("Two-level scheduling leaves more jobs unscheduled than shared state", two > 2 * shared, f"{two:.2%} against {shared:.2%} at 100 s")  # fmt: skip
        return Picture((panel,), (claim,))


OFFERS = [Offers(f"7{letter}") for letter in _PARTS]
