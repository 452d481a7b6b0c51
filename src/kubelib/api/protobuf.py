"""``application/vnd.kubernetes.protobuf``: what kubectl and typed clients send for built-in kinds.

A body is four magic bytes and an envelope (``runtime.Unknown``) that names the kind and holds the object's own message.
Field numbers stand with the classes as ``__proto__``. Trees go in and come out: the classes only say what is where.
"""

import base64
import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from kubelib.api.codec import DecodeError, encode_json, parse_json
from kubelib.api.fields import FieldType, Scalar, field_types
from kubelib.api.meta import ListMeta
from kubelib.api.model import Model, json_fields, required_fields
from kubelib.api.scheme import Tree
from kubelib.api.times import later, parse_time

MAGIC = b"k8s\x00"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 100
"""How deeply messages may be nested: no kind needs more than twenty."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# The numbers of a class


@functools.cache
def field_numbers(cls: type[Any]) -> Mapping[int, str | type[Model]]:
    """Return what each field number of a class stands for: a JSON name, or a base class that is embedded."""
    numbers: dict[int, str | type[Model]] = {}
    embeds: Mapping[str, int] = cls.__embeds__
    inherited: set[str] = set()
    for base in cls.__mro__[1:]:
        if issubclass(base, Model) and base is not Model:
            inherited.update(json_fields(base))  # type: ignore[arg-type]
            if base.__name__ in embeds:
                numbers[embeds[base.__name__]] = base
    own = [name for name in json_fields(cls) if name not in inherited]  # type: ignore[arg-type]
    numbers.update(zip(_expand(cls.__dict__.get("__proto__", "")), own, strict=True))
    if "metadata" in inherited:
        numbers[1] = "metadata"
    return numbers


def _expand(ranges: str) -> Iterator[int]:
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


# Reading


def decode_protobuf(raw: bytes) -> tuple[str, str, bytes]:
    """Return apiVersion, kind and the message of an enveloped body. Raises `DecodeError`."""
    if not raw.startswith(MAGIC):
        raise DecodeError("the body does not begin with the magic bytes of Kubernetes' protocol buffers")
    api_version = kind = encoding = ""
    message = b""
    for number, value in _parts(raw[4:]):
        if number == 1:
            for inner, text in _parts(_bytes(value)):
                if inner == 1:
                    api_version = _text(text)
                elif inner == 2:
                    kind = _text(text)
        elif number == 2:
            message = _bytes(value)
        elif number == 3:
            encoding = _text(value)
    if encoding:
        raise DecodeError(f"the object is encoded as {encoding!r}, which is not supported")
    return api_version, kind, message


def message_to_tree(message: bytes, cls: type[Model]) -> Tree:
    """Return the JSON tree of a message of class `cls`. Raises `DecodeError`."""
    try:
        return _read(message, cls, 0)
    except DecodeError:
        raise
    except (struct.error, ValueError, OverflowError, TypeError, AttributeError) as error:
        raise DecodeError(f"the body is not a {cls.__name__} in protocol buffers: {error}") from None


def _read(message: bytes, cls: type[Model], depth: int) -> Tree:
    if depth > MAX_DEPTH:
        raise DecodeError("the message is nested too deeply")
    tree: Tree = {}
    slots = _slots(cls)  # type: ignore[arg-type]
    for number, value in _parts(message):
        slot = slots.get(number)
        if slot is None:
            continue
        name, kind, read, keep_zero = slot
        if kind.model is not None:
            # A model, or a base class that is flattened into this one.
            key, part = _map_entry(value) if kind.shape == "map" else ("", value)
            inner = _read(_bytes(part), kind.model, depth + 1)
            if not name:
                tree.update(inner)
            elif kind.shape == "list":
                tree.setdefault(name, []).append(inner)
            elif kind.shape == "map":
                tree.setdefault(name, {})[key] = inner
            else:
                tree[name] = inner
        elif kind.shape == "list":
            items = tree.setdefault(name, [])
            if isinstance(value, bytes) and read is _signed:
                items += _packed(value)
            else:
                items.append(read(value))
        elif kind.shape == "map":
            key, item = _map_entry(value)
            tree.setdefault(name, {})[key] = read(item)
        else:
            found = read(value)
            # Go writes the zero values of plain fields; as JSON it leaves most of them out.
            if found is None or (not found and not keep_zero):
                tree.pop(name, None)
            else:
                tree[name] = found
    return tree


_Reader = Callable[[Any], Any]
_Slot = tuple[str, FieldType, _Reader, bool]


_MEANT_EVEN_IF_ZERO = (
    "any",
    "json",
    "int-or-string",
    "schema-or-bool",
    "schema-or-array",
    "schema-or-strings",
)


@functools.cache
def _slots(cls: type[Any]) -> Mapping[int, _Slot]:
    """Return how to read each field number: JSON name, type, reader of scalars, whether zero means something."""
    types, required = field_types(cls), required_fields(cls)  # type: ignore[arg-type]
    slots: dict[int, _Slot] = {}
    for number, name in field_numbers(cls).items():  # type: ignore[arg-type]
        if isinstance(name, str):
            kind = types[name]
            read = _READERS[kind.scalar]
            zero = kind.optional or name in required or kind.scalar in _MEANT_EVEN_IF_ZERO
            slots[number] = (name, kind, read, zero)
        else:
            slots[number] = ("", FieldType("one", "any", name), _READERS["any"], True)
    return slots


def _parts(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a message: number and value (bytes for length-delimited ones)."""
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise DecodeError("the message has a field with the number 0")
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise DecodeError(f"the message has a field of unknown wire type {wire}")
        if at + size > end:
            raise DecodeError("the message ends in the middle of a field")
        part = message[at : at + size]
        yield number, part if wire == 2 else int.from_bytes(part, "little")
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise DecodeError("the message ends in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7


def _packed(value: bytes) -> Iterator[int]:
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield _signed(number)


def _signed(value: bytes | int) -> int:
    if isinstance(value, bytes):
        raise DecodeError("expected a number, found a message")
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise DecodeError("expected a message, found a number")
    return value


def _text(value: bytes | int) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise DecodeError("a text is not UTF-8") from None


def _first_text(message: bytes | int, default: str) -> str:
    return next((_text(value) for number, value in _parts(_bytes(message)) if number == 1), default)


def _map_entry(entry: bytes | int) -> tuple[str, bytes | int]:
    key = ""
    item: bytes | int = b""
    for number, part in _parts(_bytes(entry)):
        if number == 1:
            key = _text(part)
        elif number == 2:
            item = part
    return key, item


def _read_time(message: bytes, *, micro: bool) -> str | None:
    if not message:
        return None
    seconds = nanos = 0
    for number, value in _parts(message):
        if number == 1:
            seconds = _signed(value)
        elif number == 2:
            nanos = _signed(value)
    date = later(_EPOCH, seconds) + timedelta(microseconds=min(max(nanos // 1000, 0), 999_999))
    return date.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _read_int_or_string(message: bytes | int) -> int | str:
    is_text, number_value, text = 0, 0, ""
    for number, value in _parts(_bytes(message)):
        if number == 1:
            is_text = _signed(value)
        elif number == 2:
            number_value = _signed(value)
        elif number == 3:
            text = _text(value)
    return text if is_text else number_value


def _read_double(value: bytes | int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", _signed(value)))[0])


def _read_json(value: bytes | int) -> Any:
    """Return what is in a RawExtension or a FieldsV1."""
    return next(
        (parse_json(_bytes(raw)) for number, raw in _parts(_bytes(value)) if number == 1 and raw), None
    )


def _read_schema_or(value: bytes | int) -> Any:
    """Return a schema (field 1, or 2 beside a bool), or what stands for one: a bool, a list of schemas, or one of texts."""
    from kubelib.api.apiextensions import JSONSchemaProps

    allowed, others = False, []
    for number, part in _parts(_bytes(value)):
        if number == 1 and isinstance(part, bytes):
            return message_to_tree(part, JSONSchemaProps)
        if number == 1:
            allowed = bool(part)
        else:
            others.append(_bytes(part))
    return allowed, others


def _read_schema_or_bool(value: bytes | int) -> Any:
    from kubelib.api.apiextensions import JSONSchemaProps

    found = _read_schema_or(value)
    if isinstance(found, dict):
        return found
    allowed, others = found
    return message_to_tree(others[0], JSONSchemaProps) if others else allowed


def _read_schema_or_array(value: bytes | int) -> Any:
    from kubelib.api.apiextensions import JSONSchemaProps

    found = _read_schema_or(value)
    if isinstance(found, dict):
        return found
    return [message_to_tree(part, JSONSchemaProps) for part in found[1]]


def _read_schema_or_strings(value: bytes | int) -> Any:
    found = _read_schema_or(value)
    return found if isinstance(found, dict) else [_text(part) for part in found[1]]


_READERS: dict[Scalar, _Reader] = {
    "string": _text,
    "int32": _signed,
    "int64": _signed,
    "bool": lambda value: bool(_signed(value)),
    "double": _read_double,
    "time": lambda value: _read_time(_bytes(value), micro=False),
    "microtime": lambda value: _read_time(_bytes(value), micro=True),
    "quantity": lambda value: _first_text(value, "0"),
    "bytes": lambda value: base64.b64encode(_bytes(value)).decode(),
    "int-or-string": _read_int_or_string,
    "strings": lambda value: [_text(item) for _, item in _parts(_bytes(value))],
    "any": _read_json,
    "json": _read_json,
    "schema-or-bool": _read_schema_or_bool,
    "schema-or-array": _read_schema_or_array,
    "schema-or-strings": _read_schema_or_strings,
}


# Writing


def encode_protobuf(tree: Tree, cls: type[Model]) -> bytes:
    """Return the enveloped body of an object of class `cls`. Raises ValueError for what the class cannot hold."""
    return _enveloped(tree, tree_to_message(tree, cls))


def encode_list(tree: Tree, item: type[Model]) -> bytes:
    """Return the enveloped body of a list of objects of class `item`. Raises ValueError for what the class cannot hold."""
    parts = [_field(1, tree_to_message(tree.get("metadata") or {}, ListMeta))]
    parts += (_field(2, tree_to_message(found, item)) for found in tree["items"])
    return _enveloped(tree, b"".join(parts))


def watch_frame(type_: str, body: bytes) -> bytes:
    """Return an event of a watch in protocol buffers: its length in four bytes, and a ``WatchEvent`` around an enveloped body."""
    event = _field(1, type_.encode()) + _field(2, _field(1, body))
    return struct.pack(">I", len(event)) + event


def unframed(frames: bytes) -> Iterator[bytes]:
    """Take events apart that `watch_frame` has put their lengths before."""
    at = 0
    while at < len(frames):
        end = at + 4 + int.from_bytes(frames[at : at + 4], "big")
        yield frames[at + 4 : end]
        at = end


def _enveloped(tree: Tree, message: bytes) -> bytes:
    identity = _field(1, str(tree.get("apiVersion", "")).encode()) + _field(
        2, str(tree.get("kind", "")).encode()
    )
    return b"".join((MAGIC, _field(1, identity), _field(2, message), _field(3, b""), _field(4, b"")))


def tree_to_message(tree: Tree, cls: type[Model]) -> bytes:
    """Return the message of a tree of class `cls`: fields in the order of their numbers, unknown ones left out."""
    parts: list[bytes] = []
    types = field_types(cls)  # type: ignore[arg-type]
    for number, name in sorted(field_numbers(cls).items(), key=lambda item: item[0]):  # type: ignore[arg-type]
        if not isinstance(name, str):
            if any(field in tree for field in json_fields(name)):  # type: ignore[arg-type]
                parts.append(_field(number, tree_to_message(tree, name)))
            continue
        value = tree.get(name)
        if value is None:
            continue
        kind = types[name]
        if kind.shape == "list":
            parts += (_field(number, _write_value(item, kind)) for item in value)
        elif kind.shape == "map":
            parts += (
                _field(number, _field(1, key.encode()) + _field(2, _write_value(item, kind)))
                for key, item in sorted(value.items())
            )
        elif kind.scalar == "double":
            parts.append(_number(number << 3 | 1) + struct.pack("<d", value))
        else:
            parts.append(_field(number, _write_value(value, kind)))
    return b"".join(parts)


def _write_value(value: Any, kind: FieldType) -> bytes | int:
    if kind.model is not None:
        return tree_to_message(value, kind.model)
    write = _WRITERS.get(kind.scalar)
    return write(value) if write is not None else int(value)


def _write_time(text: str) -> bytes:
    since = parse_time(text) - _EPOCH
    nanos = since.microseconds * 1000
    return _field(1, since.days * 86_400 + since.seconds) + (_field(2, nanos) if nanos else b"")


def _write_int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return _field(1, 1) + _field(2, 0) + _field(3, value.encode())
    return _field(1, 0) + _field(2, value) + _field(3, b"")


def _write_schema_or_bool(value: Any) -> bytes:
    return _field(1, int(value)) if isinstance(value, bool) else _field(1, 1) + _field(2, _schema(value))


def _write_schema_or_array(value: Any) -> bytes:
    if isinstance(value, dict):
        return _field(1, _schema(value))
    return b"".join(_field(2, _schema(item)) for item in value)


def _write_schema_or_strings(value: Any) -> bytes:
    if isinstance(value, dict):
        return _field(1, _schema(value))
    return b"".join(_field(2, item.encode()) for item in value)


def _schema(value: Tree) -> bytes:
    from kubelib.api.apiextensions import JSONSchemaProps

    return tree_to_message(value, JSONSchemaProps)


_WRITERS: dict[Scalar, Any] = {
    "string": str.encode,
    "time": _write_time,
    "microtime": _write_time,
    "quantity": lambda value: _field(1, str(value).encode()),
    "bytes": base64.b64decode,
    "int-or-string": _write_int_or_string,
    "strings": lambda value: b"".join(_field(1, item.encode()) for item in value),
    "any": lambda value: _field(1, encode_json(value)),
    "json": lambda value: _field(1, encode_json(value)),
    "schema-or-bool": _write_schema_or_bool,
    "schema-or-array": _write_schema_or_array,
    "schema-or-strings": _write_schema_or_strings,
}


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value & 0xFFFF_FFFF_FFFF_FFFF)
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
