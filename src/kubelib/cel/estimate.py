"""What an expression may cost, by the sizes that its variables can have; the figures are those of cel-go and of Kubernetes.

A macro is charged as the fold that cel-go makes of it. Numbers saturate at the largest unsigned integer of 64 bits.
"""

from typing import Literal

import attrs

from kubelib.cel.base import Cost
from kubelib.cel.syntax import (
    Bind,
    Call,
    Constant,
    Construct,
    Ident,
    ListOf,
    Loop,
    MapOf,
    Node,
    OptionalMap,
    Select,
)

UNBOUNDED = (1 << 64) - 1
LIST_COST, MAP_COST, OBJECT_COST = 10, 30, 40
TRAVERSAL = 10
"""A text of so many letters costs one."""

_SCALARS = frozenset(("bool", "int", "uint", "double", "duration", "timestamp"))


def clamp(number: int) -> int:
    """Return a number that is no larger than the largest."""
    return min(number, UNBOUNDED)


def tenth(number: int) -> int:
    """Return what going through so many letters costs."""
    return number if number == UNBOUNDED else (number + TRAVERSAL - 1) // TRAVERSAL


@attrs.frozen
class Size:
    """How many elements or letters a value may have."""

    least: int
    most: int

    def plus(self, other: "Size") -> "Size":
        """Return the size of both together."""
        return Size(clamp(self.least + other.least), clamp(self.most + other.most))

    def times(self, other: "Size") -> "Size":
        """Return the size of so many of that size."""
        return Size(clamp(self.least * other.least), clamp(self.most * other.most))

    def union(self, other: "Size") -> "Size":
        """Return the size of either."""
        return Size(min(self.least, other.least), max(self.most, other.most))

    def tenth(self, factor: int = 1) -> Cost:
        """Return what going through it costs."""
        return Cost(tenth(clamp(self.least * factor)), tenth(clamp(self.most * factor)))


UNKNOWN = Size(0, UNBOUNDED)


def fixed(size: int) -> Size:
    """Return exactly this size."""
    return Size(size, size)


@attrs.frozen
class Sizes:
    """What an estimate of a call may look at; the target comes first when there is one."""

    arguments: tuple[Size, ...]
    nodes: tuple[Node, ...]
    element: Size
    """Of the elements of the first argument, when it is a list."""


@attrs.frozen
class CallEstimate:
    """What a call costs beside its arguments, and how large its result may be."""

    cost: Cost
    size: Size | None = None


ONE = Cost(1, 1)
NOTHING = Cost(0, 0)


def plus(*costs: Cost) -> Cost:
    """Return what all cost together."""
    return Cost(clamp(sum(c.least for c in costs)), clamp(sum(c.most for c in costs)))


def times(one: Cost, other: Cost) -> Cost:
    """Return the product."""
    return Cost(clamp(one.least * other.least), clamp(one.most * other.most))


def either(one: Cost, other: Cost) -> Cost:
    """Return what the one or the other costs."""
    return Cost(min(one.least, other.least), max(one.most, other.most))


@attrs.frozen
class _Entries:
    kind: Literal["list", "map"]
    key: Size
    value: Size


@attrs.frozen
class _Local:
    name: str
    size: Size | None
    entries: _Entries | None


class Estimator:
    """Goes through one checked tree."""

    def __init__(self) -> None:
        self._sizes: dict[int, Size] = {}
        self._entries: dict[int, _Entries] = {}
        self._locals: list[_Local] = []

    def cost(self, node: Node) -> Cost:
        """Return what an evaluation of the node may cost."""
        match node:
            case Constant():
                return NOTHING
            case Ident():
                return ONE
            case Select():
                if not node.field:
                    return ONE
                operand = self.cost(node.operand)
                free = node.test or node.operand.type.kind not in ("map", "object", "parameter")
                return operand if free else plus(operand, ONE)
            case Call():
                return self._call(node)
            case ListOf():
                return self._list(node)
            case MapOf() | Construct():
                return self._map(node)
            case Loop():
                return self._loop(node)
            case Bind():
                value = self.cost(node.value)
                with_value = _Local(node.name, self._size(node.value), self._entries_of(node.value))
                body = self._within([with_value], node.body)
                if (size := self._size(node.body)) is not None:
                    self._sizes[id(node)] = size
                return plus(Cost(LIST_COST, LIST_COST), value, body)
            case OptionalMap():
                body = self._within([_Local(node.name, None, None)], node.body)
                # hasValue(), value() and of() of the expansion, and the loop that binds.
                least = plus(self.cost(node.target), Cost(2, 2))
                return either(least, plus(least, Cost(LIST_COST + 3, LIST_COST + 3), body))
        raise AssertionError(node)

    def _within(self, names: list[_Local], body: Node) -> Cost:
        self._locals += names
        cost = self.cost(body)
        del self._locals[len(self._locals) - len(names) :]
        return cost

    def _size(self, node: Node) -> Size | None:
        found = self._sizes.get(id(node))
        if found is not None:
            return found
        if isinstance(node, Ident) and node.names_type is not None:
            return fixed(0)
        if isinstance(node, Constant):
            return fixed(len(node.value) if isinstance(node.value, str | bytes) else 1)
        if isinstance(node, ListOf):
            return Size(len(node.elements) - len(node.optional), len(node.elements))
        if isinstance(node, MapOf | Construct):
            return Size(sum(not entry.optional for entry in node.entries), len(node.entries))
        if node.type.most is not None:
            return Size(0, node.type.most)
        if node.type.kind in _SCALARS:
            return fixed(1)
        if isinstance(node, Ident):
            for local in reversed(self._locals):
                if local.name == node.name:
                    return local.size
        return None

    def _size_or_unknown(self, node: Node) -> Size:
        return self._size(node) or UNKNOWN

    def _entries_of(self, node: Node) -> _Entries | None:
        found = self._entries.get(id(node))
        if found is None and isinstance(node, Ident):
            for local in reversed(self._locals):
                if local.name == node.name:
                    return local.entries
        return found

    def _list(self, node: ListOf) -> Cost:
        cost = plus(Cost(LIST_COST, LIST_COST), *map(self.cost, node.elements))
        size = Size(UNBOUNDED, 0) if node.elements else Size(0, 0)
        for element in node.elements:
            size = size.union(self._size_or_unknown(element))
        self._entries[id(node)] = _Entries("list", fixed(1), size)
        return cost

    def _map(self, node: MapOf | Construct) -> Cost:
        base = MAP_COST if isinstance(node, MapOf) else OBJECT_COST
        cost = Cost(base, base)
        key = value = Size(UNBOUNDED, 0) if node.entries else Size(0, 0)
        for entry in node.entries:
            if isinstance(entry.key, Node):
                cost = plus(cost, self.cost(entry.key))
                key = key.union(self._size_or_unknown(entry.key))
            cost = plus(cost, self.cost(entry.value))
            value = value.union(self._size_or_unknown(entry.value))
        self._entries[id(node)] = _Entries("map", key, value)
        return cost

    def _call(self, node: Call) -> Cost:
        arguments = [node.target, *node.args] if node.target is not None else node.args
        costs = [self.cost(argument) for argument in arguments]
        match node.function:
            case "dyn":
                if (size := self._size(node.args[0])) is not None:
                    self._sizes[id(node)] = size
                return plus(ONE, *costs)
            case "_&&_" | "_||_":
                return Cost(costs[0].least, plus(*costs).most)
            case "_?_:_":
                size = self._size_or_unknown(arguments[1]).union(self._size_or_unknown(arguments[2]))
                self._sizes[id(node)] = size
                one, other = self._entries_of(arguments[1]), self._entries_of(arguments[2])
                if one is not None and other is not None:
                    self._entries[id(node)] = _Entries(
                        one.kind, one.key.union(other.key), one.value.union(other.value)
                    )
                return plus(costs[0], either(costs[1], costs[2]))
            case "_[_]":
                entries = self._entries_of(arguments[0])
                if entries is not None:
                    self._sizes[id(node)] = entries.value
                return plus(ONE, *costs)
        return plus(self._overloads(node, arguments), *costs)

    def _overloads(self, node: Call, arguments: list[Node]) -> Cost:
        entries = self._entries_of(arguments[0]) if arguments else None
        element = UNKNOWN
        if entries is not None:
            element = entries.value
        elif arguments and arguments[0].type.kind == "list":
            inner = arguments[0].type.parameters[0]
            if inner.most is not None:
                element = Size(0, inner.most)
            elif inner.kind in _SCALARS:
                element = fixed(1)
        sizes = Sizes(tuple(map(self._size_or_unknown, arguments)), tuple(arguments), element)
        cost: Cost | None = None
        size: Size | None = None
        for overload in node.overloads:
            estimate = overload.estimate(sizes) if overload.estimate is not None else CallEstimate(ONE)
            cost = estimate.cost if cost is None else either(cost, estimate.cost)
            if estimate.size is not None:
                size = estimate.size if size is None else size.union(estimate.size)
        if node.function == "_+_" and len(arguments) == 2:
            one, other = map(self._entries_of, arguments)
            if one is not None and other is not None:
                self._entries[id(node)] = _Entries(
                    one.kind, one.key.union(other.key), one.value.union(other.value)
                )
        if size is not None:
            self._sizes[id(node)] = size
        return cost or ONE

    def _loop(self, node: Loop) -> Cost:
        over = self.cost(node.over)
        entries = self._entries_of(node.over)
        kind = entries.kind if entries is not None else node.over.type.kind
        key, value = (entries.key, entries.value) if entries is not None else (None, None)
        if node.second is None:
            names = [_Local(node.variable, value if kind == "list" else key, None)]
        else:
            names = [_Local(node.variable, key, None), _Local(node.second, value, None)]
        self._locals += names
        condition = self.cost(node.condition) if node.condition is not None else NOTHING
        transform = self.cost(node.transform) if node.transform is not None else NOTHING
        del self._locals[len(self._locals) - len(names) :]
        count = self._size_or_unknown(node.over)
        match node.macro:
            case "all":
                step, end = Cost(3, clamp(3 + condition.most)), Cost(1, 1)
            case "exists":
                step, end = Cost(4, clamp(4 + condition.most)), Cost(1, 1)
            case "exists_one":
                step, end = Cost(clamp(condition.least + 1), clamp(condition.most + 2)), Cost(2, 2)
            case "filter":
                step, end = Cost(clamp(condition.least + 1), clamp(condition.most + 13)), Cost(11, 11)
            case "map" | "transformList":
                step = plus(transform, Cost(LIST_COST + 2, LIST_COST + 2))
                if node.condition is not None:
                    step = plus(condition, Cost(1, step.most))
                end = Cost(11, 11)
            case _:
                step = plus(transform, Cost(3, 3))
                if node.condition is not None:
                    step = plus(condition, Cost(1, step.most))
                end = Cost(MAP_COST + 1, MAP_COST + 1)
        if end.least > 2:
            self._sizes[id(node)] = count
            if node.transform is not None and (size := self._size(node.transform)) is not None:
                self._entries[id(node)] = _Entries("list", fixed(1), size)
        return plus(over, end, times(Cost(count.least, count.most), step))


def estimate(node: Node) -> Cost:
    """Return what an expression may cost."""
    return Estimator().cost(node)
