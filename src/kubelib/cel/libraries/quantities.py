"""Kubernetes' library of quantities."""

from typing import ClassVar

import attrs

from kubelib.cel import types
from kubelib.cel.base import EvaluationError
from kubelib.cel.libraries import costs
from kubelib.cel.library import Library
from kubelib.cel.types import Type
from kubelib.cel.values import Opaque
from kubelib.quantity import Quantity, QuantityError, parse_quantity

QUANTITY = types.opaque("kubernetes.Quantity")
_WHOLE = 10**9


@attrs.frozen
class Amount(Opaque):
    """A quantity."""

    cel_type: ClassVar[Type] = QUANTITY
    quantity: Quantity

    def __str__(self) -> str:
        return str(self.quantity)


QUANTITIES = Library()
QUANTITIES.types["kubernetes.Quantity"] = QUANTITY
_add = QUANTITIES.add


@QUANTITIES.declare(
    "quantity(string) kubernetes.Quantity", cost=costs.traversal, estimate=costs.first_traversed
)
def _quantity(text: str) -> Amount:
    try:
        if text != text.strip():
            raise QuantityError
        return Amount(parse_quantity(text))
    except QuantityError as error:
        raise EvaluationError(str(error)) from None


@QUANTITIES.declare("isQuantity(string) bool", cost=costs.traversal, estimate=costs.first_traversed)
def _is_quantity(text: str) -> bool:
    try:
        _quantity(text)
    except EvaluationError:
        return False
    return True


def _fits(amount: Amount) -> bool:
    return amount.quantity.nano % _WHOLE == 0 and -(1 << 63) <= amount.quantity.nano // _WHOLE < 1 << 63


def _as_integer(amount: Amount) -> int:
    if not _fits(amount):
        raise EvaluationError("cannot convert value to integer")
    return amount.quantity.nano // _WHOLE


def _compare(one: Amount, other: Amount) -> int:
    return (one.quantity > other.quantity) - (one.quantity < other.quantity)


_Q = "kubernetes.Quantity"
_add(f"{_Q}.sign() int", lambda a: (a.quantity.nano > 0) - (a.quantity.nano < 0))
_add(f"{_Q}.isInteger() bool", _fits)
_add(f"{_Q}.asInteger() int", _as_integer)
_add(f"{_Q}.asApproximateFloat() double", lambda a: float(a.quantity.amount))
_add(f"{_Q}.isGreaterThan({_Q}) bool", lambda a, b: a.quantity > b.quantity)
_add(f"{_Q}.isLessThan({_Q}) bool", lambda a, b: a.quantity < b.quantity)
_add(f"{_Q}.compareTo({_Q}) int", _compare)
_add(f"{_Q}.add({_Q}) {_Q}", lambda a, b: Amount(a.quantity + b.quantity))
_add(f"{_Q}.add(int) {_Q}", lambda a, b: Amount(Quantity(a.quantity.nano + b * _WHOLE, a.quantity.format)))
_add(f"{_Q}.sub({_Q}) {_Q}", lambda a, b: Amount(a.quantity - b.quantity))
_add(f"{_Q}.sub(int) {_Q}", lambda a, b: Amount(Quantity(a.quantity.nano - b * _WHOLE, a.quantity.format)))
