"""Figures 8 and 9: shared state under more batch jobs, and with more batch schedulers."""

from collections.abc import Mapping

import attrs

from kubelib.sim.figures.base import Claim, Panel, Picture, Results, Scale, column, number, over_seeds, rising
from kubelib.sim.figures.waits import SLO, plain_cell
from kubelib.sim.sweep.base import Point, Row, Work

_LOADS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
_SCHEDULERS = (1, 2, 4, 8, 16, 32)
_SOME_LOADS = (1.0, 4.0, 6.0)
_HOURS = 0.25


def _point(scale: Scale, load: float, schedulers: int = 1, t_job: float = 0.1) -> Point:
    return Point(
        "shared-state",
        load=load * scale.machines / 10_000,
        batch_schedulers=schedulers,
        service_t_job=t_job,
        horizon=scale.seconds(_HOURS),
    )


@attrs.frozen
class Loads:
    """Figure 8a (waits) or 8b (busyness)."""

    name: str
    title: str
    paper: str

    def _points(self, scale: Scale) -> dict[float, Point]:
        # the service scheduler decides in 10 s, so that conflicts show
        return {load: _point(scale, load, t_job=10.0) for load in _LOADS}

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        return over_seeds(list(self._points(scale).values()), plain_cell(scale), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, plain_cell(scale), rows)
        waits = self.name == "8a"
        kind = "wait_first_mean" if waits else "busyness"
        curves = tuple(results.curve(name, self._points(scale), column(f"{name}_{kind}")) for name in ("batch", "service"))  # fmt: skip
        batch, service = curves
        panel = Panel(
            "shared-state",
            "arrival rate of batch jobs, times the paper-like day's",
            "mean wait until the first attempt [s]" if waits else "busyness",
            curves,
            logarithmic="y" if waits else "",
            marks=SLO if waits else {},
        )
        saturated = next((one.x for one in batch.samples if one.saturated), None)
        where = f"saturated from x{saturated:g}" if saturated else f"not saturated up to x{_LOADS[-1]:g}"
        values = [one.y for one in batch.samples]
        claims = [Claim(f"Batch {'wait' if waits else 'busyness'} rises with the arrival rate, up to saturation", rising(values, 0.02), f"{number(values[0])} at x1, {number(values[3])} at x4, {number(values[5])} at x6; {where}")]  # fmt: skip
        if not waits:
            low, high = service.y(1.0), service.y(6.0)
            claims.append(Claim("Service busyness rises too, by conflicts alone", high > low, f"{number(low)} at x1, {number(high)} at x6"))  # fmt: skip
        return Picture((panel,), tuple(claims))


@attrs.frozen
class Schedulers:
    """Figure 9a (conflicts) or 9b (busyness)."""

    name: str
    title: str
    paper: str

    def _points(self, scale: Scale, load: float) -> dict[float, Point]:
        return {float(count): _point(scale, load, count) for count in _SCHEDULERS}

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        points = [point for load in _SOME_LOADS for point in self._points(scale, load).values()]
        return over_seeds(points, plain_cell(scale), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, plain_cell(scale), rows)
        conflicts = self.name == "9a"
        measure = column("batch_conflict_fraction" if conflicts else "batch_busyness")
        curves = tuple(
            results.curve(f"x{load:g}", self._points(scale, load), measure) for load in _SOME_LOADS
        )
        panel = Panel(
            "shared-state",
            "batch schedulers",
            "failed per successful transactions" if conflicts else "busyness of a batch scheduler",
            curves,
            logarithmic="x" if conflicts else "xy",
        )
        high = panel.curve("x6")
        values = [one.y for one in high.samples]
        if conflicts:
            low = [one.y for one in curves[0].samples]
            claims = [
                Claim("The conflict fraction rises with the number of schedulers in a busy cell", rising(values, 0.05), "at x6: " + ", ".join(map(number, values))),
                Claim("And with the load", all(high.y(float(count)) > curves[0].y(float(count)) for count in _SCHEDULERS[1:]), f"with 32: {number(low[-1])} at x1, {number(values[-1])} at x6"),
            ]  # fmt: skip
        else:
            falls = all(rising([one.y for one in reversed(curve.samples)]) for curve in curves)
            claims = [Claim("Busyness per scheduler falls with every scheduler more, up to 32", falls, "at x6: " + ", ".join(map(number, values)))]  # fmt: skip
        return Picture((panel,), tuple(claims))


LOADS = [
    Loads("8a", "Job wait time under load, shared state", "Wait grows with the arrival rate of batch jobs until the batch scheduler saturates, at several times the original rate."),
    Loads("8b", "Scheduler busyness under load, shared state", "The batch scheduler is busier with arrivals, the service scheduler with conflicts."),
]  # fmt: skip
SCHEDULERS = [
    Schedulers("9a", "Conflicts with several batch schedulers", "More schedulers conflict more, and more so under load."),
    Schedulers("9b", "Busyness with several batch schedulers", "Each of more schedulers is less busy: the model scales up to 32, though not linearly."),
]  # fmt: skip
