"""How functions are declared: a signature, what it does, what it costs, and what that is estimated to be.

A signature reads ``string.charAt(int) string`` for a method and ``size(list(A)) int`` for a function; capitals are parameters.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from kubelib.cel import types
from kubelib.cel.types import Type
from kubelib.cel.values import kind_of

if TYPE_CHECKING:
    from kubelib.cel.estimate import CallEstimate, Sizes

Implementation = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])
RuntimeCost = int | Callable[..., int]
"""What a call costs: a number, or a function of the result and the arguments."""

_SIGNATURE = re.compile(
    r"(?:(?P<target>.+?)\.(?=\w+\())?(?P<name>[\w@.?:\[\]+\-*/%<>=!&|]+)\((?P<args>.*)\) (?P<result>\S.*)"
)
_BASIC = {
    "dyn": types.DYN,
    "bool": types.BOOL,
    "int": types.INT,
    "uint": types.UINT,
    "double": types.DOUBLE,
    "string": types.STRING,
    "bytes": types.BYTES,
    "null": types.NULL,
    "duration": types.DURATION,
    "timestamp": types.TIMESTAMP,
}


@attrs.frozen(eq=False)
class Overload:
    """One form of a function."""

    function: str
    parameters: tuple[Type, ...]
    """Of the target too, when it is a method."""
    result: Type
    method: bool
    call: Implementation
    cost: RuntimeCost = 1
    estimate: "Callable[[Sizes], CallEstimate] | None" = None
    generic: bool = False
    """Whether the signature has parameters."""
    beforehand: bool = False
    """Whether the cost does not depend on the result, and is charged before anything is done."""

    def accepts(self, arguments: Iterable[Any]) -> bool:
        """Return whether values have the kinds that the parameters want; of lists, the first element is looked at."""
        return all(_is(value, wanted) for value, wanted in zip(arguments, self.parameters, strict=True))


def _is(value: Any, wanted: Type) -> bool:
    kind = wanted.kind
    if kind in ("dyn", "parameter"):
        return True
    actual = kind_of(value)
    if kind == "object":
        return actual == "map"
    if kind == "list" and actual == "list" and value:
        # Lists are of one kind of element: the first one tells which form of sum() is meant.
        return _is(value[0], wanted.parameters[0])
    return actual == kind and (kind != "opaque" or value.cel_type.name == wanted.name)


Functions = dict[str, list[Overload]]


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def read_type(text: str) -> Type:
    """Return the type that a signature writes."""
    if text in _BASIC:
        return _BASIC[text]
    if len(text) == 1:
        return types.parameter(text)
    name, opening, inner = text.partition("(")
    if not opening:
        return types.opaque(text)
    parameters = [read_type(part) for part in _split(inner[:-1])]
    match name:
        case "list":
            return types.list_of(parameters[0])
        case "map":
            return types.map_of(parameters[0], parameters[1])
        case "optional":
            return types.optional_of(parameters[0])
        case "type":
            return types.type_of(parameters[0])
    raise ValueError(f"{text} is no type")


def _generic(type_: Type) -> bool:
    return type_.kind == "parameter" or any(map(_generic, type_.parameters))


class Library:
    """A set of functions and the types that they bring."""

    def __init__(self) -> None:
        self.functions: Functions = {}
        self.types: dict[str, Type] = {}

    def add(
        self,
        signature: str,
        call: Implementation,
        *,
        cost: RuntimeCost = 1,
        estimate: "Callable[[Sizes], CallEstimate] | None" = None,
    ) -> None:
        """Declare one form of a function."""
        found = _SIGNATURE.fullmatch(signature)
        if found is None:
            raise ValueError(f"{signature} is no signature")
        target = found["target"]
        name = found["name"]
        method = target is not None
        parameters = tuple(map(read_type, _split(found["args"])))
        if target is not None:
            if target in _NAMESPACES:
                name, method = f"{target}.{name}", False
            else:
                parameters = (read_type(target), *parameters)
        result = read_type(found["result"])
        overload = Overload(
            name,
            parameters,
            result,
            method,
            call,
            cost,
            estimate,
            any(map(_generic, (*parameters, result))),
            getattr(cost, "beforehand", False),
        )
        self.functions.setdefault(name, []).append(overload)

    def declare(
        self,
        *signatures: str,
        cost: RuntimeCost = 1,
        estimate: "Callable[[Sizes], CallEstimate] | None" = None,
    ) -> Callable[[F], F]:
        """Declare forms of a function that do the same."""

        def register(call: F) -> F:
            for signature in signatures:
                self.add(signature, call, cost=cost, estimate=estimate)
            return call

        return register


_NAMESPACES = frozenset(
    ("optional", "ip", "sets", "format", "semver", "lists", "math", "strings", "cidr", "jsonpatch")
)


def merged(libraries: Iterable[Library]) -> tuple[Mapping[str, list[Overload]], Mapping[str, Type]]:
    """Return the functions and types of several libraries together."""
    functions: Functions = {}
    known: dict[str, Type] = {}
    for library in libraries:
        known.update(library.types)
        for name, overloads in library.functions.items():
            functions.setdefault(name, []).extend(overloads)
    return functions, known
