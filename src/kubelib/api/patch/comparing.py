"""What a value sets, and what differs between two: as sets of fields (`kubelib.api.patch.fieldset`)."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from kubelib.api.patch.fieldset import SELF, Fields, Path, show, sorted_steps
from kubelib.api.patch.shapes import ATOMIC, Shape, field_in

ABSENT: Any = object()
_OBJECTS = ("object", "map", "deduced")
_LISTS = ("keyed", "set")
_json = json.JSONEncoder(separators=(",", ":")).encode


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
        return "v:" + _json(item)
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
    # One by one: most are texts, and those the encoder makes short work of.
    return "k:{" + ",".join([f"{_json(key)}:{_json(value)}" for key, value in chosen.items()]) + "}"


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
    elif isinstance(value, list) and kind in _LISTS:
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
    if isinstance(value, dict) and kind in _OBJECTS:
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
    if isinstance(value, list) and kind in _LISTS:
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
    if _same(old, new, shape):
        return None, None
    return _compare_different(old, new, shape)


def _compare_different(old: Any, new: Any, shape: Shape) -> tuple[Fields | None, Fields | None]:
    """Compare values that are known not to be equal."""
    if old is ABSENT:
        return added(new, shape), None
    if isinstance(old, dict) and isinstance(new, dict) and shape.kind in _OBJECTS:
        return _compare_objects(old, new, shape)
    before, after = _parts(old, shape), _parts(new, shape)
    if before or after:
        changed, lacking = _compare_members(before or {}, after or {}, shape)
        if before is None or after is None:
            # What had parts has none now, or the other way round: it is another value, its parts came or went.
            changed = {SELF: {}, **changed} if changed else {}
        return changed, lacking
    return {}, None


def _same(old: Any, new: Any, shape: Shape) -> bool:
    """Return whether two values are equal. Where nothing says what a value is, true is not 1."""
    return bool(old == new) and (not shape.loose or _alike(old, new))


def _alike(old: Any, new: Any) -> bool:
    """Return whether two values that are equal to Python are equal in JSON."""
    if isinstance(old, dict):
        return all(_alike(member, new[name]) for name, member in old.items())
    if isinstance(old, list):
        return all(map(_alike, old, new))
    return isinstance(old, bool) == isinstance(new, bool)


def is_divisible(value: Any, shape: Shape) -> bool:
    """Return whether parts of a value are owned one by one."""
    return (isinstance(value, dict) and shape.kind in _OBJECTS) or (
        isinstance(value, list) and shape.kind in _LISTS
    )


def _parts(value: Any, shape: Shape) -> dict[str, Any] | None:
    """Return by path element what of a value is owned one by one; null has nothing. None if it is owned as a whole."""
    if value is None and shape.kind != "atomic":
        return {}
    if not is_divisible(value, shape):
        return None
    if isinstance(value, dict):
        return {"f:" + name: member for name, member in value.items()}
    try:
        return steps_of_stored(value, shape)
    except UnknownItem:
        return None


def _compare_objects(old: Any, new: Any, shape: Shape) -> tuple[Fields | None, Fields | None]:
    """Compare objects member by member: few differ, and only those are looked at more closely."""
    changed: Fields = {}
    lacking: Fields = {}
    for name, value in new.items():
        before = old.get(name, ABSENT)
        if before is value or _same(before, value, inner := field_in(shape, name)):
            continue
        more, less = _compare_different(before, value, inner)
        if more is not None:
            changed["f:" + name] = more
        if less is not None:
            lacking["f:" + name] = less
    for name, value in old.items():
        if name not in new:
            lacking["f:" + name] = added(value, field_in(shape, name))
    return changed or None, lacking or None


def _compare_members(
    old: dict[str, Any], new: dict[str, Any], shape: Shape
) -> tuple[Fields | None, Fields | None]:
    changed: Fields = {}
    lacking: Fields = {}
    for step, value in new.items():
        before = old.get(step, ABSENT)
        if _same(before, value, inner := _shape_at(shape, step)):
            continue
        more, less = _compare_different(before, value, inner)
        if more is not None:
            changed[step] = more
        if less is not None:
            lacking[step] = less
    for step, value in old.items():
        if step not in new:
            lacking[step] = added(value, _shape_at(shape, step))
    return changed or None, lacking or None


def _shape_at(shape: Shape, step: str) -> Shape:
    return shape.item or ATOMIC if shape.kind in _LISTS else field_in(shape, step[2:])


def added(value: Any, shape: Shape) -> Fields:
    """Return a value that was not there before, as a set of fields in its order: itself and all below."""
    node = below(value, shape)
    return {SELF: {}, **node} if node else {}


def below(value: Any, shape: Shape) -> Fields:
    """Return all that is below a new value, in its order; empty for what is owned as a whole."""
    if isinstance(value, dict):
        if shape.kind not in _OBJECTS:
            return {}
        # Most members are scalars, which have nothing below them.
        return {
            "f:" + name: added(member, field_in(shape, name))
            if isinstance(member := value[name], _DIVISIBLE)
            else {}
            for name in sorted(value)
        }
    if not isinstance(value, list) or shape.kind not in _LISTS:
        return {}
    try:
        items = steps_of_stored(value, shape)
    except UnknownItem:
        return {}
    inner = shape.item or ATOMIC
    return {step: added(items[step], inner) for step in sorted_steps(items)}


_DIVISIBLE = (dict, list)


def added_to_empty(value: Any, shape: Shape) -> Fields | None:
    """Return what a new object sets beyond what every object of its kind has, in its order; None if nothing."""
    fields: Fields = {}
    for name in sorted(value):
        member = value[name]
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
