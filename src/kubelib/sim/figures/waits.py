"""Figures 5 and 6: how long jobs wait, and how busy schedulers are, as the service scheduler thinks longer."""

from collections.abc import Mapping

import attrs

from kubelib.sim.cell.base import Cell, Machines
from kubelib.sim.figures.base import (
    Claim,
    Panel,
    Picture,
    Results,
    Scale,
    column,
    number,
    over_seeds,
    rising,
)
from kubelib.sim.sweep.base import Point, Row, Scheme, Work

T_JOBS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SCHEMES: dict[str, Scheme] = {"a": "single-path", "b": "multi-path", "c": "shared-state"}
SLO = {"the paper's aim, 30 s": 30.0}


def plain_cell(scale: Scale) -> Cell:
    """Return the cell of equal machines."""
    return Cell((Machines(scale.machines, 4.0, 16.0),))


@attrs.frozen
class Waits:
    """Figure 5 (waits) or 6 (busyness), of one scheme."""

    name: str
    title: str
    paper: str
    scheme: Scheme

    def _points(self, scale: Scale, scheme: Scheme) -> dict[float, Point]:
        return {
            t_job: Point(scheme, service_t_job=t_job, horizon=scale.seconds(1), load=scale.machines / 10_000)
            for t_job in T_JOBS
        }

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        return over_seeds(list(self._points(scale, self.scheme).values()), plain_cell(scale), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, plain_cell(scale), rows)
        points = self._points(scale, self.scheme)
        waits = self.name.startswith("5")
        kind = "wait_first_mean" if waits else "busyness"
        shared = self.scheme == "shared-state"
        names = ("batch", "service") if waits or shared else ("batch",)
        labels = {"batch": "batch" if waits or shared else "the scheduler", "service": "service"}
        curves = tuple(results.curve(labels[name], points, column(f"{name}_{kind}")) for name in names)
        panel = Panel(
            self.scheme,
            "t_job(service) [s]" if self.scheme != "single-path" else "t_job [s]",
            "mean wait until the first attempt [s]" if waits else "busyness",
            curves,
            logarithmic="xy" if waits else "x",
            marks=SLO if waits else {},
        )
        return Picture((panel,), tuple(self._claims(panel)))

    def _claims(self, panel: Panel) -> list[Claim]:
        first = panel.curves[0]
        below = [one for one in first.samples if not one.saturated]
        match self.name:
            case "5a":
                service = panel.curve("service")
                pairs = [(one.y, service.y(one.x)) for one in below if one.x >= 0.1]
                apart = max(abs(a - b) / a for a, b in pairs)
                last = below[-1].x
                return [
                    Claim("Batch and service jobs wait alike at every decision time", apart < 0.25, f"at most {apart:.0%} apart below saturation"),
                    Claim("Past a decision time of some seconds the scheduler is saturated", first.samples[-1].saturated, f"saturated above {number(last)} s"),
                ]  # fmt: skip
            case "5b":
                low, high = first.y(0.1), first.y(100.0)
                return [Claim("Batch jobs still wait behind service jobs: their wait rises with t_job(service)", rising([one.y for one in first.samples if one.x >= 1]) and high > 10 * low, f"{number(low)} s at 0.1 s, {number(high)} s at 100 s")]  # fmt: skip
            case "5c" | "6c":
                values = [one.y for one in first.samples]
                spread = (max(values) - min(values)) / max(values)
                what = "wait" if self.name == "5c" else "busyness"
                return [Claim(f"The {what} of batch jobs does not depend on t_job(service)", spread < 0.05, f"{number(min(values))} to {number(max(values))}")]  # fmt: skip
            case "6a":
                return [
                    Claim("Busyness rises with the decision time until it is 1, then is flat", rising([one.y for one in first.samples], 0.01) and first.y(100.0) > 0.97, f"{number(first.y(0.1))} at 0.1 s, {number(first.y(1.0))} at 1 s, {number(first.y(100.0))} at 100 s"),
                ]  # fmt: skip
            case _:
                return [Claim("A fast path for batch jobs lowers busyness: saturation is not reached at 10 s", not any(one.saturated for one in first.samples if one.x <= 10), f"{number(first.y(10.0))} at 10 s, {number(first.y(100.0))} at 100 s")]  # fmt: skip


WAITS = [
    Waits(f"5{letter}", f"Job wait time, {scheme}", paper, scheme)
    for (letter, scheme), paper in zip(
        SCHEMES.items(),
        (
            "In a single path all jobs wait alike, and past saturation without bound.",
            "In a multi path batch jobs decide fast, but still queue behind slow service jobs.",
            "With shared state batch jobs are independent of how long the service scheduler thinks.",
        ),
        strict=True,
    )
]
BUSYNESS = [
    Waits(f"6{letter}", f"Scheduler busyness, {scheme}", paper, scheme)
    for (letter, scheme), paper in zip(
        SCHEMES.items(),
        (
            "In a single path the scheduler is soon busy all the time.",
            "A multi path is much less busy at the same decision time of service jobs.",
            "With shared state the batch scheduler's busyness is flat and the service scheduler's grows.",
        ),
        strict=True,
    )
]
