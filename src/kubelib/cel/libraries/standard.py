"""The standard functions: operators, conversions, sizes, and what texts can be asked."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.patterns import PatternError, compiled
from kubelib.cel.values import (
    Duration,
    Timestamp,
    TypeName,
    Uint,
    duration,
    equal,
    integer,
    parse_duration,
    parse_timestamp,
    timestamp,
    type_name,
    unsigned,
)

STANDARD = Library()
STANDARD.types.update(
    {
        "bool": types.BOOL,
        "int": types.INT,
        "uint": types.UINT,
        "double": types.DOUBLE,
        "string": types.STRING,
        "bytes": types.BYTES,
        "dyn": types.DYN,
        "null_type": types.NULL,
        "list": types.list_of(types.DYN),
        "map": types.map_of(types.DYN, types.DYN),
        "type": types.type_of(types.DYN),
        "google.protobuf.Duration": types.DURATION,
        "google.protobuf.Timestamp": types.TIMESTAMP,
    }
)
_add = STANDARD.add

for _operator in ("_&&_", "_||_"):
    _add(f"{_operator}(bool, bool) bool", lambda a, b: None)
_add("!_(bool) bool", lambda a: not a)
_add("_?_:_(bool, A, A) A", lambda a, b, c: None)
_add("_==_(A, A) bool", equal, cost=costs.smaller, estimate=costs.found_equal)
_add("_!=_(A, A) bool", equal, cost=costs.smaller, estimate=costs.compared)
_add("_[_](list(A), int) A", lambda a, b: None)
_add("_[_](map(A, B), A) B", lambda a, b: None)
_add("_[_](optional(list(A)), int) optional(A)", lambda a, b: None)
_add("_[_](optional(map(A, B)), A) optional(B)", lambda a, b: None)
_add("_[?_](list(A), int) optional(A)", lambda a, b: None)
_add("_[?_](map(A, B), A) optional(B)", lambda a, b: None)
_add("_[?_](optional(list(A)), int) optional(A)", lambda a, b: None)
_add("_[?_](optional(map(A, B)), A) optional(B)", lambda a, b: None)


def _within(value: Any, elements: Any) -> bool:
    if elements.__class__ is list:
        return any(equal(value, element) for element in elements)
    if elements.__class__ is not dict:
        raise EvaluationError("no such overload")
    try:
        return value in elements
    except TypeError:
        return False


_add("@in(A, list(A)) bool", _within, cost=costs.elements_of_second, estimate=costs.second_elements)
_add("@in(A, map(A, B)) bool", _within)


# Arithmetic.


def _quotient(a: int, b: int) -> int:
    """Divide as Go does: toward zero."""
    if b == 0:
        raise EvaluationError("division by zero")
    whole = abs(a) // abs(b)
    return whole if (a < 0) == (b < 0) else -whole


def _remainder(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    if a == -(1 << 63) and b == -1:
        raise EvaluationError("integer overflow")
    return int(math.copysign(1, a)) * (abs(a) % abs(b)) if a else 0


def _float_quotient(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


_add("_+_(int, int) int", lambda a, b: integer(a + b))
_add("_+_(uint, uint) uint", lambda a, b: unsigned(int(a) + int(b)))
_add("_+_(double, double) double", lambda a, b: a + b)
_add("_+_(string, string) string", lambda a, b: a + b, cost=costs.concatenation, estimate=costs.both_joined)
_add("_+_(bytes, bytes) bytes", lambda a, b: a + b, cost=costs.concatenation, estimate=costs.both_joined)
_add(
    "_+_(list(A), list(A)) list(A)",
    lambda a, b: a + b,
    cost=costs.list_concatenation,
    estimate=costs.lists_joined,
)
_add("_+_(timestamp, duration) timestamp", lambda a, b: timestamp(a.nanoseconds + b.nanoseconds, a.offset))
_add("_+_(duration, timestamp) timestamp", lambda a, b: timestamp(a.nanoseconds + b.nanoseconds, b.offset))
_add("_+_(duration, duration) duration", lambda a, b: duration(a.nanoseconds + b.nanoseconds))
_add("_-_(int, int) int", lambda a, b: integer(a - b))
_add("_-_(uint, uint) uint", lambda a, b: unsigned(int(a) - int(b)))
_add("_-_(double, double) double", lambda a, b: a - b)
_add("_-_(timestamp, timestamp) duration", lambda a, b: duration(a.nanoseconds - b.nanoseconds))
_add("_-_(timestamp, duration) timestamp", lambda a, b: timestamp(a.nanoseconds - b.nanoseconds, a.offset))
_add("_-_(duration, duration) duration", lambda a, b: duration(a.nanoseconds - b.nanoseconds))
_add("_*_(int, int) int", lambda a, b: integer(a * b))
_add("_*_(uint, uint) uint", lambda a, b: unsigned(int(a) * int(b)))
_add("_*_(double, double) double", lambda a, b: a * b)
_add("_/_(int, int) int", lambda a, b: integer(_quotient(a, b)))
_add("_/_(uint, uint) uint", lambda a, b: unsigned(_quotient(int(a), int(b))))
_add("_/_(double, double) double", _float_quotient)
_add("_%_(int, int) int", _remainder)
_add("_%_(uint, uint) uint", lambda a, b: unsigned(_remainder(int(a), int(b))))
_add("-_(int) int", lambda a: integer(-a))
_add("-_(double) double", lambda a: -a)


def _ordering(name: str, compare: Callable[[Any, Any], bool]) -> None:
    for one in ("int", "uint", "double"):
        for other in ("int", "uint", "double"):
            _add(f"{name}({one}, {other}) bool", compare)
    for kind in ("string", "bytes"):
        _add(f"{name}({kind}, {kind}) bool", compare, cost=costs.smaller, estimate=costs.compared)
    for kind in ("bool", "timestamp", "duration"):
        _add(f"{name}({kind}, {kind}) bool", compare)


_ordering("_<_", lambda a, b: a < b)
_ordering("_<=_", lambda a, b: a <= b)
_ordering("_>_", lambda a, b: a > b)
_ordering("_>=_", lambda a, b: a >= b)


# Sizes.

for _kind in ("string", "bytes", "list(A)", "map(A, B)"):
    _add(f"size({_kind}) int", len)
    _add(f"{_kind}.size() int", len)


# What texts can be asked.

_add(
    "string.startsWith(string) bool",
    lambda a, b: a.startswith(b),
    cost=costs.traversal,
    estimate=costs.last_traversed,
)
_add(
    "string.endsWith(string) bool",
    lambda a, b: a.endswith(b),
    cost=costs.traversal,
    estimate=costs.last_traversed,
)
_add("string.contains(string) bool", lambda a, b: b in a, cost=costs.search, estimate=costs.searched)


@STANDARD.declare(
    "string.matches(string) bool",
    "matches(string, string) bool",
    cost=costs.pattern,
    estimate=costs.pattern_matched,
)
def _matches(text: str, pattern: str) -> bool:
    try:
        return compiled(pattern).search(text) is not None
    except PatternError as error:
        raise EvaluationError(str(error)) from None


# Conversions.


def _int_of_double(value: float) -> int:
    if not -9223372036854775808.0 < value < 9223372036854775808.0:  # also false for NaN
        raise EvaluationError("integer overflow")
    return int(value)


def _uint_of_double(value: float) -> Uint:
    if not -1.0 < value < 18446744073709551616.0 or value < 0:
        raise EvaluationError("unsigned integer overflow")
    return Uint(value)


def _number(text: str, *, kind: str, lowest: int, highest: int) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 40:
        raise EvaluationError(f"type conversion error from 'string' to '{kind}'")
    number = int(text)
    if not lowest <= number <= highest:
        raise EvaluationError(f"type conversion error from 'string' to '{kind}'")
    return number


def _double_of_text(text: str) -> float:
    stripped = text.strip()
    if stripped != text or "_" in text:
        raise EvaluationError("type conversion error from 'string' to 'double'")
    try:
        return float(text)
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'double'") from None


_add("int(int) int", lambda a: a)
_add("int(uint) int", lambda a: integer(int(a)))
_add("int(double) int", _int_of_double)
_add("int(string) int", lambda a: _number(a, kind="int", lowest=-(1 << 63), highest=(1 << 63) - 1))
_add("int(timestamp) int", lambda a: a.nanoseconds // 10**9)
_add("int(duration) int", lambda a: a.nanoseconds)
_add("uint(uint) uint", lambda a: a)
_add("uint(int) uint", unsigned)
_add("uint(double) uint", _uint_of_double)
_add("uint(string) uint", lambda a: Uint(_number(a, kind="uint", lowest=0, highest=(1 << 64) - 1)))
_add("double(double) double", lambda a: a)
_add("double(int) double", float)
_add("double(uint) double", float)
_add("double(string) double", _double_of_text)


def shown_double(value: float) -> str:
    """Return a double as Go prints it with %g: the shortest digits, with an exponent from a million on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits = Decimal(repr(value))
    exponent = digits.adjusted()
    if -5 < exponent < 6:
        return plain_double(value)
    mantissa = f"{digits.normalize().scaleb(-exponent):f}"
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def plain_double(value: float) -> str:
    """Return a finite double in its shortest digits, without an exponent."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


_add("string(string) string", lambda a: a)
_add("string(bool) string", lambda a: "true" if a else "false")
_add("string(int) string", str)
_add("string(uint) string", lambda a: str(int(a)))
_add("string(double) string", shown_double)
_add("string(timestamp) string", str)
_add("string(duration) string", str)


@STANDARD.declare("string(bytes) string", cost=costs.traversal, estimate=costs.first_traversed)
def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


_add("bytes(bytes) bytes", lambda a: a)
_add("bytes(string) bytes", str.encode, cost=costs.traversal, estimate=costs.first_traversed)


def _bool_of_text(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise EvaluationError("type conversion error from 'string' to 'bool'")


_add("bool(bool) bool", lambda a: a)
_add("bool(string) bool", _bool_of_text)
_add("dyn(A) dyn", lambda a: a)
_add("type(A) type(A)", lambda a: TypeName("type" if a.__class__ is TypeName else type_name(a)))


@STANDARD.declare("timestamp(string) timestamp")
def _timestamp(text: str) -> Timestamp:
    try:
        return parse_timestamp(text)
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'google.protobuf.Timestamp'") from None


@STANDARD.declare("duration(string) duration")
def _duration(text: str) -> Duration:
    try:
        return parse_duration(text)
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'google.protobuf.Duration'") from None


_add("timestamp(timestamp) timestamp", lambda a: a)
_add("timestamp(int) timestamp", lambda a: timestamp(a * 10**9))
_add("duration(duration) duration", lambda a: a)
_add("duration(int) duration", duration)
