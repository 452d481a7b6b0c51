"""Whether a tree is what its kind says: types, with Go's messages, and fields that are unknown or named twice."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from kubelib.api.enums import ZEROS
from kubelib.api.fields import FieldType, field_types
from kubelib.api.meta import Object
from kubelib.api.model import Model, always_fields, json_fields
from kubelib.api.parsing import DecodeError, base64_in_one_line, parse_json
from kubelib.api.scheme import Resource, Tree

_INT32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def check_types(tree: Tree, resource: Resource) -> None:
    """Require that the tree has the types of its kind. Quantities that are numbers become text.

    Raises `DecodeError` with the message that Kubernetes gives.
    """
    try:
        typed_check(tree, resource.cls)
    except DecodeError as error:
        kind = resource.kind
        raise DecodeError(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {error}'
        ) from None


def typed_check(tree: Tree, cls: type[Model]) -> None:
    """Require that the tree has the types of `cls`; see `check_types`."""
    checked = _checked(cls)  # type: ignore[arg-type]
    try:
        msgspec.convert(tree, checked)
        return
    except msgspec.ValidationError as error:
        message = str(error)
    if "got `int`" in message or "got `float`" in message or "base64" in message:
        _mend(tree, cls)
        try:
            msgspec.convert(tree, checked)
            return
        except msgspec.ValidationError as error:
            message = str(error)
    raise DecodeError(_go_message(message, cls))


def is_exact(tree: Tree, cls: type[Model]) -> bool:
    """Return whether a document has the types of `cls`, no field that it does not have, and no zero that is not written.

    One look, for most writes.
    """
    try:
        msgspec.convert(tree, _exact(cls), dec_hook=_only_true)  # type: ignore[arg-type]
    except msgspec.ValidationError:
        return False
    return True


@functools.cache
def _exact(cls: type[Any]) -> Any:
    """Return a struct for whole documents of a class that takes no other fields."""
    names = {"kind", "apiVersion"} - field_types(cls).keys()  # type: ignore[arg-type]
    return _exact_struct(cls, names)


@functools.cache
def _exact_part(cls: type[Any]) -> Any:
    return _exact_struct(cls, _identity(cls))


def _exact_struct(cls: type[Any], names: Iterable[str]) -> Any:
    identity = [(f"_of_{name}", str, msgspec.field(default="", name=name)) for name in sorted(names)]
    return msgspec.defstruct(
        cls.__name__, [*_fields(cls, _exact_part), *identity], gc=False, forbid_unknown_fields=True
    )


def _identity(cls: type[Any]) -> tuple[str, ...]:
    """Return what says of which kind a part is, where whole objects are parts of others: claims of a StatefulSet."""
    return ("apiVersion", "kind") if issubclass(cls, Object) else ()


@functools.cache
def _checked(cls: type[Any]) -> Any:
    """Return a struct like `cls` whose numbers have bounds. Built from the class, so that typed views stay cheap."""
    return msgspec.defstruct(cls.__name__, _fields(cls, _checked), gc=False)


_being_built: set[tuple[type[Any], Callable[..., Any]]] = set()
_NEVER = Literal["\0"]
"""What no document has: where a class contains itself, or something that only its schema knows, a closer look is taken."""


def _fields(cls: type[Any], nested: Callable[..., Any]) -> list[Any]:
    _being_built.add((cls, nested))
    try:
        return _fields_within(cls, nested)
    finally:
        _being_built.discard((cls, nested))


def _fields_within(cls: type[Any], nested: Callable[..., Any]) -> list[Any]:
    exact = nested is _exact_part
    fields: list[Any] = []
    for name, kind in field_types(cls).items():  # type: ignore[arg-type]
        checked: Any
        if kind.model is not None and (kind.model, nested) in _being_built:
            checked = _NEVER if exact else kind.model
        elif exact and kind.scalar.startswith("schema-or-"):
            checked = _NEVER
        else:
            checked = _CHECKED_SCALARS.get(kind.scalar) if kind.model is None else nested(kind.model)
        if checked is None:
            checked = json_fields(cls)[name]  # type: ignore[arg-type]
        elif kind.shape == "list":
            checked = tuple[checked, ...]
        elif kind.shape == "map":
            checked = Mapping[str, checked]
        if exact and name in _unwritten_zeros(cls):  # type: ignore[arg-type]
            checked = _nonzero(checked, kind)
        fields.append((f"_{len(fields)}", checked | None, msgspec.field(default=None, name=name)))
    return fields


# Zeros that are not written

_HAVE_ZEROS = {*ZEROS, "bytes"} - {"double"}
"""Scalars whose zero is told apart by a hint; of a double none could say that it is not zero."""


@functools.cache
def _unwritten_zeros(cls: type[Any]) -> frozenset[str]:
    """Return which fields are left out when they are zero or empty: what says so differs in nothing from what does not name them."""
    written = {
        *always_fields(cls),
        *(f.encode_name for f in msgspec.structs.fields(cls) if f.default is None),
    }
    return frozenset(
        name
        for name, kind in field_types(cls).items()  # type: ignore[arg-type]
        if name not in written
        and (kind.shape != "one" or (kind.model is None and kind.scalar in _HAVE_ZEROS))
    )


class _OnlyTrue:
    """What stands for a bool that is true."""


def _only_true(wanted: type[Any], value: Any) -> _OnlyTrue:
    if value is not True:
        raise ValueError("not true")
    return _TRUE


_TRUE = _OnlyTrue()


def _nonzero(checked: Any, kind: FieldType) -> Any:
    """Return the hint of a field without its zero. Negative numbers are left to a closer look."""
    if kind.shape == "one" and kind.scalar == "bool":
        return _OnlyTrue
    if kind.shape == "one" and kind.scalar in ("int32", "int64"):
        return Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1 if kind.scalar == "int32" else 2**63 - 1)]
    return Annotated[checked, msgspec.Meta(min_length=1)]


def drop_zeros(tree: Any, cls: type[Model]) -> None:
    """Remove the fields that are zero or empty and not written then, in place. The tree has the types of `cls`."""
    if not isinstance(tree, dict):
        return
    kinds, unwritten = field_types(cls), _unwritten_zeros(cls)  # type: ignore[arg-type]
    for name, value in [*tree.items()]:
        kind = kinds.get(name)
        if kind is None:
            continue
        if not value and value is not None and name in unwritten:
            del tree[name]
        elif kind.model is not None:
            for item in _items(value, kind):
                drop_zeros(item, kind.model)


_CHECKED_SCALARS: dict[str, Any] = {
    "int32": _INT32, "int64": _INT64, "int-or-string": _INT32 | str, "bytes": bytes,
}  # fmt: skip


def _mend(tree: Any, cls: type[Model]) -> None:
    """Write what Go takes as well in the form that it has: quantities that are numbers, and base64 with line breaks.

    Raises `DecodeError` for what is not base64.
    """
    if not isinstance(tree, dict):
        return
    for name, kind in field_types(cls).items():  # type: ignore[arg-type]
        value = tree.get(name)
        if value is None:
            continue
        if kind.model is not None:
            for item in _items(value, kind):
                _mend(item, kind.model)
        elif kind.scalar in _MENDED:
            mend = _MENDED[kind.scalar]
            if kind.shape == "map" and isinstance(value, dict):
                value.update((key, mend(item)) for key, item in value.items())
            else:
                tree[name] = mend(value)


def _quantity(value: Any) -> Any:
    return str(value) if _is_number(value) else value


def _one_line(value: Any) -> Any:
    return base64_in_one_line(value) if isinstance(value, str) else value


_MENDED: dict[str, Callable[[Any], Any]] = {"quantity": _quantity, "bytes": _one_line}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _items(value: Any, kind: FieldType) -> list[Any]:
    if kind.shape == "map":
        return list(value.values()) if isinstance(value, dict) else []
    if kind.shape == "list":
        return value if isinstance(value, list) else []
    return [value]


# Go's messages

_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
_GOT = re.compile(r"got `([^`]+)`")
_GO_VALUES = {"str": "string", "int": "number", "float": "number", "bool": "bool"}
_GO_SCALARS = {
    "string": "string", "int32": "int32", "int64": "int64", "bool": "bool", "double": "float64", "time": "v1.Time",
    "microtime": "v1.MicroTime", "quantity": "resource.Quantity", "bytes": "[]uint8", "int-or-string": "int32",
    "strings": "[]string", "any": "map[string]interface {}", "json": "v1.JSON",
    "schema-or-bool": "v1.JSONSchemaPropsOrBool",
    "schema-or-array": "v1.JSONSchemaPropsOrArray", "schema-or-strings": "v1.JSONSchemaPropsOrStringArray",
}  # fmt: skip


def _go_message(message: str, cls: type[Model]) -> str:
    """Return what Go's JSON decoder says where msgspec says `message`."""
    problem, _, where = message.partition(" - at `$")
    names: list[str] = []
    owner, kind, inside = cls, None, False
    for match in _STEP.finditer(where.rstrip("`")):
        if match[1] is None:
            inside = True
            continue
        if kind is not None and kind.model is not None:
            owner = kind.model
        names.append(match[1])
        kind, inside = field_types(owner).get(match[1]), False  # type: ignore[arg-type]
    if kind is None:
        return f"json: cannot unmarshal into Go value of type {_go_type(cls)}"
    found = _GOT.search(problem)
    value = _GO_VALUES.get(found[1], found[1]) if found is not None else "number"
    match kind.scalar if kind.model is None else "":
        case "time" | "microtime" if value in ("string", "number") and "RFC3339" in problem:
            return f'parsing time: the text cannot be read as "2006-01-02T15:04:05Z07:00" ({".".join(names)})'
        case "quantity":
            return (
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
    wanted = _go_type(kind.model) if kind.model is not None else _GO_SCALARS[kind.scalar]
    if not inside:
        wanted = {"list": "[]", "map": "map[string]", "one": ""}[kind.shape] + wanted
    return f"json: cannot unmarshal {value} into Go struct field {owner.__name__}.{'.'.join(names)} of type {wanted}"


_UNMARSHALLED = re.compile(r"json: cannot unmarshal (\w+) into Go struct field \S+ of type (.+)")
_GO_KINDS = {"object": "map", "array": "slice", "number": "int64"}


def of_map(message: str) -> str:
    """Return what Kubernetes says of a wrong type where it makes an object from a map instead of reading JSON.

    `message` is what it says of that in JSON. Other messages are the same.
    """
    found = _UNMARSHALLED.fullmatch(message)
    if found is None:
        return message
    value, wanted = _GO_KINDS.get(found[1], found[1]), found[2]
    if wanted.startswith("map["):
        return f"cannot restore map from {value}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {value}"
    if wanted.startswith("v1."):
        return f"cannot restore struct from: {value}"
    if value == "int64" and wanted == "string":
        return "cannot convert int64 to string"
    return f"unrecognized type: {wanted}"


def _go_type(cls: type[Model]) -> str:
    return f"v1.{cls.__name__}"


def json_type(value: object) -> str:
    """Return what Kubernetes calls the type of a JSON value."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case dict():
            return "object"
        case list():
            return "array"
    return "null"


# Strict reading


def unknown_fields(tree: Tree, cls: type[Model]) -> list[str]:
    """Return the paths of the fields that the class does not have, such as ``spec.containers[0].bar``."""
    known = {name: value for name, value in tree.items() if name not in ("kind", "apiVersion")}
    return list(_unknown(known, cls, ""))


def _unknown(tree: Mapping[str, Any], cls: type[Model], path: str) -> Iterator[str]:
    fields = _nested(cls)  # type: ignore[arg-type]
    for name, value in tree.items():
        if name not in fields:
            yield f"{path}{name}"
            continue
        shape, model = fields[name]
        if model is None:
            continue
        if isinstance(value, list):
            if shape in ("list", "either"):
                for number, item in enumerate(value):
                    if isinstance(item, dict):
                        yield from _unknown(item, model, f"{path}{name}[{number}].")
        elif isinstance(value, dict):
            if shape in ("one", "either"):
                yield from _unknown(value, model, f"{path}{name}.")
            else:
                for key, item in value.items():
                    if isinstance(item, dict):
                        yield from _unknown(item, model, f"{path}{name}.{key}.")


@functools.cache
def _nested(cls: type[Any]) -> Mapping[str, tuple[str, type[Model] | None]]:
    """Return the shapes of a class's fields, and the classes in them. Hashing type hints would cost more than the rest."""
    fields = {name: _shape_and_model(kind) for name, kind in field_types(cls).items()}  # type: ignore[arg-type]
    return {**dict.fromkeys(_identity(cls), ("one", None)), **fields}


def _shape_and_model(kind: FieldType) -> tuple[str, type[Model] | None]:
    if kind.scalar.startswith("schema-or-") and kind.shape == "one":
        from kubelib.api.apiextensions import JSONSchemaProps

        return "either", JSONSchemaProps
    return kind.shape, kind.model


class _Repeated(dict[str, Any]):
    """An object of a JSON text, with the names that it has twice."""

    names: tuple[str, ...] = ()
    members: tuple[tuple[str, Any], ...] = ()
    """All of them in order, if there are any that it has twice."""


def strict_findings(raw: bytes, cls: type[Model]) -> list[str]:
    """Return what a JSON text has that the class does not, and what it names twice, in the order of the text, each once.

    What is unknown is not said to be repeated as well, as in Kubernetes.
    """
    tree = json.loads(raw, object_pairs_hook=_pairs)
    return list(dict.fromkeys(_findings(tree, cls, ""))) if isinstance(tree, dict) else []


def _findings(tree: Mapping[str, Any], cls: type[Model], path: str) -> Iterator[str]:
    fields = _nested(cls)  # type: ignore[arg-type]
    seen: set[str] = set()
    members = tree.members if isinstance(tree, _Repeated) and tree.members else tree.items()
    for name, value in members:
        here = f"{path}{name}"
        if name not in fields and (path or name not in ("kind", "apiVersion")):
            yield f'unknown field "{here}"'
            continue
        if name in seen:
            yield f'duplicate field "{here}"'
        seen.add(name)
        shape, model = fields.get(name, ("", None))
        if model is None:
            yield from (f'duplicate field "{where}"' for where in _repeated(value, f"{here}."))
        elif isinstance(value, list) and shape in ("list", "either"):
            for number, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _findings(item, model, f"{here}[{number}].")
        elif isinstance(value, dict) and shape in ("one", "either"):
            yield from _findings(value, model, f"{here}.")
        elif isinstance(value, dict):
            yield from (f'duplicate field "{here}.{key}"' for key in getattr(value, "names", ()))
            for key, item in value.items():
                if isinstance(item, dict):
                    yield from _findings(item, model, f"{here}.{key}.")


_HIDDEN_COLON = re.compile(rb"\\u003[aA]")


def duplicate_fields(raw: bytes, read: Any = None) -> list[str]:
    """Return the paths of members that a JSON text names twice: ``spec.replicas``. Not JSON: none.

    `read` is what the text has been read as, if it has been already.
    """
    try:
        # A text with as many colons as its values has no name that was overwritten. Colons in the text of a value count on both
        # sides, as long as they are written in the same way.
        values = msgspec.json.encode(parse_json(raw) if read is None else read)
        if raw.count(b":") <= values.count(b":") and not _HIDDEN_COLON.search(raw):
            return []
        tree = json.loads(raw, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return []
    return list(_repeated(tree, ""))


def _pairs(members: list[tuple[str, Any]]) -> _Repeated:
    result = _Repeated(members)
    if len(result) < len(members):
        seen: set[str] = set()
        result.names = tuple(name for name, _ in members if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        result.members = tuple(members)
    return result


def _repeated(tree: Any, path: str) -> Iterator[str]:
    if isinstance(tree, _Repeated):
        for name in dict.fromkeys(tree.names):
            yield f"{path}{name}"
        for name, value in tree.items():
            yield from _repeated(value, f"{path}{name}.")
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _repeated(value, f"{path[:-1]}[{number}].")
