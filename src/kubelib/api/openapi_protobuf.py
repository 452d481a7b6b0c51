"""The OpenAPI v2 document as protocol buffers: the one form in which kubectl reads it.

The messages are those of gnostic's ``openapi.v2``; of the document, the definitions are written, which is what clients look
at: a kind's fields with their types, and which kind a definition is.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubelib.api.codec import encode_json

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


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
    parts += _extensions(schema.items())
    return b"".join(parts)


def _extensions(items: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    for name, value in items:
        if name.startswith("x-"):
            yield _field(31, _text(1, name) + _field(2, _any(value)))


def encode_openapi_v2(document: Mapping[str, Any]) -> bytes:
    """Return an OpenAPI v2 document in protocol buffers."""
    info = document.get("info") or {}
    return b"".join(
        (
            _text(1, document.get("swagger", "2.0")),
            _field(2, _text(1, info.get("title", "")) + _text(2, info.get("version", ""))),
            _field(8, b""),
            _field(9, b"".join(_named(document.get("definitions") or {}))),
        )
    )
