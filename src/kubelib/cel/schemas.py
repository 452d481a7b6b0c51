"""From a structural schema of OpenAPI to a type: what can be selected, and how large it may be.

The bounds are those by which Kubernetes estimates costs: what is not bounded by the schema is bounded by the size of a request.
"""

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from kubelib.cel import types
from kubelib.cel.names import escape
from kubelib.cel.types import Field, Type

Schema = Mapping[str, Any]

REQUEST_BYTES = 3 * 1024 * 1024
_DURATION_BYTES, _DATE_BYTES, _DATETIME_BYTES = 32, 12, 37
_MOST_LETTER_BYTES = 4


def type_of_schema(schema: Schema, *, root: bool = False, name: str = "self") -> Type | None:
    """Return the type of what a schema describes; None when it says too little for expressions to look into it.

    With `root` the object has a kind, an API version and a name, as custom resources and embedded resources have.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return attrs.evolve(types.DYN, most=REQUEST_BYTES - 2, least_bytes=1)
    if root:
        schema = with_kind_and_name(schema)
    match schema.get("type"):
        case "array":
            return _list(schema, name)
        case "object":
            return _object(schema, name)
        case "string":
            return _text(schema)
        case "boolean":
            return attrs.evolve(types.BOOL, most=0)
        case "number":
            return attrs.evolve(types.DOUBLE, most=0)
        case "integer":
            return attrs.evolve(types.INT, most=0)
    return None


def with_kind_and_name(schema: Schema) -> Schema:
    """Return the schema of a resource, with the fields that every resource lets expressions see."""
    text = {"type": "string"}
    properties = schema.get("properties") or {}
    metadata = properties.get("metadata") or {}
    return {
        **schema,
        "type": "object",
        "properties": {
            **properties,
            "kind": text,
            "apiVersion": text,
            "metadata": {
                "type": "object",
                "properties": {
                    **{
                        key: value
                        for key, value in (metadata.get("properties") or {}).items()
                        if key in ("name", "generateName")
                    },
                    "name": (metadata.get("properties") or {}).get("name") or text,
                    "generateName": text,
                },
            },
        },
    }


def _embedded(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def _bound(value: Any) -> int:
    return max(int(value), 0)


def _list(schema: Schema, name: str) -> Type | None:
    items = schema.get("items")
    element = (
        type_of_schema(items, root=_embedded(items), name=f"{name}.@idx")
        if isinstance(items, Mapping)
        else None
    )
    if element is None:
        return None
    most = schema.get("maxItems")
    limit = _bound(most) if most is not None else (REQUEST_BYTES - 2) // (element.least_bytes + 1)
    kind: Literal["atomic", "set", "map"] = "atomic"
    match schema.get("x-kubernetes-list-type"):
        case "set":
            kind = "set"
        case "map":
            kind = "map"
    return types.list_of(
        element, most=limit, list_type=kind, list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ())
    )


def _object(schema: Schema, name: str) -> Type | None:
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        value = type_of_schema(additional, root=_embedded(additional), name=f"{name}.@prop")
        if value is None:
            return None
        most = schema.get("maxProperties")
        limit = _bound(most) if most is not None else (REQUEST_BYTES - 2) // (value.least_bytes + 6)
        return types.map_of(attrs.evolve(types.STRING, most=0), value, most=limit)
    fields: dict[str, Field] = {}
    required = frozenset(schema.get("required") or ())
    least = 2
    for key, inner in (schema.get("properties") or {}).items():
        type_ = type_of_schema(inner, root=_embedded(inner), name=f"{name}.{key}")
        if type_ is None:
            continue
        if (written := escape(key)) is not None:
            fields[written] = Field(
                key, type_, required=key in required, nullable=bool(inner.get("nullable"))
            )
        if key in required and inner.get("default") is None:
            least += len(key) + type_.least_bytes + 4
    return attrs.evolve(types.object_of(name, lambda: fields, least_bytes=least), most=0)


def _text(schema: Schema) -> Type:
    longest = schema.get("maxLength")
    match schema.get("format"):
        case "byte":
            return attrs.evolve(
                types.BYTES, most=_bound(longest) if longest is not None else REQUEST_BYTES - 2
            )
        case "duration":
            return attrs.evolve(types.DURATION, most=_DURATION_BYTES)
        case "date":
            return attrs.evolve(types.TIMESTAMP, most=_DATE_BYTES, least_bytes=_DATE_BYTES)
        case "date-time":
            return attrs.evolve(types.TIMESTAMP, most=_DATETIME_BYTES)
    if longest is not None:
        most = _bound(longest) * _MOST_LETTER_BYTES
    elif schema.get("enum"):
        most = (
            max(len(choice) + 2 for choice in schema["enum"] if isinstance(choice, str))
            if any(isinstance(choice, str) for choice in schema["enum"])
            else 0
        )
    else:
        most = REQUEST_BYTES - 2
    return attrs.evolve(types.STRING, most=most)
