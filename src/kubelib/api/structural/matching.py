"""Whether a document is as its schema says, at one look: most are, and then nothing else has to look at them.

A schema becomes a type of msgspec where that can say the same. It says only yes or no; who wants to know what is wrong asks
`kubelib.api.structural.validating`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from kubelib.api.scheme import Tree

MOST_OBJECTS = 200
"""From how many kinds of objects in a schema on the types are not worth their memory."""
_UNSAYABLE = ("anyOf", "oneOf", "allOf", "not", "pattern", "x-kubernetes-embedded-resource")
_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


class _Unsayable(Exception):
    """The schema says something that types cannot."""


def matcher(schema: Tree) -> Callable[[Tree], bool] | None:
    """Return what recognises documents that are valid and have no unknown fields; None where types cannot say that.

    A document that is not recognised may be valid all the same.
    """
    try:
        wanted = _Types().of_object(schema, root=True)
    except _Unsayable:
        return None
    convert = msgspec.convert

    def matches(tree: Tree) -> bool:
        try:
            convert(tree, wanted)
        except (msgspec.ValidationError, ValueError):
            return False
        return True

    return matches


class _Types:
    def __init__(self) -> None:
        self._objects = 0

    def of(self, schema: Tree) -> Any:
        if any(schema.get(name) for name in _UNSAYABLE):
            raise _Unsayable
        if schema.get("x-kubernetes-int-or-string"):
            found: Any = int | str
            if schema.keys() & {
                "enum",
                "minimum",
                "maximum",
                "multipleOf",
                "minLength",
                "maxLength",
                "format",
            }:
                raise _Unsayable
        else:
            found = self._of_type(schema)
        return found | None if schema.get("nullable") else found

    def _of_type(self, schema: Tree) -> Any:
        if schema.get("enum"):
            return _choice(schema)
        match schema.get("type"):
            case "string":
                if schema.get("format"):
                    raise _Unsayable
                return _bounded(str, min_length=schema.get("minLength"), max_length=schema.get("maxLength"))
            case "boolean":
                return bool
            case "integer" | "number" as kind:
                return _number(schema, int if kind == "integer" else float)
            case "array":
                return self._of_array(schema)
            case "object":
                return self.of_object(schema)
            case None if schema.get("x-kubernetes-preserve-unknown-fields"):
                return Any
        raise _Unsayable

    def _of_array(self, schema: Tree) -> Any:
        if schema.get("uniqueItems"):
            raise _Unsayable
        item = self.of(schema["items"]) if isinstance(schema.get("items"), dict) else Any
        kind = list[item]  # type: ignore[valid-type]
        return _bounded(kind, min_length=schema.get("minItems"), max_length=schema.get("maxItems"))

    def of_object(self, schema: Tree, *, root: bool = False) -> Any:
        if any(schema.get(name) for name in (*_UNSAYABLE, "enum")):
            raise _Unsayable
        properties, extra = dict(schema.get("properties") or {}), schema.get("additionalProperties")
        fewest, most = schema.get("minProperties"), schema.get("maxProperties")
        preserves = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        if root:
            if properties.get("metadata", {}).get("properties") or preserves:
                raise _Unsayable
            for name in ("kind", "apiVersion"):
                properties.setdefault(name, {"type": "string"})
            properties["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
        if isinstance(extra, dict) and not properties and not schema.get("required"):
            return _bounded(dict[str, self.of(extra)], min_length=fewest, max_length=most)  # type: ignore[misc]
        if preserves and not properties and extra is None and not schema.get("required"):
            return _bounded(dict[str, Any], min_length=fewest, max_length=most)
        if fewest is not None or most is not None or extra is not None:
            raise _Unsayable
        return self._struct(properties, set(schema.get("required") or ()), strict=not preserves)

    def _struct(self, properties: dict[str, Tree], needed: set[str], *, strict: bool) -> Any:
        self._objects += 1
        if self._objects > MOST_OBJECTS or not needed <= properties.keys():
            raise _Unsayable
        fields: list[Any] = []
        for name, inner in properties.items():
            kind = self.of(inner)
            if name in needed:
                fields.append((f"f{len(fields)}", kind, msgspec.field(name=name)))
            else:
                fields.append((f"f{len(fields)}", kind, msgspec.field(name=name, default=None)))
        return msgspec.defstruct("Part", fields, kw_only=True, gc=False, forbid_unknown_fields=strict)


def _choice(schema: Tree) -> Any:
    choices = schema["enum"]
    if schema.get("type") != "string" or not all(isinstance(choice, str) for choice in choices):
        raise _Unsayable
    if schema.keys() & {"minLength", "maxLength", "format"}:
        raise _Unsayable
    return Literal[tuple(choices)]


def _number(schema: Tree, kind: type[Any]) -> Any:
    format = schema.get("format")
    if schema.get("multipleOf") is not None or (format and format not in _INTEGERS):
        raise _Unsayable
    bounds: dict[str, Any] = {}
    for name, inclusive, exclusive in (("minimum", "ge", "gt"), ("maximum", "le", "lt")):
        limit = schema.get(name)
        if limit is not None:
            if kind is int and not float(limit).is_integer():
                raise _Unsayable
            within = exclusive if schema.get(f"exclusive{name.capitalize()}") else inclusive
            bounds[within] = int(limit) if kind is int else limit
    if format in _INTEGERS:
        if bounds or kind is not int:
            raise _Unsayable
        bounds = dict(zip(("ge", "le"), _INTEGERS[format], strict=True))
    return _bounded(kind, **bounds)


def _bounded(kind: Any, **bounds: Any) -> Any:
    given = {name: value for name, value in bounds.items() if value is not None}
    return Annotated[kind, msgspec.Meta(**given)] if given else kind
