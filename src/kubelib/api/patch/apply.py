"""Server-side apply and managed fields: who set which field, what an applied configuration changes, with whom it conflicts.

The rules are those of Kubernetes' field manager over structured-merge-diff: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from collections.abc import Sequence
from typing import Any

import attrs

from kubelib.api.alike import Known
from kubelib.api.codec import copied, encode_json
from kubelib.api.errors import BadRequest, Conflict, Problem
from kubelib.api.patch.comparing import (
    UnknownItem,
    added_to_empty,
    compare,
    faults_of,
    fields_set_by,
    is_divisible,
    step_of,
    steps_of,
)
from kubelib.api.patch.fieldset import (
    SELF,
    Fields,
    belongs,
    difference,
    in_order,
    intersection,
    is_readable,
    members,
    show,
    union,
    union_of_trees,
)
from kubelib.api.patch.shapes import ATOMIC, Shape, field_in
from kubelib.api.scheme import Tree

BEFORE_FIRST_APPLY = "before-first-apply"
"""Whom Kubernetes takes for the owner of what was there before anybody applied, if nobody is known."""
ANCIENT_CHANGES = "ancient-changes"
MOST_UPDATERS = 10
"""How many managers that do not apply are told apart; the oldest are then taken together as `ANCIENT_CHANGES`."""
KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NOBODYS_METADATA = frozenset(
    {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "clusterName",
        "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds",
    }
)  # fmt: skip


@attrs.frozen
class Applier:
    """Who writes, and how."""

    manager: str
    api_version: str
    subresource: str = ""
    force: bool = False
    time: str = ""
    """When; entries that come of writes of a scale have none, in Kubernetes too."""

    def entry(self, operation: str, fields: Fields) -> Tree:
        """Return an entry of ``managedFields``. The fields are in their order."""
        entry: Tree = {
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            **({"time": self.time} if self.time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry

    def wrote(self, entry: Tree, operation: str) -> bool:
        """Return whether an entry is this writer's own. Those who apply are the same in all versions of a kind."""
        return (
            entry.get("operation") == operation
            and entry.get("manager") == self.manager
            and (entry.get("subresource") or "") == self.subresource
            and (operation == "Apply" or entry.get("apiVersion") == self.api_version)
        )


def _tracked(tree: Tree, without: Sequence[str] = ()) -> Tree:
    """Return the part of a document that somebody may own."""
    part = {k: v for k, v in tree.items() if k not in ("kind", "apiVersion") and k not in without}
    meta = tree.get("metadata")
    if isinstance(meta, dict):
        part["metadata"] = {k: v for k, v in meta.items() if k not in _NOBODYS_METADATA}
    return part


def _fields(entry: Tree) -> Fields:
    fields = entry.get("fieldsV1")
    return fields if isinstance(fields, dict) else {}


def _ordered(entries: Sequence[Tree]) -> list[Tree]:
    """Return the entries in the order in which Kubernetes shows them: first those who apply, then by time."""

    if len(entries) < 2:
        return list(entries)

    def rank(entry: Tree) -> tuple[str, ...]:
        get = entry.get
        return (
            str(get("operation") or ""),
            str(get("time") or ""),
            str(get("manager") or ""),
            str(get("apiVersion") or ""),
            str(get("subresource") or ""),
        )

    return sorted(entries, key=rank)


# Writes that do not apply


def track_create(tree: Tree, applier: Applier, shape: Shape, *, without: Sequence[str] = ()) -> list[Tree]:
    """Return the managed fields of a new document: its writer set all that is in it but the parts `without`."""
    fields = _recently_set(_tracked(tree, without), shape)
    return [] if fields is None else [applier.entry("Update", fields)]


def _recently_set(tree: Tree, shape: Shape) -> Fields | None:
    """Return what a new document sets. The Pods of a workload differ in little more than their names."""
    spec = tree.get("spec")
    if not isinstance(spec, dict) or not spec:
        return added_to_empty(tree, shape)
    rest = {name: value for name, value in tree.items() if name != "spec"}
    fields = added_to_empty(rest, shape) or {}
    key = encode_json(spec)
    of_spec = _set_by.get(key, shape)
    if of_spec is None:
        of_spec = added_to_empty({"spec": spec}, shape) or {}
        _set_by.note(key, of_spec, shape)
    if not of_spec:
        return fields or None
    both = {**fields, **of_spec}
    return {name: both[name] for name in sorted(both)}


_set_by: Known[Fields] = Known(512)
"""What a spec sets, seen as one of a kind."""


def track_update(
    live: list[Tree], given: Any, old: Tree, new: Tree, applier: Applier, shape: Shape
) -> list[Tree]:
    """Return the managed fields of a document after a write other than an apply; neither document contains them.

    `live` are those it had, `given` those that the client sent. Who sends others has these; who sends a single empty one
    has none, and nothing is tracked from then on.
    """
    if given == [{}]:
        return []
    entries = _valid(given, live) if given and given != live else live
    if not entries:
        return entries
    changed, lacking = compare(_tracked(old), _tracked(new), shape)
    if changed is None and lacking is None:
        return entries
    kept: list[Tree] = []
    mine = in_order(changed) if changed is not None else None
    own: Tree | None = None
    for entry in entries:
        if applier.wrote(entry, "Update"):
            own = entry
            left = difference(_fields(entry), lacking) if lacking is not None else _fields(entry)
            mine = union_of_trees(left, mine)
        elif (left_of_it := _without(entry, changed, lacking)) is not None:
            kept.append(left_of_it)
    if mine is not None:
        if entries is not live:  # who sends some need not have put them in order
            mine = in_order(mine)
        as_before = changed is None or not applier.time
        kept.append({**own, "fieldsV1": mine} if own and as_before else applier.entry("Update", mine))
    return _ordered(_few(kept))


def with_managed_fields(tree: Tree, managed: Sequence[Tree] | None) -> Tree:
    """Return a document with its managed fields, which writes set aside so that no check has to walk through them."""
    return {**tree, "metadata": {**tree["metadata"], "managedFields": managed}} if managed else tree


def managed_fields_problem(given: Any) -> str:
    """Return why managed fields make no sense, in Kubernetes' words; empty if they do."""
    for at, entry in enumerate(given if isinstance(given, list) else [None]):
        if not isinstance(entry, dict) or entry.get("operation") not in ("Apply", "Update"):
            return "operation must be `Apply` or `Update`"
        if not entry.get("apiVersion"):
            return "apiVersion must not be empty"
        kind = entry.get("fieldsType")
        if not kind:
            return f"missing fieldsType in managed fields entry {at}"
        if kind != "FieldsV1":
            return f"invalid fieldsType {encode_json(kind).decode()} in managed fields entry {at}"
        fields = entry.get("fieldsV1")
        if not isinstance(fields, dict) or not is_readable(fields):
            return f"error decoding versioned set from entry {at}: its fields are no set"
    return ""


def _valid(given: list[Tree], live: list[Tree]) -> list[Tree]:
    """Return what a client says of managed fields; if that makes no sense, what was known.

    Of several entries of one manager the last counts: so managers are renamed, and forgotten.
    """
    if managed_fields_problem(given):
        return live
    entries = {
        (
            entry.get("manager") or "",
            entry["operation"],
            entry.get("subresource") or "",
            "" if entry["operation"] == "Apply" else entry["apiVersion"],
        ): entry
        for entry in given
    }
    return list(entries.values())


def _without(entry: Tree, *taken: Fields | None) -> Tree | None:
    """Return another's entry without what was taken over or removed; None if nothing is left of it."""
    fields: Fields | None = _fields(entry)
    for part in taken:
        if part is not None and fields is not None and intersection(fields, part) is not None:
            fields = difference(fields, part)
    if fields is None:
        return None
    return entry if fields is entry.get("fieldsV1") else {**entry, "fieldsV1": fields}


def _few(entries: list[Tree]) -> list[Tree]:
    """Take the oldest updaters together where there are too many."""
    if len(entries) <= MOST_UPDATERS:
        return entries
    updaters = [e for e in _ordered(entries) if e.get("operation") == "Update"]
    surplus = len(updaters) - MOST_UPDATERS
    if surplus <= 0:
        return entries
    buckets: dict[str, Tree] = {}
    joined: list[Tree] = []
    for entry in updaters[: surplus + 1]:
        joined.append(entry)
        version = str(entry.get("apiVersion"))
        bucket = buckets.get(version)
        if bucket is None:
            buckets[version] = {**entry, "manager": ANCIENT_CHANGES}
            buckets[version].pop("subresource", None)
        else:
            bucket["fieldsV1"] = union(_fields(bucket), _fields(entry))
            if time := entry.get("time"):  # they are in this order
                bucket["time"] = time
    return [e for e in entries if not any(e is j for j in joined)] + list(buckets.values())


# Apply


_METADATA = "f:metadata"


def server_side_apply(live: Tree | None, applied: Tree, applier: Applier, shape: Shape) -> Tree:
    """Return what applying a configuration makes of a document, with its managed fields.

    Raises Conflict, naming owner and field, where another manager has set a field to another value, unless forced.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    applied = copied(applied)
    try:
        wanted = in_order(fields_set_by(_wanted(applied), shape) or {})
        if live is None:
            applied.setdefault("metadata", {})["managedFields"] = (
                [applier.entry("Apply", wanted)] if wanted else []
            )
            return applied
        licence = _owned_by_client_side_apply(live, shape) if applier.manager == KUBECTL else None
        result = _apply(live, applied, wanted, applier, shape, licence)
    except UnknownItem as error:
        faults = list(faults_of(_wanted(applied), shape)) or [str(error)]
        text = faults[0] if len(faults) == 1 else "\n  ".join(["errors:", *faults])
        raise BadRequest(f"failed to create typed patch object ({_name_of(applied, live)}): {text}") from None
    annotations = result["metadata"].get("annotations") or {}
    if applier.manager == KUBECTL and LAST_APPLIED in annotations:
        # Whoever goes back to client-side apply finds what was applied last. Nobody comes to own it by this.
        annotations[LAST_APPLIED] = encode_json(applied).decode() + "\n"
    return result


def _name_of(applied: Tree, live: Tree | None) -> str:
    """Return an object as errors name it: ``namespace/name; group/version, Kind=Kind``."""
    meta = {**((live or {}).get("metadata") or {}), **(applied.get("metadata") or {})}
    kind, version = applied.get("kind"), applied.get("apiVersion")
    return f"{meta.get('namespace') or ''}/{meta.get('name') or ''}; {version}, Kind={kind}"


def _wanted(applied: Tree) -> Tree:
    part = _tracked(applied)
    if not part.get("metadata"):
        part.pop("metadata", None)
    return part


def _apply(
    live: Tree, applied: Tree, wanted: Fields, applier: Applier, shape: Shape, licence: Fields | None
) -> Tree:
    """Return the document and its managed fields; fields in `licence` are taken over without a conflict."""
    entries = list((live.get("metadata") or {}).get("managedFields") or ())
    if not entries:
        before = Applier(BEFORE_FIRST_APPLY, applier.api_version, time=applier.time)
        fields = added_to_empty(_tracked(live), shape)
        entries = [before.entry("Update", fields)] if fields is not None else []
    own = next((entry for entry in entries if applier.wrote(entry, "Apply")), None)
    others = [entry for entry in entries if entry is not own]
    metadata = {name: value for name, value in live["metadata"].items() if name != "managedFields"}
    result: Tree = merge(copied({**live, "metadata": metadata}), applied, shape)
    if own is not None:
        owned: Fields | None = wanted or None
        for entry in others:
            owned = union_of_trees(owned, _fields(entry) or None)
        last = _fields(own)
        rest = {step: node for step, node in last.items() if step != _METADATA}
        _prune_members(result, rest, owned or {}, shape)
        # Of the metadata only what was applied may go: it says which object this is.
        within = field_in(shape, "metadata")
        _prune_members(result["metadata"], last.get(_METADATA, {}), (owned or {}).get(_METADATA, {}), within)
    changed, lacking = compare(_tracked(live), _tracked(result), shape)
    if changed is not None:
        taken = [
            (entry, left)
            for entry in others
            if (common := intersection(_fields(entry), changed)) is not None
            and (left := common if licence is None else difference(common, licence)) is not None
        ]
        if taken and not applier.force:
            raise _conflict(taken)
    if changed is None and lacking is None and own is not None and _fields(own) == wanted:
        result["metadata"]["managedFields"] = live["metadata"]["managedFields"]
        return result
    kept = [left for entry in others if (left := _without(entry, changed, lacking)) is not None]
    mine = [applier.entry("Apply", wanted)] if wanted else []
    result["metadata"]["managedFields"] = _ordered([*kept, *mine])
    return result


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


def prune(value: Any, last: Fields, owned: Fields, shape: Shape) -> bool:
    """Remove from a value, in place, what a manager set the last time and nobody owns now. Return whether that was something.

    An item, or an entry of a map, goes with all that is in it unless somebody owns it itself: owning a part does not hold it.
    An object or a list that has nothing left becomes null, and a custom kind drops that, or keeps it where null is allowed.
    """
    if isinstance(value, dict):
        return _prune_members(value, last, owned, shape)
    return isinstance(value, list) and _prune_items(value, last, owned, shape)


def _prune_members(value: Tree, last: Fields, owned: Fields, shape: Shape) -> bool:
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
        elif prune(value[name], node, others or {}, inner):
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
            lost = prune(item, node, others or {}, shape.item or ATOMIC)
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


def _owned_by_client_side_apply(live: Tree, shape: Shape) -> Fields | None:
    """Return what kubectl's client-side apply has set and nobody has changed since; None if nothing.

    Who used that goes on with server-side apply: what it had set is no conflict.
    """
    from kubelib.api.parsing import DecodeError, parse_json

    annotation = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    if not annotation:
        return None
    try:
        last = _wanted(parse_json(annotation.encode()))
        allowed = fields_set_by(last, shape)
        changed, _ = compare(_tracked(live), last, shape)
    except (DecodeError, UnknownItem, AttributeError):
        return None
    return allowed if changed is None or allowed is None else difference(allowed, changed)


def _conflict(taken: Sequence[tuple[Tree, Fields]]) -> Conflict:
    causes: list[Problem] = []
    texts: list[str] = []
    for entry, fields in taken:
        named = _named(entry)
        paths = [show(path) for path in members(fields)]
        causes += [Problem("FieldManagerConflict", path, f"conflict with {named}") for path in paths]
        if len(paths) == 1:
            texts.append(f"conflict with {named}: {paths[0]}")
        else:
            texts.append(f"conflicts with {named}:\n" + "\n".join(f"- {path}" for path in paths))
    count = len(causes)
    text = "\n".join(sorted(texts))
    return Conflict(
        f"Apply failed with {count} {'conflict' if count == 1 else 'conflicts'}: {text}", causes=causes
    )


def _named(entry: Tree) -> str:
    """Return a manager as conflicts name it."""
    text = f'"{entry.get("manager")}"'
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    return f"{text} using {entry.get('apiVersion')}" if entry.get("operation") == "Update" else text
