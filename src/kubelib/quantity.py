"""Amounts of resources: exact arithmetic and Kubernetes' canonical text.

A quantity is a number with a suffix of one of three families: decimal (``n u m k M G T P E``), binary (``Ki`` …
``Ei``) and exponent (``e3``). Amounts finer than a billionth are rounded up, away from zero, so that every quantity is
a whole number of billionths. The rules are those of ``k8s.io/apimachinery/pkg/api/resource``.
"""

import functools
import re
from fractions import Fraction
from typing import Literal

import attrs

Format = Literal["decimal", "binary", "exponent"]

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SUFFIX_OF = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_OF = {exponent: suffix for suffix, exponent in _BINARY.items()}
# Exponents are bounded: a text of ten characters must not become a number of gigabytes.
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,4})")
_LONGEST = 512
_UNIT = 10**9
_LARGEST_BINARY = (2**63 - 1) * _UNIT


class QuantityError(ValueError):
    """The text is not a quantity; the message is Kubernetes'."""

    def __init__(
        self,
        message: str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ) -> None:
        super().__init__(message)


def _divide_up(number: int, divisor: int) -> int:
    """Divide, rounding away from zero."""
    return -(-number // divisor) if number >= 0 else number // divisor


@functools.total_ordering
@attrs.frozen(order=False, repr=False)
class Quantity:
    """An exact amount and the family in which it is written. Equal amounts are equal, however written.

    >>> half, two = parse_quantity("500m"), parse_quantity("2Gi")
    >>> str(half + half), str(two - parse_quantity("512Mi")), str(half * 3), half < two
    ('1', '1536Mi', '1500m', True)
    """

    nano: int
    """The amount in billionths."""
    format: Format = attrs.field(default="decimal", eq=False)

    @property
    def amount(self) -> Fraction:
        """The amount as an exact fraction."""
        return Fraction(self.nano, _UNIT)

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __mul__(self, factor: int) -> "Quantity":
        return Quantity(self.nano * factor, self.format)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nano, self.format)

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __bool__(self) -> bool:
        return bool(self.nano)

    def __repr__(self) -> str:
        return f"<Quantity {self}>"

    def value(self) -> int:
        """Return the amount as a whole number, rounded up (away from zero)."""
        return _divide_up(self.nano, _UNIT)

    def milli(self) -> int:
        """Return the amount in thousandths, rounded up (away from zero)."""
        return _divide_up(self.nano, 10**6)

    def __str__(self) -> str:
        nano = self.nano
        if not nano:
            return "0"
        if self.format == "binary" and abs(nano) >= 1024 * _UNIT and nano % _UNIT == 0:
            number, exponent = nano // _UNIT, 0
            while exponent < 60 and number % 1024 == 0:
                number //= 1024
                exponent += 10
            return f"{number}{_BINARY_OF.get(exponent, '')}"
        exponent = -9
        while nano % 1000 == 0:
            nano //= 1000
            exponent += 3
        if self.format != "exponent" and exponent in _SUFFIX_OF:
            return f"{nano}{_SUFFIX_OF[exponent]}"
        return f"{nano}e{exponent}" if exponent else str(nano)


ZERO = Quantity(0)


@functools.lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity:
    """Return the quantity that `text` denotes. Raises `QuantityError`.

    >>> [str(parse_quantity(text)) for text in ("0.5", "2048Ki", "1500m", "1e3", "1.5Gi", "0.1n", "-1.25")]
    ['500m', '2Mi', '1500m', '1e3', '1536Mi', '1n', '-1250m']
    """
    # Kubernetes trims what surrounds a quantity in JSON.
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        raise QuantityError
    sign, whole, fraction, suffix = match.groups(default="")
    if not whole and not fraction:
        raise QuantityError
    number = int(whole + fraction)
    family: Format = "decimal"
    if suffix in _DECIMAL:
        number = _scaled(number, 9 + _DECIMAL[suffix] - len(fraction))
    elif suffix in _BINARY:
        family = "binary"
        number = min(_scaled(number << _BINARY[suffix], 9 - len(fraction)), _LARGEST_BINARY)
        if number < _UNIT:
            family = "decimal"
    elif exponent := _EXPONENT.fullmatch(suffix):
        family = "exponent"
        number = _scaled(number, 9 + int(exponent[1]) - len(fraction))
    else:
        raise QuantityError("unable to parse quantity's suffix")
    return Quantity(-number if sign == "-" else number, family)


def _scaled(number: int, exponent: int) -> int:
    """Return a number times a power of ten, rounded up."""
    power: int = 10 ** abs(exponent)
    return number * power if exponent >= 0 else -(-number // power)


@functools.lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """Return the text that Kubernetes would store for a quantity. Raises `QuantityError`."""
    return str(parse_quantity(text))


def from_milli(thousandths: int) -> Quantity:
    """Return a decimal quantity of so many thousandths."""
    return Quantity(thousandths * 10**6)


def from_bytes(count: int) -> Quantity:
    """Return a binary quantity of so many bytes."""
    return Quantity(count * _UNIT, "binary")
