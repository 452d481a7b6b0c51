"""The OpenAPI documents as protocol buffers, in the messages of gnostic.

Of the v2 document, which kubectl reads in no other form, what clients look at is written: the definitions, so a kind's fields with
their types, and which kind a definition is; and which kind a path patches, and what it may be asked. Those of v3 are written whole.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubelib.api.codec import encode_json

MEDIA_TYPES = {
    version: f"application/com.github.proto-openapi.spec.{version}.v1.0+protobuf" for version in ("v2", "v3")
}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _any(value: Any) -> bytes:
    return _text(2, encode_json(value).decode())


def _named(schemas: Mapping[str, Any]) -> Iterator[bytes]:
    for name, schema in schemas.items():
        yield _field(1, _text(1, name) + _field(2, _schema(schema)))


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for name, number in (("$ref", 1), ("format", 2), ("title", 3), ("description", 4)):
        if schema.get(name):
            parts.append(_text(number, schema[name]))
    if "default" in schema:
        parts.append(_field(5, _any(schema["default"])))
    parts += [_text(19, name) for name in schema.get("required", ())]
    parts += [_field(20, _any(value)) for value in schema.get("enum", ())]
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        parts.append(_field(21, _field(1, _schema(extra))))
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        parts.append(_field(22, b"".join(_text(1, kind) for kind in kinds)))
    if "items" in schema:
        parts.append(_field(23, _field(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(_field(25, b"".join(_named(schema["properties"]))))
    parts += _extensions(31, schema.items())
    return b"".join(parts)


def _extensions(number: int, items: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    for name, value in items:
        if name.startswith("x-"):
            yield _field(number, _text(1, name) + _field(2, _any(value)))


def _patched(paths: Mapping[str, Any]) -> Iterator[bytes]:
    for path, item in paths.items():
        if "patch" not in item:
            continue
        parts = list(_extensions(13, item["patch"].items()))
        for parameter in item["patch"].get("parameters", ()):
            if parameter.get("in") == "query":
                asked = (
                    _text(2, "query")
                    + _text(4, parameter["name"])
                    + _text(6, parameter.get("type", "string"))
                )
                parts.append(_field(8, _field(1, _field(2, _field(3, asked)))))
        yield _field(2, _text(1, path) + _field(2, _field(8, b"".join(parts))))


def encode_openapi_v2(document: Mapping[str, Any]) -> bytes:
    """Return an OpenAPI v2 document in protocol buffers."""
    info = document.get("info") or {}
    return b"".join(
        (
            _text(1, document.get("swagger", "2.0")),
            _field(2, _text(1, info.get("title", "")) + _text(2, info.get("version", ""))),
            _field(8, b"".join(_patched(document.get("paths") or {}))),
            _field(9, b"".join(_named(document.get("definitions") or {}))),
        )
    )


# Version 3

_SCHEMA = "&Schema"
_V3: dict[str, tuple[int, dict[str, tuple[int, str]]]] = {
    "Document": (9, {
        "openapi": (1, "text"), "info": (2, "Info"), "paths": (4, "{PathItem"), "components": (5, "Components"),
        "security": (6, "*{needed"),
    }),
    "Info": (7, {"title": (1, "text"), "description": (2, "text"), "version": (6, "text")}),
    "Components": (10, {"schemas": (1, "{&Schema"), "securitySchemes": (7, "{&SecurityScheme")}),
    "SecurityScheme": (9, {
        "type": (1, "text"), "description": (2, "text"), "name": (3, "text"), "in": (4, "text"), "scheme": (5, "text"),
        "bearerFormat": (6, "text"),
    }),
    "PathItem": (14, {
        "summary": (2, "text"), "description": (3, "text"), "get": (4, "Operation"), "put": (5, "Operation"), "post": (6, "Operation"),
        "delete": (7, "Operation"), "options": (8, "Operation"), "head": (9, "Operation"), "patch": (10, "Operation"),
        "trace": (11, "Operation"), "parameters": (13, "*&Parameter"),
    }),
    "Operation": (13, {
        "tags": (1, "*text"), "summary": (2, "text"), "description": (3, "text"), "operationId": (5, "text"),
        "parameters": (6, "*&Parameter"), "requestBody": (7, "&RequestBody"), "responses": (8, "responses"), "deprecated": (10, "bool"),
    }),
    "Parameter": (14, {
        "name": (1, "text"), "in": (2, "text"), "description": (3, "text"), "required": (4, "bool"), "schema": (10, _SCHEMA),
        "content": (13, "{MediaType"),
    }),
    "RequestBody": (4, {"description": (1, "text"), "content": (2, "{MediaType"), "required": (3, "bool")}),
    "Response": (5, {"description": (1, "text"), "content": (3, "{MediaType")}),
    "MediaType": (5, {"schema": (1, _SCHEMA), "example": (2, "any")}),
    "Schema": (36, {
        "nullable": (1, "bool"), "readOnly": (3, "bool"), "writeOnly": (4, "bool"), "example": (7, "any"), "deprecated": (8, "bool"),
        "title": (9, "text"), "multipleOf": (10, "double"), "maximum": (11, "double"), "exclusiveMaximum": (12, "bool"),
        "minimum": (13, "double"), "exclusiveMinimum": (14, "bool"), "maxLength": (15, "int"), "minLength": (16, "int"),
        "pattern": (17, "text"), "maxItems": (18, "int"), "minItems": (19, "int"), "uniqueItems": (20, "bool"),
        "maxProperties": (21, "int"), "minProperties": (22, "int"), "required": (23, "*text"), "enum": (24, "*any"), "type": (25, "text"),
        "allOf": (26, "*&Schema"), "oneOf": (27, "*&Schema"), "anyOf": (28, "*&Schema"), "not": (29, "Schema"), "items": (30, "items"),
        "properties": (31, "{&Schema"), "additionalProperties": (32, "extra"), "default": (33, "default"), "description": (34, "text"),
        "format": (35, "text"),
    }),
}  # fmt: skip
"""The messages: the number of their extensions, and the numbers and forms of their fields by their names in JSON.

``*`` are several, ``{`` a map, ``&`` what may also be a reference.
"""


def encode_openapi_v3(document: Mapping[str, Any]) -> bytes:
    """Return an OpenAPI v3 document in protocol buffers. They know no defaults but numbers, strings and booleans."""
    return _message("Document", document)


def _message(name: str, tree: Mapping[str, Any]) -> bytes:
    extensions, fields = _V3[name]
    parts: list[bytes] = []
    for key, value in tree.items():
        if key in fields:
            parts.append(_value(*fields[key], value))
        elif key.startswith("x-"):
            parts.append(_field(extensions, _text(1, key) + _field(2, _any(value))))
    return b"".join(parts)


def _value(number: int, form: str, value: Any) -> bytes:
    rest = form[1:]
    match form[0]:
        case "*":
            return b"".join(_value(number, rest, item) for item in value)
        case "{":
            return _field(number, _entries(1, rest, value))
        case "&":
            reference = value.get("$ref")
            return _field(
                number, _field(2, _text(1, reference)) if reference else _field(1, _message(rest, value))
            )
    match form:
        case "text":
            return _text(number, value) if value else b""
        case "bool":
            return _varint(number << 3) + b"\x01" if value else b""
        case "int":
            return _varint(number << 3) + _varint(int(value) & 2**64 - 1) if value else b""
        case "double":
            return _double(number, value) if value else b""
        case "any":
            return _field(number, _any(value))
        case "needed":
            return _field(number, b"".join(_text(1, scope) for scope in value))
        case "items":
            return _field(number, _value(1, _SCHEMA, value))
        case "extra":
            if isinstance(value, bool):
                return _field(number, _varint(2 << 3) + bytes([value]))
            return _field(number, _value(1, _SCHEMA, value))
        case "responses":
            others = {code: answer for code, answer in value.items() if code != "default"}
            default = _value(1, "&Response", value["default"]) if "default" in value else b""
            return _field(number, default + _entries(2, "&Response", others))
        case "default":
            return _default(number, value)
    return _field(number, _message(form, value))


def _entries(number: int, form: str, values: Mapping[str, Any]) -> bytes:
    return b"".join(_field(number, _text(1, name) + _value(2, form, value)) for name, value in values.items())


def _default(number: int, value: Any) -> bytes:
    if isinstance(value, bool):
        return _field(number, _varint(2 << 3) + bytes([value]))
    if isinstance(value, int | float):
        return _field(number, _double(1, value))
    return _field(number, _text(3, value)) if isinstance(value, str) else b""


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)
