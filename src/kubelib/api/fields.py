"""What each field of a class is on the wire: the one reading of type hints, for protocol buffers, schemas and checks."""

import functools
from collections.abc import Mapping
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from kubelib.api.enums import DEFAULTS, ZEROS
from kubelib.api.model import Model, json_fields, required_fields

Shape = Literal["one", "list", "map"]
Scalar = Literal[
    "string", "int32", "int64", "bool", "double", "time", "microtime", "quantity", "bytes", "int-or-string", "any",
    "strings", "json", "schema-or-bool", "schema-or-array", "schema-or-strings",
]  # fmt: skip
"""``any`` is an object of any kind, ``json`` any value at all; ``strings`` is a list of strings inside of a map; the last three are
JSON schemas or something else instead."""


@attrs.frozen
class FieldType:
    """What a field holds: one, a list or a map of models or scalars."""

    shape: Shape
    scalar: Scalar
    model: type[Model] | None = None
    optional: bool = False
    """Whether absent differs from zero: a pointer in Go."""


@functools.cache
def field_types(cls: type[Any]) -> Mapping[str, FieldType]:
    """Return what the fields of a class hold, by JSON name."""
    return {name: field_type(hint) for name, hint in json_fields(cls).items()}  # type: ignore[arg-type]


def default_of(cls: type[Model], name: str) -> Any:
    """Return what a scalar field of a built-in class is that is left out, as the published schema says; None if it does not."""
    given = DEFAULTS.get(f"{cls.__name__}.{name}")
    if given is not None:
        return given
    kind = field_types(cls)[name]  # type: ignore[arg-type]
    always = kind.shape == "one" and kind.model is None and not kind.optional
    return ZEROS.get(kind.scalar) if always and name in required_fields(cls) else None


def field_type(hint: Any) -> FieldType:
    """Return what a field with this type hint holds."""
    optional = False
    if get_origin(hint) in (Union, UnionType):
        members = tuple(member for member in get_args(hint) if member is not NoneType)
        optional = len(members) < len(get_args(hint))
        if set(members) == {int, str}:
            return FieldType("one", "int-or-string", optional=optional)
        (hint,) = members
    origin = get_origin(hint)
    if origin is tuple:
        item = field_type(get_args(hint)[0])
        return FieldType("list", item.scalar, item.model)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = get_args(hint)[1]
        if value is Any:
            return FieldType("one", "any", optional=optional)
        if get_origin(value) is tuple:
            return FieldType("map", "strings")
        item = field_type(value)
        return FieldType("map", item.scalar, item.model)
    if isinstance(hint, type) and issubclass(hint, Model):
        return FieldType("one", "any", hint, optional)
    if origin is Annotated:
        return FieldType("one", get_args(hint)[1], optional=optional)
    return FieldType("one", _SCALARS[hint], optional=optional)


_SCALARS: dict[Any, Scalar] = {
    str: "string",
    int: "int32",
    bool: "bool",
    float: "double",
    datetime: "time",
    Any: "any",
}
