"""Managed fields: who set which field of a document, by writes of all kinds.

The rules are those of Kubernetes' field manager: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from collections.abc import Sequence
from typing import Any

import attrs

from kubelib.api.alike import Known
from kubelib.api.codec import encode_json
from kubelib.api.patch.comparing import added_to_empty, compare
from kubelib.api.patch.fieldset import (
    Fields,
    difference,
    in_order,
    intersection,
    is_readable,
    union,
    union_of_trees,
)
from kubelib.api.patch.shapes import Shape
from kubelib.api.scheme import Tree

ANCIENT_CHANGES = "ancient-changes"
MOST_UPDATERS = 10
"""How many managers that do not apply are told apart; the oldest are then taken together as `ANCIENT_CHANGES`."""
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


def tracked_part(tree: Tree, without: Sequence[str] = ()) -> Tree:
    """Return the part of a document that somebody may own."""
    part = {k: v for k, v in tree.items() if k not in ("kind", "apiVersion") and k not in without}
    meta = tree.get("metadata")
    if isinstance(meta, dict):
        part["metadata"] = {k: v for k, v in meta.items() if k not in _NOBODYS_METADATA}
    return part


def fields_of(entry: Tree) -> Fields:
    """Return the fields of an entry of ``managedFields``; none where there is no object."""
    fields = entry.get("fieldsV1")
    return fields if isinstance(fields, dict) else {}


def in_shown_order(entries: Sequence[Tree]) -> list[Tree]:
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


def track_create(tree: Tree, applier: Applier, shape: Shape, *, without: Sequence[str] = ()) -> list[Tree]:
    """Return the managed fields of a new document: its writer set all that is in it but the parts `without`."""
    fields = _recently_set(tracked_part(tree, without), shape)
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
    changed, lacking = compare(tracked_part(old), tracked_part(new), shape)
    if changed is None and lacking is None:
        return entries
    kept: list[Tree] = []
    mine = in_order(changed) if changed is not None else None
    own: Tree | None = None
    for entry in entries:
        if applier.wrote(entry, "Update"):
            own = entry
            left = difference(fields_of(entry), lacking) if lacking is not None else fields_of(entry)
            mine = union_of_trees(left, mine)
        elif (left_of_it := left_of(entry, changed, lacking)) is not None:
            kept.append(left_of_it)
    if mine is not None:
        if entries is not live:  # who sends some need not have put them in order
            mine = in_order(mine)
        as_before = changed is None or not applier.time
        kept.append({**own, "fieldsV1": mine} if own and as_before else applier.entry("Update", mine))
    return in_shown_order(_few(kept))


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


def left_of(entry: Tree, *taken: Fields | None) -> Tree | None:
    """Return another's entry without what was taken over or removed; None if nothing is left of it."""
    fields: Fields | None = fields_of(entry)
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
    updaters = [e for e in in_shown_order(entries) if e.get("operation") == "Update"]
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
            bucket["fieldsV1"] = union(fields_of(bucket), fields_of(entry))
            if time := entry.get("time"):  # they are in this order
                bucket["time"] = time
    return [e for e in entries if not any(e is j for j in joined)] + list(buckets.values())
