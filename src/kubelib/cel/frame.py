"""What closures share: the frame that they run on, and the errors that any of them may raise.

A frame is a list that begins with what has been spent and with what may be, followed by one place for each variable.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kubelib.cel.base import CostExceeded, EvaluationError
from kubelib.cel.values import type_name

Frame = list[Any]
Closure = Callable[[Frame], Any]
Compiled = tuple[Closure, int]
"""A closure and what it costs in any case."""
Reader = Callable[[Any], Any]

SPENT, LIMIT, FIRST = 0, 1, 2


def no_overload(function: str = "", arguments: Sequence[Any] = ()) -> EvaluationError:
    """Return cel-go's error for values that a function is not for."""
    if not function:
        return EvaluationError("no such overload")
    return EvaluationError(f"no such overload: {function}({', '.join(map(type_name, arguments))})")


def charge(f: Frame, cost: int) -> None:
    """Spend. Raises CostExceeded when there is not so much left."""
    f[SPENT] += cost
    if f[SPENT] > f[LIMIT]:
        raise CostExceeded
