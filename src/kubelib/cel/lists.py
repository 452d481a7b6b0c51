"""How lists that are sets or maps to Kubernetes are compared and joined: without regard to order, by their keys."""

from collections.abc import Callable
from typing import Any

from kubelib.cel.types import Type
from kubelib.cel.values import equal

Comparison = Callable[[Any, Any], bool]


def equality(one: Type, other: Type) -> Comparison | None:
    """Return how values of two types are compared; None when it is as always."""
    if one.kind == other.kind == "list":
        by = one if one.list_type != "atomic" else other
        inner = equality(one.parameters[0], other.parameters[0]) or equal
        if by.list_type == "set":
            return _same_members
        if by.list_type == "map":
            return _same_entries(by.list_keys, inner)
        return None if inner is equal else _same_elements(inner)
    if one.kind == other.kind == "map":
        inner = equality(one.parameters[1], other.parameters[1]) or equal
        return None if inner is equal else _same_values(lambda key: inner)
    if one.kind == "object" and one == other and one.fields is not None and _orderless(one, set()):
        fields = {field.key: field.type for field in one.fields().values()}
        found: dict[str, Comparison] = {}

        def of(key: str) -> Comparison:
            if key not in found:
                type_ = fields.get(key)
                found[key] = (equality(type_, type_) if type_ is not None else None) or equal
            return found[key]

        return _same_values(of)
    return None


def _orderless(type_: Type, seen: set[str]) -> bool:
    """Return whether there is a list within a type whose order does not matter."""
    if type_.list_type != "atomic":
        return True
    if type_.kind == "object" and type_.fields is not None:
        if type_.name in seen:
            return False
        seen.add(type_.name)
        return any(_orderless(field.type, seen) for field in type_.fields().values())
    return any(_orderless(inner, seen) for inner in type_.parameters)


def _same_elements(inner: Comparison) -> Comparison:
    return lambda a, b: len(a) == len(b) and all(map(inner, a, b))


def _same_values(inner: Callable[[Any], Comparison]) -> Comparison:
    return lambda a, b: (
        a.__class__ is b.__class__ is dict
        and len(a) == len(b)
        and all(k in b and inner(k)(v, b[k]) for k, v in a.items())
    )


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return (isinstance(value, bool), value)


def _same_members(a: Any, b: Any) -> bool:
    return len(a) == len(b) and set(map(_frozen, a)) == set(map(_frozen, b))


def _keyed(keys: tuple[str, ...]) -> Callable[[Any], Any]:
    return lambda entry: tuple(_frozen(entry.get(key)) for key in keys)


def _same_entries(keys: tuple[str, ...], inner: Comparison) -> Comparison:
    key = _keyed(keys)

    def compare(a: Any, b: Any) -> bool:
        if len(a) != len(b):
            return False
        by_key = {key(entry): entry for entry in b}
        return all((k := key(entry)) in by_key and inner(entry, by_key[k]) for entry in a)

    return compare


def join(type_: Type) -> Callable[[list[Any], list[Any]], list[Any]]:
    """Return ``+`` of two lists that are sets or maps: the right one's entries replace the left one's, in their places."""
    key = _frozen if type_.list_type == "set" else _keyed(type_.list_keys)

    def run(left: list[Any], right: list[Any]) -> list[Any]:
        merged = {key(entry): entry for entry in left}
        merged.update((key(entry), entry) for entry in right)
        return list(merged.values())

    return run
