"""How values of JSON become what a type says: a number a double, a text a timestamp, a duration or bytes."""

import base64
from typing import Any

from kubelib.cel.base import EvaluationError
from kubelib.cel.frame import Reader
from kubelib.cel.types import Type
from kubelib.cel.values import parse_date, parse_duration


def _to_double(value: Any) -> Any:
    return float(value) if value.__class__ is int else value


def _to_timestamp(value: Any) -> Any:
    if value.__class__ is str:
        try:
            return parse_date(value)
        except ValueError as error:
            raise EvaluationError(f"{error}") from None
    return value


def _to_duration(value: Any) -> Any:
    if value.__class__ is str:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise EvaluationError(f"{error}") from None
    return value


def _to_bytes(value: Any) -> Any:
    if value.__class__ is str:
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            raise EvaluationError("value is not base64") from None
    return value


_READERS: dict[str, Reader] = {
    "double": _to_double,
    "timestamp": _to_timestamp,
    "duration": _to_duration,
    "bytes": _to_bytes,
}


def reader(type_: Type) -> Reader | None:
    """Return what makes a JSON value one of a type; None when it is one already.

    Objects are read as they are: their fields are read when they are selected.
    """
    found = _READERS.get(type_.kind)
    if found is not None or type_.kind not in ("list", "map"):
        return found
    inner = reader(type_.parameters[-1])
    if inner is None:
        return None
    if type_.kind == "list":
        return lambda value: [inner(v) for v in value] if value.__class__ is list else value
    return lambda value: {k: inner(v) for k, v in value.items()} if value.__class__ is dict else value
