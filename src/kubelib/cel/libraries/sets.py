"""The library of sets: lists looked at without order or number."""

from typing import Any

from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.values import equal

SETS = Library()


def _within(wanted: Any, items: list[Any]) -> bool:
    return any(equal(wanted, item) for item in items)


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(_within(one, items) for one in wanted)


_BOTH = "(list(A), list(A)) bool"
SETS.add(f"sets.contains{_BOTH}", _contains, cost=costs.squared, estimate=costs.quadratic)
SETS.add(
    f"sets.intersects{_BOTH}",
    lambda a, b: any(_within(one, b) for one in a),
    cost=costs.squared,
    estimate=costs.quadratic,
)
SETS.add(
    f"sets.equivalent{_BOTH}",
    lambda a, b: _contains(a, b) and _contains(b, a),
    cost=costs.squared,
    estimate=costs.quadratic,
)
