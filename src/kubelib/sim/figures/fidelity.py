"""Figures 12 to 14: mixed machines and constraints; interference, several schedulers, and what conflicts cost."""

from collections.abc import Mapping

import attrs

from kubelib.sim.figures.base import (
    Claim,
    Curve,
    Panel,
    Picture,
    Results,
    Sample,
    Scale,
    column,
    number,
    over_seeds,
    rising,
)
from kubelib.sim.figures.waits import SLO
from kubelib.sim.sweep.base import Point, Row, Work
from kubelib.sim.traces.synthetic import mixed_cell

_T_JOBS = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0)
_BATCH_T_JOBS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_MODES = {
    "fine, incremental": Point("shared-state"),
    "fine, gang": Point("shared-state", commit="all-or-nothing"),
    "coarse, incremental": Point("shared-state", detection="coarse"),
    "coarse, gang": Point("shared-state", detection="coarse", commit="all-or-nothing"),
}


def _common(point: Point, scale: Scale, load: float, prefill: float = 0.6) -> Point:
    return attrs.evolve(
        point,
        horizon=scale.seconds(0.25),
        load=load * scale.machines / 10_000,
        prefill=prefill,
        constrained=0.3,
    )


@attrs.frozen
class Interference:
    """Figure 12: a busy cell, as the service scheduler thinks longer."""

    name = "12"
    title = "Interference in a busy cell, constraints obeyed"
    paper = (
        "In a busy cell the conflict fraction passes 1 near t_job(service) = 10 s, where waits miss 30 s though the scheduler is not"
        " saturated; busyness is well above what it would be without conflicts."
    )

    def _points(self, scale: Scale) -> dict[float, Point]:
        point = Point("shared-state", detection="coarse", commit="all-or-nothing")
        return {t: attrs.evolve(_common(point, scale, 3.0, 0.7), service_t_job=t) for t in _T_JOBS}

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        return over_seeds(list(self._points(scale).values()), mixed_cell(scale.machines), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, mixed_cell(scale.machines), rows)
        points = self._points(scale)
        conflicts = results.curve("service", points, column("service_conflict_fraction"))
        busyness = results.curve("service", points, column("service_busyness"))
        useful = results.curve("without conflicts", points, column("service_useful_share"))
        waits = results.curve("service", points, column("service_wait_first_mean"))
        x = "t_job(service) [s]"
        panels = (
            Panel(
                "conflict fraction", x, "failed per successful transactions", (conflicts,), logarithmic="x"
            ),
            Panel("busyness", x, "busyness", (busyness, useful), logarithmic="x"),
            Panel("wait", x, "mean wait until the first attempt [s]", (waits,), logarithmic="xy", marks=SLO),
        )
        values = [one.y for one in conflicts.samples]
        extra = busyness.y(30.0) / useful.y(30.0) - 1
        return Picture(
            panels,
            (
                Claim("The conflict fraction rises with t_job(service)", rising(values, 0.05), ", ".join(map(number, values))),
                Claim("Conflicts make the service scheduler much busier than its decisions alone would", extra > 0.1, f"{extra:.0%} more at 30 s"),
            ),
        )  # fmt: skip


@attrs.frozen
class Balanced:
    """Figure 13: one batch scheduler or three, as batch decisions take longer."""

    name = "13"
    title = "One batch scheduler or three, constraints obeyed"
    paper = "Three batch schedulers move saturation to about three times the decision time, at few conflicts."

    def _points(self, scale: Scale, schedulers: int) -> dict[float, Point]:
        point = Point("shared-state", batch_schedulers=schedulers)
        return {t: attrs.evolve(_common(point, scale, 1.0), batch_t_job=t) for t in _BATCH_T_JOBS}

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        points = [point for count in (1, 3) for point in self._points(scale, count).values()]
        return over_seeds(points, mixed_cell(scale.machines), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, mixed_cell(scale.machines), rows)

        def curves(name: str) -> tuple[Curve, ...]:
            return tuple(
                results.curve(f"{count} batch scheduler{'s' if count > 1 else ''}", self._points(scale, count), column(name))
                for count in (1, 3)
            )  # fmt: skip

        waits, busy, conflicts = (curves(f"batch_{kind}") for kind in ("wait_first_mean", "busyness", "conflict_fraction"))  # fmt: skip
        x = "t_job(batch) [s]"
        panels = (
            Panel("wait", x, "mean wait until the first attempt [s]", waits, logarithmic="xy", marks=SLO),
            Panel("busyness", x, "busyness of a batch scheduler", busy, logarithmic="x"),
            Panel("conflict fraction", x, "failed per successful transactions", conflicts, logarithmic="x"),
        )
        one, three = (_last_unsaturated(curve.samples) for curve in busy)
        few = max(sample.y for sample in conflicts[1].samples if sample.x <= three)
        return Picture(
            panels,
            (
                Claim("Three schedulers bear longer decisions than one", three >= 2 * one, f"not saturated up to {number(one)} s and {number(three)} s"),
                Claim("They conflict little", few < 0.2, f"a conflict fraction of {number(few)} at most until saturation"),
            ),
        )  # fmt: skip


def _last_unsaturated(samples: tuple[Sample, ...]) -> float:
    return max((one.x for one in samples if not one.saturated), default=0.0)


@attrs.frozen
class Conflicts:
    """Figure 14: what coarse detection and gangs cost."""

    name = "14"
    title = "Detection and commit of claims, constraints obeyed"
    paper = "All-or-nothing commits about double the conflicts, coarse detection makes it two to three times as many, both of busyness and conflicts."

    def _points(self, scale: Scale, mode: str) -> dict[float, Point]:
        return {t: attrs.evolve(_common(_MODES[mode], scale, 2.0), service_t_job=t) for t in _T_JOBS}

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        points = [point for mode in _MODES for point in self._points(scale, mode).values()]
        return over_seeds(points, mixed_cell(scale.machines), scale)

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        results = Results(scale, mixed_cell(scale.machines), rows)
        conflicts, busyness = (
            tuple(
                results.curve(mode, self._points(scale, mode), column(f"service_{kind}")) for mode in _MODES
            )
            for kind in ("conflict_fraction", "busyness")
        )
        x = "t_job(service) [s]"
        panels = (
            Panel("conflict fraction", x, "failed per successful transactions", conflicts, logarithmic="x"),
            Panel("busyness", x, "busyness of the service scheduler", busyness, logarithmic="x"),
        )
        fine, gang, coarse, both = (curve.y(30.0) for curve in conflicts)
        measured = f"at 30 s {number(fine)}, {number(gang)}, {number(coarse)}, {number(both)}"
        return Picture(
            panels,
            (
                Claim("Gangs conflict more than incremental commits, under either detection", gang > fine and both > coarse, measured),
                Claim("Coarse detection conflicts more than fine, under either commit", coarse > fine and both > gang, f"{coarse / fine:.1f} and {both / gang:.1f} times as much"),
            ),
        )  # fmt: skip


FIDELITY = [Interference(), Balanced(), Conflicts()]
