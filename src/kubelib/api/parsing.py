"""What clients send, from bytes to trees: JSON and YAML, with limits and messages meant for the client."""

import base64
import functools
import math
import re
from typing import Any

import msgspec

MAX_DEPTH = 200
"""How deeply a document may be nested: far beyond any real one, and far below the interpreter's limit."""

MAX_NODES = 1_000_000
"""How many values a YAML document may stand for: its aliases can make a small text stand for very many."""

_decode_json = msgspec.json.Decoder().decode


class DecodeError(ValueError):
    """A body that is not what it should be; the message is meant for the client."""


def _whole_if_it_can_be(text: str) -> float | int:
    number = float(text)
    if math.isinf(number):
        raise DecodeError("Number out of range")
    return int(number) if number.is_integer() and abs(number) < _EXPONENTIAL else number


_decode_untyped = msgspec.json.Decoder(float_hook=_whole_if_it_can_be).decode


def parse_json(raw: bytes, *, untyped: bool = False) -> Any:
    """Decode a JSON body. Raises `DecodeError` for what is not JSON or nested too deeply.

    Of an `untyped` one, whose kind a definition defines, numbers such as ``1.0`` and ``1e3`` are whole: Kubernetes writes them so.
    """
    try:
        tree = (_decode_untyped if untyped else _decode_json)(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(_TRUNCATED.get(str(error), str(error))) from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None
    except UnicodeDecodeError:
        raise DecodeError("the text is not UTF-8") from None
    # No document of so few objects and lists can be too deep; looking costs more than decoding.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_depth(tree)
    return tree


_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/\r\n]")
_PADDED = re.compile(r"=[\r\n]*")


def base64_in_one_line(text: str) -> str:
    """Return base64 without its line breaks, which Go's decoder takes. Raises `DecodeError` for other text, as Go says it."""
    end = _NO_BASE64.search(text)
    start = end.start() if end is not None else len(text)
    over = (start - text.count("\n", 0, start) - text.count("\r", 0, start)) % 4
    if end is None:
        wrong = start - over if over else -1
    elif end[0] != "=" or over < 2:
        wrong = start
    else:
        wrong = _wrong_padding(text, start, 4 - over)
    if wrong >= 0:
        raise DecodeError(f"illegal base64 data at input byte {len(text[:wrong].encode())}")
    return text.replace("\n", "").replace("\r", "")


def _wrong_padding(text: str, start: int, wanted: int) -> int:
    """Return where Go finds that padding, of which so many characters are wanted, is not what it should be; -1: nowhere."""
    position = start
    for number in range(wanted):
        found = _PADDED.match(text, position)
        if found is None:
            return len(text) if position == len(text) else position - number
        position = found.end()
    return position if position < len(text) else -1


def parse_yaml(raw: bytes, repeated: list[str] | None = None) -> Any:
    """Decode a YAML body, as JSON would have it; what it names twice is added to `repeated`. Raises `DecodeError`."""
    import yaml

    try:
        # A safe loader, only without YAML's own idea of dates and of numbers with colons.
        loader = _json_like(getattr(yaml, "CSafeLoader", yaml.SafeLoader))(raw)
        try:
            # Of several documents Kubernetes reads the first.
            tree = loader.get_data() if loader.check_data() else None
        finally:
            loader.dispose()
        if repeated is not None:
            repeated += loader.repeated
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DecodeError(f"error converting YAML to JSON: yaml: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None
    return _as_json(tree, 0, [MAX_NODES])


_EXPONENTIAL = 1e21
"""From where on Kubernetes' JSON writes a whole number with an exponent."""
_TAG = "tag:yaml.org,2002:"
_TRUNCATED = {"Input data was truncated": "unexpected end of JSON input"}
"""What Kubernetes says of JSON that ends too early."""
_TOO_DEEP = "the document is nested too deeply"


@functools.cache
def _json_like(loader: type[Any]) -> type[Any]:
    """Return a safe loader that reads as text what Kubernetes' YAML reader does."""
    plain_int = re.compile(r"[-+]?(?:0[bB][0-1_]+|0[xX][0-9a-fA-F_]+|0o?[0-7_]+|[0-9][0-9_]*)$")
    plain_float = re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    )
    replaced = {_TAG + "int": plain_int, _TAG + "float": plain_float}

    class Loader(loader):  # type: ignore[misc]
        yaml_implicit_resolvers = {
            first: [
                (tag, replaced.get(tag, pattern))
                for tag, pattern in resolvers
                if tag not in (_TAG + "timestamp", _TAG + "value")
            ]
            for first, resolvers in loader.yaml_implicit_resolvers.items()
        }
        bool_values = {**loader.bool_values, "y": True, "n": False}

        def __init__(self, stream: bytes) -> None:
            super().__init__(stream)
            self.repeated: list[str] = []

        def flatten_mapping(self, node: Any) -> None:
            """Merge what a mapping refers to; turn its keys into text first: to Python 1 and true are the same key."""
            super().flatten_mapping(node)
            node.value = [(self._named(key), value) for key, value in node.value]

        def _named(self, key: Any) -> Any:
            if key.id != "scalar" or key.tag == _TAG + "str":
                return key
            text = _key(self.construct_object(key))
            return type(key)(_TAG + "str", text, key.start_mark, key.end_mark)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            """Return a mapping, and note the keys that it has twice."""
            keys = [key.value for key, _ in node.value if type(key.value) is str]
            if len(set(keys)) < len(keys):
                seen: set[str] = set()
                for key, _ in node.value:
                    if type(key.value) is str:
                        if key.value in seen:
                            line = key.start_mark.line + 1
                            self.repeated.append(f'line {line}: key "{key.value}" already set in map')
                        seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    Loader.add_implicit_resolver(_TAG + "bool", re.compile("[yYnN]$"), list("yYnN"))
    Loader.add_constructor(_TAG + "int", lambda made, node: _int(made.construct_scalar(node)))
    Loader.add_constructor(_TAG + "float", lambda made, node: _float(made.construct_scalar(node)))
    Loader.add_constructor(
        _TAG + "binary", lambda made, node: base64.b64decode(made.construct_scalar(node)).decode()
    )
    Loader.add_constructor(_TAG + "merge", lambda made, node: made.construct_scalar(node))
    Loader.add_constructor(None, _untagged)
    return Loader


def _int(text: str) -> int:
    digits = text.replace("_", "").lower()
    sign, plain = digits[:1] == "-", digits.lstrip("+-")
    if plain[:2] in ("0x", "0b"):
        number = int(plain, 0)
    elif plain[0] == "0" and not re.search("[89]", plain):
        number = int(plain, 8)
    else:
        number = int(plain)
    return -number if sign else number


def _float(text: str) -> float | str:
    """Return a number, or as text what is too large to be one."""
    plain = text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    number = float(plain)
    return text if math.isinf(number) and "inf" not in plain else number


def _untagged(loader: Any, node: Any) -> Any:
    """Return what is marked with a type that nobody knows as what it is without."""
    if node.id == "scalar":
        return loader.construct_scalar(node)
    return (
        loader.construct_sequence(node, True)
        if node.id == "sequence"
        else loader.construct_mapping(node, True)
    )


def _as_json(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise DecodeError("error converting YAML to JSON: yaml: document contains excessive aliasing")
    if depth > MAX_DEPTH:
        raise DecodeError(_TOO_DEEP)
    if isinstance(value, dict):
        return {_key(key): _as_json(item, depth + 1, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item, depth + 1, left) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            shown = "NaN" if value != value else f"{'+' if value > 0 else '-'}Inf"
            raise DecodeError(f"error converting YAML to JSON: json: unsupported value: {shown}")
        # Where YAML has 1.0 or 1e3, JSON as Kubernetes writes it has 1 and 1000.
        return int(value) if value.is_integer() and abs(value) < _EXPONENTIAL else value
    if value is None or isinstance(value, str | int | float):
        return value
    raise DecodeError(
        f"error converting YAML to JSON: a value of the type {type(value).__name__} has no form in JSON"
    )


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float) and key.is_integer() and abs(key) < _EXPONENTIAL:
        return str(int(key))
    if isinstance(key, str | int | float):
        return str(key)
    if key is None:
        raise DecodeError(
            "error converting YAML to JSON: Unsupported map key of type: %!s(<nil>), key: <nil>"
        )
    raise DecodeError("error converting YAML to JSON: a key is not a text")


def _check_depth(tree: Any) -> None:
    waiting = [(tree, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise DecodeError(_TOO_DEEP)
        items = value.values() if type(value) is dict else value
        waiting += ((item, depth + 1) for item in items if type(item) is dict or type(item) is list)


def drop_nulls(tree: Any) -> Any:
    """Remove null members of objects in place, as Kubernetes reads them; return the tree. Checks the depth."""
    waiting = [(tree, 0)] if type(tree) in (dict, list) else []
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise DecodeError(_TOO_DEEP)
        if type(value) is dict:
            if None in value.values():
                for name in [name for name, item in value.items() if item is None]:
                    del value[name]
            items: Any = value.values()
        else:
            items = value
        waiting += [(item, depth + 1) for item in items if type(item) is dict or type(item) is list]
    return tree
