"""What becomes of a document before it is looked at: unknown fields go, nulls go that may not be, defaults are filled in."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from kubelib.api.meta import ObjectMeta
from kubelib.api.model import json_fields
from kubelib.api.scheme import Tree

Unknown = list[str]
"""The paths of fields that were dropped, relative to the value."""


class OfEmbedded(str):
    """The path of an unknown field in the metadata of an embedded object. Kubernetes looks for those by themselves, last."""

    __slots__ = ()


def in_order(unknown: Unknown) -> list[str]:
    """Return paths of unknown fields in the order in which Kubernetes tells them."""
    return sorted(unknown, key=lambda path: (isinstance(path, OfEmbedded), path))


Normalize = Callable[[Any, Unknown], None]
"""Changes a value in place, and notes what it dropped."""

IDENTITY = ("apiVersion", "kind", "metadata")
METADATA = frozenset(json_fields(ObjectMeta))
"""The names of the fields that metadata have."""
_SCALARS = (str, int, float, bool)
_SCALAR_TYPES = ("string", "integer", "number", "boolean")


def normalizer(schema: Tree, *, root: bool = True, preserve: bool = False) -> Normalize:
    """Return what normalizes documents of a schema. `preserve` keeps unknown fields everywhere, as old definitions may say."""
    compiled = _compile(schema, root=root, preserve=preserve)
    return compiled if compiled is not None else _nothing


def _nothing(value: Any, unknown: Unknown) -> None:
    return None


def _compile(schema: Tree | None, *, root: bool = False, preserve: bool = False) -> Normalize | None:
    """Return what normalizes values of a schema; None where there is nothing to do for any value."""
    if schema is None:
        return None if preserve else _drop_everything
    preserve_here = preserve or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    identified = root or bool(schema.get("x-kubernetes-embedded-resource"))
    properties: dict[str, Normalize | None] = {}
    for name, inner in (schema.get("properties") or {}).items():
        # The metadata have rules of their own.
        properties[name] = None if identified and name in IDENTITY else _compile(inner, preserve=preserve)
    metadata: Normalize | None = None
    if identified:
        properties |= dict.fromkeys(IDENTITY)
        if not root:
            properties["metadata"] = metadata = _metadata((schema.get("properties") or {}).get("metadata"))
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        others: Normalize | None = _compile(extra, preserve=preserve)
        open_ended = True
    elif extra is True and not preserve_here:
        others, open_ended = _drop_everything, True
    else:
        others, open_ended = None, preserve_here
    items = schema.get("items")
    each = _compile(items, preserve=preserve) if isinstance(items, dict) else None
    if each is None and not preserve_here and not isinstance(items, dict):
        each = _drop_everything
    defaults = _defaults(schema, metadata)
    nullable = _nullable(schema)
    if schema.get("type") in _SCALAR_TYPES or schema.get("x-kubernetes-int-or-string"):
        return None  # what is no scalar is refused as such
    known = properties.keys()
    workers = tuple((name, inner) for name, inner in properties.items() if inner is not None)
    nulls_of_others = not isinstance(extra, dict) or bool(extra.get("nullable"))
    if open_ended and each is None and others is None and not workers and not defaults and not known:
        return None

    def normalize(value: Any, unknown: Unknown) -> None:
        if type(value) is dict:
            if None in value.values():
                for name in [name for name, member in value.items() if member is None]:
                    if name not in nullable if name in known else not nulls_of_others:
                        del value[name]
            if not open_ended and not value.keys() <= known:
                for name in [name for name in value if name not in known]:
                    unknown.append(name)
                    del value[name]
            for name, inner in workers:
                member = value.get(name)
                if member is not None:
                    before = len(unknown)
                    inner(member, unknown)
                    if len(unknown) > before:
                        _within(name, unknown, before)
            if others is not None:
                for name, member in value.items():
                    if name not in known:
                        before = len(unknown)
                        others(member, unknown)
                        if len(unknown) > before:
                            _within(name, unknown, before)
            for name, default in defaults:
                if name not in value:
                    value[name] = default if type(default) in _SCALARS else copy.deepcopy(default)
        elif type(value) is list and each is not None:
            for number, item in enumerate(value):
                before = len(unknown)
                each(item, unknown)
                if len(unknown) > before:
                    _within(f"[{number}]", unknown, before)

    return normalize


def _within(step: str, unknown: Unknown, first: int) -> None:
    """Put a step before the paths that were noted since `first`."""
    for at in range(first, len(unknown)):
        path = unknown[at]
        unknown[at] = type(path)(f"{step}{path}" if path[:1] == "[" else f"{step}.{path}")


def _defaults(schema: Tree, metadata: Normalize | None) -> tuple[tuple[str, Any], ...]:
    """Return the defaults of the properties, with the defaults that are within them. `metadata` is for those of what is embedded."""
    found: list[tuple[str, Any]] = []
    for name, inner in (schema.get("properties") or {}).items():
        if inner.get("default") is None:
            continue
        default = copy.deepcopy(inner["default"])
        compiled = metadata if metadata is not None and name == "metadata" else _compile(inner)
        if compiled is not None:
            compiled(default, [])
        found.append((name, default))
    return tuple(found)


def _nullable(schema: Tree) -> frozenset[str]:
    properties: Mapping[str, Tree] = schema.get("properties") or {}
    return frozenset(
        name
        for name, inner in properties.items()
        if inner.get("nullable")
        or (inner.get("x-kubernetes-preserve-unknown-fields") and not inner.get("type"))
    )


def _metadata(schema: Tree | None) -> Normalize:
    """Return what normalizes the metadata of an embedded object: a schema may have defaults for them, and does not say what there is."""
    compiled = _compile(schema, preserve=True) if schema is not None else None
    if compiled is None:
        return _drop_unknown_metadata

    def normalize(value: Any, unknown: Unknown) -> None:
        _drop_unknown_metadata(value, unknown)
        compiled(value, unknown)
        _drop_unknown_metadata(value, [])

    return normalize


def _drop_unknown_metadata(value: Any, unknown: Unknown) -> None:
    """Drop what the metadata of no object have; those of the document itself are looked at with its types."""
    if type(value) is dict and not value.keys() <= METADATA:
        for name in [name for name in value if name not in METADATA]:
            unknown.append(OfEmbedded(name))
            del value[name]


def _drop_everything(value: Any, unknown: Unknown) -> None:
    """Keep scalars, as they are all that can be there where nothing is declared."""
    if type(value) is dict:
        unknown += value
        value.clear()
    elif type(value) is list:
        for number, item in enumerate(value):
            before = len(unknown)
            _drop_everything(item, unknown)
            _within(f"[{number}]", unknown, before)
