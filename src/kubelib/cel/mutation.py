"""What expressions that change objects may write: ``Object{…}`` and ``JSONPatch{…}``, and what their values mean.

The types of objects are checked only as far as their names go: ``Object.spec{…}`` stands where the field ``spec`` of an ``Object`` is.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from kubelib.cel.base import EvaluationError
from kubelib.cel.names import unescape
from kubelib.cel.types import DYN, STRING, Field, Type, object_of
from kubelib.cel.values import Constructed, Duration, Timestamp, Uint


class _AnyField(Mapping[str, Field]):
    """Fields of all names, which may hold anything."""

    def __getitem__(self, name: str) -> Field:
        return Field(unescape(name), DYN)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ANY = _AnyField()
_OPERATION = {
    name: Field(name, type_)
    for name, type_ in (("op", STRING), ("path", STRING), ("from", STRING), ("value", DYN))
}
OBJECT = object_of("Object", lambda: _ANY)
PATCH = object_of("JSONPatch", lambda: _OPERATION)


def message(name: str) -> Type | None:
    """Return the type of what is written ``name{…}``."""
    if name == "JSONPatch":
        return PATCH
    if name == "Object" or name.startswith("Object."):
        return OBJECT if name == "Object" else object_of(name, lambda: _ANY)
    return None


def configuration(value: Any) -> dict[str, Any]:
    """Return the tree of an ``Object``. Raises EvaluationError when an object stands where its name does not say."""
    tree = _plain(value, "Object")
    if not isinstance(tree, dict):
        raise EvaluationError(f"invalid return type: {value!r}")
    return tree


def operations(value: Any) -> list[dict[str, Any]]:
    """Return the operations of a JSON patch. Raises EvaluationError."""
    return [_operation(_plain(one, None)) for one in value]


def _operation(tree: dict[str, Any]) -> dict[str, Any]:
    if tree.get("op") in ("add", "replace", "test") and "value" not in tree:
        tree = {**tree, "value": None}
    return tree


def _plain(value: Any, name: str | None) -> Any:
    """Return a value as JSON has it; `name` is what an object here must be called, None for whatever."""
    match value:
        case Constructed():
            if name is not None and value.type_name != name:
                raise EvaluationError(
                    f'type mismatch: unexpected type name "{value.type_name}", expected "{name}"'
                )
            return {
                key: _plain(
                    inner, f"{value.type_name}.{key}" if value.type_name.startswith("Object") else None
                )
                for key, inner in value.items()
            }
        case dict():
            return {str(key): _plain(inner, None) for key, inner in value.items()}
        case list():
            return [_plain(inner, name) for inner in value]
        case Uint():
            return int(value)
        case bool() | int() | float() | str() | None:
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case Timestamp() | Duration():
            return str(value)
    raise EvaluationError(f"unsupported value in a mutation: {value!r}")
