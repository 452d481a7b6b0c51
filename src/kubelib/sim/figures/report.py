"""One HTML page with figures, claims and data, which needs nothing else."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from kubelib.sim.figures.base import Picture, Plan, Scale, number

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100%; height: auto } table { border-collapse: collapse; margin: .5rem 0 }
td, th { border: 1px solid #ccc; padding: .15rem .6rem; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums } .no { color: #b00020; font-weight: 600 }
summary { cursor: pointer } h2 { margin-top: 2.5rem }
"""


_LEGEND = (
    "Bars are 95 % confidence intervals over seeds. Hollow marks are saturated: jobs were left, and waits there leave out those"
    " that were never attempted. What is left, in a map, is the share of jobs that were not placed by the end."
)


def report_of(figures: Sequence[tuple[Plan, Picture, bytes]], scale: Scale) -> str:
    """Return the page. Equal figures give equal pages."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Figures of the Omega paper, simulated</title>',
        f"<style>{_STYLE}</style></head><body>",
        "<h1>Figures of the Omega paper, simulated</h1>",
        f"<p>{scale.machines:,} machines, {scale.days:g} day(s), {scale.seeds} seed(s). {_LEGEND}</p>",
    ]
    for plan, picture, png in figures:
        parts += _section(plan, picture, png)
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _section(plan: Plan, picture: Picture, png: bytes) -> list[str]:
    claims = [
        f"<tr><td>{escape(claim.text)}</td><td{'' if claim.holds else ' class=no'}>{'yes' if claim.holds else 'no'}</td>"
        f"<td>{escape(claim.measured)}</td></tr>"
        for claim in picture.claims
    ]
    return [
        f'<h2 id="figure-{plan.name}">Figure {plan.name}: {escape(plan.title)}</h2>',
        f'<img alt="Figure {plan.name}" src="data:image/png;base64,{b64encode(png).decode()}">',
        f"<p>The paper: {escape(plan.paper)}</p>",
        "<table><tr><th>claim</th><th>holds</th><th>measured</th></tr>",
        *claims,
        "</table>",
        "<details><summary>data</summary>",
        *_data(picture),
        "</details>",
    ]


_MOST = 400


def _data(picture: Picture) -> list[str]:
    rows = picture.rows()
    if not rows:
        return []
    lines = ["<table><tr>" + "".join(f"<th>{escape(name)}</th>" for name in rows[0]) + "</tr>"]
    for row in rows[:_MOST]:
        cells = [
            f'<td class="n">{number(value)}</td>'
            if isinstance(value, float)
            else f"<td>{escape(str(value))}</td>"
            for value in row.values()
        ]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    lines.append("</table>")
    if len(rows) > _MOST:
        lines.append(f"<p>The first {_MOST} of {len(rows)} rows; all are in the CSV file.</p>")
    return lines
