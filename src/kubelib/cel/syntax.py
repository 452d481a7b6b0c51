"""The tree that the parser makes, the checker annotates, and the compiler turns into closures.

Macros are nodes of their own here instead of the folds that cel-go expands them to: what they cost is the same (see
`kubelib.cel.estimate`), and a loop of Python is several times as fast as a fold of closures.
"""

from typing import Any, Literal

import attrs

from kubelib.cel.types import DYN, Type

MacroName = Literal[
    "all", "exists", "exists_one", "map", "filter", "transformList", "transformMap", "transformMapEntry"
]


@attrs.define(eq=False)
class Node:
    """An expression, where it stands in the text, and its type once checked."""

    at: int
    type: Type = attrs.field(default=DYN, init=False)


@attrs.define(eq=False)
class Constant(Node):
    """A literal."""

    value: Any
    kind: Type


@attrs.define(eq=False)
class Ident(Node):
    """A variable, or the name of a type."""

    name: str
    names_type: Type | None = attrs.field(default=None, init=False)


@attrs.define(eq=False)
class Select(Node):
    """``operand.field``; with `test` ``has(operand.field)``, with `optional` ``operand.?field``."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False


@attrs.define(eq=False)
class Call(Node):
    """A function of arguments, or a method when there is a target. Operators are functions named as in cel-go: ``_+_``."""

    function: str
    target: Node | None
    args: list[Node]
    overloads: list[Any] = attrs.field(factory=list, init=False)


@attrs.define(eq=False)
class ListOf(Node):
    """``[a, ?b]``; `optional` has the places of elements that may be absent."""

    elements: list[Node]
    optional: frozenset[int]


@attrs.define(eq=False)
class Entry:
    """An entry of a map, or a field of an object."""

    at: int
    key: Node | str
    value: Node
    optional: bool


@attrs.define(eq=False)
class MapOf(Node):
    """``{key: value, ?key: value}``."""

    entries: list[Entry]


@attrs.define(eq=False)
class Construct(Node):
    """``Name{field: value}``."""

    name: str
    entries: list[Entry]


@attrs.define(eq=False)
class Loop(Node):
    """A macro over the elements of a list or the keys of a map, with one variable or two."""

    macro: MacroName
    over: Node
    variable: str
    second: str | None
    condition: Node | None
    transform: Node | None


@attrs.define(eq=False)
class Bind(Node):
    """``cel.bind(name, value, body)``."""

    name: str
    value: Node
    body: Node


@attrs.define(eq=False)
class OptionalMap(Node):
    """``optional.optMap(name, body)``, or ``optFlatMap``, whose body is optional itself."""

    target: Node
    name: str
    body: Node
    flat: bool
