"""Figures 15 and 16: what a MapReduce scheduler gains that uses idle resources, and what it does to the cell."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, cast

import attrs

from kubelib.sim.figures.base import Claim, Curve, Panel, Picture, Sample, Scale, number
from kubelib.sim.mapreduce.policies import POLICIES, AsAsked, MaxParallelism
from kubelib.sim.mapreduce.study import CELLS, Situation, Study, study
from kubelib.sim.sweep.base import Row, Work

_POINTS = 200


@cache
def _study(situation: Situation, policy: Any, horizon: float) -> Study:
    return study(situation, policy, horizon=horizon)


def _sized(situation: Situation, scale: Scale) -> Situation:
    part = scale.machines / 10_000
    return attrs.evolve(
        situation, machines=max(1, round(situation.machines * part)), load=situation.load * part
    )


def _distribution(study: Study) -> Curve:
    ordered = sorted(study.speedups)
    count = len(ordered)
    places = sorted({round(number * (count - 1) / _POINTS) for number in range(_POINTS + 1)})
    return Curve(
        study.policy, tuple(Sample(ordered[place], (place + 1) / count) for place in places), steps=True
    )


@attrs.frozen
class Speedups:
    """Figure 15: the distribution of speed-ups, by policy and cell."""

    name = "15"
    title = "Speed-up of MapReduce jobs by the use of idle resources"
    paper = (
        "Half to two thirds of MapReduce jobs gain; at the 80th percentile by 3 to 4 times under max-parallelism. Relative size is"
        " nearly as good, a global cap only in the lightly loaded cell."
    )

    def work(self, scale: Scale) -> list[Work]:
        """Return nothing: the case study is no sweep."""
        return []

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        panels, studies = [], {}
        for situation in CELLS:
            done = [
                _study(_sized(situation, scale), cast("Hashable", policy), scale.seconds(0.5))
                for policy in POLICIES
            ]
            studies[situation.name[0]] = {one.policy: one for one in done}
            panels.append(Panel(situation.name, "speed-up", "share of MapReduce jobs", tuple(map(_distribution, done)), logarithmic="x"))  # fmt: skip
        best = {cell: by_policy["max-parallelism"] for cell, by_policy in studies.items()}
        relative = {cell: by_policy["relative size"] for cell, by_policy in studies.items()}
        capped = {cell: by_policy["global cap"] for cell, by_policy in studies.items()}
        gains = [one.gaining for one in best.values()]
        p80 = [one.percentile(0.8) for one in best.values()]
        rel80 = [one.percentile(0.8) for one in relative.values()]
        most = max(max(one.speedups) for one in relative.values())
        return Picture(
            tuple(panels),
            (
                Claim("50 to 70 % of MapReduce jobs gain under max-parallelism", all(0.5 <= gain <= 0.7 for gain in gains), ", ".join(f"{gain:.0%}" for gain in gains)),
                Claim("The 80th percentile of the speed-up is 3 to 4", all(3 <= value <= 4 for value in p80), ", ".join(map(number, p80))),
                Claim("Relative size is nearly as good, and bounded by 4", all(rel > 0.8 * full for rel, full in zip(rel80, p80, strict=True)) and most <= 4 + 1e-9, f"80th percentile {', '.join(map(number, rel80))}; at most {number(most)}"),
                Claim("A global cap is as good in the lightly loaded cell and almost nothing in busy ones", capped["D"].gaining > 0.9 * best["D"].gaining and max(capped["A"].gaining, capped["C"].gaining) < 0.1, ", ".join(f"{one.gaining:.0%} gain in {cell}" for cell, one in capped.items())),
            ),
        )  # fmt: skip


@attrs.frozen
class Utilization:
    """Figure 16: CPU in use over time, as asked and under max-parallelism."""

    name = "16"
    title = "Utilization with and without opportunistic MapReduce"
    paper = "Utilization becomes higher and more variable."

    def work(self, scale: Scale) -> list[Work]:
        """Return nothing: the case study is no sweep."""
        return []

    def picture(self, scale: Scale, rows: Mapping[str, Row]) -> Picture:
        """Return the figure."""
        situation = _sized(CELLS[1], scale)
        done = [_study(situation, policy, scale.seconds(0.5)) for policy in (AsAsked(), MaxParallelism())]
        panels = tuple(
            Panel(
                what,
                "hours",
                f"{what} in use",
                tuple(
                    Curve(
                        one.policy,
                        tuple(Sample(used[0] / 3600, used[place]) for used in one.used),
                        steps=True,
                    )
                    for one in done
                ),
            )
            for place, what in ((1, "CPU"), (2, "memory"))
        )
        (plain, spread), (most, wider) = (one.utilization() for one in done)
        return Picture(
            panels,
            (
                Claim("CPU utilization becomes more variable", wider > spread, f"standard deviation {number(spread)} as asked, {number(wider)} under max-parallelism"),
                Claim("It does not become lower", most > plain - 0.01, f"mean {number(plain)} and {number(most)}"),
            ),
        )  # fmt: skip


MAPREDUCE = [Speedups(), Utilization()]
