"""Fields of objects and elements of lists and maps, as closures."""

from typing import Any

from kubelib.cel.base import EvaluationError
from kubelib.cel.frame import Closure, Frame, Reader, no_overload
from kubelib.cel.values import NONE, Optional, Uint, kind_of, type_name


def missing(value: Any, field: str) -> EvaluationError:
    """Return the error of a field that is not there."""
    if value.__class__ in (list, str, bytes, bool, int, float, Uint):
        return no_overload()
    return EvaluationError(f"no such key: {field}")


def map_key(key: Any) -> Any:
    """Return a key as it stands in a map. Raises EvaluationError for what cannot be one."""
    cls = key.__class__
    if cls is str or cls is int or cls is bool or cls is Uint:
        return key
    if cls is float and key == int(key):
        return int(key)
    raise EvaluationError(f"unsupported key type: {type_name(key)}")


def holds(table: Any, key: Any) -> bool:
    """Return whether a map has a key. Raises EvaluationError."""
    if table.__class__ is not dict:
        raise no_overload()
    try:
        return key in table
    except TypeError:
        return False


def element(container: Any, at: Any) -> Any:
    """Return an element of a list or map. Raises EvaluationError."""
    if container.__class__ is list:
        if at.__class__ is float and at == int(at):
            at = int(at)
        if at.__class__ not in (int, Uint):
            raise (
                no_overload()
                if kind_of(at) != "double"
                else EvaluationError(f"unsupported index value: {at}")
            )
        if 0 <= at < len(container):
            return container[at]
        raise EvaluationError(f"index out of bounds: {at}")
    if container.__class__ is dict:
        try:
            return container[at]
        except (KeyError, TypeError):
            raise EvaluationError(f"no such key: {at}") from None
    raise no_overload()


def has_field(operand: Closure, key: str) -> Closure:
    """Return ``has(operand.key)``."""

    def run(f: Frame) -> bool:
        value = operand(f)
        if value.__class__ is dict:
            return key in value
        if value.__class__ is Optional:
            return value.present and value.value.__class__ is dict and key in value.value
        if kind_of(value) == "map":
            return key in value
        if value is None:
            return False
        raise no_overload()

    return run


def has_nullable(operand: Closure, key: str) -> Closure:
    """Return ``has(operand.key)`` of a field that may be null: one that is null counts as absent."""
    there = has_field(operand, key)

    def run(f: Frame) -> bool:
        value = operand(f)
        return value.get(key) is not None if value.__class__ is dict else there(f)

    return run


def nullable_reader(key: str, read: Reader | None) -> Reader:
    """Return what reads a field that may be null: it raises KeyError for one that is, as if it were absent."""

    def run(value: Any) -> Any:
        if value is None:
            raise KeyError(key)
        return value if read is None else read(value)

    return run


def select_of_slot(slot: int, key: str, name: str) -> Closure:
    """Return the selection of a field of a variable."""

    def run(f: Frame) -> Any:
        value = f[slot]
        try:
            return value[key]
        except (KeyError, TypeError):
            raise missing(value, name) from None

    return run


def select_key(operand: Closure, key: str, name: str, read: Reader | None) -> Closure:
    """Return the selection of a field of an object or map."""
    if read is None:

        def run(f: Frame) -> Any:
            value = operand(f)
            try:
                return value[key]
            except (KeyError, TypeError):
                raise missing(value, name) from None

        return run

    def run_and_read(f: Frame) -> Any:
        value = operand(f)
        try:
            return read(value[key])
        except (KeyError, TypeError):
            raise missing(value, name) from None

    return run_and_read


def select_any(operand: Closure, key: str, name: str, read: Reader | None, *, optional: bool) -> Closure:
    """Return the selection of a field of what may be optional, or anything."""

    def run(f: Frame) -> Any:
        value = operand(f)
        inside = value.__class__ is Optional
        if inside:
            if not value.present:
                return NONE
            value = value.value
        try:
            found = value[key] if read is None else read(value[key])
        except (KeyError, TypeError):
            if inside or optional:
                if value.__class__ in (list, str, bytes, bool, int, float, Uint):
                    raise no_overload() from None
                return NONE
            raise missing(value, name) from None
        return Optional(present=True, value=found) if inside or optional else found

    return run
