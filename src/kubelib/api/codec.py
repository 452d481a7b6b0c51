"""Objects to bytes and back: the canonical form, strict reading, and writes that keep what a class does not know."""

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from kubelib.api.document import decoder_of
from kubelib.api.meta import Object
from kubelib.api.model import Model, json_fields, model_in
from kubelib.api.scheme import Resource, Tree

T = TypeVar("T", bound=Object)

MAX_DEPTH = 1000
"""How deeply a document may be nested: far beyond any real one, well below the interpreter's limit."""

encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


class DecodeError(ValueError):
    """A body that is not what it should be; the message is meant for the client."""


def encode(obj: Object) -> bytes:
    """Return the object as JSON that begins with kind, apiVersion and metadata."""
    body = encode_json(obj)
    start = b'{"kind":"%s","apiVersion":"%s",' % (obj.kind.encode(), obj.api_version.encode())
    if not body.startswith(b'{"metadata":'):
        return start + b'"metadata":{}' + (b"," if len(body) > 2 else b"") + body[1:]
    return start + body[1:]


def to_tree(obj: Object) -> Tree:
    """Return the object as a tree of the caller's own, with lists as lists."""
    tree: Tree = _decode_json(encode(obj))
    return tree


def decode(cls: type[T], raw: bytes) -> T:
    """Return the typed view of a document. Raises `DecodeError`."""
    try:
        return decoder_of(cls).decode(raw)
    except msgspec.ValidationError as error:
        raise DecodeError(str(error)) from None
    except msgspec.DecodeError as error:
        raise DecodeError(str(error)) from None


def encode_tree(tree: Tree, resource: Resource) -> bytes:
    """Return the stored form: kind, apiVersion and metadata first, no resource version."""
    metadata = {k: v for k, v in tree["metadata"].items() if k != "resourceVersion"}
    ordered = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    ordered.update((k, v) for k, v in tree.items() if k not in ordered)
    return encode_json(ordered)


def splice_resource_version(stored: bytes, revision: int) -> bytes:
    """Return the served form of a stored document: its resource version inserted without decoding anything."""
    at = stored.index(b'"metadata":{') + 12
    return b'%s"resourceVersion":"%d",%s' % (stored[:at], revision, stored[at:])


# Reading what clients send


def parse_json(raw: bytes) -> Any:
    """Decode a JSON body. Raises `DecodeError` for what is not JSON or nested too deeply."""
    try:
        return _decode_json(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(str(error)) from None
    except RecursionError:
        raise DecodeError("the document is nested too deeply") from None


def parse_yaml(raw: bytes) -> Any:
    """Decode a YAML body, as JSON would have it. Raises `DecodeError`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # A safe loader, only without YAML's own idea of dates.
        tree = yaml.load(raw, Loader=_json_like(loader))  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        raise DecodeError(f"error converting YAML to JSON: yaml: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise DecodeError("the document is nested too deeply") from None
    return tree


@functools.cache
def _json_like(loader: type[Any]) -> type[Any]:
    """Return a safe loader that leaves dates as text, as Kubernetes' YAML reader does."""

    class Loader(loader):  # type: ignore[misc]
        yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in loader.yaml_implicit_resolvers.items()
        }

    return Loader


def drop_nulls(tree: Any, depth: int = 0) -> Any:
    """Remove null members of objects in place, as Kubernetes reads them; return the tree. Checks the depth."""
    if depth > MAX_DEPTH:
        raise DecodeError("the document is nested too deeply")
    if type(tree) is dict:
        nulls = None
        for key, value in tree.items():
            if value is None:
                nulls = [*(nulls or ()), key]
            elif type(value) in (dict, list):
                drop_nulls(value, depth + 1)
        for key in nulls or ():
            del tree[key]
    elif type(tree) is list:
        for value in tree:
            if type(value) in (dict, list):
                drop_nulls(value, depth + 1)
    return tree


def check_types(tree: Tree, resource: Resource) -> None:
    """Require that the tree has the types of its kind. Raises `DecodeError` that names the field."""
    try:
        msgspec.convert(tree, resource.cls, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or "the object"
        raise DecodeError(
            f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}:".replace(
                "'", '"'
            )
            + f" json: cannot unmarshal {field}: {message[:1].lower()}{message[1:]}"
        ) from None


def unknown_fields(tree: Tree, cls: type[Model]) -> list[str]:
    """Return the paths of the fields that the class does not have, such as ``spec.containers[0].bar``."""
    found: list[str] = []
    _find_unknown({k: v for k, v in tree.items() if k not in ("kind", "apiVersion")}, cls, "", found)
    return found


def _find_unknown(tree: Mapping[str, Any], cls: type[Model], path: str, found: list[str]) -> None:
    fields = json_fields(cls)  # type: ignore[arg-type]
    for name, value in tree.items():
        hint = fields.get(name)
        here = f"{path}.{name}" if path else name
        if hint is None:
            found.append(here)
            continue
        if type(value) not in (dict, list):
            continue
        shape, model = model_in(hint)
        if model is None:
            continue
        if shape == "list":
            for at, item in enumerate(value):
                if type(item) is dict:
                    _find_unknown(item, model, f"{here}[{at}]", found)
        elif shape == "map":
            for key, item in value.items():
                if type(item) is dict:
                    _find_unknown(item, model, f"{here}.{key}", found)
        elif type(value) is dict:
            _find_unknown(value, model, here, found)


def duplicate_fields(raw: bytes) -> list[str]:
    """Return the paths of members that a JSON text names twice."""
    import json

    duplicates: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, value in members:
            if name in seen:
                duplicates.append(name)
            seen[name] = value
        return seen

    try:
        json.loads(raw, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return []
    return duplicates


# Writing from typed code


def overlay(tree: Any, before: Any, after: Any) -> Any:
    """Return `tree` with the difference between `before` and `after` applied.

    `before` is what typed code saw of `tree`, `after` what it wants to see: what it could not see is kept. Lists of
    objects are matched by ``name`` (or ``type``, ``key``, ``uid``, ``ip``) where their items have one, else by position.
    """
    if before == after:
        return tree
    if isinstance(tree, dict) and isinstance(after, dict):
        seen = before if isinstance(before, dict) else {}
        result = {k: v for k, v in tree.items() if k in after or k not in seen}
        for key, value in after.items():
            result[key] = overlay(tree[key], seen.get(key), value) if key in tree else value
        return result
    if (
        isinstance(tree, list)
        and isinstance(after, list)
        and isinstance(before, list)
        and len(before) == len(tree)
    ):
        identify = _identity(before, after)
        if identify is None:
            return after
        known = {identify(seen): (raw, seen) for raw, seen in zip(tree, before, strict=True)}
        return [
            overlay(*known[identity], item) if (identity := identify(item)) in known else item
            for item in after
        ]
    return after


def _identity(before: list[Any], after: list[Any]) -> Any:
    if not all(isinstance(item, dict) for item in (*before, *after)):
        return None
    for key in ("name", "type", "key", "uid", "ip"):
        if all(key in item for item in (*before, *after)):
            identities = [item[key] for item in before]
            if len(set(identities)) == len(identities):
                return lambda item, key=key: item[key]
    return None
