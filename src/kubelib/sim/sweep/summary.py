"""Several seeds of a point as one row: means, and how far they can be trusted."""

from collections.abc import Sequence
from math import isfinite, sqrt
from statistics import fmean, stdev

from kubelib.sim.sweep.base import PARAMETERS, Row, Value

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
      2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def student(freedom: int) -> float:
    """Return the 97.5th percentile of Student's t, within a thousandth."""
    return _T[freedom - 1] if freedom <= len(_T) else 1.960 + 2.46 / freedom


def confidence(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values and the half width of its 95 % confidence interval; NaN where there is none."""
    numbers = [value for value in values if isfinite(value)]
    if not numbers:
        return (values[0] if len(set(values)) == 1 else float("nan")), float("nan")
    mean = fmean(numbers)
    if len(numbers) < 2:
        return mean, float("nan")
    return mean, student(len(numbers) - 1) * stdev(numbers) / sqrt(len(numbers))


def summarize(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each choice of parameters but the seed.

    A figure becomes its mean over seeds and `<figure>_ci95`, the half width of the 95 % confidence interval; of a flag, the share of
    seeds for which it holds. Seeds without a figure (a wait of no jobs) do not count for it.
    """
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in PARAMETERS if name != "seed"), []).append(row)
    result = []
    for group in groups.values():
        row = {name: value for name, value in group[0].items() if name in PARAMETERS and name != "seed"}
        row["seeds"] = len(group)
        for name in group[0]:
            if name in PARAMETERS:
                continue
            mean, half = confidence([float(one[name]) for one in group])
            row[name] = mean
            if not isinstance(group[0][name], bool):
                row[f"{name}_ci95"] = half
        result.append(row)
    return result
