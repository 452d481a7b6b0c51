"""JSON paths as custom kinds use them: columns, scale, selectable fields."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

from kubelib.api.codec import encode_json
from kubelib.api.columns.cells import AGE, NAME
from kubelib.api.scheme import Column, Tree
from kubelib.api.structural.validating import go_float
from kubelib.api.times import human_duration, parse_time

Step = Callable[[list[Any]], list[Any]]
_STEP = re.compile(
    r"""
      \.\.(?P<deep>(?:[^.\[\]\\'"]|\\.)+)
    | \.?\*
    | \.(?P<name>(?:[^.\[\]\\]|\\.)+)
    | \[\s*'(?P<single>(?:[^'\\]|\\.)*)'\s*\]
    | \[\s*"(?P<double>(?:[^"\\]|\\.)*)"\s*\]
    | \[\s*\?\((?P<filter>.+?)\)\s*\]
    | \[\s*(?P<index>-?\d+)\s*\]
    | \[\s*(?P<from>-?\d*)\s*:\s*(?P<to>-?\d*)\s*\]
    | \[\s*(?P<all>\*)\s*\]
    """,
    re.VERBOSE,
)
_FILTER = re.compile(r"\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<sign>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*")


def parse_path(path: str) -> Callable[[Any], list[Any]]:
    """Return what finds the values at a path such as ``.status.conditions[?(@.type=="Ready")].status``. Raises ValueError."""
    text = path.strip().removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text[at:] == ".":
            break
        match = _STEP.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"the path {path!r} cannot be read from {text[at:]!r} on")
        steps.append(_step(match))
        at = match.end()

    def find(tree: Any) -> list[Any]:
        found = [tree]
        for step in steps:
            found = step(found)
            if not found:
                break
        return found

    return find


def _step(match: re.Match[str]) -> Step:
    for group in ("name", "single", "double"):
        if match[group] is not None:
            return _member(re.sub(r"\\(.)", r"\1", match[group]))
    if match["index"] is not None:
        number = int(match["index"])
        return lambda found: [
            value[number] for value in found if type(value) is list and -len(value) <= number < len(value)
        ]
    if match["filter"] is not None:
        return _filter(match["filter"])
    if match["from"] is not None:
        first = int(match["from"]) if match["from"] else None
        last = int(match["to"]) if match["to"] else None
        return lambda found: [item for value in found if type(value) is list for item in value[first:last]]
    if match["deep"] is not None:
        name = match["deep"]
        return lambda found: [item for value in found for item in _deep(value, name)]
    return lambda found: [item for value in found for item in _items(value)]


def _member(name: str) -> Step:
    return lambda found: [
        value[name] for value in found if type(value) is dict and value.get(name) is not None
    ]


def _items(value: Any) -> list[Any]:
    if type(value) is dict:
        return list(value.values())
    return value if type(value) is list else []


def _deep(value: Any, name: str) -> list[Any]:
    found: list[Any] = []
    waiting = [value]
    while waiting:
        current = waiting.pop(0)
        if type(current) is dict and name in current:
            found.append(current[name])
        waiting += _items(current)
    return found


def _filter(text: str) -> Step:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ValueError(f"the filter {text!r} cannot be read")
    inner = parse_path(match["path"])
    sign, wanted = match["sign"], _literal(match["value"]) if match["sign"] else None

    def holds(item: Any) -> bool:
        found = inner(item)
        if not found:
            return False
        value = found[0]
        match sign:
            case None:
                return True
            case "==":
                return bool(value == wanted)
            case "!=":
                return bool(value != wanted)
        try:
            return bool(
                {"<": value < wanted, ">": value > wanted, "<=": value <= wanted}.get(sign, value >= wanted)
            )
        except TypeError:
            return False

    return lambda found: [item for value in found for item in _items(value) if holds(item)]


def _literal(text: str) -> Any:
    if text[:1] in "\"'" and text[-1:] == text[:1]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def columns_of(definitions: list[Tree]) -> tuple[Column, ...]:
    """Return the columns of a custom kind: the name, and those of its definition, or the age."""
    if not definitions:
        return (NAME, attrs.evolve(AGE, type="date"))
    return (NAME, *map(_column, definitions))


def _column(definition: Tree) -> Column:
    kind = definition.get("type", "string")
    try:
        find = parse_path(definition.get("jsonPath", ""))
    except ValueError:
        find = _nowhere
    return Column(
        definition["name"],
        _cell(find, kind),
        type=kind,
        format=definition.get("format", ""),
        description=definition.get("description")
        or f"Custom resource definition column (in JSONPath format): {definition.get('jsonPath', '')}",
        wide=(definition.get("priority") or 0) > 0,
        priority=definition.get("priority") or 0,
    )


def _nowhere(tree: Any) -> list[Any]:
    return []


def _cell(find: Callable[[Any], list[Any]], kind: str) -> Callable[[Tree, datetime], Any]:
    def cell(tree: Tree, now: datetime) -> Any:
        found = find(tree)
        if not found:
            return None
        # The first that a path finds is shown, and no other.
        return _text(found[0]) if kind == "string" else _typed(found[0], kind, now)

    return cell


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, dict | list):
        return encode_json(value).decode()
    return "<nil>" if value is None else str(value)


def _typed(value: Any, kind: str, now: datetime) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer" if number:
            return int(value)
        case "number" if number:
            return float(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                return human_duration(now - parse_time(value))
            except ValueError:
                return "<invalid>"
    return None


def plain_steps(path: str) -> tuple[str, ...]:
    """Return the names of a path of plain fields such as ``.spec.replicas`` or ``.spec['a.b']``."""
    return tuple(
        re.sub(r"\\(.)", r"\1", match["name"] or match["single"] or match["double"] or "")
        for match in _STEP.finditer(path)
    )
