"""The library of values that may be absent."""

from typing import Any

from kubelib.cel import types
from kubelib.cel.library import Library
from kubelib.cel.values import NONE, Optional

OPTIONALS = Library()
OPTIONALS.types["optional_type"] = types.optional_of(types.DYN)
_add = OPTIONALS.add


def _zero(value: Any) -> bool:
    if value is None or value in (False, 0, 0.0, "", b""):
        return True
    if isinstance(value, list | dict):
        return not value
    return getattr(value, "nanoseconds", 1) == 0 or (isinstance(value, Optional) and not value.present)


def _of(value: Any) -> Optional:
    return Optional(present=True, value=value)


_add("optional.of(A) optional(A)", _of)
_add("optional.none() optional(A)", lambda: NONE)
_add("optional.ofNonZeroValue(A) optional(A)", lambda value: NONE if _zero(value) else _of(value))
_add("optional(A).hasValue() bool", lambda option: option.present)
_add("optional(A).value() A", lambda option: option.get())
_add("optional(A).or(optional(A)) optional(A)", lambda option, other: option if option.present else other)
_add("optional(A).orValue(A) A", lambda option, other: option.value if option.present else other)
_add(
    "optional.unwrap(list(optional(A))) list(A)",
    lambda options: [one.value for one in options if one.present],
)
_add("list(optional(A)).unwrapOpt() list(A)", lambda options: [one.value for one in options if one.present])
