"""What clients send, from bytes to trees: JSON and YAML, with limits and messages meant for the client."""

import functools
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


def parse_json(raw: bytes) -> Any:
    """Decode a JSON body. Raises `DecodeError` for what is not JSON or nested too deeply."""
    try:
        tree = _decode_json(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(str(error)) from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None
    except UnicodeDecodeError:
        raise DecodeError("the text is not UTF-8") from None
    # No document of so few objects and lists can be too deep; looking costs more than decoding.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_depth(tree)
    return tree


def parse_yaml(raw: bytes, repeated: list[str] | None = None) -> Any:
    """Decode a YAML body, as JSON would have it; what it names twice is added to `repeated`. Raises `DecodeError`."""
    import yaml

    try:
        # A safe loader, only without YAML's own idea of dates and of numbers with colons.
        loader = _json_like(getattr(yaml, "CSafeLoader", yaml.SafeLoader))(raw)
        try:
            tree = loader.get_single_data()
        finally:
            loader.dispose()
        if repeated is not None:
            repeated += loader.repeated
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DecodeError(f"error converting YAML to JSON: yaml: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None
    return _as_json(tree, 0, [MAX_NODES])


_TOO_DEEP = "the document is nested too deeply"


@functools.cache
def _json_like(loader: type[Any]) -> type[Any]:
    """Return a safe loader that reads as text what Kubernetes' YAML reader does."""
    plain_int = re.compile(r"[-+]?(?:0b[0-1_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)$")
    plain_float = re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
    )
    replaced = {"tag:yaml.org,2002:int": plain_int, "tag:yaml.org,2002:float": plain_float}

    class Loader(loader):  # type: ignore[misc]
        yaml_implicit_resolvers = {
            first: [
                (tag, replaced.get(tag, pattern))
                for tag, pattern in resolvers
                if tag != "tag:yaml.org,2002:timestamp"
            ]
            for first, resolvers in loader.yaml_implicit_resolvers.items()
        }

        def __init__(self, stream: bytes) -> None:
            super().__init__(stream)
            self.repeated: list[str] = []

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

    return Loader


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
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise DecodeError(f"error converting YAML to JSON: json: unsupported value: {value}")
    if value is None or isinstance(value, str | int | float):
        return value
    raise DecodeError(
        f"error converting YAML to JSON: a value of the type {type(value).__name__} has no form in JSON"
    )


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None:
        return "null"
    if isinstance(key, str | int | float):
        return str(key)
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
