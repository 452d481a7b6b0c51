"""Server-side apply: who set which field, what an applied configuration changes, and with whom it conflicts.

Sets of fields are trees in the form of ``fieldsV1``: ``f:name`` for a member, ``k:{...}`` for an item of a list that is a map,
``v:...`` for an item of a list that is a set, ``.`` for the item itself.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from kubelib.api.errors import BadRequest, Conflict, Problem
from kubelib.api.merging import MergeFact, merge_facts
from kubelib.api.model import Model, json_fields, model_in
from kubelib.api.scheme import Tree

Path = tuple[str, ...]
Fields = dict[str, Any]

_NOT_TRACKED = {
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink",
    "managedFields", "deletionGracePeriodSeconds",
}  # fmt: skip
_NO_FACT = MergeFact()
BEFORE_FIRST_APPLY = "before-first-apply"
"""Whom Kubernetes takes for the owner of what was there before anybody applied."""


@attrs.frozen
class Applier:
    """Who writes, and how."""

    manager: str
    api_version: str
    subresource: str = ""
    force: bool = False
    time: str = ""


def _key_of(item: Any, keys: Sequence[str]) -> str:
    if not isinstance(item, dict):
        raise BadRequest(f"an item of a list that is merged by {', '.join(keys)} is not an object")
    chosen = {key: item[key] for key in sorted(keys) if key in item}
    if not chosen:
        raise BadRequest(f"an item of a list lacks all of its keys: {', '.join(keys)}")
    return "k:" + json.dumps(chosen, separators=(",", ":"))


def _is_map(hint: Any, model: type[Model] | None, fact: MergeFact) -> bool:
    """Return whether the members of an object are owned one by one."""
    if fact.map_type == "atomic" or (model is not None and vars(model).get("__atomic__")):
        return False
    return model is not None or model_in(hint)[0] == "map"


def fields_of(tree: Tree, cls: type[Model] | None, *, top: bool = True) -> Fields:
    """Return the fields that a document sets."""
    facts = merge_facts(cls) if cls is not None else {}  # type: ignore[arg-type]
    hints = json_fields(cls) if cls is not None else {}  # type: ignore[arg-type]
    fields: Fields = {}
    for name, value in tree.items():
        if top and name in ("apiVersion", "kind"):
            continue
        if top and name == "metadata":
            value = {k: v for k, v in value.items() if k not in _NOT_TRACKED}
            if not value:
                continue
        hint, fact = hints.get(name), facts.get(name, _NO_FACT)
        model = model_in(hint)[1] if hint is not None else None
        fields["f:" + name] = _fields_of_value(value, hint, model, fact)
    return fields


def _fields_of_value(value: Any, hint: Any, model: type[Model] | None, fact: MergeFact) -> Fields:
    if isinstance(value, dict) and hint is not None and _is_map(hint, model, fact):
        if model_in(hint)[0] == "map":
            return {f"f:{key}": {} for key in value}
        return fields_of(value, model, top=False)
    if isinstance(value, list) and fact.list_type == "map":
        return {
            _key_of(item, fact.map_keys): {".": {}, **fields_of(item, model, top=False)} for item in value
        }
    if isinstance(value, list) and fact.list_type == "set":
        return {"v:" + json.dumps(item): {} for item in value}
    return {}


def paths(fields: Fields, prefix: Path = ()) -> Iterator[Path]:
    """Yield the leaves of a set of fields."""
    for name, inner in fields.items():
        if inner:
            yield from paths(inner, (*prefix, name))
        else:
            yield (*prefix, name)


def _tree_of(leaves: Sequence[Path]) -> Fields:
    fields: Fields = {}
    for path in leaves:
        at = fields
        for step in path:
            at = at.setdefault(step, {})
    return fields


_ABSENT = object()


def _step(value: Any, step: str) -> Any:
    kind, _, name = step.partition(":")
    if kind == "f":
        return value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT
    if kind == "k" and isinstance(value, list):
        keys = json.loads(name)
        for item in value:
            if isinstance(item, dict) and all(item.get(k) == v for k, v in keys.items()):
                return item
    if kind == "v" and isinstance(value, list):
        wanted = json.loads(name)
        return wanted if wanted in value else _ABSENT
    return _ABSENT


def value_at(tree: Any, path: Path) -> Any:
    """Return what is at a path, or a mark that nothing is."""
    for step in path:
        if step == ".":
            return True
        tree = _step(tree, step)
        if tree is _ABSENT:
            return _ABSENT
    return tree


def _remove(tree: Any, path: Path) -> None:
    parent: Any = tree
    steps = path[:-1] if path[-1] != "." else path[:-2]
    last = path[-1] if path[-1] != "." else path[-2]
    for step in steps:
        parent = _step(parent, step)
        if parent is _ABSENT:
            return
    found = _step(parent, last)
    if found is _ABSENT:
        return
    if isinstance(parent, dict):
        parent.pop(last.partition(":")[2], None)
    elif isinstance(parent, list):
        parent.remove(found)


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
    return text


def _merge(live: Any, applied: Any, hint: Any, model: type[Model] | None, fact: MergeFact) -> Any:
    if (
        isinstance(applied, dict)
        and isinstance(live, dict)
        and hint is not None
        and _is_map(hint, model, fact)
    ):
        if model_in(hint)[0] == "map":
            return {**live, **applied}
        return _merge_object(live, applied, model)
    if isinstance(applied, list) and isinstance(live, list) and fact.list_type == "map":
        merged = [*live]
        for item in applied:
            found = _step(merged, _key_of(item, fact.map_keys))
            if found is _ABSENT:
                merged.append(item)
            else:
                merged[merged.index(found)] = _merge_object(found, item, model)
        return merged
    if isinstance(applied, list) and isinstance(live, list) and fact.list_type == "set":
        return [*live, *(item for item in applied if item not in live)]
    return applied


def _merge_object(live: Tree, applied: Tree, cls: type[Model] | None) -> Tree:
    facts = merge_facts(cls) if cls is not None else {}  # type: ignore[arg-type]
    hints = json_fields(cls) if cls is not None else {}  # type: ignore[arg-type]
    result = dict(live)
    for name, value in applied.items():
        hint = hints.get(name)
        model = model_in(hint)[1] if hint is not None else None
        result[name] = (
            _merge(live[name], value, hint, model, facts.get(name, _NO_FACT)) if name in live else value
        )
    return result


def _entry(applier: Applier, operation: str, leaves: Sequence[Path]) -> Tree:
    entry: Tree = {
        "manager": applier.manager,
        "operation": operation,
        "apiVersion": applier.api_version,
        "time": applier.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": _tree_of(leaves),
    }
    if applier.subresource:
        entry["subresource"] = applier.subresource
    return entry


def _is_own(entry: Tree, applier: Applier, operation: str) -> bool:
    return (
        entry.get("manager") == applier.manager
        and entry.get("operation") == operation
        and (entry.get("subresource") or "") == applier.subresource
    )


def server_side_apply(live: Tree | None, applied: Tree, applier: Applier, cls: type[Model]) -> Tree:
    """Return what applying a configuration makes of a document, with its managed fields.

    Raises Conflict, naming owner and field, where another manager has set a field to another value, unless forced.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    applied = copy.deepcopy(applied)
    wanted = list(paths(fields_of(applied, cls)))
    if live is None:
        applied.setdefault("metadata", {})["managedFields"] = [_entry(applier, "Apply", wanted)]
        return applied
    entries = list((live.get("metadata") or {}).get("managedFields") or ())
    if not entries:
        before = Applier(BEFORE_FIRST_APPLY, applier.api_version, time=applier.time)
        entries = [_entry(before, "Update", list(paths(fields_of(live, cls))))]
    others = [entry for entry in entries if not _is_own(entry, applier, "Apply")]
    own = next((entry for entry in entries if _is_own(entry, applier, "Apply")), None)
    taken = _conflicts(live, applied, wanted, others)
    if taken and not applier.force:
        raise _conflict(taken)
    kept = []
    for entry in others:
        lost = set(taken.get(_owner(entry), ()))
        left = [path for path in paths(entry.get("fieldsV1") or {}) if path not in lost]
        if left:
            kept.append({**entry, "fieldsV1": _tree_of(left)} if lost else entry)
    result = _merge_object(copy.deepcopy(live), applied, cls)
    if own is not None:
        owned_elsewhere = {path for entry in kept for path in paths(entry.get("fieldsV1") or {})}
        dropped = set(paths(own.get("fieldsV1") or {})) - set(wanted) - owned_elsewhere
        # Items before what is in them: without its keys an item would not be found any more.
        for path in sorted(dropped, key=lambda path: (path[-1] != ".", path)):
            _remove(result, path)
    result["metadata"]["managedFields"] = [*kept, _entry(applier, "Apply", wanted)]
    if own is not None and _same_but_time(result, live, own, wanted):
        result["metadata"]["managedFields"] = live["metadata"]["managedFields"]
    return result


def _same_but_time(result: Tree, live: Tree, own: Tree, wanted: Sequence[Path]) -> bool:
    """Return whether an apply changes nothing: then its time does not count either."""
    if set(paths(own.get("fieldsV1") or {})) != set(wanted):
        return False
    bare = {**result, "metadata": {k: v for k, v in result["metadata"].items() if k != "managedFields"}}
    was = {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}
    return bare == was


def _owner(entry: Tree) -> tuple[str, str]:
    return str(entry.get("manager")), str(entry.get("apiVersion"))


def _conflicts(
    live: Tree, applied: Tree, wanted: Sequence[Path], others: Sequence[Tree]
) -> dict[tuple[str, str], list[Path]]:
    changed = {p for p in wanted if p[-1] != "." and value_at(live, p) != value_at(applied, p)}
    found: dict[tuple[str, str], list[Path]] = {}
    for entry in others:
        overlap = [path for path in paths(entry.get("fieldsV1") or {}) if path in changed]
        if overlap:
            found.setdefault(_owner(entry), []).extend(overlap)
    return found


def _conflict(taken: dict[tuple[str, str], list[Path]]) -> Conflict:
    causes, texts = [], []
    count = 0
    for (manager, version), leaves in taken.items():
        named = f'"{manager}" using {version}'
        count += len(leaves)
        causes += [Problem("FieldManagerConflict", show(p), f"conflict with {named}") for p in leaves]
        if len(leaves) == 1:
            texts.append(f"conflict with {named}: {show(leaves[0])}")
        else:
            texts.append(f"conflicts with {named}:\n" + "\n".join(f"- {show(path)}" for path in leaves))
    plural = "conflict" if count == 1 else "conflicts"
    return Conflict(f"Apply failed with {count} {plural}: " + "\n".join(texts), causes=causes)


def track_update(old: Tree, new: Tree, applier: Applier, cls: type[Model]) -> None:
    """Note in `new`, in place, that a write other than an apply set what it changed.

    Objects that nobody has applied carry no managed fields: their first apply takes what is there as it is.
    """
    entries = (old.get("metadata") or {}).get("managedFields")
    if not entries:
        return
    before, after = set(paths(fields_of(old, cls))), set(paths(fields_of(new, cls)))
    changed = {path for path in after if path not in before or value_at(old, path) != value_at(new, path)}
    gone = before - after
    if not changed and not gone:
        new["metadata"]["managedFields"] = entries
        return
    kept: list[Tree] = []
    mine: set[Path] = set(changed)
    for entry in entries:
        owned = set(paths(entry.get("fieldsV1") or {}))
        if _is_own(entry, applier, "Update"):
            mine |= owned - gone
            continue
        left = owned - changed - gone
        if left == owned:
            kept.append(entry)
        elif left:
            kept.append({**entry, "fieldsV1": _tree_of(sorted(left))})
    new["metadata"]["managedFields"] = [*kept, _entry(applier, "Update", sorted(mine))] if mine else kept
