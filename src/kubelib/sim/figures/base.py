"""What a figure is: simulations to run, curves or surfaces to draw of them, and claims to check on them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Protocol

import attrs

from kubelib.sim.cell.base import Cell
from kubelib.sim.sweep.base import Point, Row, Work
from kubelib.sim.sweep.summary import confidence

Measure = Callable[[Row], float]


def column(name: str) -> Measure:
    """Return what reads a column of a row."""
    return lambda row: float(row[name])


def unscheduled(row: Row) -> float:
    """Return the share of jobs that were not placed by the end."""
    jobs = float(row["batch_jobs"]) + float(row["service_jobs"])
    return (float(row["batch_not_placed"]) + float(row["service_not_placed"])) / max(jobs, 1.0)


@attrs.frozen
class Sample:
    """A figure over seeds: its mean, the half width of its 95 % confidence interval, and what to beware of."""

    x: float
    y: float
    half: float = float("nan")
    saturated: bool = False
    left: float = 0.0
    """The share of jobs that were not placed by the end."""


@attrs.frozen
class Curve:
    """A line of a plot."""

    label: str
    samples: tuple[Sample, ...]
    steps: bool = False
    """Whether it is a distribution or a course over time: many samples, without marks."""

    def y(self, x: float) -> float:
        """Return the value at an x that has a sample."""
        return next(sample.y for sample in self.samples if sample.x == x)


@attrs.frozen
class Surface:
    """A map over two parameters: `samples` by rows of y."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    samples: tuple[tuple[Sample, ...], ...]


@attrs.frozen
class Panel:
    """A plot: of curves, or of one surface."""

    title: str
    x: str
    y: str
    curves: tuple[Curve, ...] = ()
    surface: Surface | None = None
    logarithmic: str = ""
    """Which axes are: ``x``, ``y``, ``xy`` or none."""
    marks: Mapping[str, float] = attrs.field(factory=dict)
    """Horizontal lines, by what they mean."""

    def curve(self, label: str) -> Curve:
        """Return a curve by its label."""
        return next(curve for curve in self.curves if curve.label == label)


@attrs.frozen
class Claim:
    """What the paper says, in our words, whether it holds here, and the figures that say so."""

    text: str
    holds: bool
    measured: str


@attrs.frozen
class Picture:
    """A figure that is ready to be drawn."""

    panels: tuple[Panel, ...]
    claims: tuple[Claim, ...]

    def rows(self) -> list[Row]:
        """Return all that is drawn as a table."""
        rows: list[Row] = []
        for panel in self.panels:
            for curve in panel.curves:
                rows += [
                    {"panel": panel.title, "series": curve.label, "x": one.x, "x2": "", "y": one.y, "ci95": one.half,
                     "saturated": one.saturated, "unscheduled": one.left}
                    for one in curve.samples
                ]  # fmt: skip
            if panel.surface:
                for y, line in zip(panel.surface.ys, panel.surface.samples, strict=True):
                    rows += [
                        {"panel": panel.title, "series": "", "x": one.x, "x2": y, "y": one.y, "ci95": one.half,
                         "saturated": one.saturated, "unscheduled": one.left}
                        for one in line
                    ]  # fmt: skip
        return rows


@attrs.frozen
class Scale:
    """How much is simulated for a figure: 1 day and 3 seeds unless said otherwise, on 10,000 machines."""

    days: float = 1.0
    seeds: int = 3
    machines: int = 10_000

    def seconds(self, share: float) -> float:
        """Return a share of the days in seconds."""
        return share * self.days * 86_400.0


class Plan(Protocol):
    """How a figure comes about."""

    @property
    def name(self) -> str:
        """Its number in the paper, as ``5a``."""
        ...

    @property
    def title(self) -> str:
        """What is drawn."""
        ...

    @property
    def paper(self) -> str:
        """What the paper shows in it, in our words."""
        ...

    def work(self, scale: Scale) -> list[Work]:
        """Return what must be simulated."""
        ...

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure, from the rows of all work by key."""
        ...


class Results:
    """The rows of a figure's work, averaged over seeds."""

    def __init__(self, scale: Scale, cell: Cell, rows: Mapping[str, Row]) -> None:
        self._scale = scale
        self._cell = cell
        self._rows = rows

    def sample(self, x: float, point: Point, measure: Measure) -> Sample:
        """Return a measure of a point over seeds."""
        rows = [self._rows[one.key] for one in over_seeds([point], self._cell, self._scale)]
        mean, half = confidence([measure(row) for row in rows])
        saturated = sum(bool(row["batch_saturated"]) or bool(row["service_saturated"]) for row in rows)
        left = sum(unscheduled(row) for row in rows) / len(rows)
        return Sample(x, mean, half, 2 * saturated > len(rows), left)

    def curve(self, label: str, points: Mapping[float, Point], measure: Measure) -> Curve:
        """Return a measure of points by x."""
        return Curve(label, tuple(self.sample(x, point, measure) for x, point in points.items()))


def over_seeds(points: Sequence[Point], cell: Cell, scale: Scale) -> list[Work]:
    """Return each point with each seed."""
    return [
        Work(attrs.evolve(point, seed=seed), cell) for point in points for seed in range(1, scale.seeds + 1)
    ]


def rising(values: Sequence[float], slack: float = 0.0) -> bool:
    """Return whether no value is smaller than the one before, but for a share of it."""
    return all(after >= before * (1 - slack) for before, after in pairwise(values))


def number(value: float) -> str:
    """Return a number as people write it.

    >>> number(0.0123456), number(26559.2), number(3.0)
    ('0.0123', '26,559', '3')
    """
    if not isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
