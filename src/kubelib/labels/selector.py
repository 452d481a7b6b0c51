"""Selectors: sets of requirements on labels, all of which must hold."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

Operator = Literal["=", "==", "!=", "in", "notin", "exists", "!", "gt", "lt"]
Labels = Mapping[str, str]


def _as_values(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


_WHOLE = re.compile(r"[+-]?[0-9]+").fullmatch
_LARGEST = 2**63 - 1


def whole_number(text: str) -> int:
    """Return a number as Go's ``strconv.ParseInt`` reads it: 64 bits, no underscores. Raises ValueError.

    >>> whole_number("-12")
    -12
    """
    if not _WHOLE(text) or not -_LARGEST - 1 <= (number := int(text)) <= _LARGEST:
        raise ValueError(f"{text!r} is not a whole number of 64 bits")
    return number


@attrs.frozen
class Requirement:
    """One condition on one label. ``!=``, ``notin`` and ``!`` also hold for objects without the label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = attrs.field(default=(), converter=_as_values)

    def matches(self, labels: Labels) -> bool:
        """Return whether `labels` meet the condition."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value in self.values
            case "!=" | "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "gt" | "lt":
                try:
                    number, bound = whole_number(value or ""), whole_number(self.values[0])
                except ValueError:
                    return False
                return number > bound if self.operator == "gt" else number < bound

    @property
    def positive(self) -> bool:
        """Whether only objects that have the label can meet the condition."""
        return self.operator not in ("!=", "notin", "!")

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return "!" + self.key
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case "gt":
                return f"{self.key}>{self.values[0]}"
            case "lt":
                return f"{self.key}<{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


def _in_order(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    return tuple(sorted(requirements, key=lambda r: r.key))


def _compile(requirements: tuple[Requirement, ...]) -> Callable[[Labels], bool]:
    """Return a predicate; the common shapes avoid the generic loop."""
    if not requirements:
        return lambda labels: True
    if all(r.operator in ("=", "==") for r in requirements):
        pairs = tuple((r.key, r.values[0]) for r in requirements)
        if len(pairs) == 1:
            ((key, value),) = pairs
            return lambda labels: labels.get(key) == value
        return lambda labels: all(labels.get(key) == value for key, value in pairs)
    return lambda labels: all(r.matches(labels) for r in requirements)


def _never(labels: Labels) -> bool:
    return False


@attrs.frozen
class Selector:
    """A set of requirements, all of which must hold. Printing is canonical: parsing the text gives an equal selector."""

    requirements: tuple[Requirement, ...] = attrs.field(default=(), converter=_in_order)
    nothing: bool = False
    """Matches no object, whatever the requirements."""
    matches: Callable[[Labels], bool] = attrs.field(init=False, eq=False, repr=False)
    """Return whether labels meet all requirements."""

    def __attrs_post_init__(self) -> None:
        matches = _never if self.nothing else _compile(self.requirements)
        object.__setattr__(self, "matches", matches)

    @property
    def everything(self) -> bool:
        """Whether the selector matches every object."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def selector_from_match_labels(labels: Labels | None) -> Selector:
    """Return the selector of a ReplicationController or Service: every pair must be there. None or empty: NOTHING."""
    if not labels:
        return NOTHING
    return Selector(Requirement(key, "=", (value,)) for key, value in labels.items())


_LABEL_SELECTOR_OPERATORS: dict[str, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}


def selector_from_label_selector(selector: Any) -> Selector:
    """Return the meaning of a ``metav1.LabelSelector``: None selects nothing, an empty one everything.

    Raises ValueError for an unknown operator.
    """
    if selector is None:
        return NOTHING
    requirements = [Requirement(key, "=", (value,)) for key, value in selector.match_labels.items()]
    for expression in selector.match_expressions:
        operator = _LABEL_SELECTOR_OPERATORS.get(expression.operator)
        if operator is None:
            raise ValueError(f'"{expression.operator}" is not a valid label selector operator')
        requirements.append(Requirement(expression.key, operator, expression.values))
    return Selector(requirements)
