"""Figures of the paper: their files are whole and need nothing else, and their claims are checked, not asserted."""

import csv
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

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
    rising,
)
from kubelib.sim.figures.fidelity import Balanced
from kubelib.sim.figures.make import PLANS, make_figures
from kubelib.sim.figures.plot import png_of
from kubelib.sim.figures.report import report_of
from kubelib.sim.figures.waits import T_JOBS, Waits, plain_cell
from kubelib.sim.sweep.executors import Inline
from reference_cluster.cli.simulate import simulate

TINY = Scale(days=0.05, seeds=2, machines=500)
PNG = b"\x89PNG\r\n\x1a\n"


def silent(done: int, total: int) -> None:
    assert done <= total


def test_every_figure_of_the_paper_from_5_on_has_a_plan() -> None:
    expected = [*(f"{number}{letter}" for number in (5, 6, 7) for letter in "abc"), "8a", "8b", "9a", "9b"]
    assert list(PLANS) == [*expected, *map(str, range(10, 17))]
    for plan in PLANS.values():
        assert plan.title
        assert plan.paper.endswith(".")
        # impossible points would be refused here
        for work in plan.work(TINY):
            work.point.check(work.cell)


def test_figures_that_need_the_same_points_share_them() -> None:
    assert PLANS["5a"].work(TINY) == PLANS["6a"].work(TINY)
    assert not set(PLANS["5a"].work(TINY)) & set(PLANS["5b"].work(TINY))


def test_a_figure_is_a_table_a_picture_and_a_report_that_needs_nothing_else(tmp_path: Path) -> None:
    made = make_figures(["5a", "10"], tmp_path, TINY, Inline(), silent)
    names = ["figure-10.csv", "figure-10.png", "figure-5a.csv", "figure-5a.png", "points.csv", "points.mean.csv", "report.html"]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with (tmp_path / "figure-5a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["x"]) for row in rows if row["series"] == "batch"] == list(T_JOBS)
    assert {row["series"] for row in rows} == {"batch", "service"}
    for name in ("5a", "10"):
        png = (tmp_path / f"figure-{name}.png").read_bytes()
        assert png.startswith(PNG)
        assert len(png) < 40_000
    report = (tmp_path / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=.?(https?:)?//|<script|<link", report)
    for _, claim in made.claims:
        assert claim.text.split(":")[0] in report
    # the same figure is the same file
    again = tmp_path / "again"
    again.mkdir()
    make_figures(["5a"], again, TINY, Inline(), silent)
    assert (again / "figure-5a.png").read_bytes() == (tmp_path / "figure-5a.png").read_bytes()
    assert (again / "figure-5a.csv").read_bytes() == (tmp_path / "figure-5a.csv").read_bytes()


def rows_for(plan: Any, change: Any) -> dict[str, Any]:
    """Rows of a plan's work whose figures are made up by a function of the point."""
    rows: dict[str, Any] = {}
    for work in plan.work(TINY):
        rows[work.key] = {"batch_saturated": False, "service_saturated": False, "batch_jobs": 100, "service_jobs": 10,
                          "batch_not_placed": 0, "service_not_placed": 0, **change(work.point)}  # fmt: skip
    return rows


def claims(plan: Any, change: Any) -> list[bool]:
    return [claim.holds for claim in plan.picture(TINY, rows_for(plan, change)).claims]


def test_claims_are_refused_by_figures_that_contradict_them() -> None:
    flat = PLANS["5c"]
    assert claims(flat, lambda point: {"batch_wait_first_mean": 0.1, "service_wait_first_mean": point.service_t_job}) == [True]  # fmt: skip
    assert claims(flat, lambda point: {"batch_wait_first_mean": point.service_t_job, "service_wait_first_mean": 1.0}) == [False]  # fmt: skip
    alike = PLANS["5a"]
    wait = {"batch_wait_first_mean": 1.0, "service_wait_first_mean": 1.0, "batch_saturated": False}
    saturated = lambda point: {**wait, "batch_saturated": point.service_t_job > 5}  # noqa: E731 -- a function of a point
    assert claims(alike, saturated) == [True, True]
    assert claims(alike, lambda point: {**wait, "service_wait_first_mean": 2.0}) == [False, False]
    balanced = Balanced()

    def three_bear_more(point: Any) -> dict[str, Any]:
        limit = 4.0 if point.batch_schedulers == 1 else 16.0
        return {"batch_wait_first_mean": 1.0, "batch_busyness": 0.5, "batch_conflict_fraction": 0.01,
                "batch_saturated": point.batch_t_job > limit}  # fmt: skip

    assert claims(balanced, three_bear_more) == [True, True]
    assert claims(balanced, lambda point: {**three_bear_more(point), "batch_saturated": point.batch_t_job > 4, "batch_conflict_fraction": 0.9}) == [False, False]  # fmt: skip


def test_a_sample_has_its_confidence_and_what_to_beware_of() -> None:
    plan = PLANS["5a"]
    assert isinstance(plan, Waits)

    def change(point: Any) -> dict[str, Any]:
        return {"batch_wait_first_mean": float(point.seed), "service_wait_first_mean": 0.0, "batch_saturated": True, "batch_not_placed": 55}  # fmt: skip

    results = Results(TINY, plain_cell(TINY), rows_for(plan, change))
    point = attrs.evolve(plan.work(TINY)[0].point, seed=1)
    sample = results.sample(0.01, point, column("batch_wait_first_mean"))
    assert sample.y == 1.5
    assert sample.half == pytest.approx(12.706 * 0.5)
    assert sample.saturated
    assert sample.left == 0.5


def test_a_page_escapes_what_it_shows() -> None:
    panel = Panel("<p>", "x", "y", (Curve("a & b", (Sample(1.0, 2.0), Sample(2.0, float("nan")))),))
    picture = Picture((panel,), (Claim("1 < 2", False, "<b>"),))
    page = report_of([(PLANS["5a"], picture, png_of(picture, "a title"))], TINY)
    assert "1 &lt; 2" in page
    assert "&lt;b&gt;" in page
    assert "a &amp; b" in page
    assert "<td class=no>no</td>" in page


def test_numbers_and_order() -> None:
    assert [number(value) for value in (0.0, 1234.5, 0.00012345, float("inf"))] == [
        "0",
        "1,234",
        "0.000123",
        "inf",
    ]
    assert rising([1.0, 1.0, 2.0])
    assert not rising([1.0, 0.9])
    assert rising([1.0, 0.95], slack=0.1)


def test_a_figure_that_is_none_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(simulate, ["figure", "4"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: There is no figure 4: there are 5a, 5b, ")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("figure 5a --days nan", "Invalid value for '--days': 'nan' is not a finite number."),
        ("figure 5a --seeds 1000000", "1000000 is not in the range 1<=x<=1000."),
        ("figure 5a --machines 100000000", "100000000 is not in the range 50<=x<=10000000."),
        ("figure 5a --out /proc/none", "Error: /proc/none: No such file or directory."),
        ("trace generate --out t.csv --machines m.csv --hours inf", "'inf' is not a finite number."),
        ("trace generate --out t.csv --machines m.csv --load 1e9", "Error: Workload batch would have 2e+13 jobs"),
    ],
)  # fmt: skip
def test_what_cannot_be_simulated_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = command.split()
    if arguments[0] == "trace":
        arguments += ["--count", "50"]
    result = CliRunner().invoke(simulate, arguments)
    assert isinstance(result.exception, SystemExit)
    assert says in result.output
    assert not list(tmp_path.iterdir())
