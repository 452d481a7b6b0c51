"""Kinds that a library user defines in Python: a class is enough, and everything that built-in kinds have follows from it.

`custom_kind` makes a `Resource` of a class of kubelib's own (an `Object` with `Model`s in it), of a `msgspec.Struct` or of an attrs class.
Added to a scheme that is given to the registries, it is served over HTTP with discovery, OpenAPI and ``kubectl explain``; typed clients,
informers and controllers take its class.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs
import msgspec

from kubelib.api.columns import DEFAULT
from kubelib.api.errors import Problem
from kubelib.api.meta import Object
from kubelib.api.model import Model, json_name
from kubelib.api.scheme import Column, Resource, Rules, Tree
from kubelib.api.validation.problems import invalid, not_supported


def custom_kind(
    cls: type[Any],
    *,
    plural: str,
    api_version: str = "",
    kind: str = "",
    singular: str = "",
    namespaced: bool = True,
    short_names: Sequence[str] = (),
    categories: Sequence[str] = (),
    subresources: Sequence[str] = (),
    columns: Sequence[Column] = DEFAULT,
    selectable: Mapping[str, str] | None = None,
    default: Callable[[Tree], None] | None = None,
    validate: Callable[[Tree], list[Problem]] | None = None,
    validate_update: Callable[[Tree, Tree], list[Problem]] | None = None,
    strategy: Callable[[], Any] | None = None,
) -> Resource:
    """Return the resource of a kind that is defined by a class.

    A subclass of `Object` has its own ``api_version`` and ``kind``, and is what clients are asked for. Of a struct or an attrs class with
    the fields ``spec``, ``status`` and whatever else objects of the kind have, such a class is made: it is ``resource.cls``, its fields
    have the same names and take instances of the classes that were declared, and in JSON they are written in camel case unless a struct
    says otherwise. What the class itself refuses, be it by
    an attrs validator, a ``Literal`` or a constraint of ``msgspec.Meta``, is a problem of the document.

    `default`, `validate` and `validate_update` look at JSON trees; `strategy` makes a `kubelib.registry.strategies.base.Strategy` for what
    goes beyond that.
    """
    checks = [validate] if validate is not None else []
    if not issubclass(cls, Object):
        declared = cls
        cls = _object_of(declared, api_version, kind or declared.__name__)
        checks.insert(0, functools.partial(_class_problems, declared=declared, made=cls))
    group, _, version = cls.api_version.rpartition("/")
    if not version or not cls.kind:
        raise ValueError(f"{cls.__name__} has no api_version or no kind: give them to custom_kind")
    return Resource(
        group=group,
        version=version,
        kind=cls.kind,
        plural=plural,
        singular=singular or cls.kind.lower(),
        namespaced=namespaced,
        cls=cls,
        short_names=tuple(short_names),
        categories=tuple(categories),
        subresources=tuple(subresources),
        columns=tuple(columns),
        selectable=dict(selectable or {}),
        rules=Rules(
            default=default,
            validate=_all(checks) if checks else None,
            validate_update=validate_update,
            strategy=strategy,
        ),
    )


def _all(checks: Sequence[Callable[[Tree], list[Problem]]]) -> Callable[[Tree], list[Problem]]:
    return lambda tree: [problem for check in checks for problem in check(tree)]


# From the user's class to one of ours


@attrs.frozen
class _Declared:
    """A field of the user's class."""

    name: str
    json_name: str
    hint: Any
    default: Any
    """`_NOTHING` where the field must be given."""


_NOTHING = object()


def _fields_of(cls: type[Any]) -> Iterator[_Declared]:
    hints = get_type_hints(cls, include_extras=True)
    if attrs.has(cls):
        for attribute in attrs.fields(cls):
            default = attribute.default
            if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
                default = default.factory() if not default.takes_self else None
            missing = default is attrs.NOTHING
            name = attribute.name
            yield _Declared(name, json_name(name), hints[name], _NOTHING if missing else default)
        return
    for field in msgspec.structs.fields(cls):
        missing = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        default = field.default
        if default is msgspec.NODEFAULT and not missing:
            default = field.default_factory()
        written = field.encode_name if field.encode_name != field.name else json_name(field.name)
        yield _Declared(field.name, written, hints[field.name], _NOTHING if missing else default)


_declared_fields = cast(
    "Callable[[type[Any]], tuple[_Declared, ...]]", functools.cache(lambda cls: tuple(_fields_of(cls)))
)


def _object_of(declared: type[Any], api_version: str, kind: str) -> type[Object]:
    if not _is_declarable(declared):
        raise TypeError(f"{declared.__name__} is neither an Object, nor a msgspec.Struct, nor an attrs class")
    namespace = {"api_version": api_version, "kind": kind}
    annotations = {"api_version": ClassVar[str], "kind": ClassVar[str]}
    made: type[Object] = _made(declared, Object, namespace, annotations, skipped=("metadata",))
    return made


_model_of = cast("Callable[[type[Any]], type[Model]]", functools.cache(lambda cls: _made(cls, Model, {}, {})))


def _made(
    declared: type[Any],
    base: type[Any],
    namespace: dict[str, Any],
    annotations: dict[str, Any],
    *,
    skipped: tuple[str, ...] = (),
) -> Any:
    required = []
    taken: dict[str, _Conversion] = {}
    for field in _declared_fields(declared):
        if field.name in skipped:
            continue
        hint, zero = _hint_of(field.hint)
        if (conversion := _conversion(field.hint)) is not None:
            taken[field.name] = conversion
        default = _default_of(field, hint, zero)
        annotations[field.name] = hint
        namespace[field.name] = msgspec.field(default=default, name=field.json_name)
        if field.default is _NOTHING:
            required.append(field.json_name)
    if required:
        annotations["__required__"] = ClassVar[str]
        namespace["__required__"] = " ".join(required)
    if taken:
        namespace["__post_init__"] = _taking(taken)
    metaclass: Any = type(base)
    return metaclass(
        declared.__name__,
        (base,),
        {
            **namespace,
            "__annotations__": annotations,
            "__doc__": declared.__doc__,
            "__module__": declared.__module__,
            "__qualname__": declared.__qualname__,
        },
    )


def _hint_of(hint: Any) -> tuple[Any, Any]:
    """Return the type of a field of ours, and what it holds when nothing is given."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _hint_of(arguments[0])
    if origin in (Union, UnionType):
        members = [member for member in arguments if member is not NoneType]
        if set(members) == {int, str}:
            return (int | str | None, None) if len(members) < len(arguments) else (int | str, 0)
        inner = _hint_of(members[0])[0]
        return inner | None, None
    if origin is Literal:
        kind = type(arguments[0])
        return kind, kind()
    if origin in (list, tuple, set, frozenset, Sequence) or hint in (list, tuple):
        item = _hint_of(arguments[0])[0] if arguments else Any
        return tuple[item, ...], ()  # type: ignore[valid-type]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = _hint_of(arguments[1])[0]
        return Mapping[str, value], {}  # type: ignore[valid-type]
    if hint in (dict, Mapping):
        return Mapping[str, Any], {}
    if isinstance(hint, type):
        if issubclass(hint, Model):
            return hint, hint()
        if _is_declarable(hint):
            model = _model_of(hint)
            return model, model()
        if hint in _ZEROS:
            return hint, _ZEROS[hint]
    if hint is Any:
        return Any, None
    raise TypeError(f"a field of a kind cannot be of the type {hint!r}")


_ZEROS: dict[Any, Any] = {str: "", int: 0, bool: False, float: 0.0, datetime: None}


def _default_of(field: _Declared, hint: Any, zero: Any) -> Any:
    """Return the default of a field of ours: what the user's class has, as far as it is a plain value."""
    if field.default is _NOTHING or field.default is None:
        return zero
    if isinstance(field.default, str | int | float | bool):
        return field.default
    return zero


# From objects of the user's classes to those of ours

_Conversion = Callable[[Any], Any]


def _conversion(hint: Any) -> _Conversion | None:
    """Return what turns a value with the user's objects in it into one with ours; None where there can be none in it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _conversion(arguments[0])
    if origin in (Union, UnionType):
        members = [member for member in arguments if member is not NoneType]
        return _conversion(members[0]) if len(members) == 1 else None
    if origin in (list, tuple, set, frozenset, Sequence):
        item = _conversion(arguments[0]) if arguments else None
        return None if item is None else lambda values: tuple(map(item, values or ()))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = _conversion(arguments[1])
        return None if value is None else lambda mapping: {key: value(one) for key, one in mapping.items()}
    if isinstance(hint, type) and not issubclass(hint, Model) and _is_declarable(hint):
        return functools.partial(_as_model, hint)
    return None


def _is_declarable(cls: type[Any]) -> bool:
    return attrs.has(cls) or issubclass(cls, msgspec.Struct)


def _as_model(declared: type[Any], value: Any) -> Any:
    if not isinstance(value, declared):
        return value
    fields = {field.name: getattr(value, field.name) for field in _declared_fields(declared)}
    return _model_of(declared)(**fields)


def _taking(conversions: Mapping[str, _Conversion]) -> Callable[[Any], None]:
    def take(self: Any) -> None:
        for name, conversion in conversions.items():
            given = getattr(self, name)
            if (converted := conversion(given)) is not given:
                msgspec.structs.force_setattr(self, name, converted)

    return take


# What the user's class refuses


def _class_problems(tree: Tree, declared: type[Any], made: type[Object]) -> list[Problem]:
    problems: list[Problem] = []
    given = {name: value for name, value in tree.items() if name not in ("kind", "apiVersion", "metadata")}
    _built(declared, given, "", problems)
    return problems


def _built(declared: type[Any], tree: Any, path: str, problems: list[Problem]) -> Any:
    """Build an object of the user's class from a document, noting what it refuses; None if it cannot be built."""
    before = len(problems)
    values: dict[str, Any] = {}
    for field in _declared_fields(declared):
        where = f"{path}.{field.json_name}" if path else field.json_name
        if field.json_name in tree:
            values[field.name] = _value(field.hint, tree[field.json_name], where, problems)
        elif field.name == "metadata":
            continue
        elif field.default is _NOTHING:
            zero = _hint_of(field.hint)[1]
            if not isinstance(zero, Model):
                problems.append(Problem("FieldValueRequired", where, "Required value"))
            else:
                values[field.name] = _value(field.hint, {}, where, problems)
    if len(problems) > before:
        return None
    try:
        if issubclass(declared, msgspec.Struct):
            built = declared(**values)
            msgspec.convert(msgspec.to_builtins(built), declared)
            return built
        return declared(**values)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        where = path + at.rstrip("`") if at else path
        problems.append(invalid(where.lstrip("."), _at(tree, at.rstrip("`")), message))
    except (ValueError, TypeError) as error:
        text = str(error.args[0]) if error.args else str(error)
        problems.append(invalid(path or "<nil>", tree, text))
    return None


def _at(tree: Any, path: str) -> Any:
    for step in path.strip(".").split("."):
        tree = tree.get(json_name(step), tree.get(step)) if isinstance(tree, dict) else None
    return tree


def _value(hint: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _value(arguments[0], value, path, problems)
    if origin in (Union, UnionType):
        members = [member for member in arguments if member is not NoneType]
        return _value(members[0], value, path, problems) if value is not None and len(members) == 1 else value
    if origin is Literal:
        if value not in arguments:
            problems.append(not_supported(path, value, [str(choice) for choice in arguments]))
        return value
    if isinstance(value, list):
        item = arguments[0] if arguments else Any
        items = [_value(item, part, f"{path}[{at}]", problems) for at, part in enumerate(value)]
        kind = origin if isinstance(origin, type) and origin in (tuple, set, frozenset) else list
        return kind(items)
    if isinstance(value, dict) and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _value(arguments[1], part, f"{path}.{key}", problems) for key, part in value.items()}
    if isinstance(hint, type) and isinstance(value, dict):
        if issubclass(hint, Model):
            return msgspec.convert(value, hint)
        if _is_declarable(hint):
            return _built(hint, value, path, problems)
    if hint is datetime and isinstance(value, str):
        return msgspec.convert(value, datetime)
    return value
