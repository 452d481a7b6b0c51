"""How the schema of a custom kind is shown in the OpenAPI documents."""

from typing import Any

from kubelib.api.descriptions import FIELDS
from kubelib.api.scheme import Tree

_NOT_IN_V2 = ("oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-validations")
_NESTED = ("allOf", "anyOf", "oneOf")


def published(schema: Tree, dialect: int, metadata: Tree) -> Tree:
    """Return the schema of a kind for a version of OpenAPI; `metadata` is the reference to what all metadata are."""
    if dialect == 2 and schema.get("x-kubernetes-preserve-unknown-fields"):
        shown: Tree = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        if schema.get("description"):
            shown["description"] = schema["description"]
    else:
        shown = _shown(schema, dialect, metadata)
    shown["properties"] = {**(shown.get("properties") or {}), **_identity(metadata, dialect)}
    shown["type"] = "object"
    return shown


def _identity(metadata: Tree, dialect: int) -> Tree:
    described = {"description": FIELDS["metadata"]}
    return {
        "apiVersion": {"type": "string", "description": FIELDS["apiVersion"]},
        "kind": {"type": "string", "description": FIELDS["kind"]},
        "metadata": {**metadata, **described} if dialect == 2 else {"allOf": [metadata], **described},
    }


def _shown(schema: Any, dialect: int, metadata: Tree) -> Any:
    if not isinstance(schema, dict):
        return schema
    shown: Tree = {}
    for name, value in schema.items():
        if dialect == 2 and name in _NOT_IN_V2:
            continue
        if name == "properties":
            shown[name] = {key: _shown(inner, dialect, metadata) for key, inner in value.items()}
        elif name in ("items", "additionalProperties", "not"):
            shown[name] = _shown(value, dialect, metadata)
        elif name in _NESTED:
            shown[name] = [_shown(inner, dialect, metadata) for inner in value]
        else:
            shown[name] = value
    if schema.get("x-kubernetes-embedded-resource"):
        shown["properties"] = {**(shown.get("properties") or {}), **_identity(metadata, dialect)}
    if dialect == 2:
        _simplify(schema, shown)
    return shown


def _simplify(schema: Tree, shown: Tree) -> None:
    """Leave out what clients that read OpenAPI 2 take too seriously."""
    if schema.get("nullable"):
        for name in ("type", "items", "properties", "additionalProperties"):
            shown.pop(name, None)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        shown.pop("items", None)
        shown.pop("properties", None)
        if schema.get("type") == "object":
            return
        shown.pop("type", None)
    if schema.get("x-kubernetes-int-or-string"):
        shown.pop("type", None)
