"""Server-side apply: what an applied configuration changes, and with whom it conflicts.

The rules are those of Kubernetes' field manager over structured-merge-diff: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from collections.abc import Sequence

from kubelib.api.codec import copied, encode_json
from kubelib.api.errors import BadRequest, Conflict, Problem
from kubelib.api.patch.comparing import UnknownItem, added_to_empty, compare, faults_of, fields_set_by
from kubelib.api.patch.fieldset import (
    Fields,
    difference,
    in_order,
    intersection,
    members,
    show,
    union_of_trees,
)
from kubelib.api.patch.managedfields import Applier, fields_of, in_shown_order, left_of, tracked_part
from kubelib.api.patch.shapes import Shape, field_in
from kubelib.api.patch.values import merge, prune_members
from kubelib.api.scheme import Tree

BEFORE_FIRST_APPLY = "before-first-apply"
"""Whom Kubernetes takes for the owner of what was there before anybody applied, if nobody is known."""
KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
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
    part = tracked_part(applied)
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
        fields = added_to_empty(tracked_part(live), shape)
        entries = [before.entry("Update", fields)] if fields is not None else []
    own = next((entry for entry in entries if applier.wrote(entry, "Apply")), None)
    others = [entry for entry in entries if entry is not own]
    metadata = {name: value for name, value in live["metadata"].items() if name != "managedFields"}
    result: Tree = merge(copied({**live, "metadata": metadata}), applied, shape)
    if own is not None:
        owned: Fields | None = wanted or None
        for entry in others:
            owned = union_of_trees(owned, fields_of(entry) or None)
        last = fields_of(own)
        rest = {step: node for step, node in last.items() if step != _METADATA}
        prune_members(result, rest, owned or {}, shape)
        # Of the metadata only what was applied may go: it says which object this is.
        within = field_in(shape, "metadata")
        prune_members(result["metadata"], last.get(_METADATA, {}), (owned or {}).get(_METADATA, {}), within)
    changed, lacking = compare(tracked_part(live), tracked_part(result), shape)
    if changed is not None:
        taken = [
            (entry, left)
            for entry in others
            if (common := intersection(fields_of(entry), changed)) is not None
            and (left := common if licence is None else difference(common, licence)) is not None
        ]
        if taken and not applier.force:
            raise _conflict(taken)
    if changed is None and lacking is None and own is not None and fields_of(own) == wanted:
        result["metadata"]["managedFields"] = live["metadata"]["managedFields"]
        return result
    kept = [left for entry in others if (left := left_of(entry, changed, lacking)) is not None]
    mine = [applier.entry("Apply", wanted)] if wanted else []
    result["metadata"]["managedFields"] = in_shown_order([*kept, *mine])
    return result


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
        changed, _ = compare(tracked_part(live), last, shape)
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
