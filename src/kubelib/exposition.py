"""Figures in Prometheus' text form. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import attrs

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_LAST = ("le", "quantile")


@attrs.frozen
class Sample:
    """One value of a metric."""

    value: float
    labels: Mapping[str, str] = attrs.field(factory=dict)
    when: int = 0
    """Milliseconds since 1970; 0 where a reader shall take its own time."""
    suffix: str = ""
    """What follows the metric's name: ``_bucket``, ``_sum`` or ``_count`` of a histogram or a summary."""


class Histogram:
    """How many values are within each of some bounds, which are in ascending order, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._classes = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.sum += value
        self._classes[bisect_left(self.bounds, value)] += 1

    def with_zeros(self, count: int) -> "Histogram":
        """Return one that has counted 0 so many times more."""
        return self.with_more(0.0, count, 0.0)

    def with_more(self, value: float, count: int, together: float) -> "Histogram":
        """Return one that has counted so many times more what is of the class of a value, `together` in all."""
        more = Histogram(self.bounds)
        more.sum, more._classes = self.sum + together, list(self._classes)
        more._classes[bisect_left(self.bounds, value)] += count
        return more

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._classes)

    def within(self) -> Iterator[tuple[float, int]]:
        """Return each bound with the number of values that are no greater."""
        return zip(self.bounds, accumulate(self._classes), strict=False)

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Return what is shown of it."""
        for bound, count in self.within():
            yield Sample(count, {**labels, "le": bound_text(bound)}, suffix="_bucket")
        yield Sample(self.count, {**labels, "le": "+Inf"}, suffix="_bucket")
        yield Sample(self.sum, labels, suffix="_sum")
        yield Sample(self.count, labels, suffix="_count")


def bound_text(bound: float) -> str:
    """Return a bound of a histogram as Prometheus' clients in Go write it: as short as it can be read back.

    >>> bound_text(1e6), bound_text(0.005), bound_text(1048576), bound_text(1e-06 * 10)
    ('1e+06', '0.005', '1.048576e+06', '9.999999999999999e-06')
    """
    if float(short := f"{bound:g}") == bound:
        return short
    # Six digits do not say it. From the seventh place before the point on Go writes an exponent, and Python does not yet.
    digits = next(n for n in range(7, 18) if float(f"{bound:.{n}g}") == bound)
    return f"{bound:.{digits - 1}e}" if abs(bound) >= 1e6 else f"{bound:.{digits}g}"


def family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> list[str]:
    """Return the lines of one metric; none where there are no samples. Labels are in the order of their names, as Kubernetes has them."""
    lines = [
        f"{name}{s.suffix}{_labels(s.labels)} {_value(s.value)}" + (f" {s.when}" if s.when else "")
        for s in samples
    ]
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *lines] if lines else []


def text(*families: Sequence[str]) -> bytes:
    """Return metrics as a document."""
    return "".join(f"{line}\n" for lines in families for line in lines).encode()


def _value(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.17g}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (
        (name, labels[name].replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"'))
        for name in sorted(labels, key=lambda name: (name in _LAST, name))
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
