"""Reading ``application/vnd.kubernetes.protobuf``: what kubectl and typed clients send for built-in kinds.

A body is four magic bytes and an envelope (``runtime.Unknown``) that names the kind and holds the object's own message.
Field numbers stand with the classes as ``__proto__``; the result is the JSON tree of the object.
"""

import base64
import functools
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_origin

from kubelib.api.codec import DecodeError
from kubelib.api.meta import MicroTime
from kubelib.api.model import Model, json_fields, model_in
from kubelib.api.scheme import Tree

MAGIC = b"k8s\x00"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_BYTES_FIELDS = {("Secret", "data"), ("ConfigMap", "binaryData")}
_QUANTITY_MAPS = {
    "limits", "requests", "capacity", "allocatable", "allocatedResources", "overhead", "hard", "used", "max", "min",
    "default", "defaultRequest", "maxLimitRequestRatio",
}  # fmt: skip
_QUANTITIES = {"sizeLimit", "divisor", "averageValue", "value", "containersReadyQuantity"}
_MICRO_TIMES = {"acquireTime", "renewTime", "eventTime", "lastObservedTime"}


def decode_protobuf(raw: bytes) -> tuple[str, str, bytes]:
    """Return apiVersion, kind and the message of an enveloped body. Raises `DecodeError`."""
    if not raw.startswith(MAGIC):
        raise DecodeError("the body does not begin with the magic bytes of Kubernetes' protocol buffers")
    api_version = kind = ""
    message = b""
    for number, value in _fields(raw[4:]):
        if number == 1 and isinstance(value, bytes):
            for inner, text in _fields(value):
                if inner == 1:
                    api_version = _text(text)
                elif inner == 2:
                    kind = _text(text)
        elif number == 2 and isinstance(value, bytes):
            message = value
    return api_version, kind, message


def message_to_tree(message: bytes, cls: type[Model]) -> Tree:
    """Return the JSON tree of a message of class `cls`. Raises `DecodeError`."""
    try:
        return _message(message, cls, 0)
    except (struct.error, IndexError, ValueError, OverflowError, TypeError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"the body is not a {cls.__name__} in protocol buffers: {error}") from None


@functools.cache
def field_numbers(cls: type[Any]) -> Mapping[int, str | type[Model]]:
    """Return what each field number of a class stands for: a JSON name, or a base class that is embedded."""
    numbers: dict[int, str | type[Model]] = {}
    inherited: set[str] = set()
    for base in cls.__mro__[1:]:
        if issubclass(base, Model) and base is not Model:
            inherited.update(base.__struct_encode_fields__)
            if base.__name__ in cls.__embeds__:
                numbers[cls.__embeds__[base.__name__]] = base
    own = [name for name in cls.__struct_encode_fields__ if name not in inherited]
    declared = cls.__dict__.get("__proto__", "")
    numbers.update(zip(_expand(declared), own, strict=True))
    if "metadata" in inherited:
        numbers[1] = "metadata"
    return numbers


def _expand(ranges: str) -> Iterator[int]:
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _message(message: bytes, cls: type[Model], depth: int) -> Tree:
    if depth > 100:
        raise DecodeError("the message is nested too deeply")
    tree: Tree = {}
    numbers, fields = field_numbers(cls), json_fields(cls)  # type: ignore[arg-type]
    for number, value in _fields(message):
        name = numbers.get(number)
        if name is None:
            continue
        if not isinstance(name, str):
            tree.update(_message(_bytes(value), name, depth + 1))
            continue
        hint = fields[name]
        shape, model = model_in(hint)
        if shape == "list":
            item_hint = get_args(hint)[0]
            tree.setdefault(name, [])
            if model is None and isinstance(value, bytes) and item_hint is int:
                tree[name] += list(_packed(value))
            else:
                tree[name].append(_value(value, item_hint, model, cls, name, depth))
        elif shape == "map":
            key, item = _map_entry(_bytes(value))
            tree.setdefault(name, {})[key] = _map_value(item, hint, model, cls, name, depth)
        else:
            tree[name] = _value(value, hint, model, cls, name, depth)
    # Go writes zero values of plain fields; JSON leaves them out.
    return {k: v for k, v in tree.items() if v not in ("", 0, None) or (v is False) or _is_pointer(fields[k])}


def _is_pointer(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _map_value(
    item: bytes | int, hint: Any, model: type[Model] | None, cls: type[Model], name: str, depth: int
) -> Any:
    if model is not None:
        return _message(_bytes(item), model, depth + 1)
    if (cls.__name__, name) in _BYTES_FIELDS:
        return base64.b64encode(_bytes(item)).decode()
    if name in _QUANTITY_MAPS:
        return _quantity(_bytes(item))
    if get_origin(get_args(hint)[1]) is tuple:
        return [_text(value) for _, value in _fields(_bytes(item))]
    return _text(item)


def _value(
    value: bytes | int, hint: Any, model: type[Model] | None, cls: type[Model], name: str, depth: int
) -> Any:
    if model is not None:
        return _message(_bytes(value), model, depth + 1)
    options = get_args(hint) or (hint,)
    if datetime in options:
        return _time(_bytes(value), micro=False)
    if int in options and str in options:
        return _int_or_string(_bytes(value))
    if bool in options:
        return bool(value)
    if int in options:
        return _signed(value)
    if float in options:
        return struct.unpack("<d", struct.pack("<q", _signed(value)))[0]
    if Any in options or any(get_origin(option) is not None for option in options):
        return _raw(_bytes(value))
    if hint is MicroTime and name in _MICRO_TIMES:
        return _time(_bytes(value), micro=True)
    if name in _QUANTITIES and isinstance(value, bytes) and value[:1] == b"\n":
        return _quantity(value)
    return _text(value)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a message: number and value (bytes for length-delimited ones)."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(message, at)
            if at + size > end:
                raise DecodeError("the message ends in the middle of a field")
            yield number, message[at : at + size]
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if at + size > end:
                raise DecodeError("the message ends in the middle of a field")
            yield number, int.from_bytes(message[at : at + size], "little")
            at += size
        else:
            raise DecodeError(f"the message has a field of unknown wire type {wire}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise DecodeError("the message ends in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _packed(value: bytes) -> Iterator[int]:
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield _signed(number)


def _signed(value: bytes | int) -> int:
    if isinstance(value, bytes):
        raise DecodeError("expected a number")
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


def _map_entry(entry: bytes) -> tuple[str, bytes | int]:
    key, value = "", b""
    for number, part in _fields(entry):
        if number == 1:
            key = _text(part)
        else:
            value = part  # type: ignore[assignment]
    return key, value


def _time(message: bytes, *, micro: bool) -> str | None:
    seconds = nanos = 0
    for number, value in _fields(message):
        if number == 1:
            seconds = _signed(value)
        elif number == 2:
            nanos = _signed(value)
    if not message:
        return None
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=nanos // 1000)
    return date.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _quantity(message: bytes) -> str:
    for number, value in _fields(message):
        if number == 1:
            return _text(value)
    return "0"


def _int_or_string(message: bytes) -> int | str:
    kind, number_value, text = 0, 0, ""
    for number, value in _fields(message):
        if number == 1:
            kind = _signed(value)
        elif number == 2:
            number_value = _signed(value)
        elif number == 3:
            text = _text(value)
    return text if kind == 1 else number_value


def _raw(message: bytes) -> Any:
    """Return the JSON inside of a RawExtension or FieldsV1."""
    from kubelib.api.codec import parse_json

    for number, value in _fields(message):
        if number == 1 and value:
            return parse_json(_bytes(value))
    return None
