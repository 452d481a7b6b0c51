"""What a value sets, and what differs between two: as sets of fields (`kubelib.api.patch.fieldset`)."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from kubelib.api.patch.fieldset import SELF, Fields, Path, show
from kubelib.api.patch.shapes import ATOMIC, Shape, field_in

ABSENT: Any = object()


class UnknownItem(ValueError):
    """A configuration names what its kind does not have, or an item of a list has nothing that tells it apart."""


class Several(list[Any]):
    """Items of a list that have the same path element. Who writes without applying may store such lists."""


def steps_of(items: Sequence[Any], shape: Shape) -> dict[str, Any]:
    """Return the items of a list that is no unit, by their path elements. Raises UnknownItem."""
    found: dict[str, Any] = {}
    for item in items:
        step = step_of(item, shape)
        if step in found:
            raise UnknownItem(f"duplicate entries for key {show((step,))}")
        found[step] = item
    return found


def steps_of_stored(items: Sequence[Any], shape: Shape) -> dict[str, Any]:
    """Return the items of a stored list by their path elements, those that have the same as `Several`. Raises UnknownItem."""
    found: dict[str, Any] = {}
    for item in items:
        step = step_of(item, shape)
        if step not in found:
            found[step] = item
        elif isinstance(found[step], Several):
            found[step].append(item)
        else:
            found[step] = Several((found[step], item))
    return found


def step_of(item: Any, shape: Shape) -> str:
    """Return the path element of an item of a keyed list or of a set. Raises UnknownItem."""
    if shape.kind == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    if item is None:
        raise UnknownItem("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise UnknownItem("associative list with keys may not have non-map elements")
    chosen = {}
    for key in shape.keys:
        if key in item:
            chosen[key] = item[key]
        elif key in shape.defaults:
            chosen[key] = shape.defaults[key]
    if not chosen:
        names = " ".join(f'"{key}"' for key in shape.keys)
        raise UnknownItem(
            f"associative list with keys has an element that omits all key fields [{names}] (and doesn't have default"
            " values for any key fields)"
        )
    return "k:" + json.dumps(chosen, separators=(",", ":"))


def faults_of(value: Any, shape: Shape, path: Path = ()) -> Iterator[str]:
    """Yield why an applied configuration cannot be understood, each with the path of what is wrong."""
    kind = shape.kind
    if isinstance(value, dict) and kind in ("object", "map"):
        for name, member in value.items():
            inner = (*path, "f:" + name)
            if is_undeclared(name, shape):
                yield f"{show(inner)}: field not declared in schema"
            else:
                yield from faults_of(member, field_in(shape, name), inner)
    elif isinstance(value, list) and kind in ("keyed", "set"):
        seen = set()
        for number, item in enumerate(value):
            try:
                step = step_of(item, shape)
            except UnknownItem as error:
                yield f"{show(path)}: element {number}: {error}"
                continue
            if step in seen:
                yield f"{show(path)}: duplicate entries for key {show((step,))}"
            seen.add(step)
            yield from faults_of(item, shape.item or ATOMIC, (*path, step))


def is_undeclared(name: str, shape: Shape) -> bool:
    """Return whether an object has no such field, and no place for fields that it does not name."""
    return shape.kind == "object" and shape.item is None and name not in shape.fields


def fields_set_by(value: Any, shape: Shape) -> Fields | None:
    """Return what an applied configuration sets; None if nothing. Raises UnknownItem."""
    kind = shape.kind
    if isinstance(value, dict) and kind in ("object", "map", "deduced"):
        fields: Fields = {}
        named = shape.fields if kind == "object" else {}
        closed = kind == "object" and shape.item is None
        for name, member in value.items():
            if closed and name not in named:
                raise UnknownItem("field not declared in schema")
            node = fields_set_by(member, field_in(shape, name))
            if member == {} or member is None:
                node = {}
            elif name not in named and node is not None and node and SELF not in node:
                node = {SELF: {}, **node}
            if node is not None:
                fields["f:" + name] = node
        return fields or None
    if isinstance(value, list) and kind in ("keyed", "set"):
        fields = {}
        for step, item in steps_of(value, shape).items():
            node = fields_set_by(item, shape.item or ATOMIC)
            fields[step] = {SELF: {}, **node} if node else {}
        return fields or None
    return {}


def compare(old: Any, new: Any, shape: Shape) -> tuple[Fields | None, Fields | None]:
    """Return what `new` adds to or changes in `old`, and what it lacks; None stands for nothing.

    What is added or lacks as a whole is in the result with all that is below it.
    """
    if old == new:
        return None, None
    if old is ABSENT:
        return added(new, shape), None
    if new is ABSENT:
        return None, added(old, shape)
    kind = shape.kind
    if isinstance(old, dict) and isinstance(new, dict) and kind in ("object", "map", "deduced"):
        return _compare_members(old, new, shape, "f:", lambda step: field_in(shape, step[2:]))
    if isinstance(old, list) and isinstance(new, list) and kind in ("keyed", "set"):
        inner = shape.item or ATOMIC
        try:
            before, after = steps_of_stored(old, shape), steps_of_stored(new, shape)
        except UnknownItem:
            return {}, None
        return _compare_members(before, after, shape, "", lambda step: inner)
    return {}, None


def _compare_members(
    old: dict[str, Any], new: dict[str, Any], shape: Shape, prefix: str, inner: Any
) -> tuple[Fields | None, Fields | None]:
    changed: Fields = {}
    lacking: Fields = {}
    for name, value in new.items():
        before = old.get(name, ABSENT)
        if before == value:
            continue
        step = prefix + name
        more, less = compare(before, value, inner(step))
        if more is not None:
            changed[step] = more
        if less is not None:
            lacking[step] = less
    for name, value in old.items():
        if name not in new:
            lacking[prefix + name] = added(value, inner(prefix + name))
    return changed or None, lacking or None


def added(value: Any, shape: Shape) -> Fields:
    """Return a value that was not there before, as a set of fields: itself and all below."""
    node = below(value, shape)
    return {SELF: {}, **node} if node else {}


def below(value: Any, shape: Shape) -> Fields:
    """Return all that is below a new value; empty for what is owned as a whole."""
    kind = shape.kind
    if kind == "atomic":
        return {}
    if isinstance(value, dict) and kind in ("object", "map", "deduced"):
        return {"f:" + name: added(member, field_in(shape, name)) for name, member in value.items()}
    if isinstance(value, list) and kind in ("keyed", "set"):
        inner = shape.item or ATOMIC
        try:
            return {step: added(item, inner) for step, item in steps_of_stored(value, shape).items()}
        except UnknownItem:
            return {}
    return {}


def added_to_empty(value: Any, shape: Shape) -> Fields | None:
    """Return what a new object sets beyond what every object of its kind has; None if nothing."""
    fields: Fields = {}
    for name, member in value.items():
        field = shape.fields.get(name)
        if field is None or not field.always:
            fields["f:" + name] = added(member, field_in(shape, name))
        elif isinstance(member, dict) and field.shape.kind == "object":
            inner = added_to_empty(member, field.shape)
            if inner is not None:
                fields["f:" + name] = inner
        elif member or not isinstance(member, dict | list):
            fields["f:" + name] = below(member, field.shape)
    return fields or None
