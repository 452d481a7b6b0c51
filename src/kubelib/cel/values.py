"""The values of CEL that Python has no class for, and how values are compared.

int is CEL's int, `Uint` its uint, float its double; str, bytes, bool, None, list and dict are what they look like.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from kubelib.cel.base import EvaluationError
from kubelib.cel.types import Type

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_MIN = -62135596800 * 10**9
_TIMESTAMP_MAX = 253402300799 * 10**9 + 999_999_999


class Uint(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


@attrs.frozen(order=True, repr=False)
class Duration:
    """A span of time."""

    kind: ClassVar[str] = "duration"
    nanoseconds: int

    def __repr__(self) -> str:
        return f"Duration({self})"

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.nanoseconds), 10**9)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{'-' if self.nanoseconds < 0 else ''}{whole}{fraction}s"


@attrs.frozen(order=True, repr=False)
class Timestamp:
    """A moment, from year 1 to 9999."""

    kind: ClassVar[str] = "timestamp"
    nanoseconds: int
    """Since 1970 in UTC."""
    offset: int = attrs.field(default=0, eq=False, order=False)
    """How many seconds east of UTC its text was written: cel-go shows it, and takes it apart, in that zone."""

    def __repr__(self) -> str:
        return f"Timestamp({self})"

    def __str__(self) -> str:
        moment, rest = self.local(), self.nanoseconds % 10**9
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        minutes = abs(self.offset) // 60
        zone = f"{'-' if self.offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "Z"
        return f"{moment.year:04d}{moment:-%m-%dT%H:%M:%S}{fraction}{zone}"

    def local(self, zone: str | None = None) -> datetime:
        """Return the date and time in a zone: a name, or an offset such as ``-08:00``; in its own when none is named.

        Raises EvaluationError.
        """
        try:
            where = timezone(timedelta(seconds=self.offset)) if zone is None else _zone(zone)
            return (_EPOCH + timedelta(seconds=self.nanoseconds // 10**9)).astimezone(where)
        except (OverflowError, ValueError):
            raise EvaluationError("timestamp overflow") from None


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    if (found := re.fullmatch(r"([+-]?)(\d{1,2}):(\d{2})", name)) is not None:
        sign, hours, minutes = found.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if offset < timedelta(hours=24):
            return timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


@attrs.frozen(eq=False)
class Optional:
    """A value that may be absent."""

    kind: ClassVar[str] = "optional"
    present: bool
    value: Any = None

    def get(self) -> Any:
        """Return the value. Raises EvaluationError when there is none."""
        if not self.present:
            raise EvaluationError("optional.none() dereference")
        return self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional):
            return NotImplemented
        return self.present == other.present and equal(self.value, other.value)

    __hash__ = object.__hash__


NONE = Optional(present=False)


@attrs.frozen
class TypeName:
    """A type as a value: what ``type(x)`` returns."""

    kind: ClassVar[str] = "type"
    name: str


class Opaque:
    """A value of a library's own type."""

    kind: ClassVar[str] = "opaque"
    cel_type: ClassVar[Type]


class Constructed(dict[str, Any]):
    """An object that an expression has written: ``Object.spec{replicas: 1}``."""

    kind = "map"

    def __init__(self, type_name: str) -> None:
        super().__init__()
        self.type_name = type_name


_KINDS: dict[type, str] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null",
    list: "list",
    dict: "map",
}
_NUMBERS = frozenset((int, Uint, float))


def kind_of(value: Any) -> str:
    """Return the kind of type that a value has."""
    kind = _KINDS.get(value.__class__)
    return kind if kind is not None else getattr(value, "kind", "map")


def type_name(value: Any) -> str:
    """Return what ``type(value)`` is called."""
    kind = kind_of(value)
    if kind == "opaque":
        return value.cel_type.name  # type: ignore[no-any-return]  # opaque values say theirs
    return Type(kind).runtime_name  # type: ignore[arg-type]  # the kinds of values are kinds of types


def equal(left: Any, right: Any) -> bool:
    """Compare as CEL does: numbers of all kinds by value, lists and maps by their elements, and nothing else across kinds."""
    one, other = left.__class__, right.__class__
    if one is other:
        if one is list:
            return len(left) == len(right) and all(map(equal, left, right))
        if one is dict:
            if len(left) != len(right):
                return False
            return all(key in right and equal(value, right[key]) for key, value in left.items())
        return bool(left == right)
    return one in _NUMBERS and other in _NUMBERS and bool(left == right)


_CONTAINERS: frozenset[type[Any]] = frozenset((list, dict, Constructed))


def extent(value: Any) -> int:
    """Return how many elements there are in a value and in all that is within it."""
    total = 1
    if value.__class__ in _CONTAINERS:
        elements: Any = value if value.__class__ is list else value.values()
        total += len(elements)
        for element in elements:
            if element.__class__ in _CONTAINERS:
                total += extent(element)
    return total


def weight(value: Any) -> int:
    """Return what going through a value costs: a tenth for each letter or element, and one for all that is within elements.

    cel-go counts only the elements of the outermost list; what is within them costs time all the same.
    """
    cls = value.__class__
    if cls is str or cls is bytes:
        return (len(value) + 9) // 10
    if cls not in _CONTAINERS:
        return 1
    elements: Any = value if value.__class__ is list else value.values()
    total = (len(elements) + 9) // 10
    for element in elements:
        if element.__class__ in _CONTAINERS:
            total += extent(element)
    return total


_DURATION = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip


def parse_duration(text: str) -> Duration:
    """Read a duration as Go writes it: ``1h30m``, ``-1.5s``. Raises ValueError."""
    sign, rest = (-1 if text[:1] == "-" else 1), text.lstrip("+-") if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    if not rest or len(rest) > 200:
        raise ValueError(f'time: invalid duration "{text}"')
    total, at = 0, 0
    while at < len(rest):
        found = _DURATION.match(rest, at)
        if found is None or not (found[1] or found[2]):
            raise ValueError(f'time: invalid duration "{text}"')
        unit = _UNITS[found[3]]
        total += int(found[1] or 0) * unit
        if found[2]:
            total += int(found[2]) * unit // 10 ** len(found[2])
        at = found.end()
    total *= sign
    if not INT_MIN <= total <= INT_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    return Duration(total)


_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def parse_timestamp(text: str) -> Timestamp:
    """Read a date and time of RFC 3339. Raises ValueError."""
    found = _TIMESTAMP.fullmatch(text) if len(text) < 100 else None
    if found is None:
        raise ValueError(
            f'parsing time "{text[:100]}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text[:100]}"'
        )
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction = int((found[7] or "0").ljust(9, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f'parsing time "{text}": {error}') from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    offset = 0
    if found[8]:
        offset = (int(found[9]) * 3600 + int(found[10]) * 60) * (-1 if found[8] == "-" else 1)
    return timestamp((seconds - offset) * 10**9 + fraction, offset)


def parse_date(text: str) -> Timestamp:
    """Read a date, or a date and time. Raises ValueError."""
    return parse_timestamp(f"{text}T00:00:00Z" if len(text) == 10 else text)


def timestamp(nanoseconds: int, offset: int = 0) -> Timestamp:
    """Return a moment, and its zone. Raises EvaluationError outside of what a timestamp can be."""
    if not _TIMESTAMP_MIN <= nanoseconds <= _TIMESTAMP_MAX:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanoseconds, offset)


def duration(nanoseconds: int) -> Duration:
    """Return a span. Raises EvaluationError when it does not fit into 64 bits."""
    if not INT_MIN <= nanoseconds <= INT_MAX:
        raise EvaluationError("duration overflow")
    return Duration(nanoseconds)


def integer(number: int) -> int:
    """Return an int. Raises EvaluationError when it does not fit into 64 bits."""
    if INT_MIN <= number <= INT_MAX:
        return number
    raise EvaluationError("integer overflow")


def unsigned(number: int) -> Uint:
    """Return a uint. Raises EvaluationError when it is negative or does not fit into 64 bits."""
    if 0 <= number <= UINT_MAX:
        return Uint(number)
    raise EvaluationError("unsigned integer overflow")
