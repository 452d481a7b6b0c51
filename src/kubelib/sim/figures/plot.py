"""Pictures as PNG files, by matplotlib, which is an extra."""

from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from kubelib.sim.figures.base import Curve, Panel, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f5fa8", "#d1495b", "#2e8b57", "#8a5fbf", "#b8860b", "#444444")
_MARKS = "os^Dvx"
_DOTS = 90
_PALETTE = 64


class PlotError(RuntimeError):
    """Nothing can be drawn; the message is a sentence."""


def check_plotting() -> None:
    """Raise `PlotError` if there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotError("Figures need matplotlib: pip install 'kubelib-cluster[plot]'.") from None


def png_of(picture: Picture, title: str) -> bytes:
    """Return a picture as a PNG file. Raises `PlotError` without matplotlib."""
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    count = len(picture.panels)
    columns = min(count, 3)
    lines = -(-count // columns)
    width, height = (5.4, 3.5) if count == 1 else (3.6 * columns, 3.0 * lines + 0.4)
    figure = Figure(figsize=(width, height), dpi=_DOTS, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(lines, columns, squeeze=False)
    for number, place in enumerate(axes.flat):
        if number < count:
            panel = picture.panels[number]
            _draw(place, panel, alone=count == 1, figure=figure)
        else:
            place.set_axis_off()
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = BytesIO()
    # few colours are enough and make small files; no date and no version, so that equal pictures are equal files
    drawn.quantize(_PALETTE, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    return file.getvalue()


def _draw(axes: "Axes", panel: Panel, *, alone: bool, figure: Any) -> None:
    axes.set_xlabel(panel.x, fontsize=8)
    axes.set_ylabel(panel.y, fontsize=8)
    axes.tick_params(labelsize=7)
    if not alone:
        axes.set_title(panel.title, fontsize=8)
    if panel.surface:
        _draw_surface(axes, panel, figure)
        return
    for number, curve in enumerate(panel.curves):
        _draw_curve(
            axes, curve, _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)], panel.logarithmic
        )
    for label, y in panel.marks.items():
        axes.axhline(y, color="#999999", linestyle=":", linewidth=1, label=label)
    if "x" in panel.logarithmic:
        axes.set_xscale("log")
    if "y" in panel.logarithmic:
        # a wait of exactly 0 has no place on a logarithmic axis: it is drawn at a thousandth
        axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    if len(panel.curves) > 1 or panel.marks:
        axes.legend(fontsize=7, framealpha=0.7)


def _draw_curve(axes: "Axes", curve: Curve, colour: str, mark: str, logarithmic: str) -> None:
    xs, ys = [one.x for one in curve.samples], [one.y for one in curve.samples]
    if curve.steps:
        axes.plot(xs, ys, color=colour, linewidth=1.1, label=curve.label)
        return
    halves = [one.half if isfinite(one.half) else 0.0 for one in curve.samples]
    if "y" in logarithmic:
        # what reaches below 0 would be drawn down to the axis, and hide what is there
        halves = [min(half, 0.8 * one.y) for half, one in zip(halves, curve.samples, strict=True)]
    axes.errorbar(
        xs, ys, yerr=halves, color=colour, linewidth=1.2, capsize=2, elinewidth=0.8, label=curve.label
    )
    for saturated, face in ((False, colour), (True, "white")):
        chosen = [one for one in curve.samples if one.saturated == saturated]
        axes.plot([one.x for one in chosen], [one.y for one in chosen], mark, color=colour, markerfacecolor=face, markersize=4.5)  # fmt: skip


def _draw_surface(axes: "Axes", panel: Panel, figure: Any) -> None:
    surface = panel.surface
    assert surface
    values = [[one.y for one in line] for line in surface.samples]
    image = axes.imshow(values, origin="lower", cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(surface.xs)), [f"{x:g}" for x in surface.xs])
    axes.set_yticks(range(len(surface.ys)), [f"{y:g}" for y in surface.ys])
    for row, line in enumerate(surface.samples):
        for place, one in enumerate(line):
            text = f"{one.y:.2f}" if one.left <= 0.01 else f"{one.y:.2f}\n({one.left:.0%} left)"
            axes.text(place, row, text, ha="center", va="center", fontsize=6.5, color="white" if one.y < 0.6 else "black")  # fmt: skip
    figure.colorbar(image, ax=axes).ax.tick_params(labelsize=6)
