"""Making figures: one sweep for all that are asked for, then a table and a picture each, and one report."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs

from kubelib.sim.figures.base import Claim, Plan, Scale
from kubelib.sim.figures.fidelity import FIDELITY
from kubelib.sim.figures.loads import LOADS, SCHEDULERS
from kubelib.sim.figures.mapreduce import MAPREDUCE
from kubelib.sim.figures.offers import OFFERS
from kubelib.sim.figures.plot import check_plotting, png_of
from kubelib.sim.figures.report import report_of
from kubelib.sim.figures.surfaces import SURFACES
from kubelib.sim.figures.waits import BUSYNESS, WAITS
from kubelib.sim.sweep.base import Executor, Outcome, Row
from kubelib.sim.sweep.run import Progress, run_sweep
from kubelib.sim.sweep.tables import write_table

PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in cast(
        "tuple[Plan, ...]",
        (*WAITS, *BUSYNESS, *OFFERS, *LOADS, *SCHEDULERS, *SURFACES, *FIDELITY, *MAPREDUCE),
    )
}


@attrs.frozen
class Made:
    """What was written, what the figures claim, and what the simulations cost."""

    files: tuple[Path, ...]
    claims: tuple[tuple[str, Claim], ...]
    outcomes: tuple[Outcome, ...]


def make_figures(
    names: Sequence[str], directory: Path, scale: Scale, executor: Executor, progress: Progress
) -> Made:
    """Make figures by name in a directory: ``figure-5a.csv``, ``figure-5a.png``, and ``report.html``.

    Points that several figures need are simulated once, and kept in ``points.csv.points`` until all are finished. Raises
    `PlotError`, `SweepError`, `PointFailed` or `Lost`.
    """
    check_plotting()
    plans = [PLANS[name] for name in names]
    work = list(dict.fromkeys(one for plan in plans for one in plan.work(scale)))
    outcomes: list[Outcome] = []
    files: list[Path] = []
    if work:
        outcomes = run_sweep(work, directory / "points.csv", executor, progress)
    rows: dict[str, Row] = {one.key: outcome.row for one, outcome in zip(work, outcomes, strict=True)}
    drawn = []
    claims: list[tuple[str, Claim]] = []
    for plan in plans:
        picture = plan.picture(scale, rows)
        png = png_of(picture, f"{plan.name}: {plan.title}")
        table, image = (directory / f"figure-{plan.name}.{ending}" for ending in ("csv", "png"))
        write_table(table, picture.rows())
        image.write_bytes(png)
        files += [table, image]
        drawn.append((plan, picture, png))
        claims += [(plan.name, claim) for claim in picture.claims]
    report = directory / "report.html"
    report.write_text(report_of(drawn, scale), encoding="utf-8")
    return Made((*files, report), tuple(claims), tuple(outcomes))
