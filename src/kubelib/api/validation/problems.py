"""Kubernetes' field errors, in its own words."""

from collections.abc import Iterable
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.errors import Problem


def show(value: Any) -> str:
    """Return a value as field errors show it: texts quoted, objects as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        return "null"
    return encode_json(value).decode()


def required(path: str, detail: str = "") -> Problem:
    """A field that must be given is not."""
    return Problem("FieldValueRequired", path, "Required value" + (f": {detail}" if detail else ""))


def invalid(path: str, value: Any, detail: str) -> Problem:
    """A value that is not allowed."""
    return Problem("FieldValueInvalid", path, f"Invalid value: {show(value)}: {detail}")


def not_supported(path: str, value: Any, allowed: Iterable[str]) -> Problem:
    """A value that is not one of a few."""
    known = ", ".join(f'"{choice}"' for choice in allowed)
    return Problem(
        "FieldValueNotSupported", path, f"Unsupported value: {show(value)}: supported values: {known}"
    )


def duplicate(path: str, value: Any) -> Problem:
    """A value that may be there only once."""
    return Problem("FieldValueDuplicate", path, f"Duplicate value: {show(value)}")


def forbidden(path: str, detail: str) -> Problem:
    """A field that may not be set or changed."""
    return Problem("FieldValueForbidden", path, f"Forbidden: {detail}")


def too_long(path: str, limit: int) -> Problem:
    """A value that is too long."""
    return Problem("FieldValueTooLong", path, f"Too long: may not be more than {limit} bytes")


def not_found(path: str, value: Any) -> Problem:
    """A reference to something that is not there."""
    return Problem("FieldValueNotFound", path, f"Not found: {show(value)}")


def non_negative(path: str, value: Any) -> list[Problem]:
    """Check that a number is not negative."""
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, "must be greater than or equal to 0")]
    return []


def immutable(path: str, new: Any, old: Any) -> list[Problem]:
    """Check that a field has not changed."""
    return [] if new == old else [invalid(path, new, "field is immutable")]


def port_number(path: str, value: Any) -> list[Problem]:
    """Check that a number is a port."""
    if not isinstance(value, int) or not 1 <= value <= 65535:
        return [invalid(path, value, "must be between 1 and 65535, inclusive")]
    return []
