"""Calls of functions, and the operators that decide, as closures."""

from collections.abc import Callable
from typing import Any

from kubelib.cel.base import CostExceeded, EvaluationError
from kubelib.cel.frame import SPENT, Closure, Compiled, Frame, charge, no_overload
from kubelib.cel.library import Overload


def decide(left: Closure, right: Closure, right_cost: int, *, stop: bool) -> Closure:
    """Return ``left && right``, or ``left || right`` when `stop` is True: an error counts only when the other does not decide."""

    def second(f: Frame, error: EvaluationError) -> bool:
        f[SPENT] += right_cost
        if right(f) is stop:
            return bool(stop)
        raise error

    def run(f: Frame) -> bool:
        try:
            value = left(f)
        except EvaluationError as error:
            if isinstance(error, CostExceeded):
                raise
            return second(f, error)
        if value is stop:
            return bool(stop)
        if value.__class__ is not bool:
            return second(f, no_overload())
        f[SPENT] += right_cost
        value = right(f)
        if value.__class__ is bool:
            return value
        raise no_overload()

    return run


def call_one(overload: Overload, closures: list[Closure], cost: int) -> Compiled:
    """Return the call of a form that is known to be meant."""
    call, price = overload.call, overload.cost
    if isinstance(price, int):
        match closures:
            case [one]:
                return (lambda f: call(one(f))), cost + price
            case [one, other]:
                return (lambda f: call(one(f), other(f))), cost + price
        return (lambda f: call(*[closure(f) for closure in closures])), cost + price

    if overload.beforehand:

        def charge_and_run(f: Frame) -> Any:
            arguments = [closure(f) for closure in closures]
            charge(f, price(None, *arguments))
            return call(*arguments)

        return charge_and_run, cost

    def run(f: Frame) -> Any:
        arguments = [closure(f) for closure in closures]
        result = call(*arguments)
        charge(f, price(result, *arguments))
        return result

    return run, cost


Dispatch = Callable[[Frame, list[Any]], Any]


def compare_any(
    compare: Callable[[Any, Any], Any], left: Closure, right: Closure, dispatch: Dispatch
) -> Closure:
    """Return a comparison of values of unknown types: two ints are what it mostly meets."""

    def run(f: Frame) -> Any:
        a, b = left(f), right(f)
        if a.__class__ is int and b.__class__ is int:
            f[SPENT] += 1
            return compare(a, b)
        return dispatch(f, [a, b])

    return run


def _class_of(value: Any) -> Any:
    cls = value.__class__
    return (list, value[0].__class__) if cls is list and value else cls


def dispatch_of(function: str, overloads: list[Overload]) -> Dispatch:
    """Return a call whose form is chosen by the values."""
    is_operator = function[:1] in "_@!-"

    # Which form is meant depends on the classes of the values alone, and on those of the first elements of lists.
    known: dict[tuple[Any, ...], Overload] = {}

    def run(f: Frame, arguments: list[Any]) -> Any:
        classes = tuple([_class_of(argument) for argument in arguments])
        overload = known.get(classes)
        if overload is None:
            overload = next((one for one in overloads if one.accepts(arguments)), None)
            if overload is None:
                raise no_overload() if is_operator else no_overload(function, arguments)
            known[classes] = overload
        price = overload.cost
        if isinstance(price, int):
            charge(f, price)
            return overload.call(*arguments)
        if overload.beforehand:
            charge(f, price(None, *arguments))
            return overload.call(*arguments)
        result = overload.call(*arguments)
        charge(f, price(result, *arguments))
        return result

    return run
