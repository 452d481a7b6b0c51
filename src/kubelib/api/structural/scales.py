"""Where the numbers of a scale are in the documents of a custom kind, and whether they are numbers that a scale may have."""

from collections.abc import Iterator
from typing import Any

import attrs

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.validation.problems import invalid

MOST = 2**31 - 1
"""The largest number of replicas."""


@attrs.frozen
class ScalePaths:
    """Where the parts of a scale are in a document, as names of fields."""

    replicas: tuple[str, ...]
    observed: tuple[str, ...]
    selector: tuple[str, ...] = ()


def steps_of(path: str) -> tuple[str, ...]:
    """Return the names of the fields on a path of a definition. Dots alone part them: ``.spec.replicas[0]`` ends in one field."""
    return tuple(path.removeprefix(".").split(".")) if path else ()


def scale_problems(tree: Tree, paths: ScalePaths) -> list[Problem]:
    """Return what keeps a document from having a scale. What is not there does not."""
    return [
        *_of_number(tree, paths.replicas),
        *_of_number(tree, paths.observed),
        *_of_text(tree, paths.selector),
    ]


def _of_number(tree: Tree, path: tuple[str, ...]) -> Iterator[Problem]:
    where = "." + ".".join(path)
    number, found, why = _at(tree, path)
    if why:
        yield invalid(where, 0, why)
    elif found and (isinstance(number, bool) or not isinstance(number, int)):
        yield invalid(where, 0, _mistyped(where, number, "int64"))
    elif found and number < 0:
        yield invalid(where, number, "should be a non-negative integer")
    elif found and number > MOST:
        yield invalid(where, number, f"should be less than or equal to {MOST}")


def _of_text(tree: Tree, path: tuple[str, ...]) -> Iterator[Problem]:
    where = "." + ".".join(path)
    text, found, why = _at(tree, path) if path else ("", False, "")
    if why or (found and not isinstance(text, str)):
        yield invalid(where, "", why or _mistyped(where, text, "string"))


def _at(tree: Any, path: tuple[str, ...]) -> tuple[Any, bool, str]:
    """Return what is at a path, whether there is anything, and what is in the way of it."""
    for number, step in enumerate(path):
        if tree is None:
            return None, False, ""
        if not isinstance(tree, dict):
            return None, False, _mistyped("." + ".".join(path[: number + 1]), tree, "map[string]interface{}")
        if step not in tree:
            return None, False, ""
        tree = tree[step]
    return tree, True, ""


def _mistyped(where: str, value: Any, expected: str) -> str:
    """Say it as Go does, with its names of types."""
    match value:
        case None:
            shown, kind = "<nil>", "<nil>"
        case bool():
            shown, kind = str(value).lower(), "bool"
        case int():
            shown, kind = str(value), "int64"
        case float():
            shown, kind = f"{value:g}", "float64"
        case str():
            shown, kind = value, "string"
        case list():
            shown, kind = "a list", "[]interface {}"
        case _:
            shown, kind = "an object", "map[string]interface {}"
    return f"{where} accessor error: {shown} is of the type {kind}, expected {expected}"
