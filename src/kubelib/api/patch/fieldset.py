"""Sets of fields, in the form of ``fieldsV1``: a tree of path elements.

``f:name`` is a member of an object or a map, ``k:{…}`` an item of a list that is known by its keys, ``v:…`` an item of a list of
scalars. A node without children belongs to the set; one with children does if it has the child ``.``. The format and what
the operations mean are those of Kubernetes' structured-merge-diff.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

Fields = dict[str, Any]
Path = tuple[str, ...]
SELF = "."


def belongs(node: Fields) -> bool:
    """Return whether the node itself, not only what is below it, is in the set."""
    return not node or SELF in node


def is_readable(fields: Fields) -> bool:
    """Return whether all that a set says can be understood. Path elements of unknown kinds are for later versions to know."""
    for step, node in fields.items():
        if not isinstance(node, dict) or (step != SELF and not (_is_step(step) and is_readable(node))):
            return False
    return True


def _is_step(step: str) -> bool:
    if len(step) < 2 or step[1] != ":":
        return False
    if step[0] == "i":
        return step[2:].lstrip("+-").isdecimal()
    if step[0] not in "kv":
        return True
    try:
        value = json.loads(step[2:])
    except ValueError:
        return False
    return step[0] == "v" or isinstance(value, dict)


def _node(member: bool, children: Fields) -> Fields | None:
    """Return a node, or None if nothing of it is in the set."""
    if not children:
        return {} if member else None
    return {SELF: {}, **children} if member else children


def union(one: Fields, other: Fields) -> Fields:
    """Return what is in either of two sets that are not empty: `one` itself where the other adds nothing.

    If `one` is in order, so is the result: only what is added is put into order, and where it is added.
    """
    if not other:
        return one if belongs(one) else {SELF: {}, **one}
    if not one:
        return in_order(other if SELF in other else {SELF: {}, **other})
    both: Fields | None = None
    more = False
    for name, node in other.items():
        there = one.get(name)
        if there is None:
            whole, more = in_order(node), True
        elif name == SELF or (whole := union(there, node)) is there:
            continue
        if both is None:
            both = dict(one)
        both[name] = whole
    if both is None:
        return one
    return {name: both[name] for name in sorted_steps(both)} if more else both


def difference(one: Fields, other: Fields) -> Fields | None:
    """Return what is in `one` and not in `other`; None if nothing is."""
    children: Fields = {}
    for name, node in one.items():
        if name == SELF:
            continue
        taken = other.get(name)
        left = node if taken is None else difference(node, taken)
        if left is not None:
            children[name] = left
    return _node(belongs(one) and not belongs(other), children)


def intersection(one: Fields, other: Fields) -> Fields | None:
    """Return what is in both; None if nothing is."""
    children: Fields = {}
    for name, node in one.items():
        if name != SELF and (twin := other.get(name)) is not None:
            common = intersection(node, twin)
            if common is not None:
                children[name] = common
    return _node(belongs(one) and belongs(other), children)


def union_of_trees(one: Fields | None, other: Fields | None) -> Fields | None:
    """Return the union of two sets either of which may be empty, which is None."""
    if one is None or other is None:
        return one if other is None else other
    return union(one, other)


def in_order(fields: Fields) -> Fields:
    """Return a set in the order in which sets are written down."""
    if len(fields) == 1:
        ((name, node),) = fields.items()
        return {name: in_order(node)} if node else fields
    return {name: in_order(node) if (node := fields[name]) else node for name in sorted_steps(fields)}


def sorted_steps(steps: Iterable[str]) -> list[str]:
    """Return path elements in their order: numbers within them count as numbers."""
    found = sorted(steps)
    if found and found[-1] > "g":  # what is no member of an object comes after all that are
        found.sort(key=_rank)
    return found


@functools.lru_cache(4096)
def _rank(step: str) -> tuple[Any, ...]:
    kind, _, text = step.partition(":")
    match kind:
        case "k":
            return 1, [(name, _rank_of(value)) for name, value in json.loads(text).items()]
        case "v":
            return 2, _rank_of(json.loads(text))
    return 0, step


def _rank_of(value: Any) -> tuple[int, Any]:
    """Return where a value comes: numbers, then text, then booleans, then the rest."""
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (3, json.dumps(value))


def members(fields: Fields, prefix: Path = ()) -> Iterator[Path]:
    """Yield the paths of all that is in a set."""
    for name, node in fields.items():
        if name == SELF:
            yield prefix
            continue
        path = (*prefix, name)
        if node:
            yield from members(node, path)
        else:
            yield path


def show(path: Path) -> str:
    """Return a path as conflicts name it: ``.spec.containers[name="c"].image``."""
    text = ""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f":
            text += f".{name}"
        elif kind == "k":
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(name).items()) + "]"
        elif kind == "v":
            text += f"[={name}]"
        else:
            text += f"[{name}]"
    return text
