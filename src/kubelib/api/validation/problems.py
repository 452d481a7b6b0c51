"""Kubernetes' field errors, in its own words."""

from collections.abc import Iterable, Sequence
from typing import Any

from kubelib.api.codec import encode_json
from kubelib.api.errors import Problem

_ESCAPES = {
    0x22: '\\"', 0x5C: "\\\\", 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r",
    **{code: f"\\x{code:02x}" for code in (*range(7), *range(14, 32), 0x7F)},
}  # fmt: skip


def quote(text: str) -> str:
    """Return a text as Go quotes it."""
    return f'"{text.translate(_ESCAPES)}"'


def show(value: Any) -> str:
    """Return a value as field errors show it: texts quoted, objects as JSON."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        return "null"
    return encode_json(value).decode()


def difference(old: Any, new: Any) -> str:
    """Return what differs between two objects, one line for each field that was and one for each that would be."""
    lines = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            lines.append(f"  {name}:")
            lines += [f"  {line}" for line in difference(before, after).splitlines()]
            continue
        if before is not None:
            lines.append(f"- {name}: {show(before)}")
        if after is not None:
            lines.append(f"+ {name}: {show(after)}")
    return "\n".join(lines) + "\n"


def pointer(value: Any) -> Any:
    """Return what is shown of a field that is a pointer in Go: where it points to nothing that is a text."""
    return "null" if value is None else value


def show_map(value: Any) -> str:
    """Return a JSON value as Go prints maps: by the order of their keys, and without quotes."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{show_map(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(show_map, value))}]"
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else show(value)


def required(path: str, detail: str = "") -> Problem:
    """A field that must be given is not."""
    return Problem("FieldValueRequired", path, "Required value" + (f": {detail}" if detail else ""))


def invalid(path: str, value: Any, detail: str) -> Problem:
    """A value that is not allowed."""
    return Problem("FieldValueInvalid", path, f"Invalid value: {show(value)}: {detail}")


def faulty(path: str, detail: str) -> Problem:
    """A value that is not allowed, and that is not worth showing."""
    return Problem("FieldValueInvalid", path, f"Invalid value: {detail}")


def not_supported(path: str, value: Any, allowed: Iterable[str]) -> Problem:
    """A value that is not one of a few."""
    known = ", ".join(map(quote, allowed))
    return Problem(
        "FieldValueNotSupported",
        path,
        f"Unsupported value: {show(value)}" + (f": supported values: {known}" if known else ""),
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


def too_many(path: str, count: int, limit: int) -> Problem:
    """A list with too many items."""
    return Problem("FieldValueTooMany", path, f"Too many: {count}: must have at most {limit} items")


def internal(path: str, detail: str) -> Problem:
    """A failure that is not the document's."""
    return Problem("InternalError", path, f"Internal error: {detail}")


def type_invalid(path: str, value: Any, detail: str) -> Problem:
    """A value of the wrong type."""
    return Problem("FieldValueTypeInvalid", path, f"Invalid value: {show(value)}: {detail}")


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
    if new == old:
        return []
    shown = new if isinstance(old, list | dict) else pointer(new)
    return [invalid(path, shown, "field is immutable")]


def port_number(path: str, value: Any) -> list[Problem]:
    """Check that a number is a port."""
    if value is None:
        value = 0
    if not isinstance(value, int) or not 1 <= value <= 65535:
        return [invalid(path, value, "must be between 1 and 65535, inclusive")]
    return []


def one_of(path: str, value: Any, allowed: Sequence[str]) -> list[Problem]:
    """Check that a field is given and one of a few values."""
    if not value:
        return [required(path)]
    return [] if value in allowed else [not_supported(path, value, allowed)]


def each(path: str, value: Any, messages: Iterable[str]) -> list[Problem]:
    """Return the problems that a check of a text reported."""
    return [invalid(path, value, message) for message in messages]
