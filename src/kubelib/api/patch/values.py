"""What an applied configuration does to values: it adds to them, and takes away what it no longer says. Pure."""

from typing import Any

from kubelib.api.patch.comparing import UnknownItem, is_divisible, step_of, steps_of
from kubelib.api.patch.fieldset import SELF, Fields, belongs
from kubelib.api.patch.shapes import ATOMIC, Shape, field_in
from kubelib.api.scheme import Tree


def merge(live: Any, applied: Any, shape: Shape) -> Any:
    """Return `live`, which may be changed, with what `applied` says."""
    kind = shape.kind
    if isinstance(live, dict) and isinstance(applied, dict) and kind in ("object", "map", "deduced"):
        for name, value in applied.items():
            live[name] = merge(live[name], value, field_in(shape, name)) if name in live else value
        return live
    if isinstance(live, list) and isinstance(applied, list) and kind in ("keyed", "set"):
        return _merge_lists(live, applied, shape)
    if applied is None and live and is_divisible(live, shape):
        return live  # null is an object or a list that has nothing, which takes nothing away
    return applied


def _merge_lists(live: list[Any], applied: list[Any], shape: Shape) -> list[Any]:
    """Return both lists' items: those applied in their order, the others where they were relative to these.

    Of several stored items that are known by the same key the applied one remains.
    """
    there, wanted = [(step_of(item, shape), item) for item in live], steps_of(applied, shape)
    known = dict(reversed(there))
    inner = shape.item or ATOMIC
    merged: list[Any] = []
    done: set[str] = set()
    at = 0
    for step, item in wanted.items():
        if step not in known:
            while at < len(there) and there[at][0] not in wanted:
                merged.append(there[at][1])
                at += 1
        elif step not in done:
            while there[at][0] != step:
                if there[at][0] not in wanted:
                    merged.append(there[at][1])
                done.add(there[at][0])
                at += 1
            at += 1
        merged.append(merge(known[step], item, inner) if step in known else item)
    merged += [item for step, item in there[at:] if step not in wanted]
    return merged


def _prune(value: Any, last: Fields, owned: Fields, shape: Shape) -> bool:
    if isinstance(value, dict):
        return prune_members(value, last, owned, shape)
    return isinstance(value, list) and _prune_items(value, last, owned, shape)


def prune_members(value: Tree, last: Fields, owned: Fields, shape: Shape) -> bool:
    """Remove from an object or a map, in place, what a manager set the last time and nobody owns now. Return whether that was something.

    An item, or an entry of a map, goes with all that is in it unless somebody owns it itself: owning a part does not hold it.
    An object or a list that has nothing left becomes null, and a custom kind drops that, or keeps it where null is allowed.
    """
    gone = False
    for step, node in last.items():
        name = step.removeprefix("f:")
        if step == SELF or name == step or name not in value:
            continue
        named = shape.kind == "object" and name in shape.fields
        others, inner = owned.get(step), field_in(shape, name)
        traced = not named or not _is_traceless(value[name], inner)
        if traced and (named or belongs(node)) and (others is None or not (named or belongs(others))):
            del value[name]
            gone = True
        elif _prune(value[name], node, others or {}, inner):
            gone = True
            if not value[name]:
                value[name] = None
            elif named and _is_traceless(value[name], inner):
                del value[name]
    return gone


def _is_traceless(value: Any, shape: Shape) -> bool:
    """Return whether an object holds but empty lists whose items are owned one by one: no set of fields shows these."""
    if isinstance(value, dict) and shape.kind == "object":
        named = shape.fields
        return bool(value) and all(
            name in named and _is_traceless(member, named[name].shape) for name, member in value.items()
        )
    return value == [] and shape.kind in ("keyed", "set")


def _prune_items(value: list[Any], last: Fields, owned: Fields, shape: Shape) -> bool:
    gone = False
    left = []
    for item in value:
        step = _known_as(item, shape)
        node, others = last.get(step), owned.get(step)
        if node is None:
            left.append(item)
        elif not belongs(node) or (others is not None and belongs(others)):
            lost = _prune(item, node, others or {}, shape.item or ATOMIC)
            gone = gone or lost
            if item or not lost:
                left.append(item)
        else:
            gone = True
    value[:] = left
    return gone


def _known_as(item: Any, shape: Shape) -> str:
    try:
        return step_of(item, shape)
    except UnknownItem:
        return ""
