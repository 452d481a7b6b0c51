"""Amounts of resources: exact arithmetic and Kubernetes' canonical text.

A quantity is a number with a suffix of one of three families: decimal (``n u m k M G T P E``), binary (``Ki`` …
``Ei``) and exponent (``e3``). Amounts finer than a billionth are rounded up. The rules are those of
``k8s.io/apimachinery/pkg/api/resource``.
"""

import functools
import re
from fractions import Fraction
from math import ceil
from typing import Literal

import attrs

Format = Literal["decimal", "binary", "exponent"]

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SUFFIX_OF = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_OF = {exponent: suffix for suffix, exponent in _BINARY.items()}
_GRAMMAR = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,4})?")
_NANO = Fraction(1, 10**9)
_LARGEST = Fraction(2**63 - 1)


class QuantityError(ValueError):
    """The text is not a quantity; the message is Kubernetes'."""

    def __init__(self) -> None:
        super().__init__(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )


@attrs.frozen(order=False)
class Quantity:
    """An exact amount and the family in which it is written."""

    amount: Fraction
    format: Format = attrs.field(default="decimal", eq=False)

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.amount + other.amount, self.format if self.amount else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.amount - other.amount, self.format if self.amount else other.format)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.amount, self.format)

    def __lt__(self, other: "Quantity") -> bool:
        return self.amount < other.amount

    def __le__(self, other: "Quantity") -> bool:
        return self.amount <= other.amount

    def __bool__(self) -> bool:
        return bool(self.amount)

    def value(self) -> int:
        """Return the amount as a whole number, rounded up."""
        return ceil(self.amount)

    def milli(self) -> int:
        """Return the amount in thousandths, rounded up."""
        return ceil(self.amount * 1000)

    def __str__(self) -> str:
        amount = self.amount
        if not amount:
            return "0"
        if self.format == "binary" and amount.denominator == 1 and abs(amount) >= 1024:
            number, exponent = amount.numerator, 0
            while exponent < 60 and number % 1024 == 0:
                number //= 1024
                exponent += 10
            return f"{number}{_BINARY_OF.get(exponent, '')}"
        digits, exponent = int(amount / _NANO), -9
        while exponent < 18 and digits % 1000 == 0:
            digits //= 1000
            exponent += 3
        if self.format == "exponent":
            return f"{digits}e{exponent}" if exponent else str(digits)
        return f"{digits}{_SUFFIX_OF[exponent]}"


ZERO = Quantity(Fraction(0))


@functools.lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity:
    """Return the quantity that `text` denotes. Raises `QuantityError`.

    >>> str(parse_quantity("0.5")), str(parse_quantity("2048Ki")), str(parse_quantity("1500m")), str(parse_quantity("1e3"))
    ('500m', '2Mi', '1500m', '1e3')
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise QuantityError
    sign, digits, suffix = match.groups()
    suffix = suffix or ""
    amount = Fraction(digits)
    family: Format = "decimal"
    if suffix in _BINARY:
        amount *= 2 ** _BINARY[suffix]
        family = "binary"
    elif suffix in _DECIMAL:
        amount *= Fraction(10) ** _DECIMAL[suffix]
    else:
        amount *= Fraction(10) ** int(suffix[1:])
        family = "exponent"
    if amount % _NANO:
        amount = ceil(amount / _NANO) * _NANO
    amount = min(amount, _LARGEST) if amount > _LARGEST and family != "binary" else amount
    return Quantity(-amount if sign == "-" else amount, family)


def canonical(text: str) -> str:
    """Return the text that Kubernetes would store for a quantity. Raises `QuantityError`."""
    return str(parse_quantity(text))


def from_milli(thousandths: int) -> Quantity:
    """Return a decimal quantity of so many thousandths."""
    return Quantity(Fraction(thousandths, 1000))


def from_bytes(count: int) -> Quantity:
    """Return a binary quantity of so many bytes."""
    return Quantity(Fraction(count), "binary")
