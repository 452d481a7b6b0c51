"""The libraries of lists: Kubernetes' own (sums, extremes, places), and cel-go's (slices, sorting, flattening)."""

from collections.abc import Callable
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.values import (
    NONE,
    Duration,
    Optional,
    Uint,
    duration,
    equal,
    integer,
    kind_of,
    unsigned,
)

SEQUENCES = Library()
_declare = SEQUENCES.declare
_ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMED = ("int", "uint", "double", "duration")
_NUMBERS = frozenset(("int", "uint", "double"))


def _comparable(one: Any, other: Any) -> None:
    kinds = {kind_of(one), kind_of(other)}
    if not (len(kinds) == 1 and kinds <= set(_ORDERED)) and not kinds <= _NUMBERS:
        raise EvaluationError("no such overload")


def _is_sorted(items: list[Any]) -> bool:
    for one, other in pairwise(items):
        _comparable(one, other)
        if other < one:
            return False
    return True


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> Callable[[list[Any]], Any]:
    def find(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            _comparable(best, item)
            if better(item, best):
                best = item
        return best

    return find


def _sum(zero: Any) -> Callable[[list[Any]], Any]:
    def add(items: list[Any]) -> Any:
        kind = kind_of(zero)
        total: Any = zero.nanoseconds if kind == "duration" else zero
        for item in items:
            if kind_of(item) != kind:
                raise EvaluationError("no such overload")
            total = total + (item.nanoseconds if kind == "duration" else item)
        match kind:
            case "int":
                return integer(total)
            case "uint":
                return unsigned(int(total))
            case "duration":
                return duration(total)
        return total

    return add


_ZEROS: dict[str, Any] = {"int": 0, "uint": Uint(0), "double": 0.0, "duration": Duration(0)}
for _kind in _ORDERED:
    _list = f"list({_kind})"
    for _signature, _call in (
        (f"{_list}.isSorted() bool", _is_sorted),
        (f"{_list}.min() {_kind}", _extreme("min", lambda a, b: a < b)),
        (f"{_list}.max() {_kind}", _extreme("max", lambda a, b: a > b)),
    ):
        SEQUENCES.add(_signature, _call, cost=costs.each_element, estimate=costs.all_elements)
for _kind in _SUMMED:
    SEQUENCES.add(
        f"list({_kind}).sum() {_kind}",
        _sum(_ZEROS[_kind]),
        cost=costs.each_element,
        estimate=costs.all_elements,
    )


@_declare("list(A).indexOf(A) int", cost=costs.each_element, estimate=costs.all_elements)
def _index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at, item in enumerate(items) if equal(item, wanted)), -1)


@_declare("list(A).lastIndexOf(A) int", cost=costs.each_element, estimate=costs.all_elements)
def _last_index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], wanted)), -1)


@_declare("list(A).slice(int, int) list(A)", cost=costs.sliced, estimate=costs.slice_made)
def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(
            f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        )
    if end > len(items):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


@_declare("list(list(A)).flatten() list(A)", cost=costs.flattened, estimate=costs.flat_made)
def _flatten(items: list[Any]) -> list[Any]:
    return _flatten_deep(items, 1)


@_declare("list(dyn).flatten(int) list(dyn)", cost=costs.flattened, estimate=costs.flat_made)
def _flatten_deep(items: list[Any], depth: int) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    out: list[Any] = []
    for item in items:
        if item.__class__ is list and depth > 0:
            out += _flatten_deep(item, min(depth, 100) - 1)
        else:
            out.append(item)
        if len(out) > 1_000_000:
            raise EvaluationError("the list would become larger than 1000000")
    return out


def _compare(one: Any, other: Any) -> int:
    _comparable(one, other)
    return int(one > other) - int(one < other)


@_declare("list(A).sort() list(A)", cost=costs.compared_with_itself, estimate=costs.sorted_made)
def _sort(items: list[Any]) -> list[Any]:
    if len(items) == 1:
        _comparable(items[0], items[0])
    return sorted(items, key=cmp_to_key(_compare))


def _sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    if len(items) != len(keys):
        raise EvaluationError(f"a list of {len(items)} cannot be sorted by {len(keys)} keys")
    order = cmp_to_key(_compare)
    return [items[at] for at in sorted(range(len(items)), key=lambda at: order(keys[at]))]


for _kind in _ORDERED:
    SEQUENCES.add(
        f"@sortByAssociatedKeys(list(A), list({_kind})) list(A)",
        _sort_by,
        cost=costs.compared_with_itself,
        estimate=costs.sorted_made,
    )


@_declare("list(A).distinct() list(A)", cost=costs.compared_with_itself, estimate=costs.distinct_made)
def _distinct(items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for item in items:
        if not any(equal(item, one) for one in out):
            out.append(item)
    return out


SEQUENCES.add(
    "list(A).reverse() list(A)",
    lambda items: items[::-1],
    cost=costs.reversed_whole,
    estimate=costs.reverse_made,
)
SEQUENCES.add("list(A).first() optional(A)", lambda items: _optional(items[:1]))
SEQUENCES.add("list(A).last() optional(A)", lambda items: _optional(items[-1:]))


def _optional(items: list[Any]) -> Any:
    return Optional(present=True, value=items[0]) if items else NONE


@_declare("lists.range(int) list(int)", cost=costs.ranged, estimate=costs.range_made)
def _range(count: int) -> list[int]:
    if count > 1_000_000:
        raise EvaluationError(f"lists.range({count}) is larger than 1000000")
    return list(range(count))
