"""Who owns the number of replicas, as seen through the scale of an object and through the object itself.

The scale has one field that somebody can own; managed fields are kept with the object, under the object's version.
"""

from collections.abc import Mapping, Sequence

from kubelib.api.patch.fieldset import Fields, difference, intersection, union
from kubelib.api.scheme import Tree

SCALE_VERSION = "autoscaling/v1"
REPLICAS: Fields = {"f:spec": {"f:replicas": {}}}
"""Where the number is, in a scale and in every built-in kind that has one."""


def replicas_at(path: Sequence[str]) -> Fields:
    """Return the set that holds the number alone, where it is at a path of its own."""
    fields: Fields = {}
    for step in reversed(path):
        fields = {"f:" + step: fields}
    return fields


def _identity(entry: Mapping[str, object]) -> tuple[object, ...]:
    return entry.get("manager"), entry.get("operation"), entry.get("subresource") or ""


def managed_in_scale(entries: Sequence[Tree], replicas: Fields = REPLICAS) -> list[Tree]:
    """Return the managed fields of a scale: an entry for each manager that owns the object's number of replicas."""
    return [
        {**entry, "apiVersion": SCALE_VERSION, "fieldsV1": REPLICAS}
        for entry in entries
        if intersection(entry.get("fieldsV1") or {}, replicas) is not None
    ]


def managed_by_scale(
    entries: Sequence[Tree], in_scale: Sequence[Tree], api_version: str, replicas: Fields = REPLICAS
) -> list[Tree]:
    """Return the managed fields of an object whose scale was applied, and has these managed fields since.

    In Kubernetes, an entry has no time if it comes of the scale, and keeps the one that it had.
    """
    owners = {
        _identity(entry): entry
        for entry in in_scale
        if intersection(entry.get("fieldsV1") or {}, REPLICAS) is not None
    }
    result = []
    for entry in entries:
        owner, fields = owners.pop(_identity(entry), None), entry.get("fieldsV1") or {}
        left = union(fields, replicas) if owner is not None else difference(fields, replicas)
        if left is not None:
            result.append({**entry, "fieldsV1": left})
    for entry in owners.values():
        new = {**entry, "apiVersion": api_version, "fieldsV1": replicas}
        new.pop("time", None)
        result.append(new)
    return sorted(
        result,
        key=lambda e: tuple(
            str(e.get(k) or "") for k in ("operation", "time", "manager", "apiVersion", "subresource")
        ),
    )
